"""`m6rec VERB`: the command line. One file per verb; this one only lists them."""

from __future__ import annotations

import typer

from m6rec.cli import bench, check, convert, demo, evaluate, importing, recommend, tune

VERBS = {
    "demo": demo.demo,
    "check": check.check,
    "import": importing.import_,
    "tune": tune.tune,
    "eval": evaluate.evaluate,
    "recommend": recommend.recommend,
    "convert-hf": convert.convert_hf,
    "bench": bench.bench,
}


def build_app() -> typer.Typer:
    """The app with every verb; nothing happens at import."""
    app = typer.Typer(
        name="m6rec",
        help="One pretrained language model that does every job of a recommender system.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, function in VERBS.items():
        app.command(name)(function)
    return app


def main() -> None:
    """Entry point of the console script."""
    build_app()()
