"""`m6rec recommend`: the items that fit a user of the data, or a history written by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from m6rec.answers import Recommendation
from m6rec.cli.common import (
    DEFAULT_MODEL,
    Adapter,
    Data,
    History,
    Json,
    Model,
    TextOnly,
    entries,
    out,
    verb,
    write_json,
)
from m6rec.data.where import Where
from m6rec.recommender import M6Rec


@verb
def recommend(
    data: Data,
    user: Annotated[str | None, typer.Option("--user", help="A user_id of the events.")] = None,
    history: History = None,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
    category: Annotated[
        list[str] | None,
        typer.Option("--category", help="One that items have to have; repeat: one is enough."),
    ] = None,
    price_min: Annotated[float | None, typer.Option("--price-min", help="Least price.")] = None,
    price_max: Annotated[float | None, typer.Option("--price-max", help="Highest price.")] = None,
    hide: Annotated[
        list[str] | None, typer.Option("--hide", help="An item_id to leave out; repeat.")
    ] = None,
    unavailable_too: Annotated[
        bool,
        typer.Option(
            "--unavailable-too", help="Items that come later, are hidden or sold out as well."
        ),
    ] = False,
    seen_too: Annotated[
        bool, typer.Option("--seen-too", help="Items of the history as well.")
    ] = False,
    why: Annotated[bool, typer.Option("--why", help="Say why, item by item.")] = False,
    model: Model = DEFAULT_MODEL,
    adapter: Adapter = None,
    text_only: TextOnly = False,
    cache: Annotated[
        str | None, typer.Option("--cache", help="Where encoded texts are kept (m6rec cache).")
    ] = None,
    json: Json = None,
) -> None:
    """Recommend items of DATA, with no training or with a tuned task (--adapter)."""
    if user is None and not history:
        raise typer.BadParameter("give --user ID or --history TEXT", param_hint="--user")
    rec = M6Rec.from_pretrained(model, cache=cache).use(data, text_only)
    if adapter is not None:
        rec.load_adapter(adapter)
    where = Where(
        categories=None if category is None else tuple(category),
        price_min=price_min,
        price_max=price_max,
        available=not unavailable_too,
        hide=tuple(hide or ()),
    )
    found = rec.recommend(
        entries(history), k=k, user_id=user, exclude_seen=not seen_too, where=where, reasons=why
    )
    out.print(as_table(found, f"for {user or '; '.join(history or ())}"))
    write_json({"user": user, "history": history or [], "items": [asdict(r) for r in found]}, json)


def as_table(found: list[Recommendation], title: str) -> Table:
    """Recommendations as a table for people."""
    why = ["why"] if any(one.reason for one in found) else []
    table = Table("", "item", "title", "score", *why, title=escape(title), title_justify="left")
    for place, one in enumerate(found, start=1):
        told = [escape(one.reason.text) if one.reason else ""] if why else []
        words = [escape(one.item_id), escape(one.title[:80])]
        table.add_row(str(place), *words, f"{one.score:.3f}", *told)
    return table
