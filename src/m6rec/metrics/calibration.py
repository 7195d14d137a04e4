"""Are the probabilities true? Log loss, reliability bins, ECE and COPC on numpy arrays.

Legend: N scored candidates, K bins, B requests, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Binning = Literal["quantile", "uniform"]


def log_losses(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log of the probability given to what happened, float64 [N], in nats.

    Probabilities are clipped by float64's epsilon, as scikit-learn does, so a sure and wrong
    prediction costs 36 and not infinity.
    """
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(predictions.astype(np.float64), tiny, 1 - tiny)
    return -np.where(labels > 0, np.log(clipped), np.log1p(-clipped))


def copc(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Clicks over predicted clicks: 1 is right, above 1 the model promises too little."""
    return float(labels.sum() / predictions.sum())


@dataclass(frozen=True)
class Reliability:
    """Bins of predictions, the empty ones left out: float [K] each, `counts` int [K].

    member: int [N], the bin (0..K-1) of every prediction.
    """

    predicted: np.ndarray
    observed: np.ndarray
    counts: np.ndarray
    member: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap |observed - predicted|, weighted by count."""
        gaps = np.abs(self.observed - self.predicted)
        return float(gaps @ self.counts / self.counts.sum())

    def to_dict(self) -> dict[str, list[float]]:
        """Points for a plot, JSON-ready."""
        return {
            "predicted": self.predicted.round(6).tolist(),
            "observed": self.observed.round(6).tolist(),
            "count": self.counts.astype(float).tolist(),
        }


def reliability(
    predictions: np.ndarray, labels: np.ndarray, bins: int = 10, binning: Binning = "quantile"
) -> Reliability:
    """Mean prediction and observed rate per bin.

    "quantile" bins hold about equally many predictions; they are the default because click rates
    crowd near 0, where bins of equal width would put everything into one. Source of ECE:
    Naeini et al., Obtaining Well Calibrated Probabilities (AAAI 2015), Guo et al. (ICML 2017).
    """
    edges = np.linspace(0, 1, bins + 1)
    if binning == "quantile":
        edges = np.quantile(predictions, edges)
    raw = np.searchsorted(edges[1:-1], predictions)
    _, member = np.unique(raw, return_inverse=True)
    counts = np.bincount(member)
    return Reliability(
        predicted=np.bincount(member, weights=predictions) / counts,
        observed=np.bincount(member, weights=labels) / counts,
        counts=counts,
        member=member,
    )


def promised_hits(probability_BI: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """What the k likeliest items promise: their share of all probability, float64 [B, len(ks)].

    It is the hit rate of the first k, where the probabilities are true. What is below 0 (never
    recommended) counts nothing.
    """
    offered_BI = np.where(probability_BI > 0, probability_BI, 0)
    most = min(max(ks), offered_BI.shape[1])
    top_BK = -np.partition(-offered_BI, most - 1, axis=1)[:, :most]
    sums_BK = np.cumsum(-np.sort(-top_BK, axis=1), axis=1, dtype=np.float64)
    total_B1 = np.maximum(offered_BI.sum(axis=1, dtype=np.float64), 1e-30)[:, None]
    return np.asarray(sums_BK[:, [min(k, most) - 1 for k in ks]] / total_B1)
