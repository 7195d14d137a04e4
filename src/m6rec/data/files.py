"""Reads table files in batches with row and line numbers, and keeps the lines that do not parse.

Parquet keeps its column types. CSV columns are all strings. JSON Lines values become strings too
(numbers without a needless ".0", lists joined by "|"), so that mixed types in one column are fine.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

import polars as pl

from m6rec.data.schema import DataError

FORMATS = ("parquet", "csv", "jsonl")
ROW, LINE = "#row", "#line"
"""Helper columns: the data row, counted from 1, and the line of the file (text formats)."""
BATCH_ROWS = 500_000
TEXT_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Broken:
    """A line that is not a row of the table at all."""

    row: int
    line: int
    text: str
    problem: str
    right: str


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of a file: its columns plus ROW (and LINE for text formats)."""

    frame: pl.DataFrame
    broken: tuple[Broken, ...] = field(default=())


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
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    try:
        yield from readers[path.suffix](path)
    except (OSError, UnicodeError, csv.Error, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = path.suffix[1:].upper()
        raise DataError(
            f"{path}: can not be read as {kind} ({reason}); write the file again, "
            f"or give it the ending of its real format ({', '.join(FORMATS)})"
        ) from error


def _parquet(path: Path) -> Iterator[Batch]:
    scan = pl.scan_parquet(path)
    total = scan.select(pl.len()).collect().item()
    for first in range(0, max(total, 1), BATCH_ROWS):
        frame = scan.slice(first, BATCH_ROWS).collect()
        yield Batch(frame.with_columns(_numbers(first + 1, frame.height)))


def _numbers(first: int, count: int) -> pl.Series:
    return pl.int_range(first, first + count, dtype=pl.Int64, eager=True).alias(ROW)


def _csv(path: Path) -> Iterator[Batch]:
    # Bytes that are not UTF-8 become lone surrogates, which _text_batch turns into broken rows.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # A quote that is never closed swallows the rest of the file: a limit makes it an error.
        csv.field_size_limit(64 * 2**20)
        reader = csv.reader(file)
        header = next(reader, [])
        if not _is_unicode("".join(header)):
            raise DataError(f"{path}: line 1 has bytes that are not UTF-8; save the file as UTF-8")
        if len(set(header)) != len(header):
            twice = sorted({name for name in header if header.count(name) > 1})
            raise DataError(f"{path}: line 1 names column {twice[0]!r} twice; rename one of them")
        row = 0
        while True:
            records = list(_csv_records(reader, TEXT_BATCH_ROWS))
            if not records and row:
                return
            yield _csv_batch(header, records, row + 1)
            row += len(records)
            if not records:
                return


def _csv_records(reader: Iterator[list[str]], limit: int) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, fields); blank lines are no records."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    while limit:
        record = next(reader, None)
        if record is None:
            return
        if record:
            yield line, record
            limit -= 1
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _csv_batch(header: list[str], records: list[tuple[int, list[str]]], first: int) -> Batch:
    width = len(header)
    rows, broken = [], []
    for number, (line, record) in enumerate(records, first):
        if len(record) > width:
            broken.append(
                Broken(
                    number,
                    line,
                    _displayable(",".join(record)),
                    f"{len(record)} fields where the header has {width}",
                    'a field that holds a comma or a quote needs "…" around it',
                )
            )
        elif not _is_unicode("".join(record)):
            broken.append(_not_utf8(number, line, ",".join(record)))
        else:
            missing = [""] * (width - len(record))
            rows.append((number, line, *record, *missing))
    return Batch(_string_frame(header, rows), tuple(broken))


def _string_frame(header: list[str], rows: list[tuple[object, ...]]) -> pl.DataFrame:
    """Empty strings become null: CSV has no other way to say that a value is missing."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(header) + 2)
    data = {ROW: pl.Series(columns[0], dtype=pl.Int64), LINE: pl.Series(columns[1], dtype=pl.Int64)}
    for name, values in zip(header, columns[2:], strict=True):
        text = pl.Series(name, values, dtype=pl.String)
        data[name] = text.set(text == "", None)
    return pl.DataFrame(data)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(row: int, line: int, text: str) -> Broken:
    return Broken(
        row, line, _displayable(text), "bytes that are not UTF-8", "a file saved as UTF-8"
    )


def _displayable(text: str) -> str:
    """Bytes that were no UTF-8 become the replacement character."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _jsonl(path: Path) -> Iterator[Batch]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        records = _json_records(file)
        first = True
        while chunk := list(islice(records, TEXT_BATCH_ROWS)):
            yield _json_batch(chunk)
            first = False
        if first:
            yield Batch(pl.DataFrame(schema={ROW: pl.Int64, LINE: pl.Int64}))


def _json_records(file: TextIO) -> Iterator[tuple[int, int, dict[str, object] | Broken]]:
    """(row, line, object or what is wrong with the line); blank lines are no rows."""
    row = 0
    for line, text in enumerate(file, 1):
        if text.isspace():
            continue
        row += 1
        yield row, line, parse_json_line(row, line, text)


def parse_json_line(row: int, line: int, text: str) -> dict[str, object] | Broken:
    """One line of JSON Lines as an object, or the reason why it is none."""
    text = text.rstrip("\n")
    if not _is_unicode(text):
        return _not_utf8(row, line, text)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        return Broken(row, line, text, f"not JSON: {what}", "one JSON object per line")
    if not isinstance(value, dict):
        return Broken(row, line, text, f"a JSON {type(value).__name__}", "one JSON object per line")
    # Only an escape can bring one in; the words of a dict would show it escaped, so write it out.
    if "\\u" in text and not _is_unicode(json.dumps(value, ensure_ascii=False)):
        return Broken(row, line, text, "a lone surrogate (\\ud800…)", "whole Unicode characters")
    return value


def _json_batch(chunk: list[tuple[int, int, dict[str, object] | Broken]]) -> Batch:
    good = [(row, line, value) for row, line, value in chunk if isinstance(value, dict)]
    names = list(dict.fromkeys(name for _, _, value in good for name in value))
    data = {
        ROW: pl.Series([row for row, _, _ in good], dtype=pl.Int64),
        LINE: pl.Series([line for _, line, _ in good], dtype=pl.Int64),
    }
    for name in names:
        values = [_as_text(value.get(name)) for _, _, value in good]
        data[name] = pl.Series(name, values, dtype=pl.String)
    broken = tuple(value for _, _, value in chunk if isinstance(value, Broken))
    return Batch(pl.DataFrame(data), broken)


def _as_text(value: object) -> str | None:
    """A JSON value in words: 3.0 and 3 are the same id; a list of words is joined by "|"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, list) and not any(isinstance(part, dict | list) for part in value):
        return "|".join(part if isinstance(part, str) else str(part) for part in value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
