"""RecBole's atomic files: x.inter, x.item, x.user; tab-separated, header of name:type.

Source: https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW, Batch
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.importers.columnmap import Column, ColumnMap
from m6rec.data.importers.columns import mapped_pieces
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import files_of
from m6rec.data.schema import TABLES, DataError

TYPES = ("token", "token_seq", "float", "float_seq")
TABLE_OF = {"inter": "events", "item": "items", "user": "users"}
TITLES = ("title", "movie_title", "item_name", "name", "book_title", "track_name", "artist_name")
CATEGORIES = ("category", "categories", "class", "genre", "genres")
KINDS = ("event", "event_type")
PARTS = ("train", "valid", "test")


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """Items, users, then interactions; x.train.inter and the like give the split."""
    files = files_of(source, lambda name: Path(name).suffix[1:] in TABLE_OF)
    if not any(_kind(file) == "inter" for file in files):
        raise DataError(f"{source}: no file x.inter; right is {IMPORTER.reads}")
    files.sort(key=lambda file: (list(TABLE_OF)[::-1].index(_kind(file)), _order(file), file.name))
    whole = [file for file in files if _kind(file) == "inter" and not _part(file)]
    parted = [file for file in files if _part(file)]
    if parted and whole:
        notes.say(f"{whole[0].name}: not read, its rows are in {parted[0].name} and the like")
    for file in files:
        if not (parted and file in whole):
            yield from _file_pieces(file, maps, notes)


def _kind(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix[1:]


def _part(file: Path) -> str | None:
    """train, valid or test of x.train.inter."""
    before = file.name.removesuffix(".gz").split(".")[-2:-1]
    return before[0] if _kind(file) == "inter" and before and before[0] in PARTS else None


def _order(file: Path) -> int:
    part = _part(file)
    return PARTS.index(part) if part else 0


def _file_pieces(file: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    table, part = TABLE_OF[_kind(file)], _part(file)
    batches = read_rows(file, Layout("\t"))
    first = next(batches)
    types = _types(file, first.frame.columns)
    columns = _columns(table, types)
    if table in maps:
        columns = maps[table].over(columns)
    _require(file, columns, list(types))
    notes.unused(file, columns.unused(list(types)))
    named = (_named(batch, types, columns) for batch in chain([first], batches))
    for mapped in mapped_pieces(file, columns, named):
        piece = mapped.piece
        yield _with_kind(piece, part, columns) if table == "events" else piece


def _require(file: Path, columns: ColumnMap, there: list[str]) -> None:
    """Raises DataError where the header has nothing for what a table can not be without."""
    for name in TABLES[columns.table].required:
        if name not in columns.columns and name != "event":
            raise DataError(
                f"{file}: no column is known to be the {name} of {columns.table}, the columns are "
                f"{', '.join(there)}; say which in a column map of {columns.table}: {name}=COLUMN"
            )


def _types(file: Path, header: list[str]) -> dict[str, str]:
    """Type by column name. Raises DataError for a header that is not name:type."""
    types = {}
    for field in header:
        if field in (ROW, LINE):
            continue
        name, _, kind = field.partition(":")
        if kind not in TYPES:
            raise DataError(
                f"{file}: line 1: {field!r} is not name:type; right is such as item_id:token, with "
                f"a tab between columns and a type of {', '.join(TYPES)}"
            )
        types[name] = kind
    return types


def _columns(table: str, types: dict[str, str]) -> ColumnMap:
    """The canonical columns of a table, by the names that RecBole's data sets use."""
    names = dict.fromkeys(types)
    columns: dict[str, Column] = {}

    def take(target: str, candidates: tuple[str, ...]) -> None:
        for name in candidates:
            if name in names and target not in columns:
                columns[target] = Column(name, time="s" if target == "timestamp" else None)

    take("user_id", ("user_id",))
    take("item_id", ("item_id",))
    if table == "items":
        take("title", TITLES)
        take("category", CATEGORIES)
    elif table == "events":
        take("event", KINDS)
        take("value", ("rating", "label"))
        take("timestamp", ("timestamp",))
        return ColumnMap(table, columns)
    return ColumnMap(table, columns, rest=True)


def _named(batch: Batch, types: dict[str, str], columns: ColumnMap) -> Batch:
    """The batch with plain column names; words of a category are joined by "|"."""
    frame = batch.frame.rename({f"{name}:{kind}": name for name, kind in types.items()})
    category = columns.columns.get("category")
    if category is not None and types.get(category.source or "") == "token_seq":
        frame = frame.with_columns(pl.col(category.source or "").str.replace_all(" ", "|"))
    return Batch(frame, batch.broken)


def _with_kind(piece: Piece, part: str | None, columns: ColumnMap) -> Piece:
    """Says what an interaction was: a rating; for labels of 1 and 0 a click or what got none."""
    frame = piece.frame
    value = columns.columns.get("value")
    if "event" not in frame.columns:
        kind = pl.lit("rating" if value is not None else "click")
        if value is not None and value.source == "label":
            clicked = pl.col("value").cast(pl.Float64, strict=False) > 0
            kind = pl.when(clicked).then(pl.lit("click")).otherwise(pl.lit("impression"))
        frame = frame.with_columns(event=kind)
    if part is not None:
        frame = frame.with_columns(split=pl.lit(part))
    return replace(piece, frame=frame)


IMPORTER = Importer(
    help="RecBole atomic files x.inter, x.item, x.user",
    reads="a folder with x.inter (or x.train.inter, x.valid.inter, x.test.inter), x.item, x.user",
    pieces=pieces,
    takes=("events", "items", "users"),
)
