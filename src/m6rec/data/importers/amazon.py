"""Amazon Reviews 2023: reviews with text, the benchmark's csv files, and item metadata.

Source: https://amazon-reviews-2023.github.io. Times are milliseconds; items are `parent_asin`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import tee
from pathlib import Path

import polars as pl

from m6rec.data.batches import ROW
from m6rec.data.importers.columnmap import parse_map
from m6rec.data.importers.columns import any_batches, mapped_pieces
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import ending, files_of
from m6rec.data.jsonlines import Record, object_frame, read_objects
from m6rec.data.jsontext import as_text, joined
from m6rec.data.schema import DataError
from m6rec.data.values.nothing import is_nothing
from m6rec.data.values.numbers import number as number_of

PARTS = ("train", "valid", "test")
JSON = (".jsonl", ".json")
RATINGS = parse_map(
    "events",
    "user_id=user_id,item_id=parent_asin,event='rating',value=rating,timestamp=timestamp:ms",
)
REVIEWS = parse_map(
    "reviews",
    "user_id=user_id,item_id=parent_asin,rating=rating,text=text,summary=title,"
    "timestamp=timestamp:ms,helpful_vote=helpful_vote,verified_purchase=verified_purchase",
)
META = ("item_id", "title", "category", "description", "brand", "price", "features")
NOT_USED = ("average_rating", "rating_number", "images", "videos", "details", "bought_together")


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """Items of meta_*.jsonl, then ratings; with csv files those are the events."""
    del maps
    found = files_of(source, lambda name: Path(name).suffix.lower() in (*JSON, ".csv"))
    meta = [file for file in found if file.name.startswith("meta_")]
    reviews = [file for file in found if ending(file) in JSON and file not in meta]
    tables = _without_doubles([file for file in found if ending(file) == ".csv"], notes)
    if not reviews and not tables and not meta:
        raise DataError(f"{source}: no reviews and no metadata here; right is {IMPORTER.reads}")
    for file in meta:
        yield from _items(file, notes)
    for file in tables:
        yield from _csv_events(file, notes)
    for file in reviews:
        yield from _reviews(file, notes, with_events=not tables)


def _part(file: Path) -> str | None:
    words = file.name.removesuffix(".gz").split(".")
    return words[-2] if len(words) > 2 and words[-2] in PARTS else None


def _without_doubles(files: list[Path], notes: Notes) -> list[Path]:
    """Train, valid and test in this order; where they are, the file of all ratings is left out."""
    parts = sorted(
        (file for file in files if _part(file)), key=lambda f: PARTS.index(_part(f) or "")
    )
    whole = [file for file in files if not _part(file)]
    if parts and whole:
        names = ", ".join(file.name for file in whole)
        notes.say(f"{names}: not read, the rows are in {parts[0].name} and the like")
    return parts or whole


def _csv_events(file: Path, notes: Notes) -> Iterator[Piece]:
    part = _part(file)
    for mapped in mapped_pieces(file, RATINGS, any_batches(file, RATINGS)):
        notes.unused(file, RATINGS.unused(mapped.columns))
        piece = mapped.piece
        split = [pl.lit(part).alias("split")] if part else []
        yield replace(piece, frame=piece.frame.with_columns(split))


def _reviews(file: Path, notes: Notes, with_events: bool) -> Iterator[Piece]:
    """Ratings as events (unless csv files are), and what they say as reviews."""
    ours, theirs = tee(any_batches(file, REVIEWS))
    events = mapped_pieces(file, RATINGS, ours)
    for rated, said in zip(events, mapped_pieces(file, REVIEWS, theirs), strict=False):
        notes.unused(file, REVIEWS.unused(said.columns))
        if with_events:
            yield rated.piece
        spoken = _with_words(said.piece, notes, secondary=with_events)
        if spoken.frame.height or spoken.broken or spoken.noted:
            yield spoken


def _with_words(piece: Piece, notes: Notes, secondary: bool) -> Piece:
    """Ratings without words are no reviews."""
    text = pl.lit(None, pl.String) if "text" not in piece.frame.columns else pl.col("text")
    keep = piece.frame.with_columns(text.is_not_null().alias("#said"))["#said"]
    silent = piece.frame.height - int(keep.sum())
    notes.count(f"{piece.file.name}: ratings without words, no row of reviews", silent)
    return replace(
        piece,
        frame=piece.frame.filter(keep),
        wrong=tuple((finding, mask.filter(keep)) for finding, mask in piece.wrong),
        broken=() if secondary else piece.broken,
        secondary=secondary,
        noted=tuple(piece.frame.filter(~keep)[ROW].to_list()),
    )


def _items(file: Path, notes: Notes) -> Iterator[Piece]:
    for objects in read_objects(file):
        located = [(row, line, _item(file, item, notes)) for row, line, item in objects.rows]
        yield Piece("items", file, object_frame(located, META), objects.read, objects.broken)


def _item(file: Path, item: Record, notes: Notes) -> dict[str, str | None]:
    notes.unused(file, [name for name in NOT_USED if name in item])
    description = joined(item.get("description"), " ") or joined(item.get("features"), " ")
    price = as_text(item.get("price"))
    number = _price(price)
    if price is not None and number is None and not is_nothing(price):
        notes.count(f"{file.name}: prices that are no number, left empty")
    return {
        "item_id": as_text(item.get("parent_asin") or item.get("asin")),
        "title": as_text(item.get("title")),
        "category": joined(item.get("categories"), "|") or as_text(item.get("main_category")),
        "description": description,
        "brand": as_text(item.get("store")),
        "price": number,
        "features": joined(item.get("features"), "|"),
    }


FIRST_NUMBER = re.compile(r"\d[\d.,]*\d|\d")


def _price(text: str | None) -> str | None:
    """The price as everywhere (values/numbers.py); of a range ("$5.99 - $7.99") its first."""
    found = number_of(text or "")
    if found is None and (first := FIRST_NUMBER.search(text or "")):
        found = number_of(first.group())
    return None if found is None else str(found)


IMPORTER = Importer(
    help="Amazon Reviews 2023: reviews or benchmark csv, with metadata",
    reads="a folder with CATEGORY.jsonl[.gz] or CATEGORY[.train|.valid|.test].csv[.gz], and "
    "meta_CATEGORY.jsonl[.gz]",
    pieces=pieces,
)
