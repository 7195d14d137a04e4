"""Zero-shot measures of a checkpoint.

    python benchmarks/bench_zero_shot.py --model FOLDER --data ROOT [--json FILE]

also clicks: share of amazon_industrial's test rows whose true next item is likelier than one random
item. beyond likes: AUC on tallrec_book within groups of rows whose histories hold equally many
likes and dislikes, so that nobody gains by counting them. Every way of asking is reported with its
interval, on valid and on test; the way that is best on valid is the one to quote on test.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.data.splits import make_split
from m6rec.data.tables import load
from m6rec.metrics.bootstrap import (
    DEFAULT,
    Estimate,
    Resampling,
    bootstrap,
    bootstrap_statistic,
    safe_divide,
)
from m6rec.metrics.ranking import grouped_auc, weighted_auc
from m6rec.model.hf import load_start
from m6rec.records import Request
from m6rec.tasks.zero_shot import ZeroShot, ZeroShotSettings
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

Score = Callable[[Requests], np.ndarray]
"""Requests → one number for each candidate, in order."""
PARTS = ("valid", "test")
Form = Literal["item", "event", "title"]
FORMS: tuple[Form, ...] = ("item", "event", "title")
NORMALISE: tuple[Literal["mean", "sum"], ...] = ("mean", "sum")
WEIGHTS = (0.0, 0.5, 1.0)
OTHERS = (0, 4, 16)
"""Histories of train under which a candidate's own likelihood is taken, beside none."""
LIKE, DISLIKE = "like", "dislike"


def also_clicks_accuracy(
    score: Score,
    requests: Requests,
    item_ids: Sequence[str],
    seed: int = 0,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Share of requests whose target scores above one random other item; a tie counts half.

    The random items are drawn from `item_ids` by `seed` alone, so that models meet the same ones.
    """
    return preferred(score(against_random(requests, item_ids, seed)), resampling)


def against_random(requests: Requests, item_ids: Sequence[str], seed: int = 0) -> Requests:
    """Each request with two candidates: its target, and a random other item."""
    place = {item_id: number for number, item_id in enumerate(item_ids)}
    targets = np.array([place[t] for t in requests.rows["target"].to_list()], dtype=np.int64)
    other = np.random.default_rng(seed).integers(0, len(item_ids) - 1, size=len(targets))
    other += other >= targets  # never the target itself
    pairs = [[item_ids[t], item_ids[o]] for t, o in zip(targets, other, strict=True)]
    rows = requests.rows.with_columns(
        item_ids=pl.Series(pairs, dtype=pl.List(pl.String)),
        texts=pl.Series([[None, None]] * len(pairs), dtype=pl.List(pl.String)),
        labels=pl.Series([[1.0, 0.0]] * len(pairs), dtype=pl.List(pl.Float64)),
    )
    return Requests(requests.pool, rows)


def preferred(scores_N: np.ndarray, resampling: Resampling = DEFAULT) -> Estimate:
    """Share of pairs whose first score is the higher one; a tie counts half."""
    first_R, second_R = scores_N.reshape(-1, 2).T
    return bootstrap((first_R > second_R) + 0.5 * (first_R == second_R), resampling)


def grouped_auc_beyond_likes(
    scores_N: np.ndarray, requests: Requests, resampling: Resampling = DEFAULT
) -> dict[str, Estimate]:
    """AUC within groups of requests with equal numbers of likes and dislikes; one candidate each.

    "auc": mean over groups weighted by their rows; "plain mean": every group counts the same. Rows
    are resampled; groups of one class are left out.
    """
    likes, dislikes = (_count(requests, kind) for kind in (LIKE, DISLIKE))
    labels_N = requests.rows["labels"].list.first().to_numpy()
    _, group_N = np.unique(np.stack([likes, dislikes], 1), axis=0, return_inverse=True)
    found = grouped_auc(scores_N, labels_N, group_N.ravel())
    members = [np.flatnonzero(group_N.ravel() == group) for group in found.groups]

    def statistic(weights_BN: np.ndarray) -> np.ndarray:
        aucs = [weighted_auc(scores_N[m], labels_N[m], weights_BN[:, m]) for m in members]
        sizes_BG = np.stack([weights_BN[:, m].sum(1) for m in members], 1)
        return np.stack([_mean(np.stack(aucs, 1), size) for size in (sizes_BG, sizes_BG > 0)], 1)

    if not members:
        return {}
    auc, plain = bootstrap_statistic(statistic, len(scores_N), resampling)
    return {"auc": auc, "plain mean": plain}


def _mean(value_BG: np.ndarray, weight_BG: np.ndarray) -> np.ndarray:
    weight_BG = np.where(np.isnan(value_BG), 0.0, weight_BG)
    total_B = weight_BG.sum(1)
    sums_B = (np.nan_to_num(value_BG) * weight_BG).sum(1)
    return safe_divide(sums_B, total_B.astype(np.float64))


def _count(requests: Requests, kind: str) -> np.ndarray:
    """Events of a kind in each history: int64 [R]."""
    before = np.r_[0, np.cumsum((requests.pool["event"] == kind).to_numpy())]
    start, stop = requests.rows["start"].to_numpy(), requests.rows["stop"].to_numpy()
    return np.asarray(before[stop] - before[start])


class Bench:
    """One checkpoint on both data sets; scorers share nothing but the weights."""

    def __init__(
        self,
        model: str,
        root: Path,
        rows: Mapping[str, int],
        reading: Mapping[str, Any],
        forms: Sequence[Form] = FORMS,
    ) -> None:
        self.backbone, self.tokenizer = load_start(model)
        self.backbone.eval()
        self.root, self.rows, self.reading, self.forms = root, rows, reading, forms

    def some(self, requests: Requests, part: str) -> Requests:
        """The first rows of a part, as many as were asked for."""
        return requests.take(slice(0, self.rows[part] or None))

    def scorer(
        self, words: Verbalizer, histories: Sequence[Request] = (), **reading: Any
    ) -> ZeroShot:
        """A scorer with some settings changed; histories: what other users did."""
        settings = ZeroShotSettings.parse({**self.reading, **reading}, "bench")
        return ZeroShot(self.backbone, self.tokenizer, words, settings, others=histories)

    def also_clicks(self) -> dict[str, Any]:
        """amazon_industrial, published requests."""
        data = load(self.root / "amazon_industrial")
        split = make_split(data, "retrieve", "published")
        words = Verbalizer(Templates.load(data.templates), split.items)
        ids = split.items["item_id"].to_list()
        body: dict[str, Any] = {}
        for part, form, count in product(PARTS, self.forms, OTHERS):
            began = time.monotonic()
            asked = against_random(self.some(getattr(split, part), part), ids)
            others = drawn(split.train, count)
            evidence = self.scorer(words, others, form=form, others=count).evidence(asked)
            took = time.monotonic() - began
            for normalise, weight in product(NORMALISE, WEIGHTS):
                if count and not weight:
                    continue  # nothing is taken off
                way = f"{form}, {normalise}, calibration {weight:g}, others {count}"
                found = {"accuracy": preferred(evidence.score(weight, normalise))}
                _note(body, "also clicks", way, part, found, took)
        return _best(body, "accuracy")

    def beyond_likes(self) -> dict[str, Any]:
        """tallrec_book, published requests."""
        data = load(self.root / "tallrec_book")
        split = make_split(data, "rank", "published")
        words = Verbalizer(Templates.load(data.templates), split.items)
        likes = self.scorer(words, event=LIKE)
        plain = self.scorer(words, event=LIKE, calibration=0.0)
        ways: dict[str, Score] = {
            "likelihood, whole history": likes.score,
            "likelihood, likes alone": lambda r: likes.score(only(r, LIKE)),
            "likes against dislikes": lambda r: (
                plain.score(only(r, LIKE)) - plain.score(only(r, DISLIKE))
            ),
            "liked or disliked, item written": self.scorer(words).predict,
            "liked or disliked, item written, prior off": self.scorer(words, prior=1.0).predict,
            "liked or disliked, item read": self.scorer(words, asked="read").predict,
        }
        body: dict[str, Any] = {}
        # Of a set without train rows, `make_split` calls the valid file train (few-shot protocol).
        for part, name in (("valid", "train"), ("test", "test")):
            requests = self.some(getattr(split, name), part)
            for way, score in ways.items():
                began = time.monotonic()
                found = grouped_auc_beyond_likes(score(requests), requests)
                _note(body, "beyond likes", way, part, found, time.monotonic() - began)
        return _best(body, "auc")


def drawn(requests: Requests, count: int, seed: int = 0) -> list[Request]:
    """Some requests, by seed; all where there are no more."""
    most = min(count, len(requests))
    chosen = np.random.default_rng(seed).permutation(len(requests))[:most]
    return list(requests.take(np.sort(chosen)))


def only(requests: Requests, kind: str) -> Requests:
    """The same questions after the events of one kind, told as likes: the items alone differ."""
    kept = [
        replace(
            request,
            history=tuple(replace(e, event=LIKE) for e in request.history if e.event == kind),
        )
        for request in requests
    ]
    return Requests.of(kept)


def _note(
    body: dict[str, Any],
    measure: str,
    way: str,
    part: str,
    found: Mapping[str, Estimate],
    seconds: float,
) -> None:
    figures = {name: estimate.to_dict() for name, estimate in found.items()}
    body.setdefault(way, {})[part] = {**figures, "seconds": round(seconds, 1)}
    told = ", ".join(
        f"{name} {e.value:.4f}" + (f" ({e.low:.3f} to {e.high:.3f})" if e.low is not None else "")
        for name, e in found.items()
    )
    print(f"{measure}, {way}, {part}: {told} in {seconds:.0f} s", flush=True)


def _best(body: dict[str, Any], figure: str) -> dict[str, Any]:
    """All ways, and the one that is best on valid with what it comes to on test."""
    told = [way for way, parts in body.items() if figure in parts["valid"]]
    if not told:
        return {"ways": body}
    chosen = max(told, key=lambda way: float(body[way]["valid"][figure]["value"]))
    return {"chosen on valid": chosen, "test": body[chosen]["test"].get(figure), "ways": body}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="checkpoint by name, or its folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--measures", nargs="*", default=["also_clicks", "beyond_likes"])
    parser.add_argument("--rows", type=int, default=0, help="of test; 0: all")
    parser.add_argument("--valid-rows", type=int, default=1000, help="of valid; 0: all")
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS, help="of also clicks")
    parser.add_argument("--bf16", action="store_true", help="faster, less exact")
    parser.add_argument("--plan", default="late", choices=["late", "full"])
    parser.add_argument("--online-layers", type=int, default=1)
    parser.add_argument("--segment-states", default="all", help="all, or k summary vectors")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    states = given.segment_states
    reading = {
        "plan": given.plan,
        "bf16": given.bf16,
        "online_layers": given.online_layers,
        "segment_states": states if states == "all" else int(states),
    }
    rows = {"valid": given.valid_rows, "test": given.rows}
    bench = Bench(given.model, given.data, rows, reading, given.forms)
    body: dict[str, Any] = {"model": given.model, "reading": reading, "rows": rows}
    for measure in given.measures:
        body[measure] = getattr(bench, measure)()
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
