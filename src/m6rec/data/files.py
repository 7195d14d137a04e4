"""Table files in batches with row and line numbers, and the lines of them that are no rows.

Parquet keeps its column types. CSV columns are all strings. JSON Lines values become strings too
(numbers without a needless ".0", lists joined by "|"), so that mixed types in one column are fine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW, Batch, Broken, LeftOut
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.jsonlines import json_batches
from m6rec.data.parquet import parquet_batches
from m6rec.data.parquetfooter import FooterError
from m6rec.data.schema import DataError

__all__ = ["FORMATS", "LINE", "ROW", "Batch", "Broken", "LeftOut", "find_table", "read_batches"]

FORMATS = ("parquet", "csv", "jsonl")
BATCH_ROWS = 500_000
TEXT_BATCH_ROWS = 100_000
TABLE_CSV = Layout(quotes=True, fewest=1)
"""A table's row may end early: what is missing at its end is null."""


def find_table(folder: Path, name: str) -> Path | None:
    """The file of a table. Raises DataError where two files claim to be the same table."""
    found = [path for kind in FORMATS if (path := folder / f"{name}.{kind}").is_file()]
    if len(found) > 1:
        raise DataError(
            f"{folder}: {' and '.join(path.name for path in found)} are both the table {name!r}; "
            "keep one of them"
        )
    return found[0] if found else None


def read_batches(path: Path) -> Iterator[Batch]:
    """Yields the rows of a Parquet, CSV or JSON Lines file; at least one (maybe empty) batch.

    Raises DataError where the file as a whole can not be read.
    """
    try:
        if path.suffix == ".parquet":
            yield from parquet_batches(path, BATCH_ROWS)
        elif path.suffix == ".csv":
            yield from read_rows(path, TABLE_CSV, TEXT_BATCH_ROWS)
        else:
            yield from json_batches(path, TEXT_BATCH_ROWS)
    except (OSError, UnicodeError, FooterError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = path.suffix[1:].upper()
        raise DataError(
            f"{path}: can not be read as {kind} ({reason}); write the file again, "
            f"or give it the ending of its real format ({', '.join(FORMATS)})"
        ) from error
