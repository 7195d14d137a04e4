"""`m6rec query`: searches that an item should be found by, or that a user types next."""

from __future__ import annotations

from typing import Annotated

import typer

from m6rec.cli.common import DEFAULT_MODEL, History, Json, Model, entries, out, verb, write_json
from m6rec.cli.written import How, Tables, Tuned, User, decoding_of, open_author


@verb
def query(
    adapter: Tuned,
    item: Annotated[
        str | None, typer.Option("--item", help="An item_id of the data, or a title.")
    ] = None,
    data: Tables = None,
    user: User = None,
    history: History = None,
    n: Annotated[int, typer.Option("-n", help="How many queries.", min=1)] = 1,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="Only words of the item, or of user and history.")
    ] = False,
    checked: Annotated[
        bool, typer.Option("--checked", help="Queries that find the item in the data come first.")
    ] = False,
    settings: How = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Write search queries for an item, or for a user, as the task was tuned (query_from)."""
    rec = open_author(model, data, adapter)
    found = rec.query(
        item,
        entries(history),
        user_id=user,
        n=n,
        faithful=faithful,
        checked=checked,
        **decoding_of(settings),
    )
    for one in found:
        out.print(one, markup=False)
    write_json({"item": item, "user": user, "queries": found}, json)
