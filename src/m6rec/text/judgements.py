"""Who judged what: pairs of a user and an item with what was said, by user and by item.

All sums are over whole multiples of a power of two (`agreement.worths`), so what is taken off
leaves nothing behind, and the order of events does not matter.

Legend: E events, P pairs of a user and an item, U users, I items.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl

PSEUDO_JUDGEMENTS = 5.0
"""Weight of the average in the mean of a user or an item, in judgements."""
READ_OF_USER = 50
"""Newest items of a user that are read, and those of the same moment as the oldest of them."""
READ_OF_ITEM = 128
"""People that are read of an item: those whose names have the lowest checksums. So the people of
different items are drawn alike and overlap as much as they can (a coordinated sample)."""


@dataclass(frozen=True)
class Judged:
    """Items that a user judged: codes int64 [P], mean worth float64 [P], and when last; tells: bool
    [P], those that tell of taste (what was only shown does not)."""

    item: np.ndarray
    worth: np.ndarray
    last: np.ndarray
    tells: np.ndarray

    @classmethod
    def of_history(
        cls, item: np.ndarray, judged: np.ndarray, worth: np.ndarray, tells: np.ndarray
    ) -> Judged:
        """The judgements among the events of one history, oldest first; item -1 is a mere text."""
        place = np.flatnonzero((judged > 0) & (item >= 0))
        code, which = np.unique(item[place], return_inverse=True)
        last = np.zeros(len(code))
        np.maximum.at(last, which, place)
        mean = np.bincount(which, worth[place], len(code)) / np.bincount(which, minlength=len(code))
        return cls(code, mean, last, np.bincount(which, tells[place], len(code)) > 0)

    def newest(self) -> np.ndarray:
        """Rows of those that are read, int64."""
        rows = np.flatnonzero(self.tells)
        if len(rows) > READ_OF_USER:
            last = self.last[rows]
            rows = rows[last >= np.partition(last, -READ_OF_USER)[-READ_OF_USER]]
        return rows


@final
class Judgements:
    """Pairs that grow by one event at a time, and may lose a user. Users and items are codes.

    sums of pairs, users, items and everybody: judgements, worth, squared worth. mean_P: worth of a
    judgement; above_U, share_U: `leaning` of users. Not safe to use from threads.
    """

    def __init__(self) -> None:
        self.user_P: np.ndarray = np.zeros(64, dtype=np.int64)
        self._item_P: np.ndarray = np.zeros(64, dtype=np.int64)
        self._sums_P3: np.ndarray = np.zeros((64, 3))
        self.mean_P: np.ndarray = np.zeros(64)
        self.above_U: np.ndarray = np.zeros(64)
        self.share_U: np.ndarray = np.zeros(64)
        self.user_sums_U3: np.ndarray = np.zeros((64, 3))
        self.item_sums_I3: np.ndarray = np.zeros((64, 3))
        self.everybody = np.zeros(3)
        self._last_P: np.ndarray = np.zeros(64)
        self._tells_P: np.ndarray = np.zeros(64, dtype=bool)
        self._key_U: np.ndarray = np.zeros(64, dtype=np.int64)
        self._scratch_U: np.ndarray = np.zeros(64)
        self._pairs = 0
        self._new: dict[tuple[int, int], int] = {}
        self._of_user, self._of_item = _Index(self.user_P[:0]), _Index(self._item_P[:0])
        self._readers: dict[int, np.ndarray] = {}

    def begin(self, events: pl.DataFrame, names: pl.Series) -> None:
        """Takes in a log, into what is empty.

        events: user, item (codes), judged, worth, tells and time of each; names: of user codes.
        """
        told = events.filter((pl.col("judged") > 0) | (pl.col("worth") != 0))
        if not told.height:
            return
        worth = pl.col("worth")
        pairs = told.group_by("user", "item").agg(
            pl.col("judged").sum(),
            worth.sum(),
            (worth * worth).sum().alias("squares"),
            pl.col("time").max(),
            pl.col("tells").any(),
        )
        columns = (pairs[name] for name in ("user", "item", "time", "tells"))
        self.user_P, self._item_P, self._last_P, self._tells_P = (
            column.to_numpy(writable=True) for column in columns
        )
        self._sums_P3 = np.stack([pairs[n].to_numpy() for n in ("judged", "worth", "squares")], 1)
        self._pairs = pairs.height
        self.user_sums_U3, self.item_sums_I3 = map(self._summed, (self.user_P, self._item_P))
        self.everybody = self._sums_P3.sum(0)
        self.mean_P = self._sums_P3[:, 1] / np.maximum(self._sums_P3[:, 0], 1)
        self.above_U, self.share_U = leaning(*self.user_sums_U3[:, :2].T)
        self._of_user, self._of_item = _Index(self.user_P), _Index(self._item_P)
        self._key_U = np.array([_key(name) for name in names.to_list()], dtype=np.int64)

    def add(
        self, user: int, name: str, item: int, said: tuple[float, float], tells: bool, time: float
    ) -> None:
        """One more event: said: judged, worth; name: of the user."""
        if not any(said):
            return
        if user >= len(self.user_sums_U3) or item >= len(self.item_sums_I3):
            self._grow(user, item)
        if not self.user_sums_U3[user, 0]:
            self._key_U[user] = _key(name)
        pair = self._pair(user, item)
        added = np.array((*said, said[1] * said[1]))
        for sums in (self._sums_P3[pair], self.user_sums_U3[user], self.item_sums_I3[item]):
            sums += added
        self.everybody += added
        judged, worth, _ = self._sums_P3[pair].tolist()
        self.mean_P[pair] = worth / max(judged, 1.0)
        judged, worth, _ = self.user_sums_U3[user]
        self.above_U[user], self.share_U[user] = leaning(judged, worth)
        self._last_P[pair] = max(self._last_P[pair], time)
        self._tells_P[pair] |= tells

    def forget(self, user: int) -> None:
        """Takes a user's judgements out of every sum."""
        pairs = self._of(user)
        items = self._item_P[pairs]
        np.subtract.at(self.item_sums_I3, items, self._sums_P3[pairs])
        self.everybody -= self._sums_P3[pairs].sum(0)
        if len(pairs):
            self.user_sums_U3[user] = self.above_U[user] = self.share_U[user] = 0.0
        self._sums_P3[pairs], self.user_P[pairs] = 0.0, -1
        for item in items.tolist():
            self._readers.pop(item, None)
            self._new.pop((user, item), None)

    def of_user(self, user: int) -> Judged:
        """What a user judged; -1: nobody."""
        pairs = self._of(user)
        found = (self._item_P, self.mean_P, self._last_P, self._tells_P)
        return Judged(*(column[pairs] for column in found))

    def readers(self, item: int) -> np.ndarray:
        """Pairs of an item that are read, int64, in no order."""
        found = self._readers.get(item)
        if found is None:
            found = self._of_item.of(item)
            found = found[self.user_P[found] >= 0]
            if len(found) > READ_OF_ITEM:
                keys = self._key_U[self.user_P[found]]
                found = found[np.argpartition(keys, READ_OF_ITEM - 1)[:READ_OF_ITEM]]
            self._readers[item] = found
        return found

    def scratch(self) -> np.ndarray:
        """Zeros for every user, to sum in; whoever asks leaves zeros behind."""
        self._scratch_U = room(self._scratch_U, len(self.user_sums_U3) - 1)
        return self._scratch_U

    def _summed(self, code_P: np.ndarray) -> np.ndarray:
        """Sums of the pairs by a code."""
        return np.stack([np.bincount(code_P, self._sums_P3[:, n]) for n in range(3)], 1)

    def _of(self, user: int) -> np.ndarray:
        pairs = self._of_user.of(user)
        alive: np.ndarray = pairs[self.user_P[pairs] == user]
        return alive

    def _pair(self, user: int, item: int) -> int:
        """The pair of a user and an item, made where there is none."""
        found = self._new.get((user, item))
        if found is not None:
            return found
        pairs = self._of_user.begun(user)
        there = pairs[(self._item_P[pairs] == item) & (self.user_P[pairs] == user)]
        if len(there):
            return int(there[0])
        pair, self._pairs = self._pairs, self._pairs + 1
        self._new[user, item] = pair
        if pair >= len(self.user_P):
            self._make_room(pair)
        self.user_P[pair], self._item_P[pair], self._last_P[pair] = user, item, -np.inf
        self._of_user.add(user, pair)
        self._of_item.add(item, pair)
        self._read_too(item, pair)
        return pair

    def _make_room(self, pair: int) -> None:
        self.user_P, self._item_P = room(self.user_P, pair), room(self._item_P, pair)
        self._sums_P3, self.mean_P = room(self._sums_P3, pair), room(self.mean_P, pair)
        self._last_P, self._tells_P = room(self._last_P, pair), room(self._tells_P, pair)

    def _grow(self, user: int, item: int) -> None:
        self.user_sums_U3 = room(self.user_sums_U3, user)
        self._key_U = room(self._key_U, user)
        self.above_U, self.share_U = room(self.above_U, user), room(self.share_U, user)
        self.item_sums_I3 = room(self.item_sums_I3, item)

    def _read_too(self, item: int, pair: int) -> None:
        """Keeps the readers of an item as they would be found anew."""
        if item not in self._readers:
            return
        pairs = self._readers[item]
        if len(pairs) < READ_OF_ITEM:
            self._readers[item] = np.append(pairs, pair)
        elif self._key_U[self.user_P[pair]] < self._key_U[self.user_P[pairs]].max():
            del self._readers[item]


class _Index:
    """Places by code: those of a whole column at once, and more one by one."""

    def __init__(self, code: np.ndarray) -> None:
        self._order: np.ndarray = np.argsort(code, kind="stable")
        self._start = np.concatenate([[0], np.cumsum(np.bincount(code))])
        self._more: dict[int, list[int]] = {}

    def of(self, code: int) -> np.ndarray:
        """int64, ascending."""
        found, more = self.begun(code), self._more.get(code)
        return found if more is None else np.concatenate([found, more])

    def begun(self, code: int) -> np.ndarray:
        """Those of the column."""
        if not 0 <= code < len(self._start) - 1:
            return NONE
        return self._order[self._start[code] : self._start[code + 1]]

    def add(self, code: int, place: int) -> None:
        self._more.setdefault(code, []).append(place)


NONE = np.zeros(0, dtype=np.int64)


def room(array: np.ndarray, place: int) -> np.ndarray:
    """The same array, with room at a place."""
    if place < len(array):
        return array
    larger = np.zeros((max(place + 1, 2 * len(array)), *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def leaning(judged: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a, b of sums: their mean lies a - b·m above a mean m, drawn to it."""
    return worth / (judged + PSEUDO_JUDGEMENTS), judged / (judged + PSEUDO_JUDGEMENTS)


def _key(name: str) -> int:
    return zlib.crc32(name.encode())
