"""`m6rec check DATA`: every problem with table, row, column, value, and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.common import Json, err, out, verb, write_json
from m6rec.data import check as checking
from m6rec.data.reporttext import as_text


@verb
def check(
    data: Annotated[Path, typer.Argument(help="Folder with the canonical tables.")],
    rejects: Annotated[
        Path, typer.Option("--rejects", help="Folder for unusable rows, if there are any.")
    ] = Path("rejects"),
    examples: Annotated[int, typer.Option(help="Rows shown of each kind of problem.", min=1)] = 5,
    json: Json = None,
) -> None:
    """Look at every row of a data set. Exit code 0: usable, 1: bad rows, 2: a file can not be used.

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
    write_json(report.to_dict(), json)
    raise typer.Exit(report.exit_code)
