"""Any CSV, TSV, JSON Lines or Parquet by column maps (see `columnmap`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from m6rec.data.batches import LINE, ROW, Batch
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.files import read_batches
from m6rec.data.importers.columnmap import EXAMPLE, ColumnMap
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import ending, files_of
from m6rec.data.jsonlines import JSON_BATCH_ROWS, json_batches
from m6rec.data.lines import text_lines
from m6rec.data.schema import TABLES, DataError

ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
SEPARATORS = (",", ";", "\t", "|")


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
        for piece in mapped_pieces(file, columns, any_batches(file)):
            broken = () if secondary else piece.piece.broken
            yield replace(piece.piece, secondary=secondary, broken=broken)
            there.setdefault(file, set()).update(piece.columns)
            used.setdefault(file, set()).update(
                columns.sources() if not columns.rest else there[file]
            )
    for file, names in there.items():
        notes.unused(file, sorted(names - used[file]))


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


def any_batches(file: Path) -> Iterator[Batch]:
    """Batches of a file by its ending, plain or gzipped. Raises DataError for other endings."""
    kind = ending(file)
    if kind == ".parquet":
        yield from read_batches(file)
    elif kind in (".jsonl", ".ndjson", ".json"):
        yield from json_batches(file, JSON_BATCH_ROWS)
    elif kind in ENDINGS:
        separator = "\t" if kind == ".tsv" else _separator(file)
        yield from read_rows(file, Layout(separator, quotes=True))
    else:
        raise DataError(f"{file}: the ending tells no format; right is {', '.join(ENDINGS)} (.gz)")


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
    loose = ending(file) in (".jsonl", ".ndjson", ".json")
    there: dict[str, None] = {}
    read = 0
    for batch in batches:
        names = [name for name in batch.frame.columns if name not in (ROW, LINE)]
        there.update(dict.fromkeys(names))
        if not loose:
            columns.require_sources(file, names)
        read += batch.frame.height + len(batch.broken)
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
