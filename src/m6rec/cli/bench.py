"""`m6rec bench TASK --data DATA`: our model beside every baseline, tuned, in one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.common import (
    DEFAULT_MODEL,
    Adapter,
    Data,
    Json,
    Model,
    TextOnly,
    err,
    out,
    verb,
    write_json,
)
from m6rec.cli.evaluate import as_table
from m6rec.cli.tune import Cap, Positive, SplitBy, Targets, parse_label, parse_targets
from m6rec.data import tables
from m6rec.data.caps import capped, parse_cap
from m6rec.data.options import Task as SplitTask
from m6rec.data.splits import Split, make_split
from m6rec.evaluation.report import write_report
from m6rec.evaluation.reported import Reported
from m6rec.evaluation.result import Result
from m6rec.evaluation.suite import Suite, SuiteOptions, run_suite
from m6rec.evaluation.summary import metric_name, others_of
from m6rec.recommender import M6Rec
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer


@verb
def bench(
    task: Annotated[SplitTask, typer.Argument(help="retrieve or rank")],
    data: Data,
    adapter: Adapter = None,
    text_only: TextOnly = False,
    baselines: Annotated[
        list[str] | None, typer.Option("--baseline", help="Only these; repeat (default: all).")
    ] = None,
    split: SplitBy = "auto",
    label: Positive = None,
    targets: Targets = None,
    cap: Cap = None,
    report: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("report.html"),
    model: Model = DEFAULT_MODEL,
    budget: Annotated[float, typer.Option(help="Seconds of tuning per baseline.", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the baselines.")] = 0,
    json: Json = None,
) -> None:
    """Compare with baselines that are tuned on valid; results with intervals and a report."""
    dataset, rec = capped(tables.load(data), parse_cap(cap)), M6Rec.from_pretrained(model)
    tuned = rec if adapter is None else M6Rec.from_pretrained(model).load_adapter(adapter)
    rec.text_only = tuned.text_only = text_only
    rule = parse_label(label) or tuned.rule(task)
    cut = make_split(dataset, task, split, label=rule, positives=parse_targets(targets))
    ours: list[Result] = []
    if task == "retrieve":
        ours.append(rec.evaluate(task, dataset, split=cut))
    if adapter is not None:
        ours.append(tuned.evaluate(task, dataset, split=cut))
    suite = compare(tuned, cut, baselines, SuiteOptions(seed=seed, budget=budget, rule=rule))
    results = [*ours, *suite.results]
    write_report(results, report, f"{dataset.name}: {task}", suite.missing)
    out.print(as_table(results))
    for name, reason in suite.missing.items():
        out.print(f"not run: {name}: {reason}")
    others = [one for other in others_of(results[0]) for one in other.figures] if results else []
    for one in others:
        out.print(f"{one.model}, {told(one)}")
    out.print(f"report: {report}")
    body = {
        "results": [result.to_dict() for result in results],
        "missing": dict(suite.missing),
        "others": [one.model_dump() for one in others],
    }
    write_json(body, json)


def told(one: Reported) -> str:
    """What somebody else measured under the same protocol, in a line."""
    who = "as published" if one.who == "published" else "retrained by others"
    figures = ", ".join(f"{metric_name(name)} {value:.4f}" for name, value in one.metrics.items())
    return f"{who}: {figures} ({one.source})"


def compare(rec: M6Rec, split: Split, names: Sequence[str] | None, options: SuiteOptions) -> Suite:
    """The baselines of a split; text similarity gets the backbone's own vectors."""
    if split.card.task == "retrieve":
        texts = Verbalizer(Templates.load(), split.items).item_texts()
        options = replace(options, vectors=rec.embed(texts))
    with err.status("baselines") as status:
        return run_suite(split, names, options, progress=status.update)
