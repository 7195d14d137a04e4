"""ItemKNN and EASE: items bought by the same people, from one item × item matrix of counts.

Numpy alone is enough: each user adds one to every pair of their items.

Legend: B requests, I items of the catalogue, A items with events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.acted_on import ActedOn, acted_on, sequences
from m6rec.evaluation.baselines.popularity import popularity_counts

FALLBACK = 1e-4
"""Weight of popularity beside the largest similarity: it orders only what would else be tied."""


@dataclass(frozen=True)
class CoOccurrence:
    """counts: float32 [A, A], users that have both items (the diagonal: that have the item).

    popularity: float32 [A], training events per item.
    """

    counts: np.ndarray
    popularity: np.ndarray
    acted: ActedOn


def co_occurrence(split: Split, who: str = "ItemKNN") -> CoOccurrence:
    """Counts over the training events, each user's items taken once.

    Raises EvaluationError, naming `who`, where the matrix would be too large.
    """
    acted = acted_on(split, who)
    counts_AA = np.zeros((len(acted), len(acted)), dtype=np.float32)
    for _, numbers in sequences(split, acted):
        basket = np.unique(numbers)
        counts_AA[np.ix_(basket, basket)] += 1
    return CoOccurrence(counts_AA, popularity_counts(split)[acted.codes], acted)


@dataclass(frozen=True)
class ItemToItem:
    """Sums the similarity rows of the history, newer events weighing more (decay ** age).

    similarity: float32 [A, A], row = the item that was bought, column = the item to recommend.
    prior: float32 [A], a little popularity, for requests and items that nothing is known about.
    Items without events score 0.
    """

    name: str
    similarity: np.ndarray
    prior: np.ndarray
    acted: ActedOn
    decay: float

    def score(self, requests: Requests) -> np.ndarray:
        history = self.acted.histories(requests, self.decay)
        return self.acted.spread(self.acted.weighted_rows(self.similarity, *history) + self.prior)


def item_to_item(
    name: str, similarity_AA: np.ndarray, popularity: np.ndarray, acted: ActedOn, decay: float
) -> ItemToItem:
    """The model of a similarity, with popularity where it says nothing."""
    share_A = popularity / max(float(popularity.max(initial=0)), 1.0)
    largest = max(float(similarity_AA.max(initial=0)), -float(similarity_AA.min(initial=0)))
    return ItemToItem(
        name=name,
        similarity=similarity_AA.astype(np.float32),
        prior=(FALLBACK * largest * share_A).astype(np.float32),
        acted=acted,
        decay=decay,
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
    users_A = np.diag(counted.counts)
    scale_AA = np.sqrt(np.outer(users_A, users_A)) + shrink
    similarity_AA = np.divide(
        counted.counts, scale_AA, out=np.zeros_like(counted.counts), where=scale_AA > 0
    )
    if not itself:
        np.fill_diagonal(similarity_AA, 0)
    if neighbours < similarity_AA.shape[0]:
        floor_A = np.partition(similarity_AA, -neighbours, axis=1)[:, -neighbours]
        similarity_AA[similarity_AA < floor_A[:, None]] = 0
    return item_to_item("ItemKNN", similarity_AA, counted.popularity, counted.acted, decay)


def ridge_inverse(counted: CoOccurrence, ridge: float) -> np.ndarray:
    """(XᵀX + ridge I)⁻¹, float64 [A, A]: the part of EASE that takes the time."""
    gram_AA = counted.counts.astype(np.float64)
    gram_AA[np.diag_indices_from(gram_AA)] += ridge
    lower_AA = torch.linalg.cholesky(torch.from_numpy(gram_AA))
    return np.asarray(torch.cholesky_inverse(lower_AA).numpy())


def ease(
    counted: CoOccurrence,
    ridge: float = 100.0,
    itself: bool = False,
    decay: float = 1.0,
    inverse_AA: np.ndarray | None = None,
) -> ItemToItem:
    """EASE, the linear autoencoder in closed form: B = -P / diag(P), P = (XᵀX + ridge I)⁻¹.

    `itself` drops the constraint that an item may not recommend itself (plain ridge regression,
    B = I - ridge P). inverse_AA: P, where `ridge_inverse` was called before.
    Source: Steck, Embarrassingly Shallow Autoencoders (WWW 2019).
    """
    inverse_AA = ridge_inverse(counted, ridge) if inverse_AA is None else inverse_AA
    if itself:
        weights_AA = -ridge * inverse_AA
        weights_AA[np.diag_indices_from(weights_AA)] += 1
    else:
        weights_AA = inverse_AA / -np.diag(inverse_AA)
        np.fill_diagonal(weights_AA, 0)
    return item_to_item("EASE", weights_AA, counted.popularity, counted.acted, decay)
