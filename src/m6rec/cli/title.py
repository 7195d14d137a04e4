"""`m6rec title`: products that would suit a user or a group."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from m6rec.cli.common import DEFAULT_MODEL, History, Json, Model, entries, out, verb, write_json
from m6rec.cli.written import How, Profile, Tables, Tuned, User, decoding_of, open_author


@verb
def title(
    adapter: Tuned,
    data: Tables = None,
    user: User = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A user_id of a group; repeat.")
    ] = None,
    history: History = None,
    profile: Profile = None,
    category: Annotated[
        str | None,
        typer.Option("--category", help="What it has to be (tuned with category=given)."),
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many products.", min=1)] = 1,
    woven: Annotated[
        bool, typer.Option("--woven", help="Put together from titles of the data.")
    ] = False,
    settings: How = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Design products for a user or a group: a category and a title."""
    rec = open_author(model, data, adapter)
    found = rec.title(
        entries(history),
        user_id=user,
        group=group or (),
        profile=profile,
        category=category,
        n=n,
        woven=woven,
        **decoding_of(settings),
    )
    for one in found:
        sort = f"[dim]{escape(one.category)}[/]  " if one.category else ""
        out.print(f"{sort}{escape(one.title)}")
    write_json({"user": user, "products": [asdict(one) for one in found]}, json)
