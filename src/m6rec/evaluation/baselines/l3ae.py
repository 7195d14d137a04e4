"""L3AE: EASE drawn towards what the items' texts say, in closed form, in two stages.

First EASE on the texts. With F the unit text vectors and P₁ = (F Fᵀ + text_ridge I)⁻¹,
C = -P₁ / diag(P₁) by columns, its diagonal 0. Then the B that minimises, with diag(B) = 0,

    ‖X - X B‖² + (ridge - text_weight) ‖B‖² + text_weight ‖B - C‖²

which is B = I + text_weight P C - P diag(γ), P = (XᵀX + ridge I)⁻¹,
γ_j = (1 + text_weight (P C)_jj) / P_jj. text_weight = 0 is EASE. A cold item needs its text alone.

No catalogue × catalogue matrix is built. By Woodbury, with M = (FᵀF + text_ridge I)⁻¹ [D, D] and
q_j = f_jᵀ M f_j, C_ij = f_iᵀ M f_j / (1 - q_j) for i ≠ j, so C is of rank D but for its diagonal;
P is dense among the items with events and 1 / ridge on the diagonal of the others.
Source: Moon et al., LLM-Enhanced Linear Autoencoders for Recommendation (CIKM 2025,
arXiv 2508.13500).

Legend: B requests, H events of a history, I items, A items with events, D width of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from m6rec.data.requests import Requests
from m6rec.evaluation.baselines.acted_on import ActedOn
from m6rec.evaluation.baselines.neighbours import FALLBACK, CoOccurrence, ridge_inverse
from m6rec.evaluation.baselines.text_similarity import checked_vectors, unit_rows


@dataclass(frozen=True)
class TextStage:
    """C in factors: C = (F @ mixed.T) off the diagonal, and 0 on it.

    vectors: F, float32 [I, D]; mixed: float32 [I, D], rows M f_j / (1 - q_j); own: float32 [I],
    q_j / (1 - q_j), what the product has on its diagonal.
    """

    vectors: np.ndarray
    mixed: np.ndarray
    own: np.ndarray


def text_stage(vectors_ID: np.ndarray, text_ridge: float) -> TextStage:
    """EASE on unit text vectors, by Woodbury."""
    f_ID = vectors_ID.astype(np.float64)
    inverse_DD = np.linalg.inv(f_ID.T @ f_ID + text_ridge * np.eye(f_ID.shape[1]))
    mixed_ID = f_ID @ inverse_DD
    q_I = np.einsum("id,id->i", mixed_ID, f_ID)
    left_I = 1 - q_I
    return TextStage(
        vectors=vectors_ID,
        mixed=(mixed_ID / left_I[:, None]).astype(np.float32),
        own=(q_I / left_I).astype(np.float32),
    )


@dataclass(frozen=True)
class L3AE:
    """Scores x B of a history x, newer events weighing more (decay ** age).

    inverse: P among the items with events, float32 [A, A]. gamma: float32 [I]. prior: float32
    [I], a little popularity for histories that nothing is known about.
    """

    name: str
    inverse: np.ndarray
    text: TextStage
    gamma: np.ndarray
    prior: np.ndarray
    acted: ActedOn
    ridge: float
    text_weight: float
    decay: float

    def score(self, requests: Requests) -> np.ndarray:
        codes_BH, weights_BH = self.acted.histories(requests, self.decay)
        x_BI = summed(codes_BH, weights_BH, len(self.acted.item_ids))
        y_BI = x_BI / self.ridge
        y_BI[:, self.acted.codes] = self.acted.weighted_rows(self.inverse, codes_BH, weights_BH)
        text_BI = (y_BI @ self.text.vectors) @ self.text.mixed.T - y_BI * self.text.own
        return np.asarray(x_BI + self.text_weight * text_BI - y_BI * self.gamma + self.prior)


def summed(codes_BH: np.ndarray, weights_BH: np.ndarray, items: int) -> np.ndarray:
    """The histories as rows over the catalogue, float32 [B, I]."""
    row, event = np.nonzero(codes_BH >= 0)
    x_BI = np.zeros((len(codes_BH), items), dtype=np.float32)
    np.add.at(x_BI, (row, codes_BH[row, event]), weights_BH[row, event])
    return x_BI


def l3ae_builder(counted: CoOccurrence, vectors_ID: np.ndarray) -> Callable[..., L3AE]:
    """Builds L3AE for settings; what two settings in a row share is computed once.

    vectors_ID: one finite row per catalogue item, else EvaluationError. `itself` drops the
    constraint diag(B) = 0, for shops where people buy the same again.
    """
    vectors_ID = unit_rows(checked_vectors(vectors_ID, len(counted.acted.item_ids)))
    inverse_of = lru_cache(maxsize=1)(lambda ridge: ridge_inverse(counted, ridge))
    text_of = lru_cache(maxsize=1)(lambda ridge: text_stage(vectors_ID, ridge))

    def build(
        ridge: float = 500.0,
        text_weight: float = 150.0,
        text_ridge: float = 5.0,
        itself: bool = False,
        decay: float = 0.8,
    ) -> L3AE:
        inverse_AA, text = inverse_of(ridge), text_of(text_ridge)
        gamma = np.full(len(vectors_ID), float(ridge))
        if not itself:
            gamma[counted.acted.codes] = _multipliers(inverse_AA, text, counted.acted, text_weight)
        share = counted.popularity / max(float(counted.popularity.max(initial=0)), 1.0)
        return L3AE(
            name="L3AE",
            inverse=inverse_AA.astype(np.float32),
            text=text,
            gamma=gamma.astype(np.float32),
            prior=counted.acted.spread(FALLBACK * share[None])[0],
            acted=counted.acted,
            ridge=ridge,
            text_weight=text_weight,
            decay=decay,
        )

    return build


def _multipliers(
    inverse_AA: np.ndarray, text: TextStage, acted: ActedOn, text_weight: float
) -> np.ndarray:
    """γ of the items with events, float64 [A]: what makes the diagonal of B zero."""
    f_AD, mixed_AD, own_A = (of[acted.codes] for of in (text.vectors, text.mixed, text.own))
    p_A = np.diag(inverse_AA)
    product_A = np.einsum("ad,ad->a", inverse_AA @ f_AD, mixed_AD) - p_A * own_A
    return np.asarray((1 + text_weight * product_A) / p_A)
