"""Figures that are made of sums over texts, resampled by user or dialogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from m6rec.evaluation.result import Measures
from m6rec.metrics.bootstrap import safe_divide

Statistic = Callable[[np.ndarray], np.ndarray]


class Sums:
    """Figures over N texts, each of which belongs to one of U units that are drawn as a whole.

    unit_N: numbers from 0.
    """

    def __init__(self, unit_N: np.ndarray) -> None:
        self._unit_N, self._count = unit_N, int(unit_N.max()) + 1
        self._parts: dict[str, Statistic] = {}
        self._width = 0

    def add(self, name: str, columns_NC: np.ndarray, of: Statistic) -> None:
        """A figure that is a function of summed columns, [B, C] → [B]."""
        rows = [np.bincount(self._unit_N, column, self._count) for column in columns_NC.T]
        sums_UC = np.stack(rows, 1)
        self._parts[name] = lambda weight_BU: of(weight_BU @ sums_UC)

    def ratio(self, name: str, above_N: np.ndarray, below_N: np.ndarray) -> None:
        """A figure that is one sum divided by another; NaN (left out) where that is 0."""
        self.add(name, np.stack([above_N, below_N], 1), lambda s: safe_divide(s[:, 0], s[:, 1]))

    def mean(self, name: str, values_N: np.ndarray) -> None:
        """A mean over texts."""
        self.ratio(name, values_N, np.ones(len(self._unit_N)))

    def weighted(self, name: str, of: Statistic) -> None:
        """A figure that no sums give: a function of the texts' weights, [B, N] → [B]."""
        self._parts[name] = lambda weight_BU: of(weight_BU[:, self._unit_N])
        self._width = len(self._unit_N)

    def measures(self) -> Measures:
        """All figures under their names."""
        parts = dict(self._parts)

        def statistic(weight_BU: np.ndarray) -> np.ndarray:
            if not parts:
                return np.zeros((len(weight_BU), 0))
            return np.stack([of(weight_BU) for of in parts.values()], 1)

        return Measures(tuple(parts), statistic, self._count, width=self._width)
