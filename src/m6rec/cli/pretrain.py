"""`m6rec pretrain SOURCE … --out DIR`: the language of one's own shop, from one's own texts."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.markup import escape

from m6rec.cli.common import DEFAULT_MODEL, INTERRUPTED, Json, err, out, verb, write_json
from m6rec.cli.tune import Positive, SplitBy, parse_label
from m6rec.training.beginning import (
    Beginning,
    SizeName,
    beginning,
    is_begun,
    remember,
)
from m6rec.training.corpus.own import OwnOptions, own_corpus
from m6rec.training.loop import TrainingError
from m6rec.training.pretrain import DECAY, REPORT_STEPS, Pace, Pretrained
from m6rec.training.pretrain import pretrain as train
from m6rec.training.runlock import run_lock

CORPUS, RUN = "corpus", "run"
SAVE = 5
"""Minutes between two saves."""
FEW_CHARACTERS = 4_000_000
"""In a corpus of fewer, a word that is written once is learned too: else little would be left."""


@verb
def pretrain(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="Data folders, .txt files, folders of .txt files.",
            show_default=False,
        ),
    ],
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder for the corpus and the run.", show_default=False)
    ],
    start: Annotated[
        str | None,
        typer.Option(
            help="Model to begin with: a name (m6-small, minilm-l6), a folder, or 'cold' (random "
            f"weights). Default: {DEFAULT_MODEL}.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[SizeName, typer.Option(help="Which recipe.")] = "m6-small",
    minutes: Annotated[
        float, typer.Option(help="Training time in all; 0: until Ctrl-C.", min=0)
    ] = 60.0,
    threads: Annotated[
        int | None, typer.Option(help="Threads (default: one per core).", min=1)
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    licence: Annotated[
        str | None, typer.Option(help="Terms of the sources, for the manifest.")
    ] = None,
    split: SplitBy = "auto",
    label: Positive = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write logs for TensorBoard.")
    ] = False,
    json: Json = None,
) -> None:
    """Teach a model the language of your own items, reviews, dialogues and histories.

    Of a data folder only train rows are read, cut as `m6rec eval` cuts them. Interrupted, the same
    command goes on where it was. The model is then in DIR/run/checkpoint.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: no GPU is to be seen here; right is --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    begin = beginning(size, start, DEFAULT_MODEL)
    run = out_folder / RUN
    with run_lock(run):
        options = OwnOptions(licence=licence, method=split, label=parse_label(label))
        corpus = out_folder / CORPUS
        manifest = own_corpus(sources, corpus, options, is_begun(run), _say)
        begin = _for_corpus(begin, manifest)
        remember(run, begin)
        _introduce(begin, manifest)
        with err.status(f"training; a line every {REPORT_STEPS} steps, saved every {SAVE} min"):
            done = train(
                begin.recipe,
                corpus,
                run,
                (begin.model, begin.tokenizer),
                minutes=minutes,
                pace=Pace(save=SAVE, check=15),
                tensorboard=tensorboard,
                device=device,
                console=err,
            )
    result = _result(done, begin, manifest)
    _conclude(done, run)
    write_json(result, json)
    if not done.complete:
        raise typer.Exit(INTERRUPTED)


def _say(line: str) -> None:
    err.print(escape(line), soft_wrap=True)


def _for_corpus(begin: Beginning, manifest: dict[str, Any]) -> Beginning:
    characters = sum(entry["characters"] for entry in _counts(manifest))
    if characters >= FEW_CHARACTERS:
        return begin
    return replace(begin, recipe=begin.recipe.model_copy(update={"rare": 1}))


def _counts(manifest: dict[str, Any]) -> list[dict[str, int]]:
    return [entry for s in manifest["sources"].values() for entry in s["documents"].values()]


def _kinds(manifest: dict[str, Any]) -> dict[str, int]:
    """Documents to train on, by kind."""
    kinds: Counter[str] = Counter()
    for source in manifest["sources"].values():
        for kind, entry in source["documents"].items():
            kinds[kind] += entry["train"]
    return dict(kinds)


def _introduce(begin: Beginning, manifest: dict[str, Any]) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in _kinds(manifest).items())
    size = sum(p.numel() for p in begin.model.parameters())
    _say(f"documents to train on: {kinds}")
    _say(f"{begin.start}: {size / 1e6:.1f} M parameters; Ctrl-C saves and stops")


def _conclude(done: Pretrained, run: Path) -> None:
    progress = done.progress
    so_far = f"{progress.step:,} steps, {progress.tokens / 1e6:.2f} M tokens"
    if done.complete:
        out.print(f"complete after {so_far}: {escape(str(done.checkpoint))}", soft_wrap=True)
        out.print(escape(f"use it with --model {done.checkpoint}"), soft_wrap=True)
        return
    words = shlex.join(["m6rec", *sys.argv[1:]])
    out.print(f"stopped and saved after {so_far}; it goes on with", soft_wrap=True)
    out.print(escape(f"  {words}"), soft_wrap=True)
    out.print(
        escape(f"`touch {run / DECAY}` before that ends it with the decay of the learning rate"),
        soft_wrap=True,
    )


def _result(done: Pretrained, begin: Beginning, manifest: dict[str, Any]) -> dict[str, Any]:
    progress = done.progress
    return {
        "checkpoint": str(done.checkpoint),
        "complete": done.complete,
        "steps": progress.step,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "left_out_steps": progress.skipped,
        "start": begin.start,
        "recipe": begin.recipe.model_dump(mode="json"),
        "corpus": {"fingerprint": manifest["fingerprint"], "sources": manifest["sources"]},
    }
