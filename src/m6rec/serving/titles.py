"""Which items go by a name that a user said no to: by id or by title, without reading every title.

Legend: N places of a shelf.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import final

import numpy as np

from m6rec.serving.known import Shown
from m6rec.tasks.shelf import Shelf


@final
class Titles:
    """A number for each title by place; titles of the same number are compared. shown: the items
    that are there, kept by others. Safe to use from threads."""

    def __init__(self, shelf: Shelf, shown: Mapping[str, Shown]) -> None:
        self._shelf, self._shown, self._lock = shelf, shown, threading.Lock()
        self._number_I = np.zeros(0, dtype=np.int64)
        self.put(list(shelf.place_of))

    def put(self, item_ids: Iterable[str]) -> None:
        """Reads the titles of items that came, or changed."""
        place_of = self._shelf.place_of
        told = [(place_of.get(one, -1), hash(self._title(one))) for one in item_ids]
        told = [pair for pair in told if pair[0] >= 0]
        if not told:
            return
        place_N, number_N = np.array(told, dtype=np.int64).T
        with self._lock:
            self._grow(int(place_N.max()) + 1)
            self._number_I[place_N] = number_N

    def named(self, place_N: np.ndarray, names: Collection[str]) -> np.ndarray:
        """Whether items go by one of these names, in lower case: float32 [N] of 0 and 1. place_N:
        -1 for what is not there, which goes by none."""
        named_N = np.zeros(len(place_N), dtype=np.float32)
        if not names or not len(place_N):
            return named_N
        own = [place for place in map(self._shelf.place_of.get, names) if place is not None]
        named_N[np.isin(place_N, own)] = 1
        with self._lock:
            self._grow(max(int(place_N.max()), 0) + 1)
            number_N = self._number_I[place_N]
        ids = self._shelf.ids
        for row in np.flatnonzero(np.isin(number_N, [hash(name) for name in names])).tolist():
            if place_N[row] >= 0 and self._title(ids[place_N[row]]) in names:
                named_N[row] = 1
        return named_N

    def _title(self, item_id: str) -> str:
        shown = self._shown.get(item_id)  # None: it has just gone
        return "" if shown is None else (shown.title or "").strip().lower()

    def _grow(self, places: int) -> None:
        if places > len(self._number_I):
            larger_I = np.zeros(max(places, 2 * len(self._number_I), 1), dtype=np.int64)
            larger_I[: len(self._number_I)] = self._number_I
            self._number_I = larger_I
