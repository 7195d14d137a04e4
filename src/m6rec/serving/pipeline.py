"""From a request to an answer: retrieve, filter, rank, diversify. Every step can be looked at.

Legend: B requests, N candidates, K projection width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from m6rec.data.requests import Requests
from m6rec.offers import Filter
from m6rec.records import Candidate, Request
from m6rec.serving.known import Shown
from m6rec.serving.ranking import FastRanker
from m6rec.stores.vectors.base import Found as Hits
from m6rec.stores.vectors.base import VectorIndex
from m6rec.tasks.catalogue import item_prior
from m6rec.tasks.retrieval import NAMED, Queries, Retriever, less_near
from m6rec.tasks.shelf import Shelf, choose

EVERYTHING = Filter()
NEAREST = 4096
"""Items that are looked at for being near something disliked."""
POOL = 5
"""Diversity chooses among so many times the items that are wanted."""


@dataclass(frozen=True)
class Wanted:
    """What one request asks for.

    retrieve: candidates that are fetched; where: which may be; given: candidates by id, instead of
    retrieval. rank: whether a tuned ranker orders them. diversity: 0 is the order of the scores,
    1 as different from each other as can be (maximal marginal relevance).
    """

    request: Request
    k: int = 10
    retrieve: int = 500
    where: Filter = EVERYTHING
    given: tuple[str, ...] | None = None
    rank: bool = True
    diversity: float = 0.0


@dataclass(frozen=True)
class Placed:
    """An item of an answer. score: what it was ordered by; the others where they were computed."""

    item_id: str
    score: float
    similarity: float | None = None
    probability: float | None = None


@dataclass
class Served:
    """An answer. by: what the score is. steps: candidates after each step, best first."""

    placed: list[Placed]
    by: str
    steps: dict[str, list[tuple[str, float]]]
    seconds: dict[str, float] = field(default_factory=dict)


class Shop(Protocol):
    """What the steps need of an opened model (serving/live.py)."""

    ranker: FastRanker | None
    shelf: Shelf
    shown: dict[str, Shown]

    @property
    def retriever(self) -> Retriever: ...
    @property
    def index(self) -> VectorIndex: ...
    @property
    def boost(self) -> float: ...
    def popularity(self) -> np.ndarray: ...
    def item_vectors(self, item_ids: Sequence[str]) -> np.ndarray: ...


class Clock:
    """Seconds of each step; of a batch, each request has the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times what is inside."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def begin(shop: Shop, wanted: Sequence[Wanted]) -> Callable[[], list[Served]]:
    """What is left once texts are read: the network, and the order. One thread at a time may begin;
    what is returned gives the answers in the order of the requests, and may run beside."""
    if not wanted:
        return list
    clock = Clock()
    found = retrieve(shop, wanted, clock)
    ranks = [w.rank and shop.ranker is not None for w in wanted]
    chances = begin_rank(shop, wanted, found, ranks, clock)

    def end() -> list[Served]:
        return [
            order(shop, one, by, candidates, chance_N, clock)
            for one, (by, candidates), chance_N in zip(wanted, found, chances(), strict=True)
        ]

    return end


def order(
    shop: Shop,
    one: Wanted,
    by: str,
    candidates: list[tuple[str, float]],
    chance_N: np.ndarray | None,
    clock: Clock,
) -> Served:
    """The answer to one request from its candidates, and their probabilities where it is ranked."""
    likeness = dict(candidates) if by == "similarity" else {}
    steps = {"retrieve": candidates}
    if chance_N is not None:
        best_first = np.argsort(-chance_N, kind="stable").tolist()
        ids = [candidates[n][0] for n in best_first]
        candidates = list(zip(ids, chance_N[best_first].tolist(), strict=True))
        by, steps = "probability", {**steps, "rank": candidates}
    chance = dict(candidates) if by == "probability" else {}
    if one.diversity > 0 and len(candidates) > 1:
        with clock.step("diversify"):
            candidates = diversify(shop, candidates[: POOL * one.k], one.k, one.diversity)
        steps["diversify"] = candidates
    placed = [
        Placed(item_id, score, likeness.get(item_id), chance.get(item_id))
        for item_id, score in candidates[: one.k]
    ]
    return Served(placed, by, steps, clock.seconds)


def retrieve(
    shop: Shop, wanted: Sequence[Wanted], clock: Clock
) -> list[tuple[str, list[tuple[str, float]]]]:
    """Candidates of each request with their scores, and what these are."""
    with clock.step("encode"):
        queries = shop.retriever.queries(Requests.of([one.request for one in wanted]))
    counts_I = shop.popularity()
    tie_I = item_prior(counts_I, np.zeros(len(counts_I), dtype=bool), 0.0)
    found: list[tuple[str, list[tuple[str, float]]]] = []
    for row, (one, vector_K) in enumerate(zip(wanted, queries.vectors, strict=True)):
        with clock.step("retrieve"):
            names = queries.named[row]
            if one.given is not None:
                found.append(("similarity", _of_given(shop, one.given, vector_K, names)))
                continue
            near_I = _near(shop, queries, row) if names and counts_I.any() else None
            if queries.blank_R[row] and (popular := _popular(shop, one, counts_I, near_I)):
                found.append(("popularity", popular))
                continue
            query_K = np.append(vector_K, np.float32(1)) if shop.boost else vector_K
            hits = shop.index.search(query_K, one.retrieve, one.where)
            score_N = hits.scores - NAMED * _refused(shop, hits.ids, names)
            hits = Hits(hits.ids, score_N.astype(np.float32))
            found.append(("similarity", _in_order(shop, hits, one.retrieve, tie_I)))
    return found


def _popular(
    shop: Shop, one: Wanted, counts_I: np.ndarray, near_I: np.ndarray | None
) -> list[tuple[str, float]]:
    """What most people chose, with its share of all choices; nothing where nothing was chosen.

    near: similarity to what is disliked, which is taken off.
    """
    if not counts_I.any():
        return []
    share_I = counts_I / counts_I.sum()
    if near_I is not None:
        share_I = less_near(share_I, near_I[: len(share_I)])
    passes_I = shop.shelf.passing(one.where)
    return _named(shop, *choose(share_I, one.retrieve, passes_I))


def _near(shop: Shop, queries: Queries, row: int) -> np.ndarray:
    """Similarity of the items that are nearest to what a user is against, 1 for what they name; 0
    for all others: float32 [I]."""
    query_K = queries.disliked_RK[row]
    query_K = np.append(query_K, np.float32(0)) if shop.boost else query_K
    hits = shop.index.search(query_K, NEAREST)
    near_I = np.zeros(len(shop.shelf) + 1, dtype=np.float32)  # the last one: what has just gone
    refused_N = _refused(shop, hits.ids, queries.named[row])
    near_I[shop.shelf.places(hits.ids)] = np.maximum(hits.scores, refused_N)
    near_I[shop.shelf.places(queries.named[row])] = 1.0
    return near_I[:-1]


def _refused(shop: Shop, ids: Sequence[str], names: frozenset[str]) -> np.ndarray:
    """Whether items go by one of these ids or titles: float32 [N] of 0 and 1."""
    if not names:
        return np.zeros(len(ids), dtype=np.float32)
    shown = [shop.shown.get(item_id) for item_id in ids]  # None: it has just gone
    titles = ["" if one is None else (one.title or "").strip().lower() for one in shown]
    called = zip(ids, titles, strict=True)
    return np.array([not names.isdisjoint(pair) for pair in called], dtype=np.float32)


def _in_order(shop: Shop, hits: Hits, k: int, tie_I: np.ndarray) -> list[tuple[str, float]]:
    """Hits of the index; of items whose texts are equal, the one that people choose comes first."""
    place_N = shop.shelf.places(hits.ids)
    there = place_N >= 0
    place_N, score_N = place_N[there], hits.scores[there]
    tie_N = np.append(tie_I, np.float32(0))[np.minimum(place_N, len(tie_I))]
    return _named(shop, *choose(score_N + tie_N, k, place_N=place_N))


def _named(shop: Shop, place_K: np.ndarray, score_K: np.ndarray) -> list[tuple[str, float]]:
    ids = shop.shelf.ids
    found = zip(place_K.tolist(), score_K.tolist(), strict=True)
    return [(ids[place], score) for place, score in found if ids[place]]


def _of_given(
    shop: Shop, given: Sequence[str], vector_K: np.ndarray, names: frozenset[str]
) -> list[tuple[str, float]]:
    there = [item_id for item_id in dict.fromkeys(given) if item_id in shop.shown]
    if not there:
        return []
    scores = shop.item_vectors(there) @ vector_K - NAMED * _refused(shop, there, names)
    order = np.argsort(-scores, kind="stable").tolist()
    return [(there[n], float(scores[n])) for n in order]


def begin_rank(
    shop: Shop,
    wanted: Sequence[Wanted],
    found: Sequence[tuple[str, list[tuple[str, float]]]],
    ranks: Sequence[bool],
    clock: Clock,
) -> Callable[[], list[np.ndarray | None]]:
    """What gives the probability of a yes for each candidate, float32 [N]; None where nothing is
    ranked."""
    asked = [n for n, (yes, (_, some)) in enumerate(zip(ranks, found, strict=True)) if yes and some]
    out: list[np.ndarray | None] = [None] * len(wanted)
    if not asked or shop.ranker is None:
        return lambda: out
    requests = [
        Request(
            history=wanted[n].request.history,
            user_id=wanted[n].request.user_id,
            timestamp=wanted[n].request.timestamp,
            candidates=tuple(Candidate(item_id) for item_id, _ in found[n][1]),
        )
        for n in asked
    ]
    with clock.step("rank"):
        network = shop.ranker.begin(Requests.of(requests))

    def end() -> list[np.ndarray | None]:
        with clock.step("rank"):
            chances = network()
        ends = np.cumsum([len(request.candidates) for request in requests])
        for n, part in zip(asked, np.split(chances, ends[:-1]), strict=True):
            out[n] = part
        return out

    return end


def diversify(
    shop: Shop, candidates: Sequence[tuple[str, float]], k: int, diversity: float
) -> list[tuple[str, float]]:
    """k candidates by maximal marginal relevance (doi 10.1145/290941.291025).

    Each next one has the most of (1 - diversity) · relevance - diversity · likeness to the nearest
    that was chosen; relevance is the score, from 0 for the last candidate to 1 for the first.
    """
    ids = [item_id for item_id, _ in candidates]
    score_N = np.array([score for _, score in candidates])
    span = float(score_N.max() - score_N.min()) or 1.0
    relevance_N = (score_N - score_N.min()) / span
    vectors_NK = shop.item_vectors(ids)
    nearest_N = np.full(len(ids), -1.0)
    left = np.ones(len(ids), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(k, len(ids)):
        gain_N = (1 - diversity) * relevance_N - diversity * nearest_N
        best = int(np.where(left, gain_N, -np.inf).argmax())
        chosen.append(best)
        left[best] = False
        nearest_N = np.maximum(nearest_N, vectors_NK @ vectors_NK[best])
    return [candidates[n] for n in chosen]
