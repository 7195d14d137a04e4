"""A row of live transitions that is kept ready: what changed in it is read anew, no more.

Legend: N pairs of the row.
"""

from __future__ import annotations

from typing import final

import numpy as np

from m6rec.collaborative.matrix import strongest, weigh


@final
class LiveRow:
    """The `best` strongest pairs of an item. place: of its pairs in the counts below, where it is
    known. changed: later items whose weights are to be read anew."""

    def __init__(
        self,
        later_N: np.ndarray,
        weight_N: np.ndarray,
        whole: bool,
        decay: float,
        best: int,
    ) -> None:
        self.place: slice | None = None
        self.changed: set[int] = set()
        self._whole, self._decay, self._best = whole, decay, best
        self._show(later_N, weight_N)

    @classmethod
    def of(cls, key_P: np.ndarray, count_P: np.ndarray, decay: float, best: int) -> LiveRow:
        """From keys and counts of all pairs of the item."""
        later_N, weight_N, whole = _cut(*weigh(key_P, count_P, decay)[1:], best)
        return cls(later_N, weight_N, whole, decay, best)

    def renew(self, pairs: tuple[np.ndarray, np.ndarray]) -> bool:
        """Takes in the pairs of all that changed, as they are now: keys and counts.

        False: of a row that was cut one became weaker, so others may be stronger that are not
        here; then the whole row has to be read."""
        _, later_C, weight_C = weigh(*pairs, self._decay)
        fresh = dict(zip(later_C.tolist(), weight_C.tolist(), strict=True))
        here = np.isin(self._later_N, np.fromiter(self.changed, dtype=np.int64))
        if not self._whole:
            before = zip(self._later_N[here].tolist(), self._weight_N[here].tolist(), strict=True)
            if any(fresh.get(later, 0.0) < weight for later, weight in before):
                return False
        later_N = np.concatenate([self._later_N[~here], later_C])
        weight_N = np.concatenate([self._weight_N[~here], weight_C])
        order = np.argsort(later_N, kind="stable")
        later_N, weight_N, whole = _cut(later_N[order], weight_N[order], self._best)
        self._whole = self._whole and whole
        self.changed.clear()
        self._show(later_N, weight_N)
        return True

    def _show(self, later_N: np.ndarray, weight_N: np.ndarray) -> None:
        self._later_N, self._weight_N = later_N, weight_N
        self.shown = later_N.astype(np.int32), weight_N.astype(np.float32)


def _cut(
    later_N: np.ndarray, weight_N: np.ndarray, best: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The strongest, and whether these are all."""
    if len(later_N) <= best:
        return later_N, weight_N, True
    row_N = np.zeros(len(later_N), dtype=np.int64)
    _, later, weight = strongest(row_N, later_N, weight_N, best)
    return later, weight, False
