"""Reads Parquet in batches: ids of any type as words, and what can not be read by name.

UUID and binary columns become text. A column of INTERVAL is left out and named; a text that is not
UTF-8 sets its row aside, as in a text file. A path is a path, never a pattern of several.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl

from m6rec.data.batches import ROW, Batch, Broken, LeftOut
from m6rec.data.parquetfooter import MAGIC, TAIL, WITHIN, Footer, read_footer
from m6rec.data.schema import DataError

NOT_UTF8 = "invalid utf"
"""What polars says of such a text, in small letters."""
CONTROL = r"[\x00-\x08\x0e-\x1f\x7f]"
"""Bytes with such characters are no words: they are shown as hexadecimal digits."""
UUID_BYTES = 16


def scan(path: Path) -> pl.LazyFrame:
    """The one file at a path: stars and brackets in its name are characters."""
    return pl.scan_parquet(path.absolute(), glob=False, hive_partitioning=False)


def parquet_batches(path: Path, batch_rows: int) -> Iterator[Batch]:
    """The rows of a file; at least one (maybe empty) batch."""
    footer = read_footer(path)
    intervals = frozenset(name.partition(WITHIN)[0] for name in footer.of("interval"))
    try:
        if intervals:
            with _as_bytes(path, footer, ("interval",)) as copy:
                yield from _batches(copy, footer, batch_rows, intervals)
        else:
            yield from _batches(path, footer, batch_rows)
    except pl.exceptions.PanicException as error:
        raise DataError(
            f"{path}: can not be read as PARQUET ({str(error).splitlines()[0][:200]}); write the "
            "file again with plain columns: words, numbers and times"
        ) from error


def _batches(
    path: Path, footer: Footer, batch_rows: int, intervals: frozenset[str] = frozenset()
) -> Iterator[Batch]:
    table = scan(path).drop(intervals)
    total = table.select(pl.len()).collect().item()
    left_out = tuple(
        LeftOut(name, "an INTERVAL, which can not be read", "a number of seconds, or words")
        for name in sorted(intervals)
    )
    counted = 0
    as_bytes = False
    with ExitStack() as stack:
        for first in range(0, max(total, 1), batch_rows):
            try:
                frame = table.slice(first, batch_rows).collect()
            except pl.exceptions.ComputeError as error:
                if as_bytes or NOT_UTF8 not in str(error).lower():
                    raise
                as_bytes = True
                copy = stack.enter_context(_as_bytes(path, footer, ("interval", "text")))
                table = scan(copy).drop(intervals)
                frame = table.slice(first, batch_rows).collect()
            batch = _batch(frame.with_columns(_numbers(first + 1, frame.height)), footer, as_bytes)
            counted += batch.frame.height + len(batch.broken)
            yield replace(batch, left_out=left_out)
    if counted != total:
        raise DataError(
            f"{path}: {counted} of its {total} rows are in the account: rows would be lost, so "
            "nothing is read; this is a fault of the reader, please report it"
        )


def _numbers(first: int, count: int) -> pl.Series:
    return pl.int_range(first, first + count, dtype=pl.Int64, eager=True).alias(ROW)


@contextmanager
def _as_bytes(path: Path, footer: Footer, kinds: tuple[str, ...]) -> Iterator[Path]:
    """A copy of a file, for a while, that says of these kinds of columns only that they are bytes.

    On the disk: the file may be larger than the memory.
    """
    with tempfile.TemporaryDirectory(prefix="m6rec-") as folder:
        copy = Path(folder) / "table.parquet"
        shutil.copyfile(path, copy)
        plain = footer.plain(kinds)
        with copy.open("r+b") as file:
            file.seek(-TAIL - len(footer.data), 2)
            file.truncate()
            file.write(plain + len(plain).to_bytes(4, "little") + MAGIC)
        yield copy


def _batch(frame: pl.DataFrame, footer: Footer, as_bytes: bool) -> Batch:
    """The rows with words in the place of bytes. as_bytes: texts were read so, too."""
    names = [name for name, dtype in frame.schema.items() if _has_bytes(dtype)]
    read = {name: _Words(footer, name, as_bytes).series(frame[name]) for name in names}
    bad = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    for _, wrong in read.values():
        bad |= wrong
    broken = tuple(
        Broken(row[ROW], None, _displayable(row), "bytes that are not UTF-8", "text as UTF-8")
        for row in frame.filter(bad).iter_rows(named=True)
    )
    return Batch(frame.with_columns(words for words, _ in read.values()).filter(~bad), broken)


def _displayable(row: dict[str, object]) -> str:
    shown = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in row.items()
        if name != ROW
    }
    return str(shown)


def _has_bytes(dtype: object) -> bool:
    if isinstance(dtype, pl.List | pl.Array):
        return _has_bytes(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_has_bytes(field.dtype) for field in dtype.fields)
    return dtype == pl.Binary()


def _as_text(dtype: object) -> object:
    """The type with text in the place of bytes."""
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_as_text(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _as_text(field.dtype) for field in dtype.fields})  # type: ignore[misc]
    return pl.String() if dtype == pl.Binary() else dtype


class _Words:
    """Turns the bytes of one column into words, at any depth.

    UUIDs become 8-4-4-4-12 digits; texts what they are; other bytes their words, and hexadecimal
    digits where they are none.
    """

    def __init__(self, footer: Footer, column: str, as_bytes: bool) -> None:
        self.uuids = _leaves(footer, "uuid", column)
        self.texts = _leaves(footer, "text", column) if as_bytes else frozenset[str]()
        self.column = column
        self.is_sound = True

    def series(self, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The words, and (bool per row) whether a text in them is not UTF-8."""
        good = pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
        if values.dtype == pl.Binary() and self.column not in self.uuids:
            try:
                words = values.cast(pl.String)
            except pl.exceptions.ComputeError:
                pass  # some are no UTF-8: one by one
            else:
                if self.column in self.texts or not words.str.contains(CONTROL).any():
                    return words, good
        found, wrong = [], []
        for value in values.to_list():
            self.is_sound = True
            found.append(self.words(value, self.column))
            wrong.append(not self.is_sound)
        dtype = _as_text(values.dtype)
        return pl.Series(values.name, found, dtype=dtype), pl.Series(wrong, dtype=pl.Boolean)  # type: ignore[arg-type]

    def words(self, value: object, name: str) -> object:
        """One value; name: of the innermost field, "" for an element of a list."""
        if isinstance(value, dict):
            return {key: self.words(part, key) for key, part in value.items()}
        if isinstance(value, list):
            return [self.words(part, "") for part in value]
        if not isinstance(value, bytes):
            return value
        if name in self.uuids and len(value) == UUID_BYTES:
            return str(uuid.UUID(bytes=value))
        try:
            text = value.decode()
        except UnicodeDecodeError:
            self.is_sound &= name not in self.texts
            return value.hex()
        return text if name in self.texts or not re.search(CONTROL, text) else value.hex()


def _leaves(footer: Footer, kind: str, column: str) -> frozenset[str]:
    """Innermost names of a column's fields of a kind; an element of a list has the name ""."""
    paths = [path for path in footer.of(kind) if path.partition(WITHIN)[0] == column]
    names = {path.rpartition(WITHIN)[2] for path in paths}
    return frozenset({*names, ""} if any(WITHIN in path for path in paths) else names)
