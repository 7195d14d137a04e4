"""Importers: other tools' files as canonical tables, streamed, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from m6rec.data.importers import amazon, columns, gorse, metarank, mind, movielens, recbole
from m6rec.data.importers.collect import Progress
from m6rec.data.importers.pieces import Importer
from m6rec.data.importers.run import Columns, Imported, require_format, run_import

__all__ = ["FORMATS", "Imported", "Importer", "import_data"]

FORMATS: Mapping[str, Importer] = {
    "recbole": recbole.IMPORTER,
    "movielens": movielens.IMPORTER,
    "amazon": amazon.IMPORTER,
    "mind": mind.IMPORTER,
    "gorse": gorse.IMPORTER,
    "metarank": metarank.IMPORTER,
    "columns": columns.IMPORTER,
}
"""What `import_data` reads, by name."""


def _silent(file: str, rows: int) -> None:
    """No progress is shown."""


def import_data(
    format: str,
    source: str | Path,
    target: str | Path,
    *,
    columns: Columns | None = None,
    progress: Progress = _silent,
    overwrite: bool = False,
) -> Imported:
    """Reads `source` as `format` and writes canonical tables (Parquet) into the folder `target`.

    columns: a column map for events, or one for each table (`columnmap.parse_map` has the
        grammar); for the formats that take one.
    progress: called with a source file's name and the rows of it read so far.
    overwrite: replaces the tables, requests and rejects in a folder that is not empty.
    Rows that can not be used go to FILE.rejects.jsonl in `target`, each with what is right.
    Raises DataError where a file is missing, damaged or not of the format, where a table has no
    usable row, and where `target` is not empty; then nothing is written.
    """
    importer = require_format(format, FORMATS)
    return run_import(format, importer, Path(source), Path(target), columns, progress, overwrite)
