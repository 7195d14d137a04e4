"""Reads foreign text files, plain or gzipped, in batches that fit in memory.

Every value is a string, and an empty one is null. A line that can not be cut into columns becomes
`Broken`; a file that can not be read to its end is an error that names the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from m6rec.data.files import LINE, ROW, TEXT_BATCH_ROWS, Batch, Broken, parse_json_line
from m6rec.data.schema import DataError

JSON_BATCH_ROWS = 20_000
FIELD_LIMIT = 64 * 2**20
"""Characters of one CSV field: a quote that is never closed shall not swallow a whole file."""


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are cut into columns.

    columns: their names; None: the first line has them. fewest: fields a line needs (None: all
    of them; missing ones at the end are null otherwise). quotes: `"` protects separators.
    latin_1: bytes that are not UTF-8 are Latin-1.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    fewest: int | None = None
    quotes: bool = False
    latin_1: bool = False


def ending(path: Path) -> str:
    """The ending that tells the format: `.jsonl` of x.jsonl and of x.jsonl.gz."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file with their ends; bytes that are not UTF-8 become lone surrogates.

    Raises DataError for UTF-16, and for gzip that ends too early.
    """
    with path.open("rb") as start:
        head = start.read(2)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: saved as UTF-16; save it as UTF-8")
    line = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="")
            for words in text:
                yield words
                line += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip file is cut off or damaged after line {line} ({error}); "
            "fetch it again, or unpack what is whole yourself"
        ) from error


def read_rows(path: Path, layout: Layout, batch_rows: int = TEXT_BATCH_ROWS) -> Iterator[Batch]:
    """The rows of a delimited file; at least one (maybe empty) batch. Blank lines are no rows."""
    csv.field_size_limit(FIELD_LIMIT)
    lines: Iterable[str] = text_lines(path)
    separator = layout.separator
    if len(separator) > 1:  # csv takes one character
        separator = "\x1f"
        lines = (line.replace(layout.separator, separator) for line in lines)
    if layout.quotes:
        reader = csv.reader(lines, delimiter=separator)
    else:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    header = layout.columns or _header(path, reader)
    row = 0
    try:
        while records := list(islice(_records(reader), batch_rows)):
            yield _rows_batch(header, records, row + 1, layout)
            row += len(records)
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: {error}; is a quote opened and never closed?"
        ) from error
    if not row:
        yield Batch(_string_frame(header, []))


def _header(path: Path, reader: Iterator[list[str]]) -> tuple[str, ...]:
    header = next(reader, [])
    names = tuple(name.strip() for name in header)
    if not _is_unicode("".join(names)):
        raise DataError(f"{path}: line 1 is not UTF-8 text; is this the right file?")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: line 1 names column {twice[0]!r} twice; rename one of them")
    return names


def _records(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """(line where the record starts, fields)."""
    line = reader.line_num + 1  # type: ignore[attr-defined]
    for record in reader:
        if record:
            yield line, record
        line = reader.line_num + 1  # type: ignore[attr-defined]


def _rows_batch(
    header: tuple[str, ...], records: list[tuple[int, list[str]]], first: int, layout: Layout
) -> Batch:
    width = len(header)
    fewest = width if layout.fewest is None else layout.fewest
    rows: list[tuple[object, ...]] = []
    broken = []
    for number, (line, record) in enumerate(records, first):
        fields: Iterable[str] = record
        if not _is_unicode("".join(record)):
            if not layout.latin_1:
                broken.append(_not_utf8(number, line, layout.separator.join(record)))
                continue
            fields = [_as_latin_1(field) for field in record]
        if len(record) == width:
            rows.append((number, line, *fields))
        elif fewest <= len(record) < width:
            rows.append((number, line, *fields, *[""] * (width - len(record))))
        else:
            broken.append(_wrong_width(number, line, list(fields), header, layout))
    return Batch(_string_frame(header, rows), tuple(broken))


def _wrong_width(
    row: int, line: int, fields: list[str], header: tuple[str, ...], layout: Layout
) -> Broken:
    separator = {"\t": "a tab"}.get(layout.separator, layout.separator)
    return Broken(
        row,
        line,
        layout.separator.join(fields),
        f"{len(fields)} fields in the place of {len(header)}",
        f"{', '.join(header)}, with {separator} between them",
    )


def _string_frame(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(header) + 2)
    data = {ROW: pl.Series(columns[0], dtype=pl.Int64), LINE: pl.Series(columns[1], dtype=pl.Int64)}
    for name, values in zip(header, columns[2:], strict=True):
        data[name] = pl.Series(name, values, dtype=pl.String)
    return pl.DataFrame(data).with_columns(
        pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in header
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_latin_1(text: str) -> str:
    return text if _is_unicode(text) else text.encode(errors="surrogateescape").decode("latin-1")


def _not_utf8(row: int, line: int, text: str) -> Broken:
    shown = text.encode(errors="surrogateescape").decode(errors="replace")
    return Broken(row, line, shown, "bytes that are not UTF-8", "a file saved as UTF-8")


Record = dict[str, object]
Located = tuple[int, int, Record]
"""Row, line and object of a JSON Lines file."""


@dataclass(frozen=True)
class Objects:
    """Consecutive objects of a JSON Lines file. read: rows of the file so far."""

    rows: list[Located]
    broken: tuple[Broken, ...]
    read: int


def read_objects(path: Path, batch_rows: int = JSON_BATCH_ROWS) -> Iterator[Objects]:
    """The objects of a JSON Lines file; at least one (maybe empty) batch."""
    lines = ((line, text) for line, text in enumerate(text_lines(path), 1) if not text.isspace())
    read = 0
    while chunk := list(islice(lines, batch_rows)):
        good, broken = [], []
        for row, (line, text) in enumerate(chunk, read + 1):
            value = parse_json_line(row, line, text)
            if isinstance(value, Broken):
                broken.append(value)
            else:
                good.append((row, line, value))
        read += len(chunk)
        yield Objects(good, tuple(broken), read)
    if not read:
        yield Objects([], (), 0)


def object_frame(
    located: list[tuple[int, int, dict[str, str | None]]], columns: tuple[str, ...] = ()
) -> pl.DataFrame:
    """String columns of objects, with ROW and LINE. columns: those to have in any case."""
    names = dict.fromkeys(columns)
    for _, _, record in located:
        names.update(dict.fromkeys(record))
    data = {
        ROW: pl.Series([row for row, _, _ in located], dtype=pl.Int64),
        LINE: pl.Series([line for _, line, _ in located], dtype=pl.Int64),
    }
    for name in names:
        values = [record.get(name) for _, _, record in located]
        data[name] = pl.Series(name, values, dtype=pl.String)
    return pl.DataFrame(data)


def find(source: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some files that is there, plain or gzipped; `source` is a folder or one file."""
    for name in names:
        for candidate in (name, f"{name}.gz"):
            if source.is_file() and source.name == candidate:
                return source
            if (source / candidate).is_file():
                return source / candidate
    return None


def files_of(source: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The files of a folder (or the one file) by name, in order; `wanted` sees it without .gz."""
    there = [source] if source.is_file() else sorted(source.iterdir())
    return [path for path in there if path.is_file() and wanted(path.name.removesuffix(".gz"))]
