"""`m6rec chat`: a conversation about the items of a data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.common import DEFAULT_MODEL, Data, Json, Model, err, out, verb, write_json
from m6rec.cli.written import How, decoding_of
from m6rec.recommender import M6Rec
from m6rec.tasks.dialogue import Conversation, Reply

Written = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of the tuned task (m6rec tune chat).")
]


@verb
def chat(
    data: Data,
    adapter: Written = None,
    turn: Annotated[
        list[str] | None,
        typer.Option("--turn", help="What the user says; repeat. Without it, you are asked."),
    ] = None,
    past: Annotated[
        int, typer.Option("--past", help="Replies of past dialogues that are read first.", min=0)
    ] = 0,
    settings: How = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Talk about what you are looking for; every item that is recommended is one of DATA."""
    rec = M6Rec.from_pretrained(model).use(data)
    if adapter is not None:
        rec.load_adapter(adapter)
    talk = rec.chat(past=past, **decoding_of(settings))
    said = _script(talk, turn, str(json) == "-") if turn else _interactive(talk)
    write_json({"turns": said, "liked": talk.liked, "rejected": talk.rejected}, json)


def _script(talk: Conversation, turns: list[str], quiet: bool) -> list[dict[str, object]]:
    said = []
    for text in turns:
        reply = talk.say(text)
        if not quiet:
            out.print("[bold]USER:[/] ", end="")
            out.print(text, markup=False, soft_wrap=True)
            out.print("[bold cyan]SYSTEM:[/] ", end="")
            out.print(reply.text, markup=False, soft_wrap=True)
        said.append(_entry(text, reply))
    return said


def _interactive(talk: Conversation) -> list[dict[str, object]]:
    """Reads turns until the input ends."""
    said: list[dict[str, object]] = []
    err.print("[dim]Say what you are looking for; Ctrl-D ends.[/]")
    while True:
        try:
            text = out.input("[bold]USER:[/] ")
        except EOFError:
            out.print()
            return said
        out.print("[bold cyan]SYSTEM:[/] ", end="")
        for piece in talk.stream(text):
            out.print(piece, markup=False, end="", soft_wrap=True)
        out.print()
        said.append(_entry(text, talk.last))


def _entry(text: str, reply: Reply) -> dict[str, object]:
    return {"user": text, **asdict(reply)}
