"""Which events a journal keeps: all, the newest ones, or those of some days.

What goes, goes when the journal is compacted (compacting.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.records import M6Error
from m6rec.stores.journal.moments import moment

DAY = 24 * 3600.0
WORDS = re.compile(r"(\d+)(d?)")


@dataclass(frozen=True)
class Retention:
    """events: how many of the newest ones are kept; days: how long after they happened. 0: all."""

    events: int = 0
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> Retention:
        """ "1000000" is a number of events, "365d" one of days, "" all. Raises M6Error."""
        found = WORDS.fullmatch(text.strip())
        if found is None and text.strip():
            raise M6Error(f"keep_events: {text!r}; right is 1000000 (events) or 365d (days)")
        if found is None:
            return cls()
        number = int(found[1])
        return cls(days=number) if found[2] else cls(events=number)

    def __bool__(self) -> bool:
        return bool(self.events or self.days)

    def old(self, newest: Sequence[Sequence[int]]) -> str:
        """SQL: whether an entry `e` is an event that goes. newest: what `edge` asks for."""
        if self.days:
            until = moment(time.time() - self.days * DAY)
            newest_stays = "e.number < (SELECT max(number) FROM entries)"  # numbers go on from it
            return f"(e.kind = 4 AND e.happened < {until} AND {newest_stays})"
        if self.events and newest:
            return f"(e.kind = 4 AND e.number <= {int(newest[0][0])})"
        return "(1 = 0)"

    @property
    def edge(self) -> str:
        """SQL: number of the newest event that goes; no row where none goes or days say it."""
        if not self.events:
            return "SELECT 0 WHERE 1 = 0"
        return (
            "SELECT number FROM entries WHERE kind = 4 ORDER BY number DESC "
            f"LIMIT 1 OFFSET {self.events}"
        )


EVERYTHING = Retention()
