"""`m6rec recommend`: the items that fit a user of the data, or a history written by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from m6rec.answers import Recommendation
from m6rec.cli.common import DEFAULT_MODEL, Adapter, Data, Json, Model, out, verb, write_json
from m6rec.recommender import M6Rec


@verb
def recommend(
    data: Data,
    user: Annotated[str | None, typer.Option("--user", help="A user_id of the events.")] = None,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", help="'clicked: trail running shoes'; repeat, oldest first."),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
    model: Model = DEFAULT_MODEL,
    adapter: Adapter = None,
    cache: Annotated[
        str | None, typer.Option("--cache", help="Where encoded texts are kept (m6rec cache).")
    ] = None,
    json: Json = None,
) -> None:
    """Recommend items of DATA, with no training or with a tuned task (--adapter)."""
    if user is None and not history:
        raise typer.BadParameter("give --user ID or --history TEXT", param_hint="--user")
    rec = M6Rec.from_pretrained(model, cache=cache).use(data)
    if adapter is not None:
        rec.load_adapter(adapter)
    found = rec.recommend(history or (), k=k, user_id=user)
    out.print(as_table(found, f"for {user or '; '.join(history or ())}"))
    write_json({"user": user, "history": history or [], "items": [asdict(r) for r in found]}, json)


def as_table(found: list[Recommendation], title: str) -> Table:
    """Recommendations as a table for people."""
    table = Table("", "item", "title", "score", title=title, title_justify="left")
    for place, one in enumerate(found, start=1):
        table.add_row(str(place), one.item_id, one.title[:80], f"{one.score:.3f}")
    return table
