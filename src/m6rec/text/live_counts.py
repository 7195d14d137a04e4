"""Counts of users and items that grow one event at a time, and begin with those of a whole log.

Legend: P pairs of a user and an item, I items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from m6rec.text.live_catalogue import LiveCodes, LiveParts
from m6rec.text.past import YesNo, percentile, read

NEVER = -math.inf


@dataclass(slots=True)
class Count:
    """Events of one key: acted, judged, positive."""

    acted: float = 0.0
    judged: float = 0.0
    positive: float = 0.0

    def add(self, other: Count) -> None:
        """Counts more."""
        self.acted += other.acted
        self.judged += other.judged
        self.positive += other.positive

    def take(self, other: Count) -> None:
        """Counts less."""
        self.acted -= other.acted
        self.judged -= other.judged
        self.positive -= other.positive

    def row(self) -> tuple[float, float, float]:
        """The three numbers."""
        return self.acted, self.judged, self.positive


@dataclass(slots=True)
class Pair(Count):
    """Events of a user with an item. last: when they acted on it last."""

    last: float = NEVER


@dataclass(slots=True)
class Person:
    """Events of a user: with each item by its code, and all together."""

    items: dict[int, Pair] = field(default_factory=dict)
    total: Count = field(default_factory=Count)
    _parts: dict[str, dict[int, tuple[float, float, float]]] = field(default_factory=dict)
    _version: int = -1

    def add(self, item: int, added: Count, timestamp: float) -> None:
        """One more event."""
        self.total.add(added)
        pair = self.items.setdefault(item, Pair())
        pair.add(added)
        if added.acted:
            pair.last = max(pair.last, timestamp)
        self._parts = {}

    def of_parts(
        self, column: str, parts: LiveParts, version: int
    ) -> dict[int, tuple[float, float, float]]:
        """Events with items of each part. version: of the catalogue that the parts are of."""
        if version != self._version:
            self._parts, self._version = {}, version
        if column not in self._parts:
            sums: dict[int, Count] = {}
            for item, pair in self.items.items():
                for part in parts.of(item):
                    sums.setdefault(part, Count()).add(pair)
            self._parts[column] = {part: count.row() for part, count in sums.items()}
        return self._parts[column]


class ItemCounts:
    """Events of every item by its code, and how many items have how many."""

    def __init__(self) -> None:
        self._sums_I3 = np.zeros((64, 3))
        self._with = np.zeros(64, dtype=np.int64)

    def begin(self, item: np.ndarray, sums_I3: np.ndarray) -> None:
        """Sums of a log: float64 [I, 3] of the items with these codes."""
        self._sums_I3 = _room(self._sums_I3, int(item.max(initial=0)))
        self._sums_I3[item] = sums_I3
        acted = sums_I3[:, 0].astype(np.int64)
        many = np.bincount(acted, minlength=1)
        self._with = np.concatenate([np.cumsum(many[::-1])[::-1], [0, 0]])

    def add(self, item: int, added: Count) -> None:
        """One more event."""
        self._sums_I3 = _room(self._sums_I3, item)
        self._sums_I3[item] += added.row()
        if added.acted:
            times = int(self._sums_I3[item, 0])
            self._with = _room(self._with, times + 1)
            self._with[times] += 1

    def take(self, item: int, gone: Count) -> None:
        """So many events less."""
        times = int(self._sums_I3[item, 0])
        self._with[times - int(gone.acted) + 1 : times + 1] -= 1
        self._sums_I3[item] -= gone.row()

    def of(self, item_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums [N, 3] and percentiles [N] of items; code -1 has nothing."""
        inside = (item_N >= 0) & (item_N < len(self._sums_I3))
        sums_N3 = np.where(inside[:, None], self._sums_I3[np.where(inside, item_N, 0)], 0.0)
        times = sums_N3[:, 0].astype(np.int64)
        share = percentile(times, self._with[times], self._with[times + 1], self._with[1])
        return sums_N3, share


@dataclass
class Log:
    """Pairs of a log, by user: arrays, so that a long one takes little room. A user's are made a
    `Person` when they are asked for. numbers_P4: acted, judged, positive, last."""

    item_P: np.ndarray
    numbers_P4: np.ndarray
    rows: dict[str, tuple[int, int]]

    @classmethod
    def empty(cls) -> Log:
        """Nothing has happened."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, 4)), {})

    @classmethod
    def of(
        cls, timed: pl.DataFrame, items: LiveCodes, rule: YesNo, remembered: int
    ) -> tuple[Log, list[tuple[str, str, str, bool]]]:
        """The counts of events in order of time, and the newest judgements within requests: user,
        item, request, whether positive. code: of every item that they name."""
        added = read(timed, rule)
        flags = {"acted": added.acted, "judged": added.judged, "positive": added.positive}
        events = timed.with_columns(**{name: pl.Series(flag) for name, flag in flags.items()})
        when = pl.when(pl.col("acted") > 0).then(pl.col("timestamp")).max().fill_null(NEVER)
        pairs = (
            events.group_by("user_id", "item_id")
            .agg(pl.col("acted", "judged", "positive").sum(), when.alias("last"))
            .sort("user_id")
        )
        users = pairs.group_by("user_id", maintain_order=True).len()
        stop = users["len"].cum_sum().to_list()
        rows = {
            user: (end - many, end)
            for user, many, end in zip(users["user_id"], users["len"], stop, strict=True)
        }
        item_P = items.of(pairs["item_id"])
        numbers = pairs.select("acted", "judged", "positive", "last")
        numbers_P4 = numbers.to_numpy(writable=True).reshape(-1, 4)
        return cls(item_P, numbers_P4, rows), _told(events, rule, remembered)

    def users(self) -> list[str]:
        """Who is in it."""
        return list(self.rows)

    def person(self, user_id: str) -> Person | None:
        """A user's pairs; None: there are none."""
        if user_id not in self.rows:
            return None
        part = slice(*self.rows[user_id])
        person = Person()
        for item, row in zip(
            self.item_P[part].tolist(), self.numbers_P4[part].tolist(), strict=True
        ):
            person.items[item] = pair = Pair(*row)
            person.total.add(pair)
        return person

    def forget(self, user_id: str) -> None:
        """Takes a user out, and what the arrays say of them."""
        if user_id in self.rows:
            part = slice(*self.rows.pop(user_id))
            self.item_P[part], self.numbers_P4[part] = -1, 0.0

    def everybody(self) -> Count:
        """All together."""
        return Count(*self.numbers_P4[:, :3].sum(0).tolist())

    def of_items(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes of items below `count`, and their sums [I, 3]."""
        sums = [np.bincount(self.item_P, self.numbers_P4[:, n], count) for n in range(3)]
        return np.arange(count), np.stack(sums, 1)


def _told(events: pl.DataFrame, rule: YesNo, most: int) -> list[tuple[str, str, str, bool]]:
    if rule.event is not None or "request_id" not in events.columns:
        return []
    asked = events.filter(pl.col("request_id").is_not_null())
    keys = ["user_id", "item_id", "request_id"]
    sides = [
        asked.filter(pl.col(flag) > 0).select(*keys, pl.lit(yes).alias("yes"), "timestamp")
        for flag, yes in (("judged", False), ("positive", True))
    ]
    newest = pl.concat(sides).sort("timestamp", maintain_order=True).tail(most)
    return newest.drop("timestamp").rows()


def _room(array: np.ndarray, place: int) -> np.ndarray:
    """The same array, with room at a place."""
    if place < len(array):
        return array
    larger = np.zeros((max(place + 1, 2 * len(array)), *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
