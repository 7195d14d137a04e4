"""Items as codes and their parts, while items come and go: `own_history.Catalogue` that grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import polars as pl

from m6rec.text.language import parts


@final
class LiveCodes:
    """Strings → 0, 1, 2 … in order of appearance; as `tally.Codes`, and one more at any time."""

    def __init__(self) -> None:
        self._code: dict[str | None, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    def get(self, name: str | None) -> int:
        """Code of one string; -1: it is not among them."""
        return self._code.get(name, -1)

    def add(self, name: str) -> int:
        """Code of one string, which is among them from now on."""
        return self._code.setdefault(name, len(self._code))

    def of(self, names: Sequence[str | None] | pl.Series) -> np.ndarray:
        """int64 [len(names)]."""
        get = self._code.get
        return np.array([get(name, -1) for name in names], dtype=np.int64)


@final
class LiveParts:
    """The parts of every item in one column; as `tally.Parts`, and they may change."""

    def __init__(self) -> None:
        self._codes = LiveCodes()
        self._of: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        """How many items say anything."""
        return len(self._of)

    @property
    def count(self) -> int:
        """How many different parts there are."""
        return len(self._codes)

    def put(self, item: int, value: object) -> bool:
        """What an item says now (None: nothing); whether that is something else than before."""
        before = self._of.get(item)
        if value is None:
            self._of.pop(item, None)
            return before is not None
        names = dict.fromkeys(parts(_plain(value)))
        self._of[item] = tuple(self._codes.add(name) for name in names)
        return self._of[item] != before

    def of(self, item: int) -> tuple[int, ...]:
        """Codes of an item's parts."""
        return self._of.get(item, ())

    def explode(self, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of `item`, code of its part), int64 [M] each, rows ascending."""
        found = [self.of(code) for code in item.tolist()]
        row = np.repeat(np.arange(len(found)), [len(codes) for codes in found])
        return row, np.array([code for codes in found for code in codes], dtype=np.int64)


@final
class LiveCatalogue:
    """Codes of items and of their parts, by column; items that only the log names have no parts.

    version: goes up when an item's parts change.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.items = LiveCodes()
        self.version = 0
        self._columns = {column: LiveParts() for column in columns}

    @property
    def columns(self) -> dict[str, LiveParts]:
        """Those of which any item says something."""
        return {column: parts for column, parts in self._columns.items() if len(parts)}

    def put(self, item_id: str, row: Mapping[str, object] | None) -> None:
        """Adds an item, or replaces it; None: it is gone, and what the log says of it stays."""
        item = self.items.add(item_id)
        for column, parts_of in self._columns.items():
            if parts_of.put(item, None if row is None else row.get(column)):
                self.version += 1

    def read(self, items: pl.DataFrame) -> None:
        """Takes in a table of items."""
        there = [column for column in self._columns if column in items.columns]
        for row in items.select("item_id", *there).iter_rows(named=True):
            self.put(str(row["item_id"]), row)


def _plain(value: object) -> object:
    """As a table of items has it: lists are text, and 5.0 and 5 are one part."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
