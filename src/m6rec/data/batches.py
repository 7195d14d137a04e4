"""What a reader hands over: batches of rows, and the lines that are no rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from m6rec.data.schema import DataError

ROW, LINE = "#row", "#line"
"""Helper columns: the data row, counted from 1, and the line of the file (text formats)."""


@dataclass(frozen=True)
class Broken:
    """A line that is not a row of the table at all (line: None in Parquet, which has none)."""

    row: int
    line: int | None
    text: str
    problem: str
    right: str


@dataclass(frozen=True)
class LeftOut:
    """A column that can not be read; its rows are there without it."""

    column: str
    problem: str
    right: str


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file: its columns plus ROW (and LINE for text formats)."""

    frame: pl.DataFrame
    broken: tuple[Broken, ...] = field(default=())
    left_out: tuple[LeftOut, ...] = field(default=())


def string_frame(names: Iterable[str], rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    """ROW, LINE and string columns of rows in this order; an empty string is null.

    Raises DataError for a column that has the name of a helper column.
    """
    names = tuple(names)
    columns: Sequence[Sequence[object]] = list(zip(*rows, strict=True)) or [()] * (len(names) + 2)
    data = {ROW: pl.Series(columns[0], dtype=pl.Int64), LINE: pl.Series(columns[1], dtype=pl.Int64)}
    for name, values in zip(names, columns[2:], strict=True):
        if name in (ROW, LINE):
            raise DataError(f"a column is called {name!r}, which counts rows here; rename it")
        text = pl.Series(name, values, dtype=pl.String)
        data[name] = text.set(text == "", None)
    return pl.DataFrame(data)
