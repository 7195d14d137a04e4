"""A service from a data folder: journal, cache, model; the folder's tables are taken in once."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from m6rec.data import tables
from m6rec.data.schema import TABLES
from m6rec.data.tables import EMPTY_ITEMS, Dataset
from m6rec.model.hf import shipped
from m6rec.records import M6Error
from m6rec.serving.keys import KeyRing
from m6rec.serving.live import LiveModel
from m6rec.serving.registry import Registry, RegistryError
from m6rec.serving.service import Service, ServiceSettings
from m6rec.serving.source import Source
from m6rec.stores.journal.base import Journal, Told
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.states.opening import open_cache

log = logging.getLogger(__name__)

STATE = "server"
"""Folder in the data folder where a server keeps what it knows."""
AT_ONCE = 5000
TAKEN_IN = "taken-in"
"""File that says that the data folder's tables are in the journal."""
FIRST = "first"
"""Name of the model that the server was started with; another may be opened from the same."""
NOT_IN_JOURNAL = frozenset(TABLES) - {"items", "users", "events"}
"""Tables that are read from the data folder at every start."""
MODEL = "m6-small"


@dataclass(frozen=True)
class Place:
    """Where a server's things are. state: default DATA/server; journal: a folder (default
    STATE/journal) or postgresql://…; cache: a folder (default STATE/segments) or redis://…;
    index: a Qdrant server (default: vectors are in this process);
    models: folder of models and adapters that may be opened by name; text_only: retrieval goes by
    words alone, though the journal says what people chose next."""

    data: Path
    model: str = MODEL
    adapters: tuple[Path, ...] = ()
    state: Path | None = None
    journal: str | None = None
    cache: str | None = None
    models: Path | None = None
    index: str | None = None
    text_only: bool = False

    @property
    def state_folder(self) -> Path:
        """Where the server writes."""
        return self.state or self.data / STATE


def open_service(place: Place, settings: ServiceSettings | None = None) -> Service:
    """Opens everything. Raises M6Error where something is not as it should be."""
    folder = place.state_folder
    folder.mkdir(parents=True, exist_ok=True)
    taken_in = folder / TAKEN_IN
    base = _base(place.data, NOT_IN_JOURNAL if taken_in.exists() else TABLES)
    journal = open_journal(place.journal or folder / "journal")
    try:
        take_in(journal, base, taken_in)
        cache = open_cache(place.cache or folder / "segments")
        first = Source(
            place.model,
            place.adapters,
            _without_journal(base),
            cache,
            folder / "vectors",
            index=place.index,
            text_only=place.text_only,
        )
        opening = _Opening(journal, first, place)
        model = LiveModel(FIRST, first, journal)
        keys = KeyRing(folder)
        return Service(journal, Registry(model), keys, opening, settings, place.models)
    except BaseException:
        journal.close()
        raise


class _Opening:
    """Opens a model by name, from those that ship and those in the folder of models."""

    def __init__(self, journal: Journal, first: Source, place: Place) -> None:
        self._journal, self._first, self._models = journal, first, place.models

    def __call__(self, name: str, model: str, adapters: Sequence[str]) -> LiveModel:
        """Raises RegistryError where there is none."""
        folders = tuple(self._folder(adapter) for adapter in adapters)
        if model == FIRST:
            source = replace(self._first, adapters=folders or self._first.adapters)
        else:
            source = replace(self._first, model=self._model(model), adapters=folders)
        return LiveModel(name, source, self._journal)

    def _model(self, name: str) -> str:
        return name if name in shipped() else str(self._folder(name))

    def _folder(self, name: str) -> Path:
        if self._models is None:
            raise RegistryError(f"no model {name!r}: the server was started without --models")
        root = self._models.resolve()
        path = (root / name).resolve()
        if path.parent != root or not path.is_dir():
            raise RegistryError(f"no model {name!r} in the server's folder of models")
        return path


def take_in(journal: Journal, base: Dataset, done: Path) -> None:
    """Tells the journal the tables of a data folder, once; stopped half-way, it goes on."""
    if done.exists():
        return
    parts: list[tuple[Told, pl.DataFrame | None]] = [
        ("item", base.items),
        ("user", base.users),
        ("event", base.events),
    ]
    for kind, table in parts:
        if table is None or not table.height:
            continue
        log.info("taking in %d %ss", table.height, kind)
        for start in range(0, table.height, AT_ONCE):
            rows = list(_bodies(table[start : start + AT_ONCE]))
            journal.append(kind, rows, idempotency=f"data folder, {kind} {start}")
    done.touch()


def _bodies(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in table.iter_rows(named=True):
        yield {name: _plain(value) for name, value in row.items() if _is_told(value)}


def _is_told(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def _base(folder: Path, names: Collection[str]) -> Dataset:
    """These tables of a folder; one that holds none yet is a shop that begins."""
    if folder.exists() and not folder.is_dir():
        raise M6Error(f"{folder} is a file; give the folder of the data")
    if folder.is_dir() and any(p.is_file() for p in folder.iterdir()):
        return tables.load(folder, names)
    return Dataset(name=folder.resolve().name, path=folder)


def _without_journal(base: Dataset) -> Dataset:
    """What of a data folder the journal does not keep."""
    return replace(base, items=EMPTY_ITEMS, events=None, users=None)
