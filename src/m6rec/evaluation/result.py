"""What an evaluation found: figures with intervals, the protocol they belong to, and the evidence.

A result file always holds its protocol card, so that a figure can not be read without the rules
it was made under.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from m6rec.metrics.bootstrap import Estimate, Resampling, Statistic, bootstrap_statistic
from m6rec.records import M6Error, ProtocolCard


class EvaluationError(M6Error):
    """An evaluation that can not be trusted: the message names the model and what it did."""


@dataclass(frozen=True)
class Measures:
    """M named metrics as one function of weights over N units, so that they can be resampled.

    statistic: weights [B, N] -> [B, M]; `width`: the cells one draw unfolds to inside it.
    """

    names: tuple[str, ...]
    statistic: Statistic
    units: int
    width: int = 0

    def estimates(self, resampling: Resampling) -> dict[str, Estimate]:
        """Every metric with its interval; metrics that the data does not define are left out."""
        found = bootstrap_statistic(self.statistic, self.units, resampling, self.width)
        return {
            name: estimate
            for name, estimate in zip(self.names, found, strict=True)
            if not np.isnan(estimate.value)
        }

    def minus(self, other: Measures) -> Measures:
        """The paired difference: both sides see the same draw."""
        return Measures(
            self.names,
            lambda weights: self.statistic(weights) - other.statistic(weights),
            self.units,
            max(self.width, other.width),
        )


def mean_measures(values: Mapping[str, np.ndarray], users: np.ndarray) -> Measures:
    """Metrics that are plain means over requests, resampled by user.

    values: name -> float [R]; users: int [R], codes without gaps from 0.
    """
    count_U = np.bincount(users).astype(np.float64)
    sums_UM = np.stack([np.bincount(users, weights=of) for of in values.values()], axis=1)

    def statistic(weights_BU: np.ndarray) -> np.ndarray:
        return np.asarray(weights_BU @ sums_UM / (weights_BU @ count_U)[:, None])

    return Measures(tuple(values), statistic, len(count_U))


@dataclass(frozen=True)
class Made:
    """How a model came to be: its settings, every trial, and what choosing it cost.

    trials: (settings, figure) of all settings tried; judged_by: what the figure is. choices: how
    many there were to try, more than the trials where the time budget ended first. seconds: wall
    time of all trials, judging included; cpu_seconds: processor time of the same, all threads.
    """

    settings: Mapping[str, float | int | bool | None]
    trials: tuple[tuple[Mapping[str, float | int | bool | None], float], ...] = ()
    choices: int = 1
    judged_by: str = ""
    seconds: float = 0.0
    seed: int = 0
    cpu_seconds: float | None = None

    def to_dict(self) -> dict[str, object]:
        return {
            "settings": dict(self.settings),
            "trials": [
                {"settings": dict(settings), "figure": figure} for settings, figure in self.trials
            ],
            "choices": self.choices,
            "judged_by": self.judged_by,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": None if self.cpu_seconds is None else round(self.cpu_seconds, 2),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Result:
    """One model on one part of one split.

    metrics: name -> estimate; breakdown: "seen" and "unseen" items -> the same for that share.
    counts: how many requests, users, … stand behind the figures. curves: points for the plots.
    seconds: wall time the model took to score. evidence: arrays per request or candidate (ranks
    for retrieval) and measures: what `compare` needs; neither is written to files.
    baseline: whether the model is one that others are compared with; made: how it was chosen.
    """

    model: str
    task: str
    part: str
    card: ProtocolCard
    metrics: Mapping[str, Estimate]
    breakdown: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, int]
    curves: Mapping[str, Mapping[str, list[float]]]
    seconds: float
    resampling: Resampling
    measures: Measures = field(repr=False)
    evidence: Mapping[str, np.ndarray] = field(repr=False)
    notes: tuple[str, ...] = ()
    baseline: bool = False
    made: Made | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready, the protocol card included; holds no row of the data."""
        return {
            "model": self.model,
            "baseline": self.baseline,
            "task": self.task,
            "part": self.part,
            "metrics": _estimates_to_dict(self.metrics),
            "breakdown": {name: _estimates_to_dict(m) for name, m in self.breakdown.items()},
            "counts": dict(self.counts),
            "curves": {name: dict(curve) for name, curve in self.curves.items()},
            "seconds": round(self.seconds, 3),
            "interval": {
                "method": "percentile bootstrap over users",
                "level": self.resampling.level,
                "replicates": self.resampling.replicates,
                "seed": self.resampling.seed,
            },
            "notes": list(self.notes),
            "made": None if self.made is None else self.made.to_dict(),
            "card": self.card.to_dict(),
        }


def _estimates_to_dict(estimates: Mapping[str, Estimate]) -> dict[str, object]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def compare(ours: Result, theirs: Result) -> dict[str, Estimate]:
    """Each metric of `ours` minus that of `theirs`, over the same draws of the same requests.

    An interval without 0 says that the difference is more than the luck of these requests.
    Raises EvaluationError where the two were not measured under the same protocol.
    """
    for what, left, right in (
        ("protocol card", ours.card.to_dict()["card_hash"], theirs.card.to_dict()["card_hash"]),
        ("part", ours.part, theirs.part),
        ("metrics", ours.measures.names, theirs.measures.names),
    ):
        if left != right:
            raise EvaluationError(
                f"{ours.model!r} and {theirs.model!r} can not be compared: their {what} differs "
                f"({left} against {right}); evaluate both on the same split"
            )
    return ours.measures.minus(theirs.measures).estimates(ours.resampling)


FORMAT = "m6rec results 1"


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes all results with their protocol cards as one JSON file, whole or not at all."""
    body = {"format": FORMAT, "results": [result.to_dict() for result in results]}
    text = json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Writes beside `path` and renames, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
