"""`m6rec tune TASK --data DATA --out ADAPTER`: about one per cent of parameters for one task."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from m6rec.cli.common import (
    DEFAULT_MODEL,
    Data,
    Json,
    Model,
    Template,
    err,
    key_values,
    out,
    verb,
    write_json,
)
from m6rec.data.caps import parse_cap
from m6rec.data.labels import LabelRule
from m6rec.data.schema import DataError
from m6rec.data.splits import Method as SplitMethod
from m6rec.evaluation.summary import metric_name
from m6rec.model.tuning import Method, Tuning
from m6rec.recommender import Fitted, M6Rec
from m6rec.tasks.build import TaskName
from m6rec.training.settings import TrainSettings

Task = Annotated[TaskName, typer.Argument(help="retrieve, rank, explain, title, query or chat")]
SplitBy = Annotated[SplitMethod, typer.Option("--split", help="How train, valid and test are cut.")]
Positive = Annotated[
    str | None,
    typer.Option(
        "--label", help="A yes: 'rating>=4', or 'purchase against click' (default: by kind)."
    ),
]
Targets = Annotated[
    str | None,
    typer.Option("--targets", help="Kinds of events to foresee, such as click,purchase."),
]
Cap = Annotated[
    str | None,
    typer.Option(
        "--max-events-per-user",
        metavar="N|SHARE",
        help="Only the newest events of each user count: 200, or 1% of all events (for bots).",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, such as rate=1e-3, epochs=4, residual=true."),
]


@verb
def tune(
    task: Task,
    data: Data,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for what is trained.")],
    model: Model = DEFAULT_MODEL,
    method: Annotated[Method, typer.Option(help="What is trained (docs/tuning.md).")] = (
        "option-adapter"
    ),
    plan: Annotated[Literal["late", "full"], typer.Option(help="Execution plan.")] = "late",
    split: SplitBy = "auto",
    label: Positive = None,
    targets: Targets = None,
    cap: Cap = None,
    templates: Template = None,
    settings: Set = None,
    json: Json = None,
) -> None:
    """Tune a task on the train part of DATA. Interrupted, the same command goes on where it was."""
    train, layout, reading = parse_settings(settings or [])
    whole = out_folder.resolve()  # "." has no name to put another one beside
    state = whole.with_name(whole.name + ".run")
    rec = M6Rec.from_pretrained(model)
    fitted = rec.fit(
        task,
        data,
        method=method,
        plan=plan,
        split=split,
        label=parse_label(label),
        targets=parse_targets(targets),
        max_events_per_user=parse_cap(cap),
        templates=templates,
        tuning=layout,
        train=train,
        state=state,
        console=err,
        **reading,
    )
    rec.tasks[task].write(out_folder)
    shutil.rmtree(state, ignore_errors=True)
    _show(fitted, out_folder)
    write_json({"task": task, "spec": fitted.spec.model_dump(), **fitted.trained_on}, json)


def _show(fitted: Fitted, folder: Path) -> None:
    history = fitted.trained_on["history"]
    measures = [key for key in history[0] if key not in ("epoch", "seconds")]
    table = Table("epoch", *measures, "seconds", title=f"{fitted.task} → {folder}")
    for entry in history:
        best = " *" if entry["epoch"] == fitted.trained_on["best_epoch"] else ""
        figures = [f"{entry[key]:.4f}" for key in measures]
        table.add_row(f"{entry['epoch'] + 1}{best}", *figures, f"{entry['seconds']:.0f}")
    out.print(table)
    if fitted.trained_on.get("joined"):
        out.print(_dial(fitted.trained_on["joined"]))
        out.print(_truth(fitted.trained_on["joined"]))
    share = 100 * fitted.trained_on["trainable_share"]
    out.print(f"trained {share:.2f} % of the backbone's parameters; * is the epoch that was kept")
    if fitted.trained_on["best_score"] is None:
        out.print(
            "the last epoch was kept: valid has no rows to choose by, or labels of one kind only"
        )


def _dial(joined: Mapping[str, Any]) -> Table | str:
    """What the boost of new items costs: the curve on valid, thinned out."""
    tried = joined["ndcg@10 on valid"]
    told = ", ".join(f"{name} {figure:.4f}" for name, figure in tried.items())
    curve = joined["dial"]
    if not curve:
        return f"NDCG@10 on valid: {told}; valid has no new items to weigh"
    table = Table("boost", "hits@100", "known", "new", "hr@10", title=f"NDCG@10 on valid: {told}")
    for point in curve:
        if point["boost"] == joined["boost"] or point["boost"] == int(point["boost"]):
            mark = " *" * (point["boost"] == joined["boost"])
            figures = [f"{point[key]:.4f}" for key in ("all", "known", "new", "first_ten")]
            table.add_row(f"{point['boost']:.2f}{mark}", *figures)
    return table


def _truth(joined: Mapping[str, Any]) -> str:
    """Whether the head's probabilities are true."""
    both = joined["promised and observed on valid"].items()
    told = (f"{metric_name(name)} {said:.3f} → {seen:.3f}" for name, (said, seen) in both)
    return f"promised by the scores → observed on valid: {', '.join(told)}"


def parse_targets(text: str | None) -> frozenset[str] | None:
    """`click,purchase` → the kinds of events; None where none are given."""
    if text is None:
        return None
    return frozenset(kind.strip() for kind in text.split(",") if kind.strip())


def parse_label(text: str | None) -> LabelRule | None:
    """What `LabelRule.parse` reads; raises BadParameter for anything else."""
    try:
        return None if text is None else LabelRule.parse(text)
    except DataError as error:
        raise typer.BadParameter(str(error)) from None


def parse_settings(pairs: list[str]) -> tuple[dict[str, object], ...]:
    """`key=value` words → settings of training, of the method, and of what is read.

    Unknown keys are left to the settings themselves, which name the nearest known one.
    """
    train: dict[str, object] = {}
    layout: dict[str, object] = {}
    reading: dict[str, object] = {}
    for key, value in key_values(pairs, "epochs=4").items():
        homes = ((TrainSettings, train), (Tuning, layout))
        home = next((home for kind, home in homes if key in kind.model_fields), reading)
        home[key] = _value(value)
    return train, layout, reading


def _value(text: str) -> object:
    words: dict[str, object] = {"true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
