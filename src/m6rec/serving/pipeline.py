"""From a request to an answer: retrieve, filter, rank, diversify. Every step can be looked at.

Legend: B requests, N candidates, K projection width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from m6rec.data.requests import Requests
from m6rec.records import Candidate, Request
from m6rec.serving.candidates import PartsOfItem
from m6rec.serving.retrieval import retrieve
from m6rec.serving.steps import Clock, Placed, Retrieved, Served, Shop, Wanted

POOL = 5
"""Diversity chooses among so many times the items that are wanted."""


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
            order(shop, one, some, chance_N, clock)
            for one, some, chance_N in zip(wanted, found, chances(), strict=True)
        ]

    return end


def order(
    shop: Shop,
    one: Wanted,
    found: Retrieved,
    chance_N: np.ndarray | None,
    clock: Clock,
) -> Served:
    """The answer to one request from its candidates, and their probabilities where it is ranked."""
    by, candidates = found.by, found.candidates
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
    parts = _parts_of(shop, found, [item_id for item_id, _ in candidates[: one.k]])
    placed = [
        Placed(item_id, score, likeness.get(item_id), chance.get(item_id), *part)
        for (item_id, score), part in zip(candidates[: one.k], parts, strict=True)
    ]
    return Served(placed, by, steps, clock.seconds)


def _parts_of(shop: Shop, found: Retrieved, ids: Sequence[str]) -> list[PartsOfItem]:
    """What the scores of items were made of that are among the candidates."""
    if found.parts is None or not len(found.parts.place):
        return [PartsOfItem()] * len(ids)
    return found.parts.at(shop.shelf.places(ids))


def begin_rank(
    shop: Shop,
    wanted: Sequence[Wanted],
    found: Sequence[Retrieved],
    ranks: Sequence[bool],
    clock: Clock,
) -> Callable[[], list[np.ndarray | None]]:
    """What gives the probability of a yes for each candidate, float32 [N]; None where nothing is
    ranked."""
    pairs = zip(ranks, found, strict=True)
    asked = [n for n, (yes, some) in enumerate(pairs) if yes and some.candidates]
    out: list[np.ndarray | None] = [None] * len(wanted)
    if not asked or shop.ranker is None:
        return lambda: out
    requests = [
        Request(
            history=wanted[n].request.history,
            user_id=wanted[n].request.user_id,
            timestamp=wanted[n].request.timestamp,
            candidates=tuple(Candidate(item_id) for item_id, _ in found[n].candidates),
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
