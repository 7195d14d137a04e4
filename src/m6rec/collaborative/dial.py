"""How much new items are given: a boost of their scores, and what it costs.

The log of the past can not say how often a new item will be chosen; valid requests can.

Legend: R valid requests, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from m6rec.metrics.ranking import pessimistic_ranks

PARITY = 0.5
"""New items are to be found so often, as a share of how often known ones are."""
PRICE = 0.1
"""Most of all hits that a boost may cost."""
FIRST = 100


@dataclass(frozen=True)
class DialPoint:
    """Hits among the first 100 (a tenth of a smaller catalogue) under a boost: all targets, known
    and new ones; and HR@10 of all."""

    boost: float
    all: float
    known: float
    new: float
    first_ten: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def dial_curve(
    scores_RI: np.ndarray, target_R: np.ndarray, new_I: np.ndarray, boosts: Sequence[float]
) -> list[DialPoint]:
    """What each boost finds on valid. Empty where valid holds no new item, or nothing else."""
    is_new_R = new_I[target_R]
    if not is_new_R.any() or is_new_R.all():
        return []
    k = min(FIRST, max(1, len(new_I) // 10))
    points = []
    for boost in boosts:
        rank_R = pessimistic_ranks(scores_RI + np.float32(boost) * new_I, target_R)
        hit_R = rank_R <= k
        points.append(
            DialPoint(
                boost=float(boost),
                all=float(hit_R.mean()),
                known=float(hit_R[~is_new_R].mean()),
                new=float(hit_R[is_new_R].mean()),
                first_ten=float((rank_R <= 10).mean()),
            )
        )
    return points


def choose_boost(curve: Sequence[DialPoint], parity: float = PARITY, price: float = PRICE) -> float:
    """The least boost under which new items are found `parity` times as often as known ones.

    Where none that costs at most `price` of all hits gets there, the one that finds most new items
    at that price (the least of equals). 0 of an empty curve, or a parity of 0.
    """
    if not curve or parity == 0:
        return 0.0
    paid = [point for point in curve if point.all >= (1 - price) * curve[0].all]
    for point in paid:
        if point.new >= parity * point.known:
            return point.boost
    return max(paid, key=lambda point: (point.new, -point.boost)).boost
