"""The head's numbers, by likelihood on requests whose choice is known.

Newton's method with the outer products of the requests' slopes in place of second derivatives
(Berndt, Hall, Hall & Hausman 1974): of a mixture it always climbs.

Legend: B requests, I items, F features, P = 2F + 1 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.collaborative.head import (
    COUNTS_ALONE,
    SIMILARITY_ALONE,
    Features,
    Head,
    Logit,
)
from m6rec.metrics.ranking import ndcg, pessimistic_ranks

PENALTY = 1e-3
"""Of half the squared numbers: keeps what valid never saw at 0."""
STEPS, HALVINGS, GAIN = 40, 8, 1e-5
"""Most steps; most halvings of one; the gain of a step that ends the climb."""
EMPHASES = (0.0, 0.25, 0.5, 1.0, 2.0)
"""How much more of the counts is tried, until the first ten are no worse."""


@dataclass(frozen=True)
class Likelihood:
    """Of the choices of B requests, under two logits and their share."""

    z_BIF: np.ndarray
    own_BF: np.ndarray
    copies: np.ndarray | None

    @classmethod
    def of(cls, features: Features, target_B: np.ndarray) -> Likelihood:
        """target: column of what was chosen."""
        z_BIF = features.stacked()
        own_BF = z_BIF[np.arange(len(target_B)), target_B]
        return cls(z_BIF, own_BF, features.copies)

    def __call__(self, number_P: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean logarithm less the penalty, and the slope of each request's: float64 [B, P]."""
        F = self.z_BIF.shape[2]
        log_2B = np.zeros((2, len(self.own_BF)))
        apart_2BF = np.zeros((2, *self.own_BF.shape))
        odds = number_P[-1]
        for one, log_share in enumerate((-np.logaddexp(0, -odds), -np.logaddexp(0, odds))):
            weight_F = number_P[one * F : (one + 1) * F].astype(np.float32)
            logit_BI = self.z_BIF @ weight_F
            top_B = logit_BI.max(axis=1)
            logit_BI -= top_B[:, None]
            p_BI = np.exp(logit_BI, out=logit_BI)
            if self.copies is not None:
                p_BI *= self.copies
            total_B = p_BI.sum(axis=1)
            mean_BF = np.matmul(p_BI[:, None, :], self.z_BIF)[:, 0] / total_B[:, None]
            apart_2BF[one] = self.own_BF - mean_BF
            log_2B[one] = log_share + self.own_BF @ weight_F - top_B - np.log(total_B)
        log_B = np.logaddexp(*log_2B)
        share_2B = np.exp(log_2B - log_B)
        slopes = [share_2B[one][:, None] * apart_2BF[one] for one in range(2)]
        slope_B1 = (share_2B[0] - 1 / (1 + np.exp(-odds)))[:, None]
        value = float(log_B.mean()) - PENALTY / 2 * float(number_P @ number_P)
        return value, np.concatenate([*slopes, slope_B1], axis=1)


def likeliest(features: Features, target_B: np.ndarray, start: Head | None = None) -> Head:
    """The likeliest mixture that is found from `start`; target: column of what was chosen."""
    likelihood = Likelihood.of(features, target_B)
    number_P = _numbers(start or Head())
    value, slope_BP = likelihood(number_P)
    for _ in range(STEPS):
        curve_PP = slope_BP.T @ slope_BP / len(slope_BP) + PENALTY * np.eye(len(number_P))
        step_P = np.linalg.solve(curve_PP, slope_BP.mean(0) - PENALTY * number_P)
        for _ in range(HALVINGS):
            found, slopes = likelihood(number_P + step_P)
            if found > value:
                break
            step_P /= 2
        else:
            break
        gain, value, slope_BP, number_P = found - value, found, slopes, number_P + step_P
        if gain < GAIN:
            break
    return _head(number_P)


def _numbers(head: Head) -> np.ndarray:
    odds = np.log(head.share / (1 - head.share))
    return np.concatenate([head.choices.weights(), head.likeness.weights(), [odds]]).astype(float)


def _head(number_P: np.ndarray) -> Head:
    F = len(number_P) // 2
    share = round(float(1 / (1 + np.exp(-number_P[-1]))), 4)
    choices, likeness = Logit.of(number_P[:F]), Logit.of(number_P[F:-1])
    return Head(choices=choices, likeness=likeness, share=share)


def fit_head(features: Features, target_B: np.ndarray) -> tuple[Head, dict[str, float]]:
    """The head, and NDCG@10 on the same requests of each that was tried.

    The likeliest mixture stands where its first ten are no worse than those of either part alone;
    else with the least emphasis on the counts under which they are not; else the better part does.
    """
    parts = {"counts alone": COUNTS_ALONE, "similarity alone": SIMILARITY_ALONE}
    figures = {name: _ndcg(head(features), target_B) for name, head in parts.items()}
    least = max(figures.values())
    mixture = likeliest(features, target_B)
    for emphasis in EMPHASES:
        head = mixture.model_copy(update={"emphasis": emphasis})
        name = f"joined, emphasis {emphasis:g}" if emphasis else "joined"
        figures[name] = _ndcg(head(features), target_B)
        if figures[name] >= least:
            return head, figures
    return parts[max(parts, key=figures.__getitem__)], figures


def _ndcg(scores_BI: np.ndarray, target_B: np.ndarray) -> float:
    return float(ndcg(pessimistic_ranks(scores_BI, target_B), 10).mean())
