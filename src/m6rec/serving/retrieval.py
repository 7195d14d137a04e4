"""The step that finds candidates: by what people chose next, by words, or by popularity.

Legend: B requests, N candidates, I places of the shelf, K projection width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from m6rec.collaborative.sequences import Histories
from m6rec.data.requests import Requests
from m6rec.serving.candidates import Parts, Similar, entries_of
from m6rec.serving.steps import Clock, Retrieved, Shop, Wanted
from m6rec.stores.vectors.base import Found as Hits
from m6rec.tasks.catalogue import CHOSEN_TIE
from m6rec.tasks.retrieval import NAMED, Queries, less_near
from m6rec.tasks.shelf import choose

ALL, NEAREST = 100_000, 4096
"""Below ALL items every one is looked at for being near something disliked, else so many."""


@dataclass(frozen=True)
class Known:
    """What is known of all requests of a batch. histories: where people chose anything; chosen:
    whether they did."""

    queries: Queries
    histories: Histories | None
    chosen: bool


def retrieve(shop: Shop, wanted: Sequence[Wanted], clock: Clock) -> list[Retrieved]:
    """Candidates of each request with their scores."""
    requests = Requests.of([one.request for one in wanted])
    with clock.step("encode"):
        queries = shop.retriever.queries(requests)
        if shop.scores is None or shop.scores.head is not None:
            _ = queries.vectors  # choices alone seldom ask for them
    found = []
    with clock.step("retrieve"):
        chosen, histories = shop.people.most > 0, None
        if shop.scores is not None and chosen:
            histories = shop.scores.histories(queries.parts)
        known = Known(queries, histories, chosen)
        for row, one in enumerate(wanted):
            found.append(_retrieve_one(shop, one, known, row))
    return found


def _retrieve_one(shop: Shop, one: Wanted, known: Known, row: int) -> Retrieved:
    queries, names = known.queries, known.queries.named[row]
    if one.given is not None:
        return _of_given(shop, one.given, known, row)
    blank = bool(queries.is_blank[row])
    near_I = _near(shop, queries, row) if blank and names and known.chosen else None
    if blank and (popular := _popular(shop, one, near_I)):
        return Retrieved("popularity", popular)
    if known.histories is not None and (found := _by_choices(shop, one, known, row)):
        return found
    vector_K = queries.vectors[row]
    query_K = np.append(vector_K, np.float32(1)) if shop.boost else vector_K
    hits = shop.index.search(query_K, one.retrieve, one.where)
    return Retrieved("similarity", _in_order(shop, hits, one.retrieve, names))


def _by_choices(shop: Shop, one: Wanted, known: Known, row: int) -> Retrieved | None:
    """By what people chose next, joined with the towers where a head was fitted; None where the
    history says nothing that counts or words could read."""
    scores, histories = shop.scores, known.histories
    assert scores is not None and histories is not None
    entries = entries_of(histories, row)
    similar = None if scores.head is None else _similar(shop, one, known, row)
    more = np.zeros(0, dtype=np.int64) if similar is None else similar.place
    sampled = None
    if similar is not None and similar.nearest is not None:
        more, sampled = more[: similar.nearest], more[similar.nearest :]
    parts = scores.parts(entries, one.retrieve, one.where, more, sampled)
    if similar is None and not parts.score.any():
        return None
    score_N, parts = scores.joined(parts, entries, similar, shop.people)
    if similar is None:
        score_N += CHOSEN_TIE * shop.people.tie(parts.place)
    score_N = _less_refused(shop, score_N, parts, known.queries.named[row])
    passes_I = shop.shelf.passing(one.where)
    chosen = choose(score_N, one.retrieve, passes_I, parts.place)
    return Retrieved("chosen", _named(shop, *chosen), parts)


def _similar(shop: Shop, one: Wanted, known: Known, row: int) -> Similar:
    """Similarities for the head, which has a number of its own for new items."""
    assert shop.scores is not None
    vector_K = known.queries.vectors[row]
    query_K = np.append(vector_K, np.float32(0)) if shop.boost else vector_K
    if not shop.scores.is_large():
        hits = shop.index.compare(query_K)
        place_N = shop.scores.places(hits.ids)
        score_N = hits.scores[place_N >= 0]
        place_N = place_N[place_N >= 0]
        score_N = score_N + shop.people.tie(place_N)
        if not len(score_N):  # the first vectors are still to come
            return Similar(place_N, score_N, 0.0, 1.0)
        return Similar(place_N, score_N, float(score_N.mean()), float(score_N.std()))
    hits = shop.index.search(query_K, one.retrieve, one.where)
    place_N = shop.shelf.places(hits.ids)
    sampled, vectors_SK = shop.scores.sample(shop.retriever, shop.item_vectors)
    spread_S, place_S = vectors_SK @ vector_K, shop.shelf.places(sampled.tolist())
    found, there = place_N >= 0, place_S >= 0
    return Similar(
        np.concatenate([place_N[found], place_S[there]]),
        np.concatenate([hits.scores[found], spread_S[there]]),
        float(spread_S.mean()),
        float(spread_S.std()),
        partial(shop.index.among, query_K),
        int(found.sum()),
    )


def _less_refused(
    shop: Shop, score_N: np.ndarray, parts: Parts, names: frozenset[str]
) -> np.ndarray:
    """What is disliked by name comes last."""
    if not names or not len(score_N):
        return score_N
    refused_N = shop.titles.named(parts.place, names)
    return np.asarray(score_N - (NAMED + float(np.ptp(score_N))) * refused_N)


def _of_given(shop: Shop, given: Sequence[str], known: Known, row: int) -> Retrieved:
    """Given items that are there, best first."""
    there = [item_id for item_id in dict.fromkeys(given) if item_id in shop.shown]
    if not there:
        return Retrieved("similarity", [])
    names = known.queries.named[row]
    scores = shop.item_vectors(there) @ known.queries.vectors[row]
    scores = scores - NAMED * shop.titles.named(shop.shelf.places(there), names)
    order = np.argsort(-scores, kind="stable").tolist()
    return Retrieved("similarity", [(there[n], float(scores[n])) for n in order])


def _popular(shop: Shop, one: Wanted, near_I: np.ndarray | None) -> list[tuple[str, float]]:
    """What most people chose, with its share of all choices; nothing where nothing was chosen.

    near: similarity to what is disliked, which is taken off.
    """
    if not shop.people.most:
        return []
    counts_I = shop.people.by_place.copy()
    share_I = counts_I / counts_I.sum()
    if near_I is not None:
        share_I = less_near(share_I[: len(near_I)], near_I[: len(share_I)])
    passes_I = shop.shelf.passing(one.where)
    return _named(shop, *choose(share_I, one.retrieve, passes_I))


def _near(shop: Shop, queries: Queries, row: int) -> np.ndarray:
    """Similarity of the items that are nearest to what a user is against, 1 for what they name; 0
    for all others: float32 [I]."""
    query_K = queries.disliked[row]
    query_K = np.append(query_K, np.float32(0)) if shop.boost else query_K
    size = len(shop.index)
    hits = shop.index.search(query_K, NEAREST if size > ALL else max(size, 1))
    near_I = np.zeros(len(shop.shelf) + 1, dtype=np.float32)  # the last one: what has just gone
    place_N = shop.shelf.places(hits.ids)
    refused_N = shop.titles.named(place_N, queries.named[row])
    near_I[place_N] = np.maximum(hits.scores, refused_N)
    near_I[shop.shelf.places(queries.named[row])] = 1.0
    return near_I[:-1]


def _in_order(shop: Shop, hits: Hits, k: int, names: frozenset[str]) -> list[tuple[str, float]]:
    """Hits of the index; of items whose texts are equal, the one that people choose comes first.
    names: of what is disliked."""
    place_N = shop.shelf.places(hits.ids)
    there = place_N >= 0
    place_N, score_N = place_N[there], hits.scores[there]
    score_N = score_N - np.float32(NAMED) * shop.titles.named(place_N, names)
    score_N = score_N + shop.people.tie(place_N)
    return _named(shop, *choose(score_N, k, place_N=place_N))


def _named(shop: Shop, place_K: np.ndarray, score_K: np.ndarray) -> list[tuple[str, float]]:
    ids = shop.shelf.ids
    found = zip(place_K.tolist(), score_K.tolist(), strict=True)
    return [(ids[place], score) for place, score in found if ids[place]]
