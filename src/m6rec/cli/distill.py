"""`m6rec distill SOURCE … --out DIR`: a network for phones and browsers, taught by a larger one."""

from __future__ import annotations

import json as formats
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.markup import escape

from m6rec.cli.common import (
    DEFAULT_MODEL,
    INTERRUPTED,
    Json,
    err,
    key_values,
    out,
    verb,
    write_json,
)
from m6rec.cli.pretrain import CORPUS, RUN, SAVE
from m6rec.cli.tune import Positive, SplitBy, parse_label
from m6rec.model.checkpoint import load_backbone
from m6rec.model.sparse import nonzero
from m6rec.training.beginning import is_begun
from m6rec.training.corpus.documents import MANIFEST
from m6rec.training.corpus.own import OwnOptions, own_corpus
from m6rec.training.edge.distill import EdgeRun
from m6rec.training.edge.distill import distill as train
from m6rec.training.edge.recipe import EdgeSize
from m6rec.training.loop import TrainingError
from m6rec.training.pretrain import REPORT_STEPS, Pace, Pretrained
from m6rec.training.runlock import run_lock

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the recipe, such as teaching=logits, sparsity=0.7."),
]


@verb
def distill(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="As in m6rec pretrain; or one folder with a corpus that is there already.",
            show_default=False,
        ),
    ],
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder for the corpus and the run.", show_default=False)
    ],
    size: Annotated[EdgeSize, typer.Option(help="Shape and recipe of the student.")] = (
        "m6-edge-10m"
    ),
    teacher: Annotated[
        str, typer.Option(help="Who teaches: a model by name, or its folder.")
    ] = DEFAULT_MODEL,
    start: Annotated[
        str | None,
        typer.Option(
            help="An earlier student to go on with, or 'cold'. Default: made of the teacher.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Training time in all.", min=0)] = 60.0,
    threads: Annotated[
        int | None, typer.Option(help="Threads (default: one per core).", min=1)
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    settings: Settings = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--shape", help="A setting of the shape, such as layer_sets=3."),
    ] = None,
    split: SplitBy = "auto",
    label: Positive = None,
    json: Json = None,
) -> None:
    """Teach a small network (m6-edge-10m, m6-edge-2m) what a larger one knows.

    Pretraining goes on as in `m6rec pretrain`, under a teacher; interrupted, the same command goes
    on where it was. The model is then in DIR/run/checkpoint.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: no GPU is to be seen here; right is --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    told = EdgeRun(size, teacher, start, settings_of(settings or []), settings_of(shape or []))
    run = out_folder / RUN
    with run_lock(run):
        corpus = sources[0]
        if len(sources) > 1 or not (corpus / MANIFEST).is_file():
            corpus = out_folder / CORPUS
            options = OwnOptions(method=split, label=parse_label(label))
            own_corpus(sources, corpus, options, is_begun(run), _say)
        with err.status(f"training; a line every {REPORT_STEPS} steps, saved every {SAVE} min"):
            pace = Pace(save=SAVE, check=15)
            done = train(told, corpus, run, minutes=minutes, pace=pace, device=device, console=err)
    result = {**_figures(done), "size": size, "teacher": teacher}
    state = "complete" if done.complete else "stopped and saved; the same command goes on"
    out.print(
        escape(
            f"{state}: {done.checkpoint}, {result['steps']:,} steps, "
            f"{result['not_zero'] / 1e6:.2f} M weights that are not zero"
        ),
        soft_wrap=True,
    )
    write_json(result, json)
    if not done.complete:
        raise typer.Exit(INTERRUPTED)


def _figures(done: Pretrained) -> dict[str, Any]:
    model, _ = load_backbone(done.checkpoint)
    return {
        "checkpoint": str(done.checkpoint),
        "complete": done.complete,
        "steps": done.progress.step,
        "tokens": done.progress.tokens,
        "seconds": done.progress.seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "not_zero": nonzero(model),
    }


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """`key=value` words as settings: JSON where it is that, else text. BadParameter without `=`."""
    found: dict[str, Any] = {}
    for key, value in key_values(pairs, "teaching=logits").items():
        try:
            found[key] = formats.loads(value)
        except formats.JSONDecodeError:
            found[key] = value
    return found


def _say(line: str) -> None:
    err.print(escape(line), soft_wrap=True)
