"""Predictions beside their labels, and the ranking metrics as functions of the users' weights.

Legend: N candidates, U users, G users with both labels, K bins, B bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.evaluation.result import Measures
from m6rec.metrics.bootstrap import Statistic, safe_divide
from m6rec.metrics.calibration import log_losses, reliability
from m6rec.metrics.ranking import grouped_auc, weighted_auc

RANKING_METRICS = ("auc", "gauc", "logloss", "ece", "copc")
ROC_POINTS = 100


@dataclass(frozen=True)
class Judged:
    """predictions and labels: float [N]; users: int [N], codes without gaps from 0."""

    predictions: np.ndarray
    labels: np.ndarray
    users: np.ndarray

    @property
    def user_count(self) -> int:
        return int(self.users.max()) + 1

    def where(self, chosen: np.ndarray) -> Judged:
        """The chosen candidates (bool [N]), users counted anew."""
        users = np.unique(self.users[chosen], return_inverse=True)[1]
        return Judged(self.predictions[chosen], self.labels[chosen], users)


def ranking_measures(judged: Judged, bins: int = 10) -> Measures:
    """AUC, GAUC, log loss, ECE and COPC, resampled by user."""
    parts = (_auc(judged), _gauc(judged), _calibration(judged, bins))
    return Measures(
        names=RANKING_METRICS,
        statistic=lambda weights: np.concatenate([part(weights) for part in parts], axis=1),
        units=judged.user_count,
        width=judged.labels.size,
    )


def _auc(judged: Judged) -> Statistic:
    def statistic(weights_BU: np.ndarray) -> np.ndarray:
        weights_BN = weights_BU[:, judged.users]
        return weighted_auc(judged.predictions, judged.labels, weights_BN)[:, None]

    return statistic


def _gauc(judged: Judged) -> Statistic:
    found = grouped_auc(judged.predictions, judged.labels, judged.users)

    def statistic(weights_BU: np.ndarray) -> np.ndarray:
        weights_BG = weights_BU[:, found.groups]
        won = weights_BG @ (found.aucs * found.impressions)
        return safe_divide(won, weights_BG @ found.impressions.astype(np.float64))[:, None]

    return statistic


def _calibration(judged: Judged, bins: int) -> Statistic:
    """Log loss, ECE over fixed bins, and COPC: all three from sums per user."""
    member = reliability(judged.predictions, judged.labels, bins).member
    per_user = {
        "count": np.ones_like(judged.labels),
        "loss": log_losses(judged.predictions, judged.labels),
        "clicks": judged.labels,
        "promised": judged.predictions,
    }
    sums_U4 = np.stack(
        [np.bincount(judged.users, weights=values) for values in per_user.values()], axis=1
    )
    width = int(member.max()) + 1
    gaps_UK = np.bincount(
        judged.users * width + member,
        weights=judged.labels - judged.predictions,
        minlength=judged.user_count * width,
    ).reshape(judged.user_count, width)

    def statistic(weights_BU: np.ndarray) -> np.ndarray:
        count, loss, clicks, promised = (weights_BU @ sums_U4).T
        gap = np.abs(weights_BU @ gaps_UK).sum(axis=1)
        return np.stack([loss / count, gap / count, safe_divide(clicks, promised)], axis=1)

    return statistic


def judged_curves(judged: Judged, bins: int = 10) -> dict[str, dict[str, list[float]]]:
    """Points for the plots: reliability bins, and the ROC curve where both labels are there."""
    found = reliability(judged.predictions, judged.labels, bins)
    curves = {"reliability": found.to_dict()}
    if 0 < judged.labels.sum() < judged.labels.size:
        curves["roc"] = _roc(judged)
    return curves


def _roc(judged: Judged) -> dict[str, list[float]]:
    """At most ROC_POINTS points; only ends of runs of equal predictions, where it is defined."""
    order = np.argsort(-judged.predictions, kind="stable")
    ordered, labels = judged.predictions[order], judged.labels[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = np.r_[0, np.cumsum(labels)[ends]] / labels.sum()
    alarms = np.r_[0, np.cumsum(1 - labels)[ends]] / (1 - labels).sum()
    kept = np.unique(np.linspace(0, len(hits) - 1, ROC_POINTS).round().astype(np.int64))
    return {"fpr": alarms[kept].round(5).tolist(), "tpr": hits[kept].round(5).tolist()}
