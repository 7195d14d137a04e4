"""`m6rec demo`: from an event log to recommendations, metrics beside baselines, and a report."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import typer

from m6rec.cli.bench import compare
from m6rec.cli.common import DEFAULT_MODEL, Json, Model, err, out, verb, write_json
from m6rec.cli.evaluate import as_table
from m6rec.cli.recommend import as_table as recommendations
from m6rec.data import tables
from m6rec.data.check import check
from m6rec.data.labels import default_rule
from m6rec.data.options import Task
from m6rec.data.shop import generate_shop
from m6rec.data.splits import make_split
from m6rec.data.tables import DataError, Dataset
from m6rec.data.verdicts import acted, standing
from m6rec.evaluation.report import write_report
from m6rec.evaluation.result import Result
from m6rec.evaluation.suite import SuiteOptions
from m6rec.recommender import M6Rec

QUICK: dict[Task, tuple[str, ...]] = {
    "retrieve": ("popularity", "text-mean", "item-knn"),
    "rank": ("like-rate", "item-rate", "user-item-rate"),
}
"""Baselines that need no extra and a few seconds."""
MOST_TRAIN = 12_000
MOST_JUDGED = 2_000
SHOPPERS = 3
CHOICES = {"click", "purchase"}
"""What retrieval foresees where the log has it; a cart or a rating names an item chosen before."""


@verb
def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Your tables (default: the built-in shop).")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Training time of each task.", min=0.01)] = 0.5,
    size: Annotated[
        Literal["tiny", "small", "full"], typer.Option(help="Built-in shop: tiny, small or full.")
    ] = "full",
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Show the whole way once: check, recommend untrained, tune, compare, recommend, report."""
    started = time.monotonic()
    source = data or folder / "shop"
    if data is None and not (source / "items.parquet").is_file():
        with err.status("opening the shop"):
            generate_shop(source, size=size)
    _look(source)
    dataset = tables.load(source)
    rec = M6Rec.from_pretrained(model).use(dataset)
    shoppers = _shoppers(dataset)
    answers: dict[str, Any] = {"untrained": _show(rec, dataset, shoppers, "with no training")}
    results = {task: _task(rec, dataset, task, minutes) for task in _tasks(dataset)}
    answers["tuned"] = _show(rec, dataset, shoppers, "after tuning")
    for task, found in results.items():
        write_report(found, folder / f"{task}.html", f"{dataset.name}: {task}")
        out.print(as_table(found))
        out.print(f"report: {folder / f'{task}.html'}\n")
    rec.save_pretrained(folder / "model")
    seconds = time.monotonic() - started
    out.print(f"model: {folder / 'model'} · {seconds / 60:.1f} minutes in all")
    figures = {task: [r.to_dict() for r in found] for task, found in results.items()}
    write_json({"recommendations": answers, "results": figures, "seconds": seconds}, json)


def _look(source: Path) -> None:
    report = check(source)
    rows = ", ".join(f"{table.rows:,} {table.name}" for table in report.tables)
    out.print(f"[bold]{source}[/]: {rows}; {report.errors} errors, {report.warnings} warnings")


def _tasks(dataset: Dataset) -> list[Task]:
    """Ranking only where the data say what was liked and what was not."""
    try:
        if dataset.events is not None:
            default_rule(dataset.events)
            return ["retrieve", "rank"]
    except DataError:
        pass
    return ["retrieve"]


def _task(rec: M6Rec, dataset: Dataset, task: Task, minutes: float) -> list[Result]:
    """Tunes one task for a short while and judges it beside quick baselines."""
    kinds = set() if dataset.events is None else set(dataset.events["event"].unique())
    split = make_split(
        dataset,
        task,
        positives=frozenset(CHOICES & kinds) or None,
        max_train=MOST_TRAIN,
        max_eval=MOST_JUDGED,
    )
    found = [rec.evaluate(task, dataset, split=split)] if task == "retrieve" else []
    out.print(f"[bold]tuning[/] {task} on {len(split.train):,} requests")
    rec.fit(task, dataset, split=split, console=err, **_quick(task, minutes))
    found.append(rec.evaluate(task, dataset, split=split))
    return [*found, *compare(rec, split, QUICK[task], SuiteOptions(tuned=False)).results]


def _quick(task: Task, minutes: float) -> dict[str, Any]:
    """Settings for half a minute."""
    extra = {"residual": True} if task == "retrieve" else {}
    return {"train": {"minutes": minutes}, **extra}


def _shoppers(dataset: Dataset) -> list[str]:
    """Users with a few choices each, the same ones every time."""
    if dataset.events is None:
        return []
    chosen = dataset.events.filter(acted(dataset.events))
    counted = chosen.group_by("user_id").len().filter(pl.col("len").is_between(5, 40))
    users = counted.sort("user_id")["user_id"].to_list()
    return users[:: max(1, len(users) // SHOPPERS)][:SHOPPERS]


def _show(rec: M6Rec, dataset: Dataset, shoppers: list[str], how: str) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for user in shoppers:
        assert dataset.events is not None
        own = dataset.events.filter(pl.col("user_id") == user)
        own = standing(own).join(dataset.items, on="item_id", maintain_order="left")
        past = "; ".join(own["title"].drop_nulls().unique(maintain_order=True).tail(4).to_list())
        found = rec.recommend(user_id=user, k=5)
        out.print(f"[bold]{user}[/] lately chose: {past}")
        out.print(recommendations(found, how))
        answers[user] = [asdict(one) for one in found]
    return answers
