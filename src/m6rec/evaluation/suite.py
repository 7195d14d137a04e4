"""Every baseline of a task, tuned on the valid part within a time budget, judged on the test part.

A baseline that can not run is named with its reason: left out of a comparison silently, it would
look as if it had been beaten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from m6rec.data.labels import LabelRule
from m6rec.data.options import Task
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.makers import Context
from m6rec.evaluation.baselines.registry import Baseline, baselines_of
from m6rec.evaluation.baselines.tuning import (
    Choices,
    Settings,
    Tuned,
    by_auc,
    by_ndcg,
    defaults,
    tune,
)
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.result import EvaluationError, Made, Result
from m6rec.evaluation.retrieval import Part, evaluate_retrieval
from m6rec.metrics.bootstrap import DEFAULT, Resampling

BUDGET = 300.0
"""Seconds of tuning per baseline after which no further setting, or epoch of SASRec, is begun."""

Progress = Callable[[str], None]


def silent(words: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Suite:
    """results: one per baseline that ran; missing: name -> why it did not."""

    results: list[Result]
    missing: Mapping[str, str]


@dataclass(frozen=True)
class SuiteOptions:
    """How baselines are chosen and judged.

    tuned: over the grid, or the default settings alone. budget: seconds of tuning per baseline.
    vectors: float [I, D] text vectors in catalogue order, for text similarity. rule: the
    LabelRule the split was made with, where it was not the default.
    """

    seed: int = 0
    tuned: bool = True
    budget: float = BUDGET
    vectors: np.ndarray | None = None
    rule: LabelRule | None = None
    part: Part = "test"
    resampling: Resampling = DEFAULT


def run_baselines(
    split: Split,
    names: Sequence[str] | None = None,
    seed: int = 0,
    tune: bool = True,
    progress: Progress = silent,
    *,
    vectors: np.ndarray | None = None,
    rule: LabelRule | None = None,
    budget: float = BUDGET,
) -> list[Result]:
    """The results of `run_suite`; what could not run is told to `progress`."""
    options = SuiteOptions(seed=seed, tuned=tune, budget=budget, vectors=vectors, rule=rule)
    return run_suite(split, names, options, progress).results


def run_suite(
    split: Split,
    names: Sequence[str] | None = None,
    options: SuiteOptions | None = None,
    progress: Progress = silent,
) -> Suite:
    """Builds, tunes and judges the baselines of the split's task, or those that are named.

    Raises EvaluationError where a baseline that was named can not run (a missing extra, no text
    vectors, no ids); of all baselines such ones are told to `progress` and kept in `missing`.
    """
    options = options or SuiteOptions()
    task: Task = "rank" if split.card.task == "rank" else "retrieve"
    results, missing = [], {}
    for baseline in baselines_of(task, names):
        try:
            results.append(run_baseline(baseline, split, options, progress))
        except EvaluationError as error:
            if names is not None:
                raise
            missing[baseline.name] = str(error)
            progress(f"{baseline.name}: not run: {error}")
    return Suite(results, missing)


def run_baseline(
    baseline: Baseline, split: Split, options: SuiteOptions, progress: Progress = silent
) -> Result:
    """One baseline, tuned and judged. Raises EvaluationError where it can not run."""

    def report(words: str) -> None:
        progress(f"{baseline.name}: {words}")

    context = Context(options.seed, options.budget, options.vectors, options.rule, report)
    build = baseline.maker(split, context)
    tuned, made = _tuned(baseline, build, split, options, report)
    judge = evaluate_ranking if baseline.task == "rank" else evaluate_retrieval
    result = judge(tuned.model, split, options.part, resampling=options.resampling)
    report(_headline(result))
    return replace(result, baseline=True, made=made)


def _tuned(
    baseline: Baseline,
    build: Callable[..., Any],
    split: Split,
    options: SuiteOptions,
    say: Progress,
) -> tuple[Tuned[Any], Made]:
    judge, judged_by = _judge(baseline, split)
    several = options.tuned and len(baseline.choices) > 1 and judged_by != ""
    choices: Choices = baseline.choices if several else [defaults(baseline.choices)]
    count = 0

    def report(settings: Settings, figure: float) -> None:
        nonlocal count
        count += 1
        if several:
            words = ", ".join(f"{name} {value}" for name, value in settings.items())
            say(f"setting {count} of {len(choices)} ({words}): {judged_by} {figure:.4f}")

    quiet = judge if several else (lambda model: 0.0)
    tuned = tune(build, choices, quiet, options.budget, report)
    made = Made(
        settings=tuned.settings,
        trials=tuned.trials if several else (),
        choices=len(choices),
        judged_by=judged_by if several else "",
        seconds=tuned.seconds,
        cpu_seconds=tuned.cpu_seconds,
        seed=options.seed,
    )
    return tuned, made


def _judge(baseline: Baseline, split: Split) -> tuple[Callable[[Any], float], str]:
    """How a trial is judged and the words for it; no words where there is nothing to judge by."""
    if len(split.valid) == 0 and not (baseline.tunes_on_train and len(split.train)):
        return lambda model: 0.0, ""
    if baseline.task == "retrieve":
        return by_ndcg(split), "NDCG@10 on valid"
    part: Part = "valid" if len(split.valid) else "train"
    return by_auc(split, part), f"AUC on {part}"


def _headline(result: Result) -> str:
    names = ("auc", "gauc") if result.task == "rank" else ("hr@10", "ndcg@10")
    figures = [
        f"{name} {result.metrics[name].value:.4f}" for name in names if name in result.metrics
    ]
    return f"{result.part}: {', '.join(figures)}"
