"""Counting by key before a moment, for many keys and moments at once; numpy in, numpy out.

Legend: E events in order of time, N questions. `place` is a moment as the number of events that
lie strictly before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from m6rec.text.language import parts

FEW = 10_000
"""So many names are looked up one by one; more are joined with the whole table."""


@dataclass(frozen=True)
class Sums:
    """How many events: float64 [N] each.

    acted: the user chose the item; judged: it was a yes or a no; positive: it was a yes.
    """

    acted: np.ndarray
    judged: np.ndarray
    positive: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Sums:
        return Sums(self.acted[rows], self.judged[rows], self.positive[rows])

    @classmethod
    def zeros(cls, count: int) -> Sums:
        """Nothing has happened."""
        return cls(np.zeros(count), np.zeros(count), np.zeros(count))

    @classmethod
    def choose(cls, condition: np.ndarray, yes: Sums, no: Sums) -> Sums:
        """Those of `yes` where the condition holds (bool [N]), else those of `no`."""
        return cls(
            np.where(condition, yes.acted, no.acted),
            np.where(condition, yes.judged, no.judged),
            np.where(condition, yes.positive, no.positive),
        )


class Codes:
    """Strings → 0, 1, 2 … in order of appearance; -1 for those that are not among them."""

    def __init__(self, names: Sequence[str] | pl.Series) -> None:
        distinct = pl.Series("name", names, dtype=pl.String).unique(maintain_order=True)
        self._table = pl.DataFrame({"name": distinct, "code": np.arange(len(distinct))})

    def __len__(self) -> int:
        return self._table.height

    @property
    def names(self) -> pl.Series:
        """The strings by their codes."""
        return self._table["name"]

    def get(self, name: str | None) -> int:
        """Code of one string."""
        return self._code.get(name, -1)

    @cached_property
    def _code(self) -> dict[str | None, int]:
        return dict(zip(self._table["name"], range(len(self)), strict=True))

    def of(self, names: Sequence[str | None] | pl.Series) -> np.ndarray:
        """int64 [len(names)]."""
        if len(names) < FEW:
            get = self._code.get
            asked_for = names.to_list() if isinstance(names, pl.Series) else names
            return np.array([get(name, -1) for name in asked_for], dtype=np.int64)
        asked = pl.DataFrame({"name": pl.Series("name", names, dtype=pl.String)})
        found = asked.join(self._table, on="name", how="left", maintain_order="left")
        return found["code"].fill_null(-1).cast(pl.Int64).to_numpy()


class Parts:
    """The parts of every item in one column, such as its categories, as codes.

    Those of item i are part[start[i] : start[i + 1]], each once.
    """

    def __init__(self, column: pl.Series) -> None:
        names = [list(dict.fromkeys(parts(value))) for value in column.to_list()]
        flat = [name for row in names for name in row]
        codes = Codes(flat)
        self.count: int = len(codes)
        self.part = codes.of(flat)
        self.start = np.cumsum([0, *(len(row) for row in names)])

    def explode(self, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of `item`, code of its part), int64 [M] each, rows ascending.

        Items outside the column, such as -1, have none.
        """
        inside = np.flatnonzero((item >= 0) & (item < len(self.start) - 1))
        first = self.start[item[inside]]
        count = self.start[item[inside] + 1] - first
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(inside, count), self.part[np.repeat(first, count) + within]


class Tally:
    """Events by key and place, summed up so that any (key, place) is two binary searches.

    key, place: int64 [E], place ascending from 0; values: float64 [E] by name.
    """

    def __init__(
        self, key: np.ndarray, place: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> None:
        self._span = int(place[-1]) + 2 if len(place) else 2
        self._keys, code = np.unique(key, return_inverse=True)
        self.order = np.argsort(code, kind="stable")
        self._at = code[self.order] * self._span + place[self.order]
        self._sums = {
            name: np.concatenate([[0.0], np.cumsum(value[self.order])])
            for name, value in values.items()
        }

    def before(self, key: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The events of each key before each place, as a slice [low, high) of `order`."""
        if not len(self._keys):
            return np.zeros(len(key), dtype=np.int64), np.zeros(len(key), dtype=np.int64)
        code = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        inside = np.where(self._keys[code] == key, np.minimum(place, self._span - 1), 0)
        first = code * self._span
        return np.searchsorted(self._at, first), np.searchsorted(self._at, first + inside)

    def total(self, name: str, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Sum of one value over each slice: float64 [N]."""
        return np.asarray(self._sums[name][high] - self._sums[name][low])

    def sums(self, key: np.ndarray, place: np.ndarray) -> Sums:
        """The three sums over the events of each key before each place."""
        low, high = self.before(key, place)
        return Sums(*(self.total(name, low, high) for name in ("acted", "judged", "positive")))
