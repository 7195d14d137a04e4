"""A catalogue that is asked: every item scored for every request, by words and by choices.

Legend: B requests, I items of the catalogue, K projection width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from m6rec.collaborative.head import (
    Features,
    Head,
    chosen_feature,
    popularity_feature,
    repeat_features,
    similarity_feature,
)
from m6rec.collaborative.score import CollaborativeScore
from m6rec.collaborative.sequences import Histories
from m6rec.data.requests import Requests
from m6rec.tasks.retrieval import NAMED, TIE_BREAK, Queries, Retriever, less_near

BOOSTS = tuple(round(0.01 * step, 2) for step in range(41))
"""Boosts of new items that are tried, in units of cosine."""
HEAD_BOOSTS = tuple(round(0.25 * step, 2) for step in range(33))
"""The same in units of the head's logit."""


CHOSEN_TIE = 0.1
"""What popularity adds to the score of choices, in shares of what it adds to a similarity: more
than its rounding error, less than any difference."""


@dataclass(frozen=True)
class Chosen:
    """What people chose, beside a retriever: the score, and the head that joins both.

    head: None where nothing was fitted; then the score alone orders. people_I: how many chose each
    item; new_I: bool, items that the log does not know.
    """

    score: CollaborativeScore
    head: Head | None
    people_I: np.ndarray
    new_I: np.ndarray


class Catalogue:
    """A retriever over one catalogue: every item's vector is computed once.

    texts, item_ids and titles are in the order of the score columns. prior: added to the similarity
    with each item, float [I]; see `item_prior`. chosen: what people chose next; None: words alone.
    """

    def __init__(
        self,
        retriever: Retriever,
        texts: Sequence[str],
        item_ids: Sequence[str],
        name: str,
        prior: np.ndarray | None = None,
        titles: Sequence[str | None] = (),
        chosen: Chosen | None = None,
    ) -> None:
        self.retriever, self.name, self.titles, self.chosen = retriever, name, titles, chosen
        self.item_ids = list(item_ids)
        self.vectors_IK = retriever.encode_items(texts, item_ids)
        self.prior_I = np.zeros(len(self.item_ids), np.float32) if prior is None else prior

    @property
    def gives_probabilities(self) -> bool:
        """Whether scores are probabilities that an item is chosen next."""
        return self.chosen is not None and self.chosen.head is not None

    @cached_property
    def places(self) -> dict[str | None, int]:
        """Column of each item."""
        return {item_id: column for column, item_id in enumerate(self.item_ids)}

    def score(self, requests: Requests, popularity_I: np.ndarray | None = None) -> np.ndarray:
        """How well every item fits every request, float32 [B, I].

        The score of what people chose next where there is a log; after tuning the probability of
        the head, which joins it with the similarity; without a log the similarity (see `Queries`).
        Where popularity is given and tells, it answers users who are for nothing, with its share.
        What is disliked by name comes last.
        """
        queries = self.retriever.queries(requests)
        rows = np.zeros(0, dtype=np.int64)
        if popularity_I is not None and popularity_I.any():
            rows = np.flatnonzero(queries.is_blank)
        scores_BI = self._joined(queries, rows)
        named = [(row, self._named(names)) for row, names in enumerate(queries.named) if names]
        for row, columns in named:
            own_I = scores_BI[row]
            own_I[columns] -= NAMED + own_I.max() - own_I.min() if self.chosen else NAMED
        if popularity_I is not None and rows.size:
            scores_BI[rows] = popularity_I / popularity_I.sum()
            against = rows[queries.is_against[rows]]
            if against.size:
                near_BI = queries.disliked[against] @ self.vectors_IK.T
                for place, row in enumerate(against.tolist()):
                    near_BI[place, self._named(queries.named[row])] = 1.0
                scores_BI[against] = less_near(popularity_I / popularity_I.sum(), near_BI)
        return scores_BI

    def _joined(self, queries: Queries, popular: np.ndarray) -> np.ndarray:
        """popular: rows that popularity answers, so that nobody is encoded for them."""
        if self.chosen is None:
            return self._similarity(queries)
        histories = self._histories(queries)
        if self.chosen.head is not None:
            return self.chosen.head.probabilities(self._features(histories, queries))
        scores_BI = self.chosen.score(histories)
        silent = ~scores_BI.any(axis=1)  # nothing that the score could read
        scores_BI[~silent] += CHOSEN_TIE * self.prior_I
        rows = np.setdiff1d(np.flatnonzero(silent), popular)
        if rows.size:
            scores_BI[rows] = self._similarity(queries.take(rows))
        return scores_BI

    def _similarity(self, queries: Queries) -> np.ndarray:
        """Of every request to every item, float32 [B, I]."""
        return np.asarray(queries.vectors @ self.vectors_IK.T + self.prior_I)

    def histories(self, requests: Requests) -> Histories:
        """What the requests say of items, weighted as the score wants it."""
        return self._histories(self.retriever.queries(requests))

    def _histories(self, queries: Queries) -> Histories:
        assert self.chosen is not None
        decay = self.chosen.score.decay
        return Histories.of_parts(queries.parts, self.chosen.score.codes, decay)

    def features(self, requests: Requests) -> Features:
        """What the head reads."""
        queries = self.retriever.queries(requests)
        return self._features(self._histories(queries), queries)

    def _features(self, histories: Histories, queries: Queries) -> Features:
        assert self.chosen is not None
        score, settings = self.chosen.score, self.chosen.score.settings
        return Features(
            chosen_feature(score(histories), settings.shrinkage),
            similarity_feature(self._similarity(queries)),
            popularity_feature(self.chosen.people_I),
            *repeat_features(histories, len(self.item_ids)),
            self.chosen.new_I.astype(np.float32),
        )

    def _named(self, names: frozenset[str]) -> list[int]:
        """Columns of items that go by one of these ids or titles."""
        by_id = {self.places[name] for name in names if name in self.places}
        return sorted(by_id.union(*(self._by_title.get(name, ()) for name in names)))

    @cached_property
    def _by_title(self) -> dict[str, list[int]]:
        """Columns by title in lower case."""
        found: dict[str, list[int]] = {}
        for column, title in enumerate(self.titles):
            found.setdefault((title or "").strip().lower(), []).append(column)
        return found


def item_prior(
    popularity_I: np.ndarray | None, new_I: np.ndarray, new_item_boost: float
) -> np.ndarray:
    """What is added to the similarity with each item, float32 [I].

    popularity: how often each was chosen; of items whose texts are equal (one thing, listed
    twice), the one that people choose comes first, and no difference in text is outweighed.
    new: items that training did not know. The log of the past can not say how often those will be
    chosen; the valid part tells what they deserve (collaborative/dial.py).
    """
    prior_I = new_item_boost * new_I.astype(np.float32)
    if popularity_I is not None:
        prior_I = prior_I + popularity_tie(popularity_I, float(popularity_I.max(initial=0)))
    return np.asarray(prior_I, dtype=np.float32)


def popularity_tie(popularity_N: np.ndarray, most: float) -> np.ndarray:
    """What popularity adds to a similarity, float32 [N]. most: of the most popular item."""
    return np.asarray(TIE_BREAK * (popularity_N / max(most, 1.0)).astype(np.float32))
