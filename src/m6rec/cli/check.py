"""`m6rec check DATA`: every problem with table, row, column, value, and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.markup import escape

from m6rec.cli.common import DEFAULT_MODEL, Json, err, out, verb, write_json
from m6rec.data import check as checking
from m6rec.data.files import read_batches
from m6rec.data.reporttext import as_text
from m6rec.data.tables import dataset_files
from m6rec.model.hf import load_start
from m6rec.text.readability import Readability, readability


@verb
def check(
    data: Annotated[Path, typer.Argument(help="Folder with the canonical tables.")],
    rejects: Annotated[
        Path, typer.Option("--rejects", help="Folder for unusable rows, if there are any.")
    ] = Path("rejects"),
    examples: Annotated[int, typer.Option(help="Rows shown of each kind of problem.", min=1)] = 5,
    model: Annotated[
        str, typer.Option("--model", help="Whose vocabulary has to read the titles; '' for none.")
    ] = DEFAULT_MODEL,
    json: Json = None,
) -> None:
    """Look at every row of a data set. Exit code 0: usable, 1: bad rows, 2: a file can not be used.

    It also says what share of the items' titles the vocabulary of a model can read.

    The data stay as they are; bad rows are what the other verbs leave out, and each is written to
    TABLE.rejects.jsonl with what is wrong with it.
    """
    with err.status("reading") as status:
        report = checking.check(
            data,
            rejects,
            examples=examples,
            progress=lambda table, rows: status.update(f"{table}: {rows:,} rows"),
        )
    out.print(as_text(report), soft_wrap=True)
    read = None if report.unusable or not model else _readability(data, model)
    if read is not None:
        colour = "yellow" if read.warns else "green"
        out.print(f"[{colour}]{escape(str(read))}[/]", soft_wrap=True)
    told = {} if read is None else {"readability": read.to_dict()}
    write_json({**report.to_dict(), **told}, json)
    raise typer.Exit(report.exit_code)


def _readability(data: Path, model: str) -> Readability | None:
    """What a model can read of the titles; None without a table of items."""
    path = dataset_files(data).tables.get("items")
    frames = [batch.frame for batch in read_batches(path)] if path is not None else []
    columns = [frame["title"].cast(pl.String).drop_nulls() for frame in frames if "title" in frame]
    titles = pl.concat(columns).to_list() if columns else []
    return readability(load_start(model)[1], titles, model) if titles else None
