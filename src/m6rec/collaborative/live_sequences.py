"""Everybody's choices while they go on: those of a log as arrays, those of who changed as lists.

Legend: E choices, B baskets, U people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from m6rec.collaborative.pairs import Sequences

Baskets = list[list[int]]
NEVER = -np.inf
ERASED = -1


@dataclass(frozen=True)
class Moment:
    """When somebody chose last. alone: whether nothing else may be of that moment, since nothing
    tells when it was."""

    time: float = NEVER
    alone: bool = False


@final
class LiveSequences:
    """sequences: of a log, person by person, in the order of names. names: who they are, U of them.
    moments: when each chose last; None: whatever comes is later."""

    def __init__(
        self,
        sequences: Sequences,
        names: Sequence[str],
        moments: Sequence[Moment] | None = None,
    ) -> None:
        self.ordered = sequences.ordered
        self._item_E = sequences.item_E
        size_B = np.bincount(sequences.basket_E, minlength=len(sequences.person_B))
        self._start_B = np.concatenate([[0], np.cumsum(size_B)])
        self._first_U = np.searchsorted(sequences.person_B, np.arange(len(names) + 1))
        self._number = {name: number for number, name in enumerate(names)}
        self._moments = moments
        self._changed: dict[str, tuple[Baskets, Moment]] = {}

    @classmethod
    def empty(cls, ordered: bool = True) -> LiveSequences:
        """Nobody chose anything yet."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(Sequences(nothing, nothing, nothing, ordered), [])

    def names(self) -> list[str]:
        """Everybody who chose something."""
        return [*self._number, *(name for name in self._changed if name not in self._number)]

    def of(self, name: str) -> tuple[Baskets, Moment]:
        """A person's baskets, oldest first, and when they chose last; do not change them."""
        if name in self._changed:
            return self._changed[name]
        number = self._number.get(name)
        if number is None:
            return [], Moment()
        first, stop = int(self._first_U[number]), int(self._first_U[number + 1])
        start_B = self._start_B[first : stop + 1].tolist()
        items = self._item_E[start_B[0] : start_B[-1]].tolist()
        moment = Moment() if self._moments is None else self._moments[number]
        if len(items) == stop - first:
            return [[item] for item in items], moment
        places = [start - start_B[0] for start in start_B]
        return [items[one:other] for one, other in pairwise(places)], moment

    def put(self, name: str, baskets: Baskets, moment: Moment) -> None:
        """What a person chose, all of it. Nothing: the person is forgotten."""
        if baskets:
            self._changed[name] = baskets, moment
            return
        self._changed.pop(name, None)
        number = self._number.pop(name, None)
        if number is not None:
            first, stop = self._first_U[number], self._first_U[number + 1]
            if not self._item_E.flags.writeable:
                self._item_E = self._item_E.copy()
            self._item_E[self._start_B[first] : self._start_B[stop]] = ERASED
