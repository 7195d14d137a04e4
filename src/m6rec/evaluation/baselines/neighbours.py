"""ItemKNN and EASE: items bought by the same people, from one item × item matrix of counts.

Numpy alone is enough: each user adds one to every pair of their items. The matrix is dense, so a
catalogue of more than MAX_ITEMS is refused rather than left to exhaust the memory.

Legend: B requests, H events of a history, I items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.popularity import popularity_counts
from m6rec.evaluation.baselines.text_similarity import decay_weights
from m6rec.evaluation.catalogue import catalogue_codes, chosen_events
from m6rec.evaluation.result import EvaluationError

MAX_ITEMS = 20_000
"""4 bytes × MAX_ITEMS² = 1.6 GB."""

FALLBACK = 1e-4
"""Weight of popularity beside the largest similarity: it orders only what would else be tied."""


@dataclass(frozen=True)
class CoOccurrence:
    """counts: float32 [I, I], users that have both items (the diagonal: that have the item).

    popularity: float32 [I], training events per item.
    """

    counts: np.ndarray
    popularity: np.ndarray
    item_ids: list[str]
    max_history: int


def co_occurrence(split: Split) -> CoOccurrence:
    """Counts over the training events, each user's items taken once."""
    items = split.items.height
    if items > MAX_ITEMS:
        raise EvaluationError(
            f"ItemKNN and EASE keep a dense matrix of items; {items:,} items are more than "
            f"{MAX_ITEMS:,}, compare with popularity or SASRec instead"
        )
    counts_II = np.zeros((items, items), dtype=np.float32)
    for codes in _baskets(split):
        counts_II[np.ix_(codes, codes)] += 1
    return CoOccurrence(
        counts=counts_II,
        popularity=popularity_counts(split),
        item_ids=split.items["item_id"].to_list(),
        max_history=split.card.max_history,
    )


def _baskets(split: Split) -> list[np.ndarray]:
    """Each user's distinct training items as catalogue positions."""
    events = chosen_events(split)
    codes = catalogue_codes(events["item_id"], split.items["item_id"])
    pairs = pl.DataFrame({"user": events["user_id"], "code": codes}).filter(pl.col("code") >= 0)
    baskets = pairs.unique(maintain_order=True).group_by("user", maintain_order=True).agg("code")
    return [basket.to_numpy() for basket in baskets["code"]]


@dataclass(frozen=True)
class ItemToItem:
    """Sums the similarity rows of the history, newer events weighing more (decay ** age).

    similarity: float32 [I, I], row = the item that was bought, column = the item to recommend.
    prior: float32 [I], a little popularity, for requests and items that nothing is known about.
    """

    name: str
    similarity: np.ndarray
    prior: np.ndarray
    item_ids: list[str]
    decay: float
    max_history: int

    def score(self, requests: Requests) -> np.ndarray:
        codes_BH, _ = requests.history_codes(self.item_ids, self.max_history)
        row, event = np.nonzero(codes_BH >= 0)
        history_BI = np.zeros((len(requests), len(self.item_ids)), dtype=np.float32)
        weights_BH = decay_weights(codes_BH, self.decay)
        np.add.at(history_BI, (row, codes_BH[row, event]), weights_BH[row, event])
        return np.asarray(history_BI @ self.similarity + self.prior)


def _model(name: str, similarity_II: np.ndarray, counted: CoOccurrence, decay: float) -> ItemToItem:
    share_I = counted.popularity / max(float(counted.popularity.max()), 1.0)
    return ItemToItem(
        name=name,
        similarity=similarity_II.astype(np.float32),
        prior=(FALLBACK * float(np.abs(similarity_II).max()) * share_I).astype(np.float32),
        item_ids=counted.item_ids,
        decay=decay,
        max_history=counted.max_history,
    )


def item_knn(
    counted: CoOccurrence,
    shrink: float = 10.0,
    neighbours: int = 100,
    itself: bool = False,
    decay: float = 1.0,
) -> ItemToItem:
    """Cosine with shrinkage, n_ij / (sqrt(n_i n_j) + shrink), the nearest neighbours of an item.

    `itself` keeps an item as its own neighbour, for shops where people buy the same again.
    Source: Deshpande & Karypis (TOIS 2004); shrinkage as in Ferrari Dacrema et al. (RecSys 2019).
    """
    users_I = np.diag(counted.counts)
    scale_II = np.sqrt(np.outer(users_I, users_I)) + shrink
    similarity_II = np.divide(
        counted.counts, scale_II, out=np.zeros_like(counted.counts), where=scale_II > 0
    )
    if not itself:
        np.fill_diagonal(similarity_II, 0)
    if neighbours < similarity_II.shape[0]:
        floor_I = np.partition(similarity_II, -neighbours, axis=1)[:, -neighbours]
        similarity_II[similarity_II < floor_I[:, None]] = 0
    return _model("ItemKNN", similarity_II, counted, decay)


def ridge_inverse(counted: CoOccurrence, ridge: float) -> np.ndarray:
    """(XᵀX + ridge I)⁻¹, float64 [I, I]: the part of EASE that takes the time."""
    gram_II = counted.counts.astype(np.float64)
    gram_II[np.diag_indices_from(gram_II)] += ridge
    return np.linalg.inv(gram_II)


def ease(
    counted: CoOccurrence,
    ridge: float = 100.0,
    itself: bool = False,
    decay: float = 1.0,
    inverse_II: np.ndarray | None = None,
) -> ItemToItem:
    """EASE, the linear autoencoder in closed form: B = -P / diag(P), P = (XᵀX + ridge I)⁻¹.

    `itself` drops the constraint that an item may not recommend itself (plain ridge regression,
    B = I - ridge P). inverse_II: P, where `ridge_inverse` was called before.
    Source: Steck, Embarrassingly Shallow Autoencoders (WWW 2019).
    """
    inverse_II = ridge_inverse(counted, ridge) if inverse_II is None else inverse_II
    if itself:
        weights_II = np.eye(len(inverse_II)) - ridge * inverse_II
    else:
        weights_II = inverse_II / -np.diag(inverse_II)
        np.fill_diagonal(weights_II, 0)
    return _model("EASE", weights_II, counted, decay)
