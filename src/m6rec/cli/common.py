"""What every verb shares: consoles, machine-readable results, and errors for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from m6rec.records import M6Error

P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_MODEL = "m6-small"
WRONG, INTERRUPTED = 2, 130
"""Exit codes: the input or a setting is wrong; stopped by the user (as shells say it)."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Json = Annotated[
    Path | None, typer.Option("--json", help="Write the result as JSON to this file ('-': stdout).")
]
Data = Annotated[Path, typer.Option("--data", help="Folder with the canonical tables.")]
State = Annotated[
    Path | None,
    typer.Option("--state", help="Where the server keeps what it knows (DATA/server)."),
]
History = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="'clicked: trail running shoes', or an event as a JSON object; repeat, oldest first.",
    ),
]
Model = Annotated[str, typer.Option("--model", help="Checkpoint by name, or its folder.")]
Adapter = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of a tuned task (m6rec tune).")
]
TextOnly = Annotated[
    bool,
    typer.Option("--text-only", help="Retrieve by words alone, whatever people chose next."),
]
Template = Annotated[
    str | None,
    typer.Option("--templates", help="Built-in templates (books, movies, news, shop) or a file."),
]


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Turns M6Error, and a file that can not be used, into one line on stderr and exit code 2.

    Ctrl-C becomes 130 and a hint. With `--json -` nothing else goes to stdout.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        logging.basicConfig(
            level=logging.WARNING,
            format="%(message)s",
            handlers=[RichHandler(console=err, show_time=False, show_path=False)],
        )
        try:
            out.quiet = str(kwargs.get("json")) == "-"
            return function(*args, **kwargs)
        except M6Error as error:
            err.print(f"[bold red]error[/] {escape(error.at_command_line)}", soft_wrap=True)
            raise typer.Exit(WRONG) from None
        except OSError as error:
            if error.filename is None:  # no file of the user's: a broken pipe, a socket, a bug
                raise
            said = escape(f"{error.filename}: {error.strerror}")
            err.print(f"[bold red]error[/] {said}", soft_wrap=True)
            raise typer.Exit(WRONG) from None
        except KeyboardInterrupt:
            err.print("stopped; the same command goes on where it was")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            out.quiet = False

    return guarded


def entries(history: Sequence[str] | None) -> list[str | dict[str, object]]:
    """A history: words, or where an entry is a JSON object, an event with its fields."""
    return [_entry(text) for text in history or ()]


def _entry(text: str) -> str | dict[str, object]:
    if not text.lstrip().startswith("{"):
        return text
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f'{text!r} is no JSON ({error}); right is words, or {{"event": "click", …}}',
            param_hint="--history",
        ) from error
    return told if isinstance(told, dict) else text


def write_json(result: Mapping[str, Any], path: Path | None) -> None:
    """Writes a result for machines, if asked for."""
    if path is None:
        return
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def key_values(words: Sequence[str], example: str) -> dict[str, str]:
    """`KEY=VALUE` words as a dictionary. Raises BadParameter where one has no `=`."""
    found = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise typer.BadParameter(f"{word!r}; right is KEY=VALUE, such as {example}")
        found[key] = value
    return found
