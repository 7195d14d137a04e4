"""How many people stand by each item of a shelf, kept by place while events and items come.

Legend: I places of the shelf, N some of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import final

import numpy as np

from m6rec.collaborative.head import popularity_feature
from m6rec.tasks.catalogue import popularity_tie
from m6rec.tasks.shelf import Shelf


@final
class People:
    """counts: people by item, kept by others, who say what changed in it. An item that is not on
    the shelf is counted when it comes. Safe to use from threads."""

    def __init__(self, shelf: Shelf, counts: Mapping[str, int]) -> None:
        self._shelf, self._lock = shelf, threading.Lock()
        self.begin(counts)

    def begin(self, counts: Mapping[str, int]) -> None:
        """Reads all counts, of which others are kept from now on."""
        with self._lock:
            self._counts = counts
            self._people_I = self._shelf.counts(dict(counts))
            self._most: float | None = None

    def renew(self, item_ids: Iterable[str]) -> None:
        """Reads the counts of some items: theirs changed, or they came to the shelf or left it.
        Whoever left is renewed before they leave."""
        with self._lock:
            place_of = self._shelf.place_of
            for item_id in item_ids:
                place = place_of.get(item_id, -1)
                if place >= 0:
                    self._set(place, self._counts.get(item_id, 0))

    def leave(self, place: int) -> None:
        """Says that the item of a place left the shelf."""
        with self._lock:
            if place >= 0:
                self._set(place, 0)

    def _set(self, place: int, people: int) -> None:
        self._grow(place + 1)
        before = self._people_I[place]
        self._people_I[place] = people
        if self._most is not None and people >= self._most:
            self._most = float(people)
        elif before == self._most:
            self._most = None

    def _grow(self, places: int) -> None:
        if places > len(self._people_I):
            larger_I = np.zeros(max(places, 2 * len(self._people_I)), dtype=np.float32)
            larger_I[: len(self._people_I)] = self._people_I
            self._people_I = larger_I

    @property
    def by_place(self) -> np.ndarray:
        """float32 [I], as it is now and while it changes."""
        with self._lock:
            self._grow(len(self._shelf))
            return self._people_I[: len(self._shelf)]

    def of(self, place_N: np.ndarray) -> np.ndarray:
        """People of the items at some places: float32 [N]."""
        with self._lock:
            self._grow(int(place_N.max(initial=-1)) + 1)
            return np.asarray(self._people_I[place_N])

    @property
    def most(self) -> float:
        """Of the item that most people stand by; 0: nobody stands by anything."""
        with self._lock:
            if self._most is None:
                self._most = float(self._people_I.max(initial=0))
            return self._most

    def tie(self, place_N: np.ndarray) -> np.ndarray:
        """What popularity adds to a similarity: float32 [N]."""
        return popularity_tie(self.of(place_N), self.most)

    def feature(self, place_N: np.ndarray) -> np.ndarray:
        """What the head reads of popularity: float32 [N]."""
        return popularity_feature(self.of(place_N), self.most)
