"""Results as a person reads them: one section per protocol, tables ready to be printed.

Shared by the HTML report and by whoever prints to a terminal. Nothing here measures anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from m6rec.evaluation.reported import Reported, Who, reported_for
from m6rec.evaluation.result import EvaluationError, Result, compare
from m6rec.metrics.bootstrap import Estimate

RETRIEVE = ("hr@3", "hr@5", "hr@10", "ndcg@10", "hr@100", "mrr", "coverage@10", "ece@10")
RANK = ("auc", "gauc", "logloss", "ece", "copc")
COMPARED = {"retrieve": ("hr@10", "ndcg@10", "hr@100"), "rank": ("auc", "gauc", "logloss")}
SPLIT_BY = {"retrieve": ("hr@10", "ndcg@10", "hr@100"), "rank": ("auc", "gauc", "logloss")}
NAMES = {
    "hr": "HR",
    "recall": "Recall",
    "ndcg": "NDCG",
    "mrr": "MRR",
    "coverage": "Coverage",
    "auc": "AUC",
    "gauc": "GAUC",
    "logloss": "Log loss",
    "ece": "ECE",
    "copc": "COPC",
}


def metric_name(metric: str) -> str:
    """ "ndcg@10" as people write it: "NDCG@10"."""
    family, at, k = metric.partition("@")
    return f"{NAMES.get(family, family)}{at}{k}"


def goodness(metric: str) -> Callable[[float], float]:
    """A function that grows as a figure of this metric gets better."""
    family = metric.partition("@")[0]
    if family in ("logloss", "ece"):
        return lambda value: -value
    if family == "copc":
        return lambda value: -abs(value - 1)
    return lambda value: value


@dataclass(frozen=True)
class Cell:
    """One figure in a table; `best` among the models of its column."""

    estimate: Estimate | None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One model in a table; `colour` counts the models of the section from 0."""

    result: Result
    colour: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """columns: metrics; rows: models in the order they came."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Others:
    """What others measured with one model under this protocol, by who measured it."""

    model: str
    figures: tuple[Reported, ...]

    def by(self, who: Who) -> tuple[Reported, ...]:
        """Those that its authors published, or those that somebody else retrained."""
        return tuple(one for one in self.figures if one.who == who)


@dataclass(frozen=True)
class Difference:
    """A model against the reference, on the same draws of the same users.

    verdict: "better", "worse" or "no clear difference", by whether the interval holds 0.
    """

    result: Result
    colour: int
    cells: tuple[tuple[Estimate | None, str], ...]


@dataclass(frozen=True)
class Section:
    """All results under one protocol card and part.

    figures: the main table; everything: all metrics; shares: "seen" and "unseen" -> a table.
    reference: the best baseline (or the best model, where none is a baseline) by `headline`.
    others: what other people measured under the same protocol, by model.
    """

    results: tuple[Result, ...]
    headline: str
    figures: Table
    everything: Table
    shares: dict[str, Table]
    reference: Result | None
    compared: tuple[str, ...]
    differences: tuple[Difference, ...]
    others: tuple[Others, ...] = ()

    def of(self, model: str) -> Others:
        """What others measured with a model; nothing where they did not."""
        return next((one for one in self.others if one.model == model), Others(model, ()))

    @property
    def not_run(self) -> tuple[Others, ...]:
        """Models that only others measured."""
        ours = {result.model for result in self.results}
        return tuple(one for one in self.others if one.model not in ours)

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def best(self) -> Result:
        return _best(self.results, self.headline)


def sections(results: Sequence[Result]) -> list[Section]:
    """Groups results that may be compared: same protocol card, same part. Order is kept."""
    groups: dict[tuple[object, str], list[Result]] = {}
    for result in results:
        key = (result.card.to_dict()["card_hash"], result.part)
        groups.setdefault(key, []).append(result)
    return [_section(group) for group in groups.values()]


def _section(results: list[Result]) -> Section:
    task = "rank" if results[0].task == "rank" else "retrieve"
    every = tuple(dict.fromkeys(name for result in results for name in result.metrics))
    shown = tuple(name for name in (RANK if task == "rank" else RETRIEVE) if name in every)
    shown = shown or every[:6]
    headline = _headline(task, every)
    reference = _reference(results, headline)
    compared = tuple(name for name in COMPARED[task] if name in every) or (headline,)
    return Section(
        results=tuple(results),
        headline=headline,
        figures=_table(results, shown, lambda result: result.metrics),
        everything=_table(results, every, lambda result: result.metrics),
        shares=_shares(results, SPLIT_BY[task]),
        reference=reference,
        compared=compared,
        differences=_differences(results, reference, compared),
        others=others_of(results[0]),
    )


def others_of(result: Result) -> tuple[Others, ...]:
    """What other people measured under the protocol of a result; of its test part alone."""
    found = reported_for(result.card) if result.part == "test" else ()
    models = dict.fromkeys(one.model for one in found)
    return tuple(Others(name, tuple(one for one in found if one.model == name)) for name in models)


def _headline(task: str, every: Sequence[str]) -> str:
    wanted = ("auc", "logloss") if task == "rank" else ("ndcg@10", "hr@10")
    ndcg = [name for name in every if name.startswith("ndcg@")]
    return next((name for name in (*wanted, *ndcg, *every) if name in every), "")


def _best(results: Sequence[Result], metric: str) -> Result:
    good = goodness(metric)
    return max(
        results,
        key=lambda result: (
            good(result.metrics[metric].value) if metric in result.metrics else -float("inf")
        ),
    )


def _reference(results: Sequence[Result], headline: str) -> Result | None:
    if len(results) < 2:
        return None
    return _best([result for result in results if result.baseline] or results, headline)


def _table(
    results: Sequence[Result],
    columns: tuple[str, ...],
    of: Callable[[Result], Mapping[str, Estimate]],
) -> Table:
    found = [of(result) for result in results]
    best = {name: _best_value(name, found) for name in columns}
    rows = []
    for colour, (result, row) in enumerate(zip(results, found, strict=True)):
        cells = tuple(
            Cell(row.get(name), name in row and row[name].value == best[name]) for name in columns
        )
        rows.append(Row(result, colour, cells))
    return Table(columns, tuple(rows))


def _best_value(metric: str, rows: Sequence[Mapping[str, Estimate]]) -> float | None:
    """The best figure of a column; None where all are the same, or there is only one."""
    values = {row[metric].value for row in rows if metric in row}
    return max(values, key=goodness(metric)) if len(values) > 1 else None


def _shares(results: Sequence[Result], wanted: Sequence[str]) -> dict[str, Table]:
    tables = {}
    for share in ("seen", "unseen"):
        every = {name for result in results for name in result.breakdown.get(share, {})}
        columns = tuple(name for name in wanted if name in every)
        if columns:
            tables[share] = _table(results, columns, partial(_share, share))
    return tables if len(tables) == 2 else {}


def _share(share: str, result: Result) -> Mapping[str, Estimate]:
    return result.breakdown.get(share, {})


def _differences(
    results: Sequence[Result], reference: Result | None, compared: Sequence[str]
) -> tuple[Difference, ...]:
    found = []
    for colour, result in enumerate(results):
        if reference is None or result is reference:
            continue
        try:
            against = compare(result, reference)
        except EvaluationError:  # other cut-offs: nothing to pair
            continue
        cells = tuple((against.get(name), verdict(name, against.get(name))) for name in compared)
        found.append(Difference(result, colour, cells))
    return tuple(found)


def verdict(metric: str, difference: Estimate | None) -> str:
    """What a paired difference says: "better", "worse", "no clear difference", or nothing."""
    if difference is None or difference.low is None or difference.high is None:
        return ""
    if difference.low <= 0 <= difference.high:
        return "no clear difference"
    higher_is_better = metric.partition("@")[0] not in ("logloss", "ece")
    return "better" if (difference.low > 0) == higher_is_better else "worse"
