"""`m6rec bench latency`: milliseconds of our plans beside DIN and a cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.markdown import Markdown

from m6rec.cli.common import DEFAULT_MODEL, Json, Model, err, out, verb, write_json
from m6rec.data import tables
from m6rec.recommender import M6Rec
from m6rec.serving.latency.report import markdown, plot
from m6rec.serving.latency.rows import Effort, measure


@verb
def bench_latency(
    model: Model = DEFAULT_MODEL,
    runtime: Annotated[
        str, typer.Option(help='Runtime of the engine; "auto" measures and chooses.')
    ] = "auto",
    repeats: Annotated[int, typer.Option(help="Calls of each timing.", min=4)] = 100,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option(help="Leave out the longest growth points.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="With --adapter: accuracy beside the milliseconds.")
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="Tuned task (late, full …) to judge on --data; repeat."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for latency.json, .md and .svg.")
    ] = None,
    json: Json = None,
) -> None:
    """Milliseconds: one request, encoding, rivals on the same pairs, growth, the roofline."""
    if (data is None) != (not adapter):
        raise typer.BadParameter("accuracy needs both --data and --adapter", param_hint="--adapter")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise typer.BadParameter("this PyTorch has no such device", param_hint="--device")
    rec = M6Rec.from_pretrained(model, device=device)
    with err.status("measuring") as status:
        found = measure(rec.backbone, Effort(repeats, quick), runtime, status.update)
        if data is not None and adapter:
            status.update("accuracy")
            found["accuracy"] = accuracy(model, data, adapter, device)
    page = markdown(found) + accuracy_table(found.get("accuracy", []))
    if folder is not None:
        write_json(found, folder / "latency.json")
        (folder / "latency.md").write_text(page, encoding="utf-8")
        plot(found, folder / "latency.svg")
    out.print(Markdown(page))
    write_json(found, json)


def accuracy(model: str, data: Path, adapters: Sequence[Path], device: str) -> list[dict[str, Any]]:
    """What each tuned task scores on the test part, and how long it takes for all of it (Table 6).

    Adapters of one task tuned with different plans, on the same split, can be laid side by side.
    """
    rows = []
    dataset = tables.load(data)
    for folder in adapters:
        # A model of its own, so that nobody's seconds profit from what another has encoded.
        rec = M6Rec.from_pretrained(model, device=device)
        rec.tasks.clear()
        (tuned,) = rec.load_adapter(folder).tasks.values()
        task, reading = tuned.spec.task, tuned.spec.reading
        result = rec.evaluate(task, dataset)
        rows.append(
            {
                "adapter": folder.name,
                "task": task,
                "plan": reading.plan,
                "online_layers": reading.online_layers,
                "seconds": round(result.seconds, 2),
                "result": result.to_dict(),
            }
        )
    return rows


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; nothing where there are no rows."""
    if not rows:
        return ""
    shown = ("auc", "gauc", "hr@10", "ndcg@10")
    lines = ["", "### Accuracy beside the time", "", "| adapter | plan | online | s | figures |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in rows:
        metrics = row["result"]["metrics"]
        figures = ", ".join(f"{key} {_value(metrics[key])}" for key in shown if key in metrics)
        lines.append(
            f"| {row['adapter']} | {row['plan']} | {row['online_layers']} | {row['seconds']} | "
            f"{figures} |"
        )
    return "\n".join(lines) + "\n"


def _value(metric: Any) -> str:
    number = metric["value"] if isinstance(metric, Mapping) else metric
    return f"{number:.4f}"
