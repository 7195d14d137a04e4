"""Bootstrap intervals: what another draw of the same size from the same users might have given.

Every statistic here is a function of weights: replicate b counts unit i `weights_BN[b, i]` times.
So all replicates of a block are computed at once, and all metrics share the same draws, which is
what makes two models comparable request by request.

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), the percentile interval.
Legend: B replicates of a block, N units (requests or users), M statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""weights [B, N] -> statistics [B, M]; NaN where a draw does not define one."""

BLOCK_CELLS = 2_000_000
"""Most weights held at once (16 MB as float64)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `low` and `high` are None where no interval is meaningful."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn: `replicates` seeded draws, the middle `level` of them reported."""

    replicates: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replicates < 1:
            raise ValueError(f"replicates must be at least 1, not {self.replicates}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {self.level}")

    def weights(self, units: int, width: int = 0) -> Iterator[np.ndarray]:
        """Blocks [B, N] of multinomial counts: each row says how often each unit was drawn.

        `width`: how many cells a replicate unfolds to in the statistic, where more than N.
        """
        rng = np.random.default_rng(self.seed)
        size = max(1, BLOCK_CELLS // max(units, width))
        for first in range(0, self.replicates, size):
            rows = min(size, self.replicates - first)
            drawn = rng.integers(0, units, size=(rows, units))
            drawn += (np.arange(rows) * units)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * units)
            yield counts.reshape(rows, units).astype(np.float64)


DEFAULT = Resampling()


def bootstrap_statistic(
    statistic: Statistic, units: int, resampling: Resampling = DEFAULT, width: int = 0
) -> list[Estimate]:
    """The M statistics of the data as they are, each with its percentile interval.

    Draws for which a statistic is not defined (NaN) are left out of its interval.
    `width` as in `Resampling.weights`.
    Raises ValueError where there is nothing to resample.
    """
    if units < 1:
        raise ValueError("there is nothing to resample: no requests")
    values = statistic(np.ones((1, units)))[0]
    draws = np.concatenate([statistic(block) for block in resampling.weights(units, width)])
    tail = (1 - resampling.level) / 2
    return [
        _estimate(float(value), column[~np.isnan(column)], tail)
        for value, column in zip(values, draws.T, strict=True)
    ]


def _estimate(value: float, draws: np.ndarray, tail: float) -> Estimate:
    if draws.size == 0:
        return Estimate(value)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def bootstrap(values: np.ndarray, resampling: Resampling = DEFAULT) -> Estimate:
    """The mean of `values` [N] with its interval."""
    values_N1 = np.asarray(values, dtype=np.float64)[:, None]
    units = len(values_N1)
    return bootstrap_statistic(lambda weights: weights @ values_N1 / units, units, resampling)[0]


def bootstrap_difference(
    ours: np.ndarray, theirs: np.ndarray, resampling: Resampling = DEFAULT
) -> Estimate:
    """Mean of the paired differences `ours - theirs` [N] (same requests, same order).

    An interval that excludes 0 says that one model is better on this kind of user.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"pairs need the same requests: {len(ours)} against {len(theirs)}")
    return bootstrap(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64), resampling)


def safe_divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is 0 (and no warning)."""
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
