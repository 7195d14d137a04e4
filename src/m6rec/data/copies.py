"""Exact copies of events: found in a table that is in memory, and counted in one that is not.

An event that says the same as another in every column, its time or its position among them, is
that event once more. Without a time and a position nobody knows: such repeats are kept.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import polars as pl

from m6rec.data.files import LINE, ROW
from m6rec.data.report import Example, Finding

LARGE_SHARE, LARGE_RATIO, FEWEST = 0.01, 50, 100
"""A user dominates with more than this share of all events, so many times the median of users,
and so many events."""
COPY = Finding("", "a copy of another event", "warning", "each event once; the first one is kept")
REPEAT = Finding(
    "timestamp",
    "a repeat without a time",
    "warning",
    "a time or a position, which tells a repeat from a copy; every one is kept",
)
DOMINATES = Finding(
    "user_id",
    "one user did much of what there is",
    "warning",
    "people; --max-events-per-user 200 (or 1%) of tune, eval and bench keeps the newest of each",
)


def without_copies(events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Sorted events (by user and time) without the copies, and how many those were."""
    moment = ["user_id", "timestamp"]
    same = pl.all_horizontal(pl.col(n).eq_missing(pl.col(n).shift(1)) for n in moment)
    tied = (same | same.shift(-1)).fill_null(False)
    few = events.with_row_index("#at").filter(tied & _placed(events.columns))
    names = [name for name in events.columns if name != "#at"]
    once = few.unique(subset=names, keep="first", maintain_order=True)
    copies = few.height - once.height
    if not copies:
        return events, 0
    gone = few.join(once.select("#at"), on="#at", how="anti")["#at"]
    kept = np.ones(events.height, dtype=bool)
    kept[gone.to_numpy()] = False
    return events.filter(kept), copies


def _placed(columns: list[str]) -> pl.Expr:
    """Whether a time or a position is known."""
    there = [pl.col(name).is_not_null() for name in ("timestamp", "position") if name in columns]
    return pl.any_horizontal(there) if there else pl.lit(False)


@dataclass
class Census:
    """Counts copies, repeats and the events of each user over batches: 25 bytes an event."""

    hashes: list[np.ndarray] = field(default_factory=list)
    placed: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)
    users: Counter[str] = field(default_factory=Counter)

    def add(self, events: pl.DataFrame) -> None:
        """Usable rows as they are loaded, with ROW and, of text files, LINE."""
        names = [name for name in events.columns if name not in (ROW, LINE)]
        line = pl.col(LINE) if LINE in events.columns else pl.lit(-1, pl.Int64)
        found = events.select(
            reduce(lambda one, other: one ^ other, map(_hash, sorted(names))).alias("hash"),
            _placed(names).alias("placed"),
            pl.col(ROW),
            line.alias(LINE),
        )
        self.hashes.append(found["hash"].to_numpy())
        self.placed.append(found["placed"].to_numpy())
        self.places.append(found.select(ROW, LINE).to_numpy())
        counts = events.group_by("user_id").len().drop_nulls()
        self.users.update(dict(counts.iter_rows()))

    def findings(self, limit: int) -> Iterator[tuple[Finding, int, list[Example]]]:
        """What is wrong, how often, and the first `limit` examples."""
        if not self.hashes:
            return
        hashes, placed = np.concatenate(self.hashes), np.concatenate(self.placed)
        places = np.concatenate(self.places)
        order = np.argsort(hashes, kind="stable")
        again = np.append(False, hashes[order][1:] == hashes[order][:-1])
        start = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
        later, first = order[again], order[start[again]]
        for finding, wanted in ((COPY, True), (REPEAT, False)):
            here = placed[later] == wanted
            if here.any():
                pairs = sorted(zip(later[here].tolist(), first[here].tolist(), strict=True))
                examples = [_example(places[one], places[two]) for one, two in pairs[:limit]]
                yield finding, len(pairs), examples
        yield from self._dominating(limit)

    def _dominating(self, limit: int) -> Iterator[tuple[Finding, int, list[Example]]]:
        total = self.users.total()
        counts = np.array(list(self.users.values()))
        least = max(LARGE_SHARE * total, LARGE_RATIO * float(np.median(counts)), FEWEST)
        large = [(user, count) for user, count in self.users.most_common() if count > least]
        if large:
            examples = [
                Example(
                    None, None, f"{user!r}: {count:,} of {total:,} events ({count / total:.1%})"
                )
                for user, count in large[:limit]
            ]
            yield DOMINATES, len(large), examples


def _hash(name: str) -> pl.Expr:
    """The same for the same value in every batch; a missing value and a missing column are one."""
    value = pl.col(name).hash(seed=zlib.crc32(name.encode()))
    return pl.when(pl.col(name).is_null()).then(pl.lit(0, pl.UInt64)).otherwise(value)


def _example(later: np.ndarray, first: np.ndarray) -> Example:
    line = int(later[1])
    return Example(int(later[0]), None if line < 0 else line, f"the same as row {int(first[0]):,}")
