"""Counts → the rows that a score reads: weights by pair, the strongest pairs of each item.

Legend: I items, N pairs of a row, W pairs of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.collaborative.counts import (
    DISTANCE,
    DISTANCE_BITS,
    LATER,
    LATER_BITS,
    TransitionCounts,
)
from m6rec.collaborative.settings import MOST_APART


@dataclass(frozen=True)
class TransitionMatrix:
    """Sparse rows (CSR). start: int64 [I + 1]; later_W: int32; weight_W: float32, above 0.

    norm_I: float64, the sum of squared weights of all pairs that an item begins (a_i). own_I:
    float64, the weight of all its pairs with itself (R_ii).
    """

    start: np.ndarray
    later_W: np.ndarray
    weight_W: np.ndarray
    norm_I: np.ndarray
    own_I: np.ndarray

    def row(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """Later items and their weights: [N] each."""
        part = slice(self.start[item], self.start[item + 1])
        return self.later_W[part], self.weight_W[part]


def distance_weights(decay: float) -> np.ndarray:
    """Weight of each distance from 1 on: float64 [A]."""
    return np.asarray(decay ** np.arange(MOST_APART, dtype=np.float64))


def norms(by_distance: np.ndarray, decay: float) -> np.ndarray:
    """Sum of squared weights by item: float64 [I]."""
    return np.asarray(by_distance @ distance_weights(decay) ** 2)


def own_weights(counts: TransitionCounts, decay: float) -> np.ndarray:
    """The weight of all pairs of each item with itself (R_ii): float64 [I]."""
    return np.asarray(counts.by_distance(own=True) @ distance_weights(decay))


def weigh(
    key_P: np.ndarray, count_P: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs with their distances summed: earlier and later int64 [N], weight float64 [N]."""
    weight_P = distance_weights(decay)[(key_P & DISTANCE) - 1] * count_P
    pair_P = key_P >> DISTANCE_BITS
    first = np.flatnonzero(np.diff(pair_P, prepend=-1))
    pair = pair_P[first]
    weight = np.add.reduceat(weight_P, first) if len(first) else weight_P
    return pair >> LATER_BITS, pair & LATER, weight


def transition_matrix(counts: TransitionCounts, decay: float, best: int) -> TransitionMatrix:
    """Weights decay^(distance - 1) times counts; of each item the `best` strongest pairs.

    Of equal weights the later item of the smaller code is kept.
    """
    rows, laters, weights = [], [], []
    for first, stop in counts.ranges():
        part = counts.rows(first, stop)
        found = weigh(counts.key_P[part], counts.count_P[part], decay)
        row, later, weight = strongest(*found, best)
        rows.append(np.bincount(row - first, minlength=stop - first))
        laters.append(later.astype(np.int32))
        weights.append(weight.astype(np.float32))
    size_I = np.concatenate(rows) if rows else np.zeros(counts.items, dtype=np.int64)
    return TransitionMatrix(
        start=np.concatenate([[0], np.cumsum(size_I)]),
        later_W=np.concatenate(laters) if laters else np.zeros(0, np.int32),
        weight_W=np.concatenate(weights) if weights else np.zeros(0, np.float32),
        norm_I=norms(counts.by_distance(), decay),
        own_I=own_weights(counts, decay),
    )


def strongest(
    row_N: np.ndarray, later_N: np.ndarray, weight_N: np.ndarray, best: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `best` heaviest of each row; rows ascend, and later items do within a row."""
    size = np.bincount(row_N) if len(row_N) else np.zeros(0, dtype=np.int64)
    if not (size > best).any():
        return row_N, later_N, weight_N
    order = np.lexsort((later_N, -weight_N, row_N))
    begin = np.cumsum(size) - size
    place = np.empty(len(row_N), dtype=np.int64)
    place[order] = np.arange(len(row_N)) - begin[row_N[order]]
    kept = place < best
    return row_N[kept], later_N[kept], weight_N[kept]
