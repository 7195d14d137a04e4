"""`m6rec eval TASK --data DATA`: figures with intervals, and the protocol they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from m6rec.authors import check_own_split, is_writing
from m6rec.cli.common import (
    DEFAULT_MODEL,
    Adapter,
    Data,
    Json,
    Model,
    TextOnly,
    out,
    verb,
    write_json,
)
from m6rec.cli.tune import Cap, Positive, SplitBy, Targets, Task, parse_label, parse_targets
from m6rec.data.caps import capped, parse_cap
from m6rec.data.tables import load
from m6rec.evaluation.result import Result
from m6rec.recommender import M6Rec
from m6rec.records import ProtocolCard

SHOWN = (
    "hr@3", "hr@5", "hr@10", "ndcg@10", "hr@100", "coverage@10", "auc", "gauc", "logloss", "ece",
)  # fmt: skip
WRITTEN = {
    "explain": ("bleu-1", "bleu-4", "rouge1", "rouge2", "rougeL", "usr", "fmr", "fcr", "div",
                "faithful", "ppl"),
    "title": ("bleu-1", "bleu-4", "rouge1", "usr", "dist-1", "dist-2", "novel", "copied",
              "category", "ppl"),
    "query": ("bleu-1", "bleu-2", "usr", "dist-1", "dist-2", "novel", "round-trip",
              "round-trip-words", "words", "ppl"),
    "chat": ("recall@1", "recall@10", "recall@50", "recall@1-new", "recall@10-new",
             "recall@50-new", "bleu-2", "dist-3", "dist-4", "recommends", "ppl"),
}  # fmt: skip
"""Columns of the tasks that write; the JSON has all of them."""


@verb
def evaluate(
    task: Task,
    data: Data,
    adapter: Adapter = None,
    text_only: TextOnly = False,
    part: Annotated[
        Literal["valid", "test"], typer.Option("--part", help="Which rows are judged.")
    ] = "test",
    split: SplitBy = "auto",
    label: Positive = None,
    targets: Targets = None,
    cap: Cap = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Most texts judged (tasks that write).", min=1)
    ] = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Measure a task: by full ranking (retrieve), on labelled candidates (rank), or what it writes
    beside named baselines (explain, title, query, chat)."""
    rec = M6Rec.from_pretrained(model)
    rec.text_only = text_only
    if adapter is not None:
        rec.load_adapter(adapter)
    if is_writing(task):
        cutting: dict[str, Any] = {} if limit is None else {"max_eval": limit}
        check_own_split(task, split, label, targets)
        results = rec.evaluate_writing(task, capped(load(data), parse_cap(cap)), part, **cutting)
        out.print(as_table(results, WRITTEN[task]))
        _print_card(results[0].card)
        write_json({"results": [result.to_dict() for result in results]}, json)
        return
    result = rec.evaluate(
        task,
        data,
        part,
        split=split,
        label=parse_label(label),
        targets=parse_targets(targets),
        max_events_per_user=parse_cap(cap),
    )
    out.print(as_table([result]))
    _print_card(result.card)
    write_json(result.to_dict(), json)


def _print_card(card: ProtocolCard) -> None:
    out.print(f"{card.dataset}: {card.split}", soft_wrap=True)
    for note in card.notes:
        out.print(f"  {escape(note)}", soft_wrap=True)


def as_table(results: Sequence[Result], shown: Sequence[str] = SHOWN) -> Table:
    """Results as rows, the usual metrics as columns, with their intervals; and what it cost in
    minutes of processor time to choose and fit a model, where that is known."""
    names = [name for name in shown if any(name in result.metrics for result in results)]
    costs = [None if made is None else made.cpu_seconds for made in (r.made for r in results)]
    known = any(cost is not None for cost in costs)
    table = Table("", *names, *(["CPU min"] if known else []))
    for result, cost in zip(results, costs, strict=True):
        cells = []
        for name in names:
            found = result.metrics.get(name)
            if found is None:
                cells.append("–")
            elif found.low is None or found.high is None:
                cells.append(f"{found.value:.4f}")
            else:
                cells.append(f"{found.value:.4f} [dim]{found.low:.3f}–{found.high:.3f}[/]")
        if known:
            cells.append("–" if cost is None else f"{cost / 60:.2f}")
        table.add_row(result.model, *cells)
    return table
