"""How often an item is chosen again: its own counts, drawn to what the whole log says of repeats.

Of item i, R_ii of a_i counted pairs lead back to it. Some logs repeat everything (R_ii / a_i is
alike for all items), some repeat few items, some nothing. So the log says how far an item with few
pairs is drawn to the rate of all: a beta-binomial whose mean π and strength m are estimated by
moments (the analysis of variance estimate of intraclass correlation for binary data; Ridout,
Demétrio and Firth, Biometrics 1999):

    rate_i = (R_ii + m·π) / (a_i + m),   m = 1/ρ − 1,
    π = Σ v_i · R_ii/a_i / Σ v_i,         v = a / (1 + (a − 1)ρ)

ρ is the correlation of two pairs of one item. Where items differ no more than chance has it, ρ is 0
and all have the rate π. One more item of λ pairs without a repeat keeps a log of a few events from
saying much. Items of like a_i are summed together, so a change costs nothing.

Legend: I items.
"""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from m6rec.collaborative.settings import MOST_APART

STRONGEST = 1e6
"""m where items do not differ."""
CLASSES = 80
"""Of items by a_i: below 1, then from one power of √2 to the next."""
MOST_PENDING = 10_000
"""Changes that wait until they are summed."""


class Repeats(NamedTuple):
    """rate (π): of all items. strength (m): so many pairs are what it is worth to one."""

    rate: float
    strength: float

    def of(self, own_I: np.ndarray, norm_I: np.ndarray) -> np.ndarray:
        """The rate of each item, from R_ii and a_i: float64 [I]."""
        own_I = np.minimum(own_I, norm_I)
        return np.asarray((own_I + self.strength * self.rate) / (norm_I + self.strength))


class RepeatSums:
    """Sums over items that begin a pair, in classes of like a_i: their number, Σa, ΣR, Σ R²/a, Σa²
    and Σ R/a."""

    def __init__(self) -> None:
        self._sums = np.zeros((CLASSES, 6))

    def add(self, own_I: np.ndarray, norm_I: np.ndarray, sign: int = 1) -> None:
        """Takes items in, or off (sign -1)."""
        some = norm_I > 0
        a = norm_I[some]
        r = np.minimum(own_I[some], a)
        class_I = np.clip(np.floor(2 * np.log2(a)) + 1, 0, CLASSES - 1).astype(np.int64)
        for column, values in enumerate((np.ones(len(a)), a, r, r**2 / a, a**2, r / a)):
            self._sums[:, column] += sign * np.bincount(class_I, values, CLASSES)

    def repeats(self, shrinkage: float) -> Repeats:
        """What they say of the whole log. shrinkage: λ."""
        items, pairs, own, shares, squares, _ = self._sums.sum(0)
        if own <= 1e-9:
            return Repeats(0.0, STRONGEST)
        alike = 0.0
        if items > 1 and pairs > items:
            between = (shares - own**2 / pairs) / (items - 1)
            within = max(own - shares, 0.0) / (pairs - items)
            size = (pairs - squares / pairs) / (items - 1)
            total = between + (size - 1) * within
            alike = float(np.clip((between - within) / total, 0, 0.999)) if total > 0 else 0.0
        strength = min(1 / alike - 1, STRONGEST) if alike > 0 else STRONGEST
        return Repeats(self._rate(alike, shrinkage), strength)

    def _rate(self, alike: float, shrinkage: float) -> float:
        """The mean over items, each weighing a / (1 + (a - 1)ρ): pairs where they do not differ,
        items where they differ much."""

        def weight(a: np.ndarray) -> np.ndarray:
            return np.asarray(a / (1 + (a - 1) * alike))

        full = self._sums[self._sums[:, 0] > 0.5]
        weight_C = weight(full[:, 1] / full[:, 0])
        nothing = weight(np.array([shrinkage]))[0]
        return float(weight_C @ full[:, 5] / (weight_C @ full[:, 0] + nothing))


def repeats_of(own_I: np.ndarray, norm_I: np.ndarray, shrinkage: float) -> Repeats:
    """Of a whole log, from R_ii and a_i of its items."""
    sums = RepeatSums()
    sums.add(own_I, norm_I)
    return sums.repeats(shrinkage)


@final
class LiveRepeats:
    """The same as a log grows. One thread at a time; own_I and norm_I are its own from now on.
    shrinkage: λ."""

    def __init__(
        self, own_I: np.ndarray, norm_I: np.ndarray, decay: float, shrinkage: float
    ) -> None:
        self._own_I, self._norm_I, self._shrinkage = own_I, norm_I, shrinkage
        self._weight_A = decay ** np.arange(MOST_APART, dtype=np.float64)
        self._sums = RepeatSums()
        self._sums.add(own_I, norm_I)
        self._pending: list[tuple[int, int, int, int]] = []
        self._repeats = self._sums.repeats(shrinkage)

    def change(self, earlier: int, later: int, distance: int, times: int) -> None:
        """Says that a pair was counted so many times more."""
        self._pending.append((earlier, later, distance, times))
        if len(self._pending) >= MOST_PENDING:
            self._settle()

    def repeats(self) -> Repeats:
        """What the log says now."""
        self._settle()
        return self._repeats

    def counted(self, item_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R_ii and a_i of some items: float64 [N] each."""
        self._settle()
        known = item_N < len(self._own_I)
        item_N = np.where(known, item_N, 0)
        if not len(self._own_I):
            return np.zeros(len(item_N)), np.zeros(len(item_N))
        return np.where(known, self._own_I[item_N], 0.0), np.where(known, self._norm_I[item_N], 0.0)

    def _settle(self) -> None:
        if not self._pending:
            return
        earlier_N, later_N, distance_N, times_N = np.array(self._pending, dtype=np.int64).T
        self._pending.clear()
        if earlier_N.max() >= len(self._own_I):
            more = np.zeros(max(int(earlier_N.max()) + 1 - len(self._own_I), len(self._own_I)))
            self._own_I = np.append(self._own_I, more)
            self._norm_I = np.append(self._norm_I, more)
        item_C = np.unique(earlier_N)
        self._sums.add(self._own_I[item_C], self._norm_I[item_C], -1)
        weight_N = self._weight_A[distance_N - 1]
        np.add.at(self._norm_I, earlier_N, weight_N**2 * times_N)
        again_N = earlier_N == later_N
        np.add.at(self._own_I, earlier_N[again_N], (weight_N * times_N)[again_N])
        for values_I in (self._own_I, self._norm_I):  # what is taken off leaves no crumbs
            values_I[item_C] = np.where(values_I[item_C] < 1e-9, 0.0, values_I[item_C])
        self._sums.add(self._own_I[item_C], self._norm_I[item_C])
        self._repeats = self._sums.repeats(self._shrinkage)
