"""`m6rec eval TASK --data DATA`: figures with intervals, and the protocol they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.table import Table

from m6rec.cli.common import DEFAULT_MODEL, Adapter, Data, Json, Model, out, verb, write_json
from m6rec.cli.tune import Positive, SplitBy, Targets, Task, parse_label, parse_targets
from m6rec.evaluation.result import Result
from m6rec.recommender import M6Rec

SHOWN = ("hr@10", "ndcg@10", "hr@100", "mrr", "coverage@10", "auc", "gauc", "logloss", "ece")


@verb
def evaluate(
    task: Task,
    data: Data,
    adapter: Adapter = None,
    part: Annotated[
        Literal["valid", "test"], typer.Option("--part", help="Which rows are judged.")
    ] = "test",
    split: SplitBy = "auto",
    label: Positive = None,
    targets: Targets = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Measure a task: by full ranking (retrieve) or on labelled candidates (rank)."""
    rec = M6Rec.from_pretrained(model)
    if adapter is not None:
        rec.load_adapter(adapter)
    result = rec.evaluate(
        task, data, part, split=split, label=parse_label(label), targets=parse_targets(targets)
    )
    if str(json) != "-":
        out.print(as_table([result]))
        out.print(f"{result.card.dataset}: {result.card.split}")
    write_json(result.to_dict(), json)


def as_table(results: Sequence[Result]) -> Table:
    """Results as rows, the usual metrics as columns, with their intervals."""
    names = [name for name in SHOWN if any(name in result.metrics for result in results)]
    table = Table("", *names)
    for result in results:
        cells = []
        for name in names:
            found = result.metrics.get(name)
            if found is None:
                cells.append("–")
            elif found.low is None or found.high is None:
                cells.append(f"{found.value:.4f}")
            else:
                cells.append(f"{found.value:.4f} [dim]{found.low:.3f}–{found.high:.3f}[/]")
        table.add_row(result.model, *cells)
    return table
