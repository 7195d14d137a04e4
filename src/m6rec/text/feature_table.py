"""Counts → features with names: smoothed rates, ranks and counts of a user, an item and both.

Legend: N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m6rec.text.agreement import Agreement
from m6rec.text.past import PartSums
from m6rec.text.tally import Sums

PSEUDO_EVENTS = 5.0
"""Weight of the average in the rate of a user or an item, in events."""
PSEUDO_EVENTS_OF_PART = 3.0
"""Weight of the user's own rate in that of a category or the like."""
PSEUDO_EVENTS_RECENT = 8.0
"""Weight of the user's own rate in that of the newest judgements."""
NO_LOG = 0.5
"""Average rate where no log says one."""


@dataclass(frozen=True)
class Counts:
    """What was counted for N questions; all float64 [N].

    everybody, item, user: over all events, the item's, the user's. percentile: of the item's
    popularity. own, own_seconds: how often and how long ago the user chose this very item (nan:
    never). parts: by column. recent: of the newest judgements, those positive and all.
    shared: names shared with what the user liked and disliked (0, 1 a word, 2 a name).
    agreement: with people of the user's taste. known: whether a log says what everybody does.
    """

    known: np.ndarray
    everybody: Sums
    item: Sums
    percentile: np.ndarray
    user: Sums
    own: np.ndarray
    own_seconds: np.ndarray
    parts: Mapping[str, PartSums]
    recent: tuple[np.ndarray, np.ndarray]
    shared: tuple[np.ndarray, np.ndarray]
    agreement: Agreement


@dataclass(frozen=True)
class FeatureTable:
    """Features of N candidates by name, float64 [N], nan where unknown.

    Those of a column of items are called COLUMN_count and COLUMN_rate.
    """

    columns: tuple[str, ...]
    numbers: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.numbers["item_count"])

    def rows(self) -> list[dict[str, float]]:
        """One dictionary of numbers per candidate."""
        names = list(self.numbers)
        return [
            dict(zip(names, row, strict=True))
            for row in zip(*(self.numbers[name].tolist() for name in names), strict=True)
        ]


def rates(counts: Counts) -> FeatureTable:
    """Counts → features. Rates are smoothed: the average counts as PSEUDO_EVENTS more events."""
    total = counts.everybody
    prior = np.where(counts.known, (total.positive + 1) / (total.judged + 2), NO_LOG)
    both = (total.positive > 0) & (total.positive < total.judged)
    telling = ~counts.known | both
    item_rate = _rate(counts.item, prior, PSEUDO_EVENTS, telling)
    user_rate = _rate(counts.user, prior, PSEUDO_EVENTS, telling)
    user_or_prior = np.where(np.isnan(user_rate), prior, user_rate)
    item_or_prior = np.where(np.isnan(item_rate), prior, item_rate)
    odds = _odds(user_or_prior) * _odds(item_or_prior) / _odds(prior)
    told = ~(np.isnan(user_rate) & np.isnan(item_rate))
    recent = Sums(counts.recent[1], counts.recent[1], counts.recent[0])
    recent_rate = _rate(recent, user_or_prior, PSEUDO_EVENTS_RECENT, telling)
    numbers = {
        "new_item": (counts.known & (counts.item.acted == 0)).astype(np.float64),
        "percentile": counts.percentile,
        "item_count": counts.item.acted,
        "item_rate": item_rate,
        "user_count": counts.user.acted,
        "user_rate": user_rate,
        "expected": np.where(told, odds / (1 + odds), np.nan),
        "recent_rate": recent_rate,
        "recent_likes": counts.recent[0],
        "recent_total": counts.recent[1],
        "own_count": counts.own,
        "own_seconds": counts.own_seconds,
        "shared_liked": counts.shared[0],
        "shared_disliked": counts.shared[1],
        "agreement": counts.agreement.score,
        "item_lean": counts.agreement.item,
        "user_lean": counts.agreement.user,
    }
    for column, part in counts.parts.items():
        sums = Sums(part.most, part.judged, part.positive)
        numbers[f"{column}_count"] = part.most
        numbers[f"{column}_rate"] = _rate(sums, user_or_prior, PSEUDO_EVENTS_OF_PART, telling)
    return FeatureTable(tuple(counts.parts), numbers)


def _rate(sums: Sums, prior: np.ndarray, weight: float, telling: np.ndarray) -> np.ndarray:
    """Share of yes, drawn to the prior; nan where nothing was judged or all say the same."""
    rate = (sums.positive + weight * prior) / (sums.judged + weight)
    return np.where((sums.judged > 0) & telling, rate, np.nan)


def _odds(share: np.ndarray) -> np.ndarray:
    return np.asarray(share / (1 - share))
