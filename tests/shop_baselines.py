"""How well simple models, and an oracle that knows the tastes, foresee the built-in shop."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.data.shop.generate import generate_shop
from m6rec.data.shop.world import SIZES, ShopSize, World, build_world
from m6rec.data.splits import Split, make_split
from m6rec.data.tables import load
from m6rec.data.verdicts import standing
from m6rec.evaluation.baselines.like_rate import item_rate, like_rate, user_item_rate
from m6rec.evaluation.baselines.neighbours import co_occurrence, item_knn
from m6rec.evaluation.baselines.popularity import popularity
from m6rec.evaluation.baselines.text_similarity import text_similarity
from m6rec.evaluation.ranking import RankingModel, evaluate_ranking
from m6rec.evaluation.result import Result
from m6rec.evaluation.retrieval import RetrievalModel, evaluate_retrieval
from m6rec.metrics.bootstrap import Resampling

FEW = Resampling(replicates=20)


_MADE: dict[str, Path] = {}


def small_shop(factory: pytest.TempPathFactory) -> Path:
    """The folder of one small shop, made once for all test files."""
    if "small" not in _MADE:
        _MADE["small"] = factory.mktemp("shop") / "small"
        generate_shop(_MADE["small"], size="small")
    return _MADE["small"]


@cache
def small_world() -> World:
    return build_world(SIZES["small"])


@cache
def full_world() -> World:
    return build_world(SIZES["full"])


def tfidf(texts: list[str]) -> np.ndarray:
    """Bags of words, rare words weighing more, float32 [I, W]; dense, for small catalogues."""
    bags = [Counter(re.findall(r"[a-z0-9]+", text.lower())) for text in texts]
    spread = Counter(word for bag in bags for word in bag)
    column = {word: i for i, word in enumerate(sorted(w for w, n in spread.items() if n > 1))}
    vectors = np.zeros((len(texts), len(column)), dtype=np.float32)
    for row, bag in enumerate(bags):
        for word in bag.keys() & column.keys():
            vectors[row, column[word]] = math.log(len(texts) / spread[word])
    return vectors


class Oracle:
    """Knows every taste at every moment, and how often the shop shows what; not the moods."""

    name = "oracle"

    def __init__(self, world: World, slope: float) -> None:
        self.world, self.slope = world, slope
        self.shoppers = {shopper.user_id: shopper for shopper in world.shoppers}
        self.number = {item.item_id: i for i, item in enumerate(world.items)}

    def score(self, requests: Requests) -> np.ndarray:
        rows = requests.rows.select("user_id", "timestamp").iter_rows()
        return np.stack([self._liking(user, time, shown=True) for user, time in rows])

    def predict(self, requests: Requests) -> np.ndarray:
        found = []
        for user, time, items in requests.rows.select(
            "user_id", "timestamp", "item_ids"
        ).iter_rows():
            liking = self._liking(user, time, shown=False)
            found += [1 / (1 + math.exp(2.8 - 1.25 * liking[self.number[i]])) for i in items]
        return np.array(found)

    def _liking(self, user: str, time: float, shown: bool) -> np.ndarray:
        liking = self.world.affinity(self.shoppers[user], time)
        if shown:
            return (self.slope * liking + self.world.exposure(time)).astype(np.float32)
        return liking


class Chance:
    """Scores that know nothing."""

    name = "chance"

    def __init__(self, items: int) -> None:
        self.items, self.rng = items, np.random.default_rng(0)

    def score(self, requests: Requests) -> np.ndarray:
        return self.rng.random((len(requests), self.items), dtype=np.float32)


def retrieval_split(folder: Path) -> Split:
    """Clicks and purchases as targets; models learn from what was chosen, not what was shown."""
    chosen = frozenset({"click", "purchase"})
    split = make_split(load(folder), "retrieve", "temporal", positives=chosen)
    events = standing(split.train_events)
    return replace(split, train_events=events)


def retrieval_results(folder: Path, size: ShopSize, seed: int = 0) -> dict[str, Result]:
    """Model name -> result on the temporal test part."""
    split = retrieval_split(folder)
    blanks = [pl.col(c).fill_null("") for c in ("title", "category", "brand", "description")]
    texts = split.items.select(pl.concat_str(blanks, separator=" ")).to_series().to_list()
    models: list[RetrievalModel] = [
        Chance(split.items.height),
        popularity(split),
        text_similarity(split, tfidf(texts), decay=0.0),
        text_similarity(split, tfidf(texts), decay=0.9),
        item_knn(co_occurrence(split), shrink=20),
        Oracle(build_world(size, seed), slope=2.2),
    ]
    return {m.name: evaluate_retrieval(m, split, ks=(10, 50), resampling=FEW) for m in models}


def ranking_results(folder: Path, size: ShopSize, seed: int = 0) -> dict[str, Result]:
    """Model name -> result on the impressions of the temporal test part."""
    split = make_split(load(folder), "rank", "temporal")
    models: list[RankingModel] = [
        like_rate(split, LabelRule()),
        item_rate(split),
        user_item_rate(split, LabelRule()),
        Oracle(build_world(size, seed), slope=2.2),
    ]
    return {m.name: evaluate_ranking(m, split, resampling=FEW) for m in models}


if __name__ == "__main__":
    import sys

    where, named = Path(sys.argv[1]), sys.argv[2]
    for name, result in retrieval_results(where, SIZES[named]).items():
        row = {k: round(result.metrics[k].value, 4) for k in ("hr@10", "hr@50", "ndcg@10")}
        print(name, row, {k: round(v["hr@10"].value, 4) for k, v in result.breakdown.items()})
    print(result.counts)
    for name, result in ranking_results(where, SIZES[named]).items():
        print(name, {k: round(result.metrics[k].value, 4) for k in ("auc", "gauc")})
    print(result.counts)
