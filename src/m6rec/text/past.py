"""What had happened before a moment: events read by a rule of yes and no, and counts over them.

Legend: E events in order of time, N questions, M (question, part of its item) pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import polars as pl

from m6rec.text.tally import Sums, Tally

NOT_ACTED = ("impression", "search")
"""Kinds of events by which the user has not chosen the item."""


class YesNo(Protocol):
    """Which events are a yes and which a no: by kinds, or by the value of one kind (`event`)."""

    @property
    def positive(self) -> frozenset[str]: ...
    @property
    def negative(self) -> frozenset[str]: ...
    @property
    def event(self) -> str | None: ...
    @property
    def threshold(self) -> float | None: ...


def read(events: pl.DataFrame, rule: YesNo) -> Sums:
    """What every event adds to the sums, 0 or 1: [E].

    By kinds, all events of one user, item and request_id are one judgement, since what was shown
    and then clicked is no refusal as well.
    """
    kind, value = pl.col("event"), pl.col("value")
    if rule.event is not None:
        judged = (kind == rule.event) & value.cast(pl.Float64).is_finite()
        positive = judged & (value >= rule.threshold)
    else:
        judged = kind.is_in(list(rule.positive | rule.negative))
        positive = kind.is_in(list(rule.positive))
    flags = events.select(
        acted=~kind.is_in(NOT_ACTED),
        judged=judged.fill_null(False),
        positive=positive.fill_null(False),
    )
    if rule.event is None and "request_id" in events.columns:
        asked = events.select("user_id", "item_id", "request_id")
        flags = flags.with_columns(
            first_of_request(asked, flags["judged"]), first_of_request(asked, flags["positive"])
        )
    return Sums(*(flags[name].cast(pl.Float64).to_numpy() for name in flags.columns))


def read_one(kind: str, value: float | None, rule: YesNo) -> tuple[bool, bool, bool]:
    """`read` for one event: acted, judged, positive."""
    if rule.event is not None and rule.threshold is not None:
        judged = kind == rule.event and value is not None and math.isfinite(value)
        positive = judged and value is not None and value >= rule.threshold
    else:
        judged = kind in rule.positive or kind in rule.negative
        positive = kind in rule.positive
    return kind not in NOT_ACTED, judged, positive


def first_of_request(asked: pl.DataFrame, flag: pl.Series) -> pl.Series:
    """Keeps a flag at the first flagged event of one user, item and request only."""
    row = pl.int_range(pl.len())
    flagged = asked.with_columns(row=row).filter(flag)
    together = flagged.filter(pl.col("request_id").is_not_null())
    first = together.unique(subset=asked.columns, keep="first")["row"]
    alone = flagged.filter(pl.col("request_id").is_null())["row"]
    kept = np.zeros(len(flag), dtype=bool)
    kept[pl.concat([first, alone]).to_numpy()] = True
    return pl.Series(flag.name, kept)


@dataclass(frozen=True)
class PartSums:
    """A user's events with items that share a part (a category, a brand) with the one in question.

    most: events with the part that the user knows best; judged, positive: over all its parts;
    all nan where the item has no part. float64 [N] each.
    """

    most: np.ndarray
    judged: np.ndarray
    positive: np.ndarray

    @classmethod
    def choose(cls, condition: np.ndarray, yes: PartSums, no: PartSums) -> PartSums:
        """Those of `yes` where the condition holds (bool [N]), else those of `no`."""
        return cls(
            np.where(condition, yes.most, no.most),
            np.where(condition, yes.judged, no.judged),
            np.where(condition, yes.positive, no.positive),
        )


class PartsOf(Protocol):
    """The parts of items in one column, as codes below `count`; see `tally.Parts`."""

    @property
    def count(self) -> int: ...
    def explode(self, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class Past:
    """Counts over E events. user, item: int64 [E], item -1 unknown; time: float64 [E] ascending.

    columns: the parts of all items, by the name of the column.
    """

    def __init__(
        self,
        user: np.ndarray,
        item: np.ndarray,
        time: np.ndarray,
        added: Sums,
        columns: Mapping[str, PartsOf],
    ) -> None:
        self.user, self.item, self.time, self.added = user, item, time, added
        self.columns = columns
        self._items = int(item.max(initial=-1)) + 2
        self._place = np.arange(len(user))
        self._parts: dict[str, Tally] = {}

    def __len__(self) -> int:
        return len(self.user)

    def place(self, time: np.ndarray) -> np.ndarray:
        """How many events lie strictly before each moment: int64 [N]; none before nan."""
        return np.where(np.isnan(time), 0, np.searchsorted(self.time, time, side="left"))

    def knows(self, user: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Whether a user has any event before a place: bool [N]."""
        low, high = self._by_user.before(user, place)
        return high > low

    def everybody(self, place: np.ndarray) -> Sums:
        """Over all events before a place."""
        return self._all.sums(np.zeros_like(place), place)

    def of_user(self, user: np.ndarray, place: np.ndarray) -> Sums:
        """Over the events of a user."""
        return self._by_user.sums(user, place)

    def of_item(self, item: np.ndarray, place: np.ndarray) -> Sums:
        """Over the events with an item."""
        return self._by_item.sums(item, place)

    def percentile(self, item: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Share of the other items so far that an item outdoes, ties half; nan for a new item.

        Items with at least c events are as many as there are c-th events of an item.
        """
        acted = self.of_item(item, place).acted.astype(np.int64)
        least, more, seen = (
            high - low
            for low, high in (
                self._nth_events.before(nth, place)
                for nth in (acted, acted + 1, np.ones_like(acted))
            )
        )
        return percentile(acted, least, more, seen)

    def of_pair(
        self, user: np.ndarray, item: np.ndarray, place: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How often a user chose this very item, and when last (nan: never); float64 [N] each."""
        low, high = self._by_pair.before(self._pair(user, item), place)
        last = np.full(len(user), np.nan)
        some = high > low
        last[some] = self.time[self._chosen[self._by_pair.order[high[some] - 1]]]
        return (high - low).astype(np.float64), last

    def of_parts(
        self, column: str, user: np.ndarray, item: np.ndarray, place: np.ndarray
    ) -> PartSums:
        """Over the events of a user with items that share a part with the item."""
        row_M, part_M = self.columns[column].explode(item)
        sums_M = self._by_part(column).sums(self._key(column, user[row_M], part_M), place[row_M])
        return pooled(row_M, sums_M, len(user))

    @cached_property
    def _all(self) -> Tally:
        return self._tally(np.zeros(len(self), dtype=np.int64))

    @cached_property
    def _by_user(self) -> Tally:
        return self._tally(self.user)

    @cached_property
    def _by_item(self) -> Tally:
        return self._tally(self.item)

    @cached_property
    def _chosen(self) -> np.ndarray:
        """Events by which a known item was chosen."""
        return np.flatnonzero((self.added.acted > 0) & (self.item >= 0))

    @cached_property
    def _by_pair(self) -> Tally:
        chosen = self._chosen
        return Tally(self._pair(self.user[chosen], self.item[chosen]), chosen, {})

    @cached_property
    def _nth_events(self) -> Tally:
        return Tally(nth_of_key(self.item[self._chosen]), self._chosen, {})

    def _by_part(self, column: str) -> Tally:
        if column not in self._parts:
            row_M, part_M = self.columns[column].explode(self.item)
            added = asdict(self.added[row_M])
            key_M = self._key(column, self.user[row_M], part_M)
            self._parts[column] = Tally(key_M, self._place[row_M], added)
        return self._parts[column]

    def _tally(self, key: np.ndarray) -> Tally:
        return Tally(key, self._place, asdict(self.added))

    def _pair(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """One number for a user and an item; items that no event has get one that none has."""
        inside = np.where(item < self._items - 1, item, -1)
        return np.where((user < 0) | (inside < 0), -1, user * self._items + inside)

    def _key(self, column: str, user: np.ndarray, part: np.ndarray) -> np.ndarray:
        return np.where(user < 0, -1, user * max(self.columns[column].count, 1) + part)


def percentile(
    acted: np.ndarray, least: np.ndarray, more: np.ndarray, seen: np.ndarray | np.integer[Any]
) -> np.ndarray:
    """Share of the other items outdone; float64 [N], nan where nothing can be compared.

    acted: events with the item; least, more: items with at least as many, with more events; seen:
    items with any.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (seen - least + (least - more - 1) / 2) / (seen - 1)
    return np.where((acted > 0) & (seen > 1), share, np.nan)


def pooled(row_M: np.ndarray, sums_M: Sums, count: int) -> PartSums:
    """Sums of parts → sums of the `count` questions they belong to (row_M ascending)."""
    most = np.full(count, -1.0)
    np.maximum.at(most, row_M, sums_M.acted)
    none = most < 0
    judged = np.bincount(row_M, sums_M.judged, count)
    positive = np.bincount(row_M, sums_M.positive, count)
    return PartSums(*(np.where(none, np.nan, value) for value in (most, judged, positive)))


def nth_of_key(key: np.ndarray) -> np.ndarray:
    """Which occurrence of its key each entry is, from 1: int64 [len(key)]."""
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=key[order][:1] - 1))
    lengths = np.diff(np.append(begins, len(key)))
    nth = np.empty(len(key), dtype=np.int64)
    nth[order] = np.arange(len(key)) - np.repeat(begins, lengths) + 1
    return nth
