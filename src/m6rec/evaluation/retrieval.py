"""Retrieval is judged by full ranking: every request ranks the whole catalogue, block by block.

Sampled metrics (the target against a few drawn items) are not offered: they do not even keep the
order of models (Krichene & Rendle, KDD 2020).

Legend: R requests, B requests of a block, I items, K cut-offs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.catalogue import catalogue_codes
from m6rec.evaluation.result import EvaluationError, Measures, Result, mean_measures
from m6rec.metrics import ranking
from m6rec.metrics.bootstrap import DEFAULT, Estimate, Resampling
from m6rec.metrics.calibration import copc, promised_hits, reliability

Part = Literal["train", "valid", "test"]
CUTOFFS = (1, 3, 5, 10, 50, 100)
PROMISED = 10
"""Length of the list whose probability is compared with its hit rate."""
BLOCK_CELLS = 8_000_000
"""Most scores held at once (32 MB as float32), whatever the catalogue's size."""


class RetrievalModel(Protocol):
    """Scores the whole catalogue for each request: higher is better, any scale.

    One with a true `gives_probabilities` gives those of being chosen next, and is judged by them.
    """

    @property
    def name(self) -> str: ...

    def score(self, requests: Requests) -> np.ndarray:
        """float32 [B, I], columns in the order of the split's items; -inf is allowed, NaN not."""
        ...


@dataclass(frozen=True)
class Ranked:
    """ranks: int [R]; listed: k -> bool [I], the items in at least one list of length k.
    promised: float [R], the probability of the first PROMISED; None where scores are none."""

    ranks: np.ndarray
    listed: dict[int, np.ndarray]
    seconds: float
    promised: np.ndarray | None = None


def evaluate_retrieval(
    model: RetrievalModel,
    split: Split,
    part: Part = "test",
    ks: Sequence[int] = CUTOFFS,
    resampling: Resampling = DEFAULT,
) -> Result:
    """Ranks every target of `part` in the whole catalogue and measures the ranks.

    Items in a request's history take part or are masked as the split's card says. Ties count
    against the model. Raises EvaluationError for NaN or misshapen scores, naming the model.
    """
    requests = requests_of(split, part)
    targets = target_codes(requests, split.items["item_id"])
    ranked = rank_targets(model, split, requests, targets, ks)
    users = user_codes(requests)
    measures = rank_measures(ranked.ranks, users, ks)
    seen = requests.rows["target"].is_in(list(split.train_item_ids)).to_numpy()
    shares = {"seen": seen, "unseen": ~seen}
    coverage = {f"coverage@{k}": Estimate(float(ranked.listed[k].mean())) for k in ks}
    truth, reliable = _calibration(ranked)
    return Result(
        model=model.name,
        task="retrieve",
        part=part,
        card=split.card,
        metrics={**measures.estimates(resampling), **coverage, **truth},
        breakdown={
            name: rank_measures(ranked.ranks[share], users[share], ks).estimates(resampling)
            for name, share in shares.items()
            if share.any()
        },
        counts={
            "requests": len(requests),
            "users": int(users.max()) + 1,
            "items": split.items.height,
            "seen": int(seen.sum()),
            "unseen": int((~seen).sum()),
        },
        curves={**_rank_curves(ranked.ranks, shares, split.items.height), **reliable},
        seconds=ranked.seconds,
        resampling=resampling,
        measures=measures,
        evidence={"ranks": ranked.ranks, "seen": seen},
    )


def requests_of(split: Split, part: Part) -> Requests:
    """The requests of a part; an empty part is an error, not a row of zeros."""
    requests = {"train": split.train, "valid": split.valid, "test": split.test}[part]
    if len(requests) == 0:
        raise EvaluationError(
            f"the {part} part of {split.card.dataset!r} has no requests; "
            "choose another split method or part"
        )
    return requests


def user_codes(requests: Requests) -> np.ndarray:
    """Each request's user as a number from 0, int64 [R]; without a user id, one of its own."""
    own = pl.concat_str(pl.lit("\0"), pl.int_range(pl.len()).cast(pl.String))
    users = requests.rows.select(pl.coalesce("user_id", own)).to_series()
    return users.rank("dense").to_numpy().astype(np.int64) - 1


def target_codes(requests: Requests, item_ids: pl.Series) -> np.ndarray:
    """Catalogue position of each request's target, int64 [R]."""
    codes = catalogue_codes(requests.rows["target"], item_ids)
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        target = requests.rows["target"][int(missing[0])]
        raise EvaluationError(
            f"request {missing[0]}: target {target!r} is not in the catalogue "
            f"({missing.size} of {len(requests)} requests); every target needs an items row"
        )
    return codes


def rank_targets(
    model: RetrievalModel,
    split: Split,
    requests: Requests,
    targets: np.ndarray,
    ks: Sequence[int],
) -> Ranked:
    """Scores block by block and keeps ranks and lists only; users × items is never built.

    The model is not shown the targets, and requests that ask the same are scored once.
    """
    items = split.items.height
    listed = {k: np.zeros(items, dtype=bool) for k in ks}
    ranks, promised, seconds = [], [], 0.0
    probable = getattr(model, "gives_probabilities", False)
    for rows, block in _blocks(requests, items):
        asked, question = distinct_questions(block)
        started = time.perf_counter()
        scores = _checked(model.score(asked), len(asked), items, model.name)
        seconds += time.perf_counter() - started
        if split.card.seen_items == "masked":
            scores = _masked(scores, asked, split.items["item_id"].to_list())
        if listed:
            _note_lists(scores, listed)
        ranks.append(ranking.pessimistic_ranks(scores[question], targets[rows]))
        if probable:
            promised.append(promised_hits(scores, (PROMISED,))[question, 0])
    told = np.concatenate(promised) if promised else None
    return Ranked(np.concatenate(ranks), listed, seconds, told)


def _blocks(requests: Requests, items: int) -> Iterator[tuple[slice, Requests]]:
    size = int(np.clip(BLOCK_CELLS // items, 1, 4096))
    for first, block in enumerate(requests.blocks(size)):
        yield slice(first * size, first * size + len(block)), block


def distinct_questions(requests: Requests) -> tuple[Requests, np.ndarray]:
    """Neighbouring requests of the same user, time and history as one, without their targets.

    Returns the questions, and int [R]: which of them each request asks. A basket of ten items
    is ten targets but one question.
    """
    question = requests.rows.select(pl.struct("user_id", "timestamp", "start", "stop").rle_id())
    codes = question.to_series().to_numpy()
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    hidden = pl.lit(None, dtype=pl.String()).alias("target")
    asked = requests.take(first)
    return Requests(asked.pool, asked.rows.with_columns(hidden)), codes


def _checked(scores: np.ndarray, requests: int, items: int, name: str) -> np.ndarray:
    if scores.shape != (requests, items):
        raise EvaluationError(
            f"model {name!r} returned scores of shape {scores.shape} for {requests} requests over "
            f"{items} items; right is ({requests}, {items})"
        )
    if np.isnan(scores).any():
        row, item = np.argwhere(np.isnan(scores))[0]
        raise EvaluationError(
            f"model {name!r} returned NaN (first for request {row} of a block, item {item}); "
            "a score must be a number, -inf for an item it never recommends"
        )
    return scores


def _masked(scores: np.ndarray, requests: Requests, item_ids: list[str]) -> np.ndarray:
    """A copy in which no request gets an item of its own history."""
    spans = (requests.rows["stop"] - requests.rows["start"]).to_numpy()
    codes_BH, _ = requests.history_codes(item_ids, int(spans.max()))
    hidden = scores.copy()
    row, column = np.nonzero(codes_BH >= 0)
    hidden[row, codes_BH[row, column]] = -np.inf
    return hidden


def _note_lists(scores: np.ndarray, listed: dict[int, np.ndarray]) -> None:
    best = ranking.top_k(scores, max(listed))
    offered = np.take_along_axis(scores, best, axis=1) > -np.inf
    for k, flags in listed.items():
        flags[best[:, :k][offered[:, :k]]] = True


def rank_measures(ranks: np.ndarray, users: np.ndarray, ks: Sequence[int]) -> Measures:
    """HR, Recall, NDCG and MRR at each cut-off and MRR over the whole list.

    Resampled by user: several requests of one user are not independent of each other.
    """
    values = {}
    for metric, of in (
        ("hr", ranking.hit_rate),
        ("recall", ranking.recall),
        ("ndcg", ranking.ndcg),
        ("mrr", ranking.reciprocal_rank),
    ):
        values.update({f"{metric}@{k}": of(ranks, k) for k in ks})
    numbered = np.unique(users, return_inverse=True)[1]
    return mean_measures({**values, "mrr": ranking.reciprocal_rank(ranks)}, numbered)


def _calibration(
    ranked: Ranked,
) -> tuple[dict[str, Estimate], dict[str, dict[str, list[float]]]]:
    """ECE and COPC of the first PROMISED, and their reliability; nothing without probabilities."""
    if ranked.promised is None:
        return {}, {}
    hit_R = ranking.hit_rate(ranked.ranks, PROMISED)
    found = reliability(ranked.promised, hit_R)
    metrics = {
        f"ece@{PROMISED}": Estimate(found.ece),
        f"copc@{PROMISED}": Estimate(copc(ranked.promised, hit_R)),
    }
    return metrics, {"reliability": found.to_dict()}


def _rank_curves(
    ranks: np.ndarray, shares: dict[str, np.ndarray], items: int
) -> dict[str, dict[str, list[float]]]:
    """Share of targets found within the first k, at about 40 values of k up to the catalogue."""
    ks = np.unique(np.geomspace(1, items, 40).round()).astype(np.int64)
    groups = {"all": np.ones(len(ranks), dtype=bool), **shares}
    return {
        f"rank_cdf_{name}": {
            "k": ks.astype(float).tolist(),
            "share": (ranks[group][:, None] <= ks).mean(axis=0).round(5).tolist(),
        }
        for name, group in groups.items()
        if group.any()
    }
