"""Honest tuning: a small grid, judged on the validation part, every trial kept for the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar

import numpy as np

from m6rec.data.splits import Split
from m6rec.evaluation.ranking import RankingModel, flatten, predict_candidates
from m6rec.evaluation.retrieval import (
    Part,
    RetrievalModel,
    rank_targets,
    requests_of,
    target_codes,
)
from m6rec.metrics import ranking

Settings = Mapping[str, float | int | bool | None]
Model = TypeVar("Model")


@dataclass(frozen=True)
class Tuned(Generic[Model]):
    """model: the best; settings: how it was made; trials: (settings, figure on valid) of all.

    seconds, cpu_seconds: wall and processor time (all threads) of building and judging them all.
    """

    model: Model
    settings: Settings
    trials: tuple[tuple[Settings, float], ...]
    seconds: float
    cpu_seconds: float


def grid(**values: Iterable[float | int | bool | None]) -> list[Settings]:
    """All combinations of the given values, e.g. grid(shrink=(0, 10), decay=(1, .8))."""
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


@dataclass(frozen=True)
class Sweep:
    """One setting after another, each with the best of all that was tried before.

    values: a setting's values, its default first. The settings are gone through `rounds` times.
    Where a grid of five settings has hundreds of combinations this tries a few dozen; only the
    first settings in the order make a model anew where a builder keeps what two have in common.
    """

    values: Mapping[str, tuple[float | int | bool | None, ...]]
    rounds: int = 2

    def __len__(self) -> int:
        """The most settings that are tried."""
        return 1 + self.rounds * sum(len(values) - 1 for values in self.values.values())

    def proposals(self, best: Callable[[], Settings]) -> Iterator[Settings]:
        """What to try next; `best` says which of those tried so far is ahead. None comes twice."""
        first: Settings = {name: values[0] for name, values in self.values.items()}
        yield first
        tried = [first]
        for _ in range(self.rounds):
            for name, values in self.values.items():
                base = best()
                for value in values:
                    settings = {**base, name: value}
                    if settings not in tried:
                        tried.append(settings)
                        yield settings


Choices = Sequence[Settings] | Sweep


def defaults(choices: Choices) -> Settings:
    """The first of the choices."""
    return choices[0] if not isinstance(choices, Sweep) else next(choices.proposals(dict))


def tune(
    build: Callable[..., Model],
    choices: Choices,
    judge: Callable[[Model], float],
    budget: float | None = None,
    report: Callable[[Settings, float], None] = lambda settings, figure: None,
) -> Tuned[Model]:
    """Builds a model for each choice of settings and keeps the one that `judge` puts highest.

    budget: seconds after which no further choice is begun (the first one always is). Of equal
    figures the earlier choice wins. Raises ValueError where there are no choices.
    """
    started, worked = time.perf_counter(), time.process_time()
    best: tuple[Model, Settings, float] | None = None
    trials: list[tuple[Settings, float]] = []

    def ahead() -> Settings:
        return {} if best is None else best[1]

    for settings in choices.proposals(ahead) if isinstance(choices, Sweep) else choices:
        if trials and budget is not None and time.perf_counter() - started > budget:
            break
        model = build(**settings)
        figure = judge(model)
        report(settings, figure)
        if best is None or figure > best[2]:
            best = (model, settings, figure)
        trials.append((settings, figure))
    if best is None:
        raise ValueError("there is nothing to tune: no settings were given")
    spent, work = time.perf_counter() - started, time.process_time() - worked
    return Tuned(best[0], best[1], tuple(trials), spent, work)


def by_ndcg(
    split: Split, k: int = 10, most: int = 5000, seed: int = 0
) -> Callable[[RetrievalModel], float]:
    """Judges a retrieval model by NDCG@k on the validation part, by full ranking.

    Where the part has more than `most` requests, that many are drawn, the same for every model.
    """
    requests = requests_of(split, "valid")
    if len(requests) > most:
        drawn = np.random.default_rng(seed).choice(len(requests), most, replace=False)
        requests = requests.take(np.sort(drawn))
    targets = target_codes(requests, split.items["item_id"])

    def judge(model: RetrievalModel) -> float:
        ranks = rank_targets(model, split, requests, targets, ()).ranks
        return float(ranking.ndcg(ranks, k).mean())

    return judge


def by_auc(split: Split, part: Part = "valid") -> Callable[[RankingModel], float]:
    """Judges a ranking model by AUC on the validation part."""
    requests = requests_of(split, part)
    labels = flatten(requests)[0]

    def judge(model: RankingModel) -> float:
        return ranking.auc(predict_candidates(model, requests, labels.size)[0], labels)

    return judge
