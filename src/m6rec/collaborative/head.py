"""The head: a few numbers that join what people chose, what the words say, and what repeats.

A conditional logit over the catalogue (McFadden 1974), fitted by likelihood on valid requests:

    logit_j = chosen · c_j + similarity · z_j + popularity · p_j
              + repeated · h_j + last · l_j + new · n_j

c: log(1 + 2λ · score), where the score counts one transition of an unshrunk item as about 1 / λ, so
c is log 3 of it; below 0 it is linear. z: the similarity of the two towers, less its mean over the
catalogue, by its standard deviation. p: log(1 + people) over its largest value. h, l, n: 1 where
the item is in the history, is its newest, is new to the log. Nothing in it has a scale of its own,
so one set's head is sane on another.

Legend: B requests, I items, F features (FEATURES).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.collaborative.sequences import Histories
from m6rec.config import Settings
from m6rec.metrics.ranking import ndcg, pessimistic_ranks

FEATURES = ("chosen", "similarity", "popularity", "repeated", "last", "new")
PENALTY = 1e-3
"""Of the squared numbers: keeps what valid never saw at 0."""
STEPS, LONGEST, CLOSE = 40, 5.0, 1e-4
"""Of Newton's method: most steps, the longest one, and when it has arrived."""
SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)
"""How much of what joins the counts is tried."""


class Head(Settings):
    """The numbers. The default is what stands without a valid part to fit them on."""

    chosen: float = 1.0
    similarity: float = 0.2
    popularity: float = 0.0
    repeated: float = 0.0
    last: float = 0.0
    new: float = 0.0

    def weights(self) -> np.ndarray:
        """float32 [F], in the order of FEATURES."""
        return np.array([getattr(self, name) for name in FEATURES], dtype=np.float32)

    @classmethod
    def of(cls, weight_F: np.ndarray) -> Head:
        """From numbers in the order of FEATURES."""
        return cls(**{name: float(w) for name, w in zip(FEATURES, weight_F, strict=True)})

    def __call__(self, features: Features) -> np.ndarray:
        """Logits, float32 [B, I]."""
        parts = zip(self.weights(), features.parts(), strict=True)
        total_BI = np.zeros_like(features.chosen)
        for weight, part in parts:
            if weight:
                total_BI += weight * part
        return total_BI


COUNTS_ALONE = Head(similarity=0.0)
SIMILARITY_ALONE = Head(chosen=0.0, similarity=1.0)


@dataclass(frozen=True)
class Features:
    """What the head reads: chosen, similarity, repeated, last float32 [B, I]; popularity, new
    float32 [I]."""

    chosen: np.ndarray
    similarity: np.ndarray
    popularity: np.ndarray
    repeated: np.ndarray
    last: np.ndarray
    new: np.ndarray

    def parts(self) -> tuple[np.ndarray, ...]:
        """In the order of FEATURES."""
        return tuple(getattr(self, name) for name in FEATURES)

    def columns(self, column_N: np.ndarray) -> Features:
        """Of some items."""
        return Features(*(part[..., column_N] for part in self.parts()))

    def rows(self, rows: slice | np.ndarray) -> Features:
        """Of some requests."""
        return Features(*(part[rows] if part.ndim == 2 else part for part in self.parts()))

    def stacked(self) -> np.ndarray:
        """float32 [B, I, F]."""
        shape = self.chosen.shape
        return np.stack([np.broadcast_to(part, shape) for part in self.parts()], axis=2)


def chosen_feature(score_BI: np.ndarray, shrinkage: float) -> np.ndarray:
    """log(1 + 2λ · score), linear below 0: float32."""
    scaled = (2 * shrinkage) * score_BI
    return np.asarray(np.where(scaled > 0, np.log1p(np.maximum(scaled, 0)), scaled), np.float32)


def similarity_feature(similarity_BI: np.ndarray) -> np.ndarray:
    """In standard deviations over the catalogue."""
    spread = similarity_BI.std(axis=1, keepdims=True)
    centred = similarity_BI - similarity_BI.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(spread, 1e-6), dtype=np.float32)


def popularity_feature(people_N: np.ndarray, most: float | None = None) -> np.ndarray:
    """log(1 + people) over its largest value: 0 to 1. most: people of the item that most stand by;
    None: it is among these."""
    logs = np.log1p(people_N.astype(np.float64))
    largest = float(logs.max(initial=0) if most is None else np.log1p(most))
    return np.asarray(logs / max(largest, 1e-9), dtype=np.float32)


def repeat_features(histories: Histories, items: int) -> tuple[np.ndarray, np.ndarray]:
    """1 where an item is in the history, and where it is in its newest basket: [B, I] each."""
    repeated = np.zeros((histories.count, items), dtype=np.float32)
    last = np.zeros_like(repeated)
    here = (histories.code >= 0) & (histories.code < items) & (histories.weight > 0)
    repeated[histories.request[here], histories.code[here]] = 1
    newest = here & (histories.weight == 1)
    last[histories.request[newest], histories.code[newest]] = 1
    return repeated, last


def fit_weights(features: Features, target_B: np.ndarray) -> np.ndarray:
    """The likeliest numbers, float64 [F], by Newton's method; target: column of what was chosen."""
    z_BIF = features.stacked()
    B, _, F = z_BIF.shape
    own_BF = z_BIF[np.arange(B), target_B].astype(np.float64)
    weight_F = np.zeros(F)
    weight_F[0] = 1.0
    for _ in range(STEPS):
        logit_BI = z_BIF @ weight_F.astype(np.float32)
        logit_BI -= logit_BI.max(axis=1, keepdims=True)
        p_BI = np.exp(logit_BI, dtype=np.float32)
        p_BI /= p_BI.sum(axis=1, keepdims=True)
        mean_BF = np.matmul(p_BI[:, None, :], z_BIF)[:, 0].astype(np.float64)
        slope_F = (own_BF - mean_BF).mean(0) - PENALTY * weight_F
        curve_FF = PENALTY * np.eye(F) - mean_BF.T @ mean_BF / B
        for one in range(F):
            weighted_BI = p_BI * z_BIF[:, :, one]
            curve_FF[one] += np.einsum("bi,bif->f", weighted_BI, z_BIF, optimize=True) / B
        step_F = np.linalg.solve(curve_FF, slope_F)
        step_F *= min(1.0, LONGEST / max(float(np.linalg.norm(step_F)), 1e-9))
        weight_F = weight_F + step_F
        if np.abs(step_F).max() < CLOSE:
            break
    return weight_F


def fit_head(features: Features, target_B: np.ndarray) -> tuple[Head, dict[str, float]]:
    """The head that is best by NDCG@10 on the same requests, and the figure of each that was tried.

    Tried are each part alone, and the likeliest numbers with all, or a share, of what joins the
    counts. So it is never worse there than its best part.
    """
    weight_F = fit_weights(features, target_B)
    tried = {"counts alone": COUNTS_ALONE, "similarity alone": SIMILARITY_ALONE}
    if weight_F[0] > 0:
        for share in SHARES:
            scaled = weight_F * share
            scaled[0] = weight_F[0]
            tried[f"joined, {share:.0%}"] = Head.of(scaled.round(4))
    figures = {name: _ndcg(head(features), target_B) for name, head in tried.items()}
    best = max(reversed(list(figures)), key=figures.__getitem__)
    best = next(name for name in reversed(list(figures)) if figures[name] == figures[best])
    return tried[best], figures


def _ndcg(scores_BI: np.ndarray, target_B: np.ndarray) -> float:
    return float(ndcg(pessimistic_ranks(scores_BI, target_B), 10).mean())
