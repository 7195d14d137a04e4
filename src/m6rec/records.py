"""The nouns of a recommender system as plain, frozen types. Floor 0: imports nothing of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Region = Literal["source", "target"]
"""Source tokens see all of the source; target tokens see the source and their own past."""

SegmentKind = Literal["context", "profile", "event", "query", "item", "features", "prompt"]


class M6Error(Exception):
    """Something a person can put right: the message says what, where, and what would be right.

    Where what is right depends on how one asks, the message is that for Python, and the other two
    say it for the command line and over HTTP.
    """

    @property
    def at_command_line(self) -> str:
        """The message for who typed a command."""
        return str(self)

    @property
    def at_server(self) -> str:
        """The message for who asked over HTTP."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a user did. `item_id` names a catalogue row; `text` stands in where there is none.

    `timestamp` is in seconds since 1970 (UTC); `value` is a rating, a quantity or a price.
    """

    event: str
    item_id: str | None = None
    text: str | None = None
    query: str | None = None
    timestamp: float | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item to score: a catalogue id, or free text for an item that no catalogue knows."""

    item_id: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the recommender: who asks, what they did (oldest first), what is judged.

    `target` is the item that followed (retrieval); `labels` belong to `candidates` (ranking).
    """

    history: tuple[Event, ...] = ()
    user_id: str | None = None
    timestamp: float | None = None
    target: str | None = None
    candidates: tuple[Candidate, ...] = ()
    labels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text that is encoded alone, and says which region of the mask it belongs to.

    `age` counts back from the newest event of the history (newest = 0); 0 for other kinds.
    """

    text: str
    kind: SegmentKind
    region: Region = "source"
    age: int = 0


@dataclass(frozen=True)
class ProtocolCard:
    """Everything that can change a figure without changing a model; stored in every result file."""

    dataset: str
    task: str
    split: str
    sort: str
    filters: tuple[str, ...]
    seen_items: Literal["kept", "masked"]
    candidates: str
    max_history: int
    counts: Mapping[str, int]
    split_hash: str
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready dictionary with the card's own `card_hash` beside its fields."""
        body = json.loads(json.dumps(asdict(self)))
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        return {**body, "card_hash": digest}
