"""Any CSV, TSV, JSON Lines or Parquet by column maps (see `columnmap`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW, Batch
from m6rec.data.delimited import Layout, looks_like_data, read_rows
from m6rec.data.files import read_batches
from m6rec.data.importers.columnmap import EXAMPLE, ColumnMap
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import ending, files_of
from m6rec.data.jsonlines import JSON_BATCH_ROWS, column_text, json_batches
from m6rec.data.lines import text_lines
from m6rec.data.nested import along
from m6rec.data.schema import TABLES, DataError

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".jsonl", ".ndjson", ".json", ".parquet")
JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
SEPARATORS = (",", ";", "\t", "|", "::")


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """The mapped tables; a file that feeds several is read once for each."""
    if not maps:
        raise DataError(
            f"format 'columns' needs a column map for each table to read, such as events: {EXAMPLE}"
        )
    files: set[Path] = set()
    used: dict[Path, set[str]] = {}
    there: dict[Path, set[str]] = {}
    for table, columns in maps.items():
        columns.require_complete()
        file = _file(source, table, columns)
        secondary = file in files
        files.add(file)
        for piece in mapped_pieces(file, columns, any_batches(file, columns)):
            broken = () if secondary else piece.piece.broken
            yield replace(piece.piece, secondary=secondary, broken=broken)
            there.setdefault(file, set()).update(piece.columns)
            used.setdefault(file, set()).update(
                columns.sources() if not columns.rest else there[file]
            )
        _tell_data(file, columns, notes)
    for file, names in there.items():
        notes.unused(file, sorted(names - used[file]))


def _tell_data(file: Path, columns: ColumnMap, notes: Notes) -> None:
    """A first line that was taken for names and looks like a row."""
    if columns.header and looks_like_data(tuple(columns.sources())):
        notes.say(
            f"{file.name}: its first line was read as names of columns and looks like data; "
            "header=none in the column map reads it as a row, with columns by number"
        )


def _file(source: Path, table: str, columns: ColumnMap) -> Path:
    if source.is_file():
        return source
    if columns.file is not None:
        file = source / columns.file
        if not file.is_file():
            raise DataError(f"{file}: not there (column map of {table}: from={columns.file})")
        return file
    found = files_of(source, lambda name: name in {f"{table}{end}" for end in ENDINGS})
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or f"no {table}.csv or the like"
        raise DataError(
            f"{source}: {names} for the table {table!r}; say which file: from=NAME,{EXAMPLE}"
        )
    return found[0]


def any_batches(file: Path, columns: ColumnMap) -> Iterator[Batch]:
    """Batches of a file by its ending, plain or gzipped, with the paths of the map as columns.

    Raises DataError for other endings.
    """
    kind = ending(file)
    text = kind in ENDINGS and kind not in (".parquet", *JSON_ENDINGS)
    if not columns.header and not text:
        raise DataError(f"{file}: header=none is for CSV and the like; this file names its columns")
    if kind == ".parquet":
        for batch in read_batches(file):
            yield _with_paths(batch, list(columns.sources()), columns.ids())
    elif kind in JSON_ENDINGS:
        yield from json_batches(file, JSON_BATCH_ROWS, list(columns.sources()), columns.ids())
    elif text:
        separator = "\t" if kind == ".tsv" else _separator(file)
        names = None if columns.header else ()
        quotes = None if separator == "\t" else True
        yield from read_rows(file, Layout(separator, names, quotes=quotes))
    else:
        raise DataError(f"{file}: the ending tells no format; right is {', '.join(ENDINGS)} (.gz)")


def _with_paths(batch: Batch, sources: list[str], ids: list[str]) -> Batch:
    """The batch with what stands at paths into its structs and lists as columns of text."""
    frame = batch.frame
    paths = [path for path in sources if path not in frame.columns and _resolves(frame, path)]
    ids = [n for n in ids if n in paths or isinstance(frame.schema.get(n), pl.List)]
    tops = dict.fromkeys(path.split(".")[0] for path in paths) | dict.fromkeys(
        name for name in ids if name in frame.columns
    )
    if not tops:
        return batch
    names = list(dict.fromkeys([*paths, *ids]))
    rows: list[int] = []
    found: list[dict[str, object]] = []
    for i, record in enumerate(frame.select(list(tops)).iter_rows(named=True)):
        several = list(along(record, paths, ids))
        rows += [i] * len(several)
        found += several
    texts = [
        pl.Series(name, [column_text(name, one.get(name)) for one in found], pl.String)
        for name in names
    ]
    return replace(batch, frame=frame[rows].with_columns(texts))


def _resolves(frame: pl.DataFrame, path: str) -> bool:
    """Whether a path leads somewhere in the types of a frame."""
    top, *rest = path.split(".")
    dtype: object = frame.schema.get(top)
    for part in rest:
        while isinstance(dtype, pl.List | pl.Array) and not part.isdecimal():
            dtype = dtype.inner
        if isinstance(dtype, pl.List | pl.Array):
            dtype = dtype.inner
        elif isinstance(dtype, pl.Struct):
            dtype = {field.name: field.dtype for field in dtype.fields}.get(part)
        else:
            return False
    return dtype is not None


def _separator(file: Path) -> str:
    header = next(text_lines(file), "")
    return max(SEPARATORS, key=header.count)


class Mapped:
    """A piece, and the columns that the file had in this batch."""

    def __init__(self, piece: Piece, columns: list[str]) -> None:
        self.piece = piece
        self.columns = columns


def mapped_pieces(file: Path, columns: ColumnMap, batches: Iterator[Batch]) -> Iterator[Mapped]:
    """The batches of a file under a column map.

    Raises DataError for a mapped column that the file does not have; in JSON Lines, not in any
    row.
    """
    loose = ending(file) in JSON_ENDINGS
    there: dict[str, None] = {}
    read = 0
    for batch in batches:
        names = [name for name in batch.frame.columns if name not in (ROW, LINE)]
        there.update(dict.fromkeys(names))
        if not loose:
            columns.require_sources(file, names)
        read += batch.frame[ROW].n_unique() + len(batch.broken)
        frame, wrong = columns.apply(batch.frame)
        piece = Piece(columns.table, file, frame, read, batch.broken, wrong)
        yield Mapped(replace(piece, left_out=batch.left_out), names)
    if loose:
        columns.require_sources(file, list(there))


IMPORTER = Importer(
    help="any CSV, TSV, JSON Lines or Parquet, by a map of its columns",
    reads="one file, or a folder with events.*, items.*, users.* (or from=FILE in the map)",
    pieces=pieces,
    takes=tuple(TABLES),
)
