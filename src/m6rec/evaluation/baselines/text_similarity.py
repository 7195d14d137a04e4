"""What reads like the last item, or like the recent ones: nothing is trained.

The item vectors come from outside (any text encoder): evaluation loads no models.

Legend: B requests, H events of a history, I items, D vector width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.catalogue import liked_codes
from m6rec.evaluation.result import EvaluationError


def decay_weights(codes_BH: np.ndarray, decay: float) -> np.ndarray:
    """decay ** age of each known history event, float32 [B, H]; 0 where there is none.

    `codes_BH`: catalogue positions, newest last, -1 where empty or unknown. The newest known
    event has age 0, so `decay = 0` keeps that one alone.
    """
    known = codes_BH >= 0
    age = np.cumsum(known[:, ::-1], axis=1)[:, ::-1] - 1
    return np.where(known, np.power(decay, np.maximum(age, 0)), 0.0).astype(np.float32)


@dataclass(frozen=True)
class TextSimilarity:
    """Cosine between an item's vector and the decayed sum of the history's vectors.

    vectors: float32 [I, D], rows of length 1 in catalogue order.
    """

    name: str
    item_ids: list[str]
    vectors: np.ndarray
    decay: float
    max_history: int

    def score(self, requests: Requests) -> np.ndarray:
        codes_BH = liked_codes(requests, self.item_ids, self.max_history)
        weights_BH = decay_weights(codes_BH, self.decay)
        user_BD = np.zeros((len(requests), self.vectors.shape[1]), dtype=np.float32)
        for codes_B, weights_B in zip(codes_BH.T, weights_BH.T, strict=True):
            user_BD += weights_B[:, None] * self.vectors[codes_B]
        return np.asarray(unit_rows(user_BD) @ self.vectors.T)


def unit_rows(matrix: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays one."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(length > 0, length, 1)).astype(np.float32)


def text_similarity(split: Split, vectors_ID: np.ndarray, decay: float = 0.0) -> TextSimilarity:
    """Similarity to the last item (`decay = 0`) or to the decayed mean of the history.

    Raises EvaluationError where `vectors_ID` does not have one finite row per catalogue item.
    """
    vectors_ID = checked_vectors(vectors_ID, split.items.height)
    return TextSimilarity(
        name="text similarity, last item" if decay == 0 else "text similarity, decayed mean",
        item_ids=split.items["item_id"].to_list(),
        vectors=unit_rows(vectors_ID),
        decay=decay,
        max_history=split.card.max_history,
    )


def checked_vectors(vectors_ID: np.ndarray, items: int) -> np.ndarray:
    """The vectors as they are. Raises EvaluationError unless there is a finite row per item."""
    if vectors_ID.ndim != 2 or vectors_ID.shape[0] != items:
        raise EvaluationError(
            f"item vectors have the shape {vectors_ID.shape}; right is one row for each of the "
            f"{items} catalogue items"
        )
    if not np.isfinite(vectors_ID).all():
        raise EvaluationError("item vectors hold NaN or infinite values; every one must be finite")
    return vectors_ID
