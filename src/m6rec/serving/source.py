"""What a served model is opened from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m6rec.answers import NOTHING
from m6rec.data.tables import Dataset
from m6rec.serving.batching import BatchSettings
from m6rec.stores.states.cache import StateCache


@dataclass(frozen=True)
class Source:
    """base: the data folder, for reviews, queries, dialogues and templates; folder: where snapshots
    are kept (None: nowhere); index: the address of a Qdrant server (None: vectors are in this
    process); text_only: what people chose next is left aside."""

    model: str
    adapters: tuple[Path, ...] = ()
    base: Dataset = NOTHING
    cache: StateCache | None = None
    folder: Path | None = None
    batching: BatchSettings | None = None
    index: str | None = None
    text_only: bool = False
