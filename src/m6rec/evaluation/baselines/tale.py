"""TALE: the next item by ridge regression on what came before, weighed by time, solved exactly.

For every event but a user's first, one row: the earlier events as weighted sources, the event
itself as the target. With S the sources and T the targets, B = (SᵀS + ridge I)⁻¹ SᵀT.

    source weight = max(exp(-age / span), floor) · n_source^trend      target = n_target^trend

age: days before the target; where events carry no times, the number of events between the two.
n: the item's events within `window` days up to the event at hand, itself included (without times:
all its training events). With a trend below 0 an item says less while it is popular.
Source: Park et al., Temporal Linear Item-Item Model for Sequential Recommendation (WSDM 2025,
arXiv 2412.07382): single-target augmentation, weights by time interval, trend-aware
normalisation. The released code calls floor `c`, trend `beta`, span `tau_train`.

Legend: A items with events, E events of a user, R rows of a chunk, W most sources of a row, L items
of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from m6rec.data.splits import Split
from m6rec.evaluation.baselines.acted_on import ActedOn, acted_on, sequences
from m6rec.evaluation.baselines.neighbours import ItemToItem, item_to_item
from m6rec.evaluation.baselines.popularity import DAY, popularity_counts
from m6rec.evaluation.catalogue import chosen_events

ROWS = 512
"""Targets of one user that are unfolded at once."""


@dataclass(frozen=True)
class Walk:
    """One user's events in order, E of them.

    numbers: int64 [E], items; when: float64 [E], days, or places in the sequence without times.
    """

    numbers: np.ndarray
    when: np.ndarray


@dataclass(frozen=True)
class Walks:
    """The training log as TALE reads it. reach: most sources of a target.

    lag: what is taken off the difference of two `when`: with places, neighbours have age 0.
    """

    users: tuple[Walk, ...]
    lag: float
    popularity: np.ndarray
    acted: ActedOn
    reach: int


def walks(split: Split) -> Walks:
    """Raises EvaluationError where too many items have events."""
    acted = acted_on(split, "TALE")
    times = chosen_events(split)["timestamp"]
    timed = times.null_count() == 0
    days = times.to_numpy() / DAY
    users = tuple(
        Walk(numbers, days[rows] if timed else np.arange(len(rows), dtype=np.float64))
        for rows, numbers in sequences(split, acted)
    )
    popularity = popularity_counts(split)[acted.codes]
    return Walks(users, 0.0 if timed else 1.0, popularity, acted, split.card.max_history)


def recent_counts(walked: Walks, window: float) -> list[np.ndarray]:
    """For each user, float64 [E]: events of the item within `window` days up to each event.

    Without times: all training events of the item.
    """
    numbers = np.concatenate([walk.numbers for walk in walked.users])
    if walked.lag:
        count_A = np.bincount(numbers).astype(np.float64)
        return [count_A[walk.numbers] for walk in walked.users]
    when = np.concatenate([walk.when for walk in walked.users])
    when = when - when.min()
    order = np.lexsort((when, numbers))
    apart = when.max() + window + 1  # so that a window never reaches the item before
    line = (numbers * apart + when)[order]
    last = np.searchsorted(line, line, side="right")
    counts = np.empty(len(line))
    counts[order] = last - np.searchsorted(line, line - window, side="right")
    return np.split(counts, np.cumsum([len(walk.numbers) for walk in walked.users])[:-1])


def transitions(
    walked: Walks, span: float, floor: float, trend: float, window: float
) -> tuple[np.ndarray, np.ndarray]:
    """SᵀS and SᵀT, float32 [A, A] each."""
    gram_AA, cross_AA = np.zeros((2, len(walked.acted), len(walked.acted)), dtype=np.float32)
    counts = recent_counts(walked, window) if trend else [np.ones(1)] * len(walked.users)
    for walk, count in zip(walked.users, counts, strict=True):
        scale_E = np.broadcast_to(count**trend, walk.numbers.shape)

        def weight(age: np.ndarray) -> np.ndarray:
            return np.asarray(np.maximum(np.exp(-age / span), floor))

        for local_L, source_RL, target_RL in _rows(walk, scale_E, walked, weight):
            cells = np.ix_(local_L, local_L)
            gram_AA[cells] += source_RL.T @ source_RL
            cross_AA[cells] += source_RL.T @ target_RL
    return gram_AA, cross_AA


def _rows(
    walk: Walk, scale_E: np.ndarray, walked: Walks, weight: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chunks of the user's rows: their items [L], and S and T over these, [R, L]."""
    for first in range(1, len(walk.numbers), ROWS):
        target_R = np.arange(first, min(first + ROWS, len(walk.numbers)))
        reach = min(walked.reach, int(target_R[-1]))
        source_RW = target_R[:, None] - np.arange(1, reach + 1)
        row, _ = np.nonzero(source_RW >= 0)
        source = source_RW[source_RW >= 0]
        begin = max(0, first - reach)
        local_L, spelled = np.unique(walk.numbers[begin : target_R[-1] + 1], return_inverse=True)
        age = walk.when[target_R[row]] - walk.when[source] - walked.lag
        shape = (len(target_R), len(local_L))
        cell = row * shape[1] + spelled[source - begin]
        summed = np.bincount(cell, weight(age) * scale_E[source], minlength=shape[0] * shape[1])
        target_RL = np.zeros(shape, dtype=np.float32)
        target_RL[target_R - first, spelled[target_R - begin]] = scale_E[target_R]
        yield local_L, summed.reshape(shape).astype(np.float32), target_RL


def solve(gram_AA: np.ndarray, cross_AA: np.ndarray, ridge: float) -> np.ndarray:
    """B = (SᵀS + ridge I)⁻¹ SᵀT, float32 [A, A], row = source, column = target."""
    shifted_AA = torch.from_numpy(gram_AA) + ridge * torch.eye(len(gram_AA))
    lower_AA = torch.linalg.cholesky(shifted_AA)
    return np.asarray(torch.cholesky_solve(torch.from_numpy(cross_AA), lower_AA).numpy())


def tale_builder(walked: Walks) -> Callable[..., ItemToItem]:
    """Builds TALE for settings; what two settings in a row share is computed once.

    ridge, span, floor, trend, window: see above. decay: the weight of an item of the history is
    decay ** age in events, exp(-1 / `tau_inf`) of the paper.
    """
    sums = lru_cache(maxsize=1)(lambda *weighing: transitions(walked, *weighing))
    solved = lru_cache(maxsize=1)(lambda ridge, *weighing: solve(*sums(*weighing), ridge))

    def build(
        ridge: float = 100.0,
        span: float = 2.0,
        floor: float = 0.0,
        trend: float = 0.0,
        window: float = 180.0,
        decay: float = 0.6,
    ) -> ItemToItem:
        used = window if trend and not walked.lag else 0.0
        weights_AA = solved(ridge, span, floor, trend, used)
        return item_to_item("TALE", weights_AA, walked.popularity, walked.acted, decay)

    return build
