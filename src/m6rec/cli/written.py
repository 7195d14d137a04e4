"""What the verbs that write share: who asks, how it is written, and who writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.tune import parse_settings
from m6rec.recommender import M6Rec

Tuned = Annotated[Path, typer.Option("--adapter", help="Folder of the tuned task (m6rec tune).")]
Tables = Annotated[
    Path | None, typer.Option("--data", help="Folder with the canonical tables, if any.")
]
User = Annotated[str | None, typer.Option("--user", help="A user_id of the data.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Who the user is, in words.")]
How = Annotated[
    list[str] | None,
    typer.Option("--set", help="How it is written: method=beam, beams=4, seed=7, …"),
]


def open_author(model: str, data: Path | None, adapter: Path) -> M6Rec:
    """A model with a tuned task, and data where there are some."""
    rec = M6Rec.from_pretrained(model)
    if data is not None:
        rec.use(data)
    return rec.load_adapter(adapter)


def decoding_of(settings: list[str] | None) -> dict[str, object]:
    """`key=value` words → settings of Decoding, which names a wrong key itself."""
    merged: dict[str, object] = {}
    for part in parse_settings(settings or []):
        merged |= part
    return merged
