"""An n-gram language model to stand beside: interpolated Kneser-Ney, in a few arrays.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1999),
section 3: absolute discounting, D = n1 / (n1 + 2 n2) for each order; lower orders count in how many
contexts a word was seen, not how often. Every id may follow: the lowest order is mixed with the
uniform distribution over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIX = np.uint64(0x9E3779B97F4A7C15)


class KneserNey:
    """Trained on sequences of ids; each is padded with `begin`, which is never foretold."""

    def __init__(
        self, texts: Sequence[Sequence[int]], order: int, vocabulary: int, begin: int
    ) -> None:
        self.order, self.vocabulary, self.begin = order, vocabulary, begin
        windows = np.concatenate([self._windows(text) for text in texts])
        self._levels: list[_Level] = []
        own, counts = _distinct(windows)
        for length in range(order, 0, -1):
            self._levels.append(_Level(own, counts))
            if length > 1:  # distinct left neighbours of each shorter n-gram
                own, counts = _distinct(own[:, 1:])

    def _windows(self, text: Sequence[int]) -> np.ndarray:
        """Each id with what stands before it: [len(text), order]."""
        padded = np.array([self.begin] * (self.order - 1) + list(text), dtype=np.int32)
        return np.lib.stride_tricks.sliding_window_view(padded, self.order)

    def log_probability(self, text: Sequence[int]) -> np.ndarray:
        """Of each id of a text after those before it, in nats: float64 [len(text)]."""
        windows = self._windows(text)
        chance = np.full(len(windows), 1 / self.vocabulary)
        for level in reversed(self._levels):
            chance = level.mix(windows[:, self.order - level.length :], chance)
        return np.log(chance)


class _Level:
    """N-grams of one length with their counts, and what their contexts add up to."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray) -> None:
        self.length = grams.shape[1]
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self.discount = once / (once + 2 * twice) if once else 0.5
        self._gram, self._count = _sorted(hashed(grams), counts)
        context, place = np.unique(hashed(grams[:, :-1]), return_inverse=True)
        self._context = context
        self._total = np.bincount(place, weights=counts)
        self._kinds = np.bincount(place).astype(float)

    def mix(self, windows: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Discounted share of each n-gram, plus what is left times the shorter one's chance."""
        count = _looked_up(self._gram, self._count, hashed(windows))
        context = hashed(windows[:, :-1])
        total = _looked_up(self._context, self._total, context)
        kinds = _looked_up(self._context, self._kinds, context)
        known = total > 0
        total = np.where(known, total, 1.0)
        here = (np.maximum(count - self.discount, 0) + self.discount * kinds * lower) / total
        return np.where(known, here, lower)


def hashed(rows: np.ndarray) -> np.ndarray:
    """One 64-bit number for each row (empty rows are all 0): uint64 [N]."""
    out = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        out = (out ^ (rows[:, column].astype(np.uint64) + np.uint64(1))) * MIX
        out ^= out >> np.uint64(29)
    return out


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, first, counts = np.unique(hashed(rows), return_index=True, return_counts=True)
    return rows[first], counts


def _sorted(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys)
    return keys[order], values[order].astype(float)


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0.0)
