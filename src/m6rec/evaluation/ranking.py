"""Ranking is judged on candidates that were shown or labelled: AUC, GAUC, log loss, ECE, COPC.

Intervals resample users with all their candidates, because the clicks of one user are not
independent of each other. A request without a user id counts as a user of its own.

Legend: N candidates over all requests.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.judged import Judged, judged_curves, ranking_measures
from m6rec.evaluation.result import EvaluationError, Result
from m6rec.evaluation.retrieval import Part, requests_of, user_codes
from m6rec.metrics.bootstrap import DEFAULT, Estimate, Resampling
from m6rec.metrics.ranking import grouped_auc

BLOCK_REQUESTS = 1024


class RankingModel(Protocol):
    """Gives each candidate the probability that its label is 1."""

    @property
    def name(self) -> str: ...

    def predict(self, requests: Requests) -> np.ndarray:
        """float [N] in 0..1, the candidates of the first request first, in their order."""
        ...


def evaluate_ranking(
    model: RankingModel,
    split: Split,
    part: Part = "test",
    resampling: Resampling = DEFAULT,
    bins: int = 10,
) -> Result:
    """AUC, GAUC (by user, weighted by impressions), log loss, ECE and COPC, with intervals.

    A metric that the data does not define (AUC of one class) is absent and a note says why.
    Raises EvaluationError for NaN, for values outside 0..1 and for labels other than 0 and 1.
    """
    requests = requests_of(split, part)
    labels, users, item_ids = flatten(requests)
    predictions, seconds = predict_candidates(model, requests, labels.size)
    judged = Judged(predictions, labels, users)
    groups = grouped_auc(predictions, labels, users)
    measures = ranking_measures(judged, bins)
    metrics = measures.estimates(resampling)
    shares = _seen_shares(item_ids, split)
    return Result(
        model=model.name,
        task="rank",
        part=part,
        card=split.card,
        metrics=metrics,
        breakdown={
            name: ranking_measures(judged.where(share), bins).estimates(resampling)
            for name, share in shares.items()
        },
        counts={
            "requests": len(requests),
            "candidates": labels.size,
            "positives": int(labels.sum()),
            "users": int(users.max()) + 1,
            "gauc_users": len(groups.groups),
            "gauc_users_left_out": groups.left_out,
            **{name: int(share.sum()) for name, share in shares.items()},
        },
        curves=judged_curves(judged, bins),
        seconds=seconds,
        resampling=resampling,
        measures=measures,
        evidence={"predictions": predictions, "labels": labels, "users": users},
        notes=_notes(metrics, groups.left_out),
    )


def flatten(requests: Requests) -> tuple[np.ndarray, np.ndarray, pl.Series]:
    """labels float [N], user codes int [N] and item ids [N] (null for free text)."""
    rows = requests.rows.with_row_index("request")
    empty = rows.filter(pl.col("labels").list.len() == 0)
    if empty.height:
        raise EvaluationError(
            f"request {empty['request'][0]} has no candidates ({empty.height} of {len(requests)}); "
            "a ranking request needs candidates with labels"
        )
    flat = rows.select("request", "item_ids", "labels").explode("item_ids", "labels")
    labels = flat["labels"].to_numpy()
    wrong = np.flatnonzero(~np.isin(labels, (0.0, 1.0)))
    if wrong.size:
        raise EvaluationError(
            f"request {flat['request'][int(wrong[0])]} has the label {labels[wrong[0]]}; "
            "labels must be 0 or 1 (a label rule turns ratings into them)"
        )
    users = user_codes(requests)[flat["request"].to_numpy()]
    return labels, users, flat["item_ids"]


def predict_candidates(
    model: RankingModel, requests: Requests, candidates: int
) -> tuple[np.ndarray, float]:
    """Checked predictions float64 [N], and the seconds they took.

    The model is not shown the labels: all it gets are zeros.
    """
    zeros = pl.col("labels").list.eval(pl.element() * 0.0)
    hidden = Requests(requests.pool, requests.rows.with_columns(zeros))
    started = time.perf_counter()
    blocks = [np.asarray(model.predict(block)) for block in hidden.blocks(BLOCK_REQUESTS)]
    seconds = time.perf_counter() - started
    predictions = np.concatenate(blocks).astype(np.float64)
    if predictions.shape != (candidates,):
        raise EvaluationError(
            f"model {model.name!r} returned {predictions.shape} predictions for {candidates} "
            "candidates; right is one number per candidate"
        )
    if np.isnan(predictions).any():
        raise EvaluationError(
            f"model {model.name!r} returned NaN for candidate "
            f"{np.flatnonzero(np.isnan(predictions))[0]}; a prediction must be a number"
        )
    if predictions.min() < 0 or predictions.max() > 1:
        raise EvaluationError(
            f"model {model.name!r} returned values from {predictions.min():.3g} to "
            f"{predictions.max():.3g}; probabilities lie between 0 and 1"
        )
    return predictions, seconds


def _seen_shares(item_ids: pl.Series, split: Split) -> dict[str, np.ndarray]:
    """Candidates with and without a training interaction; none where candidates are free text."""
    if item_ids.null_count() == len(item_ids) or not split.train_item_ids:
        return {}
    seen = item_ids.is_in(list(split.train_item_ids)).fill_null(False).to_numpy()
    shares = {"seen": seen, "unseen": ~seen}
    return {name: share for name, share in shares.items() if share.any()}


def _notes(metrics: dict[str, Estimate], left_out: int) -> tuple[str, ...]:
    notes = []
    if "auc" not in metrics:
        notes.append("AUC is absent: all labels are the same.")
    if "gauc" not in metrics:
        notes.append("GAUC is absent: no user has candidates of both labels.")
    elif left_out:
        notes.append(f"GAUC leaves out {left_out} users whose labels are all the same.")
    return tuple(notes)
