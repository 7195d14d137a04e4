"""`m6rec import FORMAT SRC DATA`: other tools' files become canonical tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m6rec.cli.common import Json, err, out, verb, write_json
from m6rec.data.importers import FORMATS, Imported, import_data
from m6rec.data.schema import DataError


@verb
def import_(
    format: Annotated[str, typer.Argument(help=f"One of {', '.join(FORMATS)}.")],
    source: Annotated[Path, typer.Argument(help="File or folder to read.")],
    data: Annotated[Path, typer.Argument(help="Folder to write.")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            help="Column map, such as user_id=visitor,item_id=sku,event='click',timestamp=ts:ms; "
            "for another table than events begin with its name: items:item_id=sku,title=name",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the tables in DATA.")] = False,
    json: Json = None,
) -> None:
    """Import a log and a catalogue; rows that can not be used are kept in reject files."""
    with err.status("reading") as status:
        found = import_data(
            format,
            source,
            data,
            columns=column_maps(columns),
            progress=lambda file, rows: status.update(f"{file}: {rows:,} rows"),
            overwrite=overwrite,
        )
    _show(found)
    write_json(found.to_dict(), json)


def column_maps(columns: list[str] | None) -> dict[str, str] | None:
    """`TABLE:map` words → map by table; a map without a table is that of events."""
    if not columns:
        return None
    maps: dict[str, str] = {}
    for words in columns:
        table, colon, rest = words.partition(":")
        named = bool(colon) and "=" not in table
        name, body = (table, rest) if named else ("events", words)
        if name in maps:
            raise DataError(f"--columns: two maps for the table {name!r}; right is one for each")
        maps[name] = body
    return maps


def _show(found: Imported) -> None:
    for table, rows in found.rows.items():
        out.print(f"{table}: {rows:,} rows")
    for file, count in found.rejected.items():
        reasons = ", ".join(f"{why}: {times:,}" for why, times in found.reasons[file].items())
        out.print(f"[yellow]left out[/] {count:,} rows of {file} ({reasons})")
        out.print(f"  they are in {found.rejects[file]}")
    for note in found.notes:
        out.print(f"note: {note}")
