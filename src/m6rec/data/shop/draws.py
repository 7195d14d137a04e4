"""Chance that repeats: one stream per purpose, the same on every machine and every version."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draws:
    """A stream of random numbers named by a seed and a purpose; streams do not touch each other.

    RandomState is numpy's old generator on purpose: its streams are frozen for good, while those
    of the new one may change between versions.
    """

    def __init__(self, seed: int, purpose: str, number: int = 0) -> None:
        words = [seed % 2**32, zlib.crc32(purpose.encode()), number]
        self._state = np.random.RandomState(words)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(self._state.random_sample())

    def uniforms(self, count: int) -> np.ndarray:
        return self._state.random_sample(count)

    def normal(self) -> float:
        return float(self._state.standard_normal())

    def normals(self, count: int) -> np.ndarray:
        return self._state.standard_normal(count)

    def chance(self, probability: float) -> bool:
        return float(self._state.random_sample()) < probability

    def below(self, limit: int) -> int:
        """An integer from 0 to limit - 1."""
        return int(self._state.random_sample() * limit)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def weighted(self, weights: Sequence[float] | np.ndarray) -> int:
        """An index, drawn in proportion to the weights."""
        summed = np.cumsum(np.asarray(weights, dtype=np.float64))
        found = np.searchsorted(summed, self._state.random_sample() * summed[-1], side="right")
        return min(int(found), len(summed) - 1)

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        """Different elements, in the order they were drawn."""
        order = np.argsort(self._state.random_sample(len(choices)), kind="stable")
        return [choices[int(i)] for i in order[:count]]

    def top(self, log_weights: np.ndarray, count: int) -> np.ndarray:
        """Different indices drawn one after another by weight (Gumbel top-k); none of -inf."""
        noise = -np.log(-np.log(self._state.random_sample(len(log_weights)) + 1e-300) + 1e-300)
        keys = log_weights + noise
        few = count < len(keys)
        best = np.argpartition(-keys, count)[:count] if few else np.arange(len(keys))
        best = best[np.isfinite(keys[best])]
        ordered: np.ndarray = best[np.argsort(-keys[best], kind="stable")]
        return ordered
