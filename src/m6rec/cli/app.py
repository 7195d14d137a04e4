"""`m6rec VERB`: the command line. One file per verb; this one only lists them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

VERBS = {
    "demo": ("demo", "demo"),
    "check": ("check", "check"),
    "import": ("importing", "import_"),
    "pretrain": ("pretrain", "pretrain"),
    "distill": ("distill", "distill"),
    "tune": ("tune", "tune"),
    "eval": ("evaluate", "evaluate"),
    "recommend": ("recommend", "recommend"),
    "score": ("score", "score"),
    "explain": ("explain", "explain"),
    "title": ("title", "title"),
    "query": ("query", "query"),
    "chat": ("chat", "chat"),
    "convert-hf": ("convert", "convert_hf"),
    "bench": ("bench", "bench"),
    "bench latency": ("bench_latency", "bench_latency"),
    "cache": ("cache", "cache"),
    "serve": ("serve", "serve"),
    "keys": ("keys", "keys"),
    "edge export": ("edge", "edge_export"),
    "edge check": ("edge", "edge_check"),
}
"""Verb, of one word or two → module of this package, function in it."""


def build_app(verbs: Sequence[str] = tuple(VERBS)) -> typer.Typer:
    """The app with the given verbs; only their modules are imported."""
    app = typer.Typer(
        name="m6rec",
        help="One pretrained language model that does every job of a recommender system.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for verb in verbs:
        module, function = VERBS[verb]
        app.command(verb)(getattr(import_module(f"m6rec.cli.{module}"), function))
    return app


def _root() -> None:
    """One pretrained language model that does every job of a recommender system."""


def main() -> None:
    """Entry point of the console script: `check` should not wait for the network's libraries."""
    verb = as_one_word(sys.argv)
    build_app([verb] if verb in VERBS else tuple(VERBS))()


def as_one_word(arguments: list[str]) -> str:
    """The verb that a command line begins with; one of two words becomes one argument, in place."""
    two = " ".join(arguments[1:3])
    if two in VERBS:
        arguments[1:3] = [two]
    return arguments[1] if len(arguments) > 1 else ""
