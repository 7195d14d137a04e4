"""From scores of candidates to an answer: what passes, in order. For every face.

Python, the command line and the server all end here, whatever made the candidates: similarities to
the whole catalogue, the hits of a vector index, what most people chose, or several of them.

Legend: I items in the order of the catalogue, N candidates, K of an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Self, final

import numpy as np
import polars as pl

from m6rec.metrics.ranking import top_k
from m6rec.offers import COLUMNS, Filter, Offer
from m6rec.stores.vectors.slots import Slots

NOTHING = np.zeros(0, dtype=np.int64)


@final
class Shelf:
    """Items in the order in which they came, and which of them pass a filter.

    An item that is replaced keeps its place; one that is gone leaves a hole, so that the order is
    that of a catalogue that is read anew. Safe to use from threads: what comes meanwhile stands
    behind the places that are known.
    """

    def __init__(self) -> None:
        self._slots = Slots(reuse=False)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, items: pl.DataFrame) -> Self:
        """The catalogue of a table: place i is row i."""
        shelf = cls()
        names = [name for name in COLUMNS if name in items.columns]
        ids = items["item_id"].to_list()
        rows = items.select(names).iter_rows(named=True) if names else ({} for _ in ids)
        shelf.put(ids, [Offer.of(row) for row in rows])
        return shelf

    def __len__(self) -> int:
        """Places, holes included."""
        return self._slots.size

    @property
    def ids(self) -> list[str]:
        """By place; "" for a hole."""
        return self._slots.ids

    @property
    def place_of(self) -> Mapping[str, int]:
        """Place of each item that is there."""
        return self._slots.slot_of

    def put(self, ids: Sequence[str], offers: Sequence[Offer]) -> None:
        """Adds items, all different, or replaces them."""
        told = [offer._asdict() for offer in offers]
        with self._lock:
            self._slots.take(ids, told)

    def remove(self, item_id: str) -> None:
        """Takes an item out."""
        with self._lock:
            self._slots.give_back([item_id])

    def passing(self, where: Filter) -> np.ndarray:
        """What may be recommended: bool [I], a copy."""
        with self._lock:
            passes_I = self._slots.passing(where)
            if passes_I is None:
                passes_I = self._slots.alive()
            passes_I[self._slots.of({*where.hide, *where.bought})] = False
        return passes_I

    def places(self, ids: Iterable[str]) -> np.ndarray:
        """Places, -1 for what is not there: int64."""
        place_of = self._slots.slot_of
        return np.array([place_of.get(one, -1) for one in ids], dtype=np.int64)

    def counts(self, times: Mapping[str, int]) -> np.ndarray:
        """How often each item is counted: float32 [I]; what is not there is left out."""
        with self._lock:
            counts_I = np.zeros(len(self), dtype=np.float32)
            place_of = dict(self._slots.slot_of)
        for one, n in times.items():
            if one in place_of:
                counts_I[place_of[one]] = n
        return counts_I


def choose(
    score_N: np.ndarray,
    k: int,
    passes_I: np.ndarray | None = None,
    place_N: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Places and scores of the best k that pass, best first; of equal ones the first of the shelf.

    A score of minus infinity does not pass either. place_N: of the candidates, all different (None:
    every item is one).
    """
    if place_N is not None:
        order = np.argsort(place_N, kind="stable")
        place_N, score_N = place_N[order], score_N[order]
    if passes_I is not None:
        passes_N = passes_I[: len(score_N)] if place_N is None else passes_I[place_N]
        score_N = np.where(passes_N, score_N, -np.inf)
    best = top_k(score_N[None], min(k, len(score_N)))[0] if len(score_N) else NOTHING
    best = best[score_N[best] > -np.inf]
    return best if place_N is None else place_N[best], score_N[best]
