"""Where a journal comes from: what it was seeded with, which journals it continues, who was erased
there. It stands in the journal itself, so that a copy of the journal brings it along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from m6rec.records import M6Error


@dataclass(frozen=True)
class Seed:
    """What an empty journal was filled from, and up to where.

    source: what the rows are called, for people. digest: SHA-256 of them, in hex. total, done: rows
    in all, and rows that were taken in. at: when that was begun, in seconds since 1970. own: number
    of the last entry that came with the source as an erasure: its rows know of those.
    """

    source: str
    digest: str
    total: int
    done: int = 0
    at: float = 0.0
    own: int = 0

    @property
    def whole(self) -> bool:
        """Whether all rows were taken in."""
        return self.done >= self.total

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Seed:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Erasure:
    """A user who was erased. key: what the journal with this salt makes of their id. at: when, in
    seconds since 1970. hash: of the receipt. entries: how many went then, by kind."""

    key: str
    at: float
    hash: str
    salt: str
    entries: Mapping[str, int]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def read(cls, key: str, body: str, salt: str, came: float = 0.0) -> Erasure:
        """Of an entry of the journal with this salt, unless its body (JSON) names another. came:
        seconds since 1970, for one that says no time of its own."""
        told = json.loads(body)
        at = float(told.get("at", came))
        return cls(key, at, told["hash"], told.get("salt", salt), told["entries"])

    @classmethod
    def from_json(cls, text: str, where: str) -> Erasure:
        """What `to_json` wrote. Raises M6Error that names `where`."""
        try:
            told: dict[str, Any] = json.loads(text)
            made = cls(
                str(told["key"]),
                float(told["at"]),
                str(told["hash"]),
                str(told["salt"]),
                {str(kind): int(count) for kind, count in dict(told["entries"]).items()},
            )
            bytes.fromhex(made.salt)
        except (ValueError, KeyError, TypeError) as error:
            raise M6Error(f"{where} is no erasure of a journal ({error})") from None
        return made
