"""`m6rec VERB`: the command line. One file per verb; this one only lists them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import typer


class Verb(NamedTuple):
    """Where a verb lives in this package, and what the list of verbs says of it."""

    module: str
    function: str
    says: str


VERBS = {
    "demo": Verb(
        "demo", "demo", "Show the whole way once: check, recommend, tune, compare, report."
    ),
    "check": Verb(
        "check", "check", "Look at every row of a data set, and say what is wrong with it."
    ),
    "import": Verb(
        "importing",
        "import_",
        "Import a log and a catalogue; what can not be used is kept in reject files.",
    ),
    "pretrain": Verb(
        "pretrain",
        "pretrain",
        "Teach a model the language of your own items, reviews and histories.",
    ),
    "distill": Verb(
        "distill",
        "distill",
        "Teach a small network (m6-edge-10m, m6-edge-2m) what a larger one knows.",
    ),
    "tune": Verb("tune", "tune", "Tune a task: about one per cent of the parameters."),
    "eval": Verb("evaluate", "evaluate", "Measure a task, with intervals."),
    "recommend": Verb(
        "recommend", "recommend", "Recommend items, with no training or with a tuned task."
    ),
    "score": Verb(
        "score", "score", "Score items by the likelihood of their words, with no training."
    ),
    "explain": Verb("explain", "explain", "Explain an item to a user."),
    "title": Verb(
        "title", "title", "Design products for a user or a group: a category and a title."
    ),
    "query": Verb("query", "query", "Write search queries for an item or for a user."),
    "chat": Verb(
        "chat", "chat", "Talk about what you are looking for; what is recommended exists."
    ),
    "convert-hf": Verb(
        "convert", "convert_hf", "Convert BERT, MiniLM, Llama, Qwen3 or SmolLM weights."
    ),
    "bench": Verb(
        "bench", "bench", "Compare with tuned baselines; results with intervals and a report."
    ),
    "bench latency": Verb(
        "bench_latency",
        "bench_latency",
        "Milliseconds: one request, encoding, rivals, growth, the roofline.",
    ),
    "cache": Verb("cache", "cache", "Fill a cache of encoded texts, look at it, or empty it."),
    "serve": Verb("serve", "serve", "Serve recommendations over HTTP, with a console at /."),
    "keys": Verb("keys", "keys", "Make, list or revoke API keys of the server."),
    "journal": Verb(
        "journal", "journal", "Check, compact, copy, export or restore a server's journal."
    ),
    "edge export": Verb(
        "edge", "edge_export", "Write a bundle for browsers or phones; checked against PyTorch."
    ),
    "edge check": Verb(
        "edge",
        "edge_check",
        "Check that a bundle is whole, and whether it ranks as its checkpoint.",
    ),
}
"""Verbs of one word or two."""


def build_app(verbs: Sequence[str]) -> typer.Typer:
    """The app with these verbs; only their modules are imported."""
    app = _empty()
    for verb in verbs:
        module = import_module(f"m6rec.cli.{VERBS[verb].module}")
        app.command(verb)(getattr(module, VERBS[verb].function))
    return app


def overview(verbs: Sequence[str] = tuple(VERBS)) -> typer.Typer:
    """An app that only lists verbs: help should not wait for the network's libraries."""
    app = _empty()
    for verb in verbs:
        app.command(verb, help=VERBS[verb].says)(_root)
    return app


def _empty() -> typer.Typer:
    app = typer.Typer(
        name="m6rec",
        help="One pretrained language model that does every job of a recommender system.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    return app


def _root() -> None:
    """One pretrained language model that does every job of a recommender system."""


SPIN = "10000"
"""Rounds for which a thread of PyTorch waits for more work before it gives its core away."""


def main() -> None:
    """Entry point of the console script: a verb imports what it needs, and nothing else."""
    spin_less()
    verb = as_one_word(sys.argv)
    group = [name for name in VERBS if name.startswith(f"{verb} ")]
    if verb in VERBS:
        gc.disable()  # what is imported stays: looking for garbage in it costs .3 s of three
        app = build_app([verb])
        gc.freeze()
        gc.enable()
        app()
    elif group:  # the first word of two: `m6rec edge`
        overview(group)(["--help"])
    else:
        overview()()


def spin_less() -> None:
    """PyTorch's threads and OpenVINO's share the cores: neither waits long with a core in its hand.

    By default idle threads of GNU OpenMP spin for a millisecond or two, in which OpenVINO has half
    of two cores: a request of 1,000 candidates took 4 ms of 15 more. Read by PyTorch when it is
    imported, so it is set before; what the caller has set stays.
    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


def as_one_word(arguments: list[str]) -> str:
    """The verb that a command line begins with; one of two words becomes one argument, in place."""
    two = " ".join(arguments[1:3])
    if two in VERBS:
        arguments[1:3] = [two]
    return arguments[1] if len(arguments) > 1 else ""
