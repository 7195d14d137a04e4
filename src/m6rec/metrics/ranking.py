"""Ranking metrics on numpy arrays: one value per request, so that every mean can be bootstrapped.

Retrieval metrics start from ranks. `ranks` is int [R] (one relevant item per request) or [R, T]
(up to T of them, 0 where a request has fewer); rank 1 is the top of the list.

Ties count against the model: an item that shares its score with others is placed behind all of
them, so a model that gives every item the same score has rank I, not the middle and not the top.
AUC keeps the usual half a point for a tie, as scikit-learn and the field do.

Legend: B requests of a block, I items, R requests, N scored candidates, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.metrics.bootstrap import safe_divide


def pessimistic_ranks(scores_BI: np.ndarray, targets_B: np.ndarray) -> np.ndarray:
    """Rank of each request's target: 1 + items scored higher + other items scored the same.

    int64 [B]; scores must hold no NaN (compare before calling).
    """
    own = np.take_along_axis(scores_BI, targets_B[:, None], axis=1)
    ranks: np.ndarray = (scores_BI >= own).sum(axis=1)
    return ranks


def top_k(scores_BI: np.ndarray, k: int) -> np.ndarray:
    """Positions of each row's `k` best items, best first, ties by position; [B, min(k, I)].

    Scores must hold no NaN.
    """
    B, I = scores_BI.shape  # noqa: E741
    k = min(k, I)
    best = np.empty((B, k), dtype=np.int64)
    for row, scores_I in enumerate(scores_BI):
        least = np.partition(scores_I, I - k)[I - k]
        there = np.flatnonzero(scores_I >= least)
        best[row] = there[np.argsort(-scores_I[there], kind="stable")[:k]]
    return best


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    """HR@k, float [R]: 1 where any relevant item is among the first `k`."""
    return np.asarray(_hits(ranks, k).any(axis=1), dtype=np.float64)


def recall(ranks: np.ndarray, k: int) -> np.ndarray:
    """Recall@k, float [R]: share of the relevant items among the first `k`.

    With one relevant item per request this is HR@k.
    """
    hits = _hits(ranks, k)
    return np.asarray(hits.sum(axis=1) / (_columns(ranks) > 0).sum(axis=1))


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k with binary relevance, float [R]; discount 1 / log2(1 + rank) (Järvelin 2002)."""
    ranks_RT = _columns(ranks)
    gains = np.where(_hits(ranks, k), 1 / np.log2(1 + np.maximum(ranks_RT, 1)), 0.0).sum(axis=1)
    ideal = np.cumsum(1 / np.log2(1 + np.arange(1, ranks_RT.shape[1] + 1)))
    relevant = np.minimum((ranks_RT > 0).sum(axis=1), k)
    return np.asarray(gains / ideal[relevant - 1])


def reciprocal_rank(ranks: np.ndarray, k: int | None = None) -> np.ndarray:
    """1 / rank of the first relevant item, float [R]; 0 where it lies behind `k`."""
    ranks_RT = _columns(ranks)
    best = np.where(ranks_RT > 0, ranks_RT, np.iinfo(np.int64).max).min(axis=1)
    inside = best <= (k if k is not None else np.iinfo(np.int64).max - 1)
    return np.where(inside, 1 / best, 0.0)


def _columns(ranks: np.ndarray) -> np.ndarray:
    return ranks[:, None] if ranks.ndim == 1 else ranks


def _hits(ranks: np.ndarray, k: int) -> np.ndarray:
    ranks_RT = _columns(ranks)
    hits: np.ndarray = (ranks_RT > 0) & (ranks_RT <= k)
    return hits


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve of N scores and 0/1 labels; NaN where only one class is there."""
    return float(weighted_auc(scores, labels, np.ones((1, len(scores))))[0])


def weighted_auc(scores: np.ndarray, labels: np.ndarray, weights_BN: np.ndarray) -> np.ndarray:
    """AUC under each row of weights, float [B]: one sort serves all bootstrap draws.

    The probability that a positive scores above a negative, a tie counting half.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    positive = weights_BN[:, order] * labels[order]
    negative = weights_BN[:, order] * (1 - labels[order])
    positive_at = np.add.reduceat(positive, starts, axis=1)
    negative_at = np.add.reduceat(negative, starts, axis=1)
    below = np.cumsum(negative_at, axis=1) - negative_at
    won = (positive_at * (below + 0.5 * negative_at)).sum(axis=1)
    return safe_divide(won, positive.sum(axis=1) * negative.sum(axis=1))


@dataclass(frozen=True)
class GroupedAUC:
    """AUC of each group that has both classes.

    groups: int [G], their codes; aucs: float [G]; impressions: int [G], candidates in each;
    left_out: groups with one class only, for which AUC does not exist.
    """

    groups: np.ndarray
    aucs: np.ndarray
    impressions: np.ndarray
    left_out: int

    @property
    def value(self) -> float:
        """GAUC: the mean over groups, weighted by impressions; NaN where no group is left."""
        total = np.array([self.impressions.sum()], dtype=np.float64)
        return float(safe_divide(np.array([self.aucs @ self.impressions]), total)[0])


def grouped_auc(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> GroupedAUC:
    """AUC within each group (`groups`: int codes [N] from 0), from the rank sum of its positives.

    Source: Zhu et al., Optimized Cost per Click in Taobao (KDD 2017), who weight by impressions.
    """
    order = np.lexsort((scores, groups))
    group, score, label = groups[order], scores[order], labels[order]
    size = np.bincount(groups)
    first_of_group = np.cumsum(size) - size
    midrank = _midpositions(group, score) - first_of_group[group] + 1
    rank_sum = np.bincount(group, weights=label * midrank, minlength=len(size))
    positives = np.bincount(group, weights=label, minlength=len(size))
    negatives = size - positives
    both = (positives > 0) & (negatives > 0)
    won = rank_sum - positives * (positives + 1) / 2
    return GroupedAUC(
        groups=np.flatnonzero(both),
        aucs=won[both] / (positives * negatives)[both],
        impressions=size[both],
        left_out=int(((size > 0) & ~both).sum()),
    )


def _midpositions(group: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Position of each sorted row, equal scores within a group sharing their middle."""
    changes = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    run = np.cumsum(np.r_[False, changes])
    start = np.flatnonzero(np.r_[True, changes])
    length = np.bincount(run)
    return np.asarray((start + (length - 1) / 2)[run])
