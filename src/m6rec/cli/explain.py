"""`m6rec explain`: why a user may like an item."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Annotated

import typer

from m6rec.cli.common import DEFAULT_MODEL, History, Json, Model, entries, out, verb, write_json
from m6rec.cli.written import How, Profile, Tables, Tuned, User, decoding_of, open_author


@verb
def explain(
    item: Annotated[str, typer.Option("--item", help="An item_id of the data, or a title.")],
    adapter: Tuned,
    data: Tables = None,
    user: User = None,
    history: History = None,
    profile: Profile = None,
    free: Annotated[
        bool, typer.Option("--free", help="Allow words that neither item nor history have.")
    ] = False,
    settings: How = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Explain an item to a user, in words that the item or the history have."""
    rec = open_author(model, data, adapter)
    found = rec.explain(
        item,
        entries(history),
        user_id=user,
        profile=profile,
        faithful=not free,
        **decoding_of(settings),
    )
    out.print(found.text, markup=False)
    if found.unsupported:
        out.print(f"[dim]not in item or history: {', '.join(found.unsupported)}[/]")
    log_p = found.log_p if isfinite(found.log_p) else None  # JSON has no -inf: nothing was written
    write_json({"item": item, "user": user, **asdict(found), "log_p": log_p}, json)
