"""`m6rec score`: how likely items are after a history, with no training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from m6rec.cli.common import DEFAULT_MODEL, History, Json, Model, entries, out, verb, write_json
from m6rec.cli.recommend import as_table
from m6rec.cli.tune import parse_settings
from m6rec.data.catalogue import as_items
from m6rec.data.files import FORMATS, LINE, ROW, read_batches
from m6rec.data.lines import is_unicode, text_lines
from m6rec.data.schema import DataError
from m6rec.recommender import M6Rec


@verb
def score(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with the canonical tables.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="A user_id of the events.")] = None,
    history: History = None,
    item: Annotated[
        list[str] | None,
        typer.Option("--item", help="A title, or an item_id of DATA; repeat."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option("--items", help="Lines of titles (.txt), or a table with a column title."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Do not take off the item's own likelihood.")
    ] = False,
    liked: Annotated[
        bool, typer.Option("--liked", help="Score by the probability that the user likes it.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="What is read and compared, such as plan=full, form=title."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Score items by the log-likelihood of their words after a history, with no training."""
    if not item and items is None:
        raise typer.BadParameter("give --item TITLE or --items FILE", param_hint="--item")
    if user is not None and data is None:
        raise typer.BadParameter("--user needs --data DATA", param_hint="--user")
    rec = M6Rec.from_pretrained(model)
    if data is not None:
        rec.use(data)
    train, _, reading = parse_settings(settings or [])
    found = rec.score(
        entries(history),
        {**_named(rec, item or []), **({} if items is None else _listed(items))},
        user_id=user,
        calibrated=not plain,
        liked=liked,
        **train,
        **reading,
    )
    out.print(as_table(found, f"for {user or '; '.join(history or ()) or 'an empty history'}"))
    write_json({"user": user, "history": history or [], "items": [asdict(r) for r in found]}, json)


def _named(rec: M6Rec, items: list[str]) -> dict[str, str]:
    """Title by id; what is no item_id of the data is a title."""
    known: dict[str, str] = {}
    if rec.dataset is not None:
        known = dict(rec.dataset.items.select("item_id", "title").rows())
    return {one: known.get(one, one) for one in items}


def _listed(path: Path) -> dict[str, str]:
    """Title by id of a file's items."""
    if path.suffix == ".txt":
        return _titles(path)
    if path.suffix[1:] not in FORMATS:
        raise DataError(f"{path}: right is .txt (one title a line) or .{', .'.join(FORMATS)}")
    batches = list(read_batches(path))
    if (line := next((line for batch in batches for line in batch.broken), None)) is not None:
        where = f"row {line.row}" if line.line is None else f"line {line.line}"
        raise DataError(f"{path}, {where}: {line.problem}; right is {line.right}")
    frame = pl.concat([batch.frame for batch in batches], how="diagonal")
    table = as_items(frame.drop(ROW, LINE, strict=False))
    return dict(table.select("item_id", "title").rows())


def _titles(path: Path) -> dict[str, str]:
    """One title a line; blank lines are none."""
    titles = {}
    try:
        for number, text in enumerate(text_lines(path), 1):
            if not is_unicode(text):
                raise DataError(f"{path}, line {number}: bytes that are not UTF-8")
            titles[text.strip()] = text.strip()
    except OSError as error:
        raise DataError(f"{path}: can not be read as text ({error})") from None
    titles.pop("", None)
    return titles
