"""MIND, the Microsoft news data set: behaviors.tsv and news.tsv.

Source: https://github.com/msnews/msnews.github.io/blob/master/assets/doc/introduction.md. A line of
behaviors is: impression id, user, time, clicks before (no times), shown news with -1 or -0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW, Batch
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.importers.columnmap import Wrong, parse_map
from m6rec.data.importers.columns import mapped_pieces
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import find
from m6rec.data.report import Finding
from m6rec.data.schema import DataError

NEWS = ("news", "category", "subcategory", "title", "abstract", "url", "entities", "more_entities")
BEHAVIORS = ("impression", "user", "time", "history", "shown")
BATCH_LINES = 10_000
"""A line has some 70 events."""
TIME = "#time"
"""Helper column: the time as it stands in the file, for the rejects."""
PARTS = {"train": "train", "dev": "valid", "valid": "valid", "test": "test"}


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """News, then behaviours, of the folder or of its sub-folders …train, …dev, …test."""
    del maps
    folders = _folders(source)
    for i, (folder, part) in enumerate(folders):
        news = find(folder, ("news.tsv",))
        if news is None:
            notes.say(f"{folder / 'news.tsv'} is not there: its news have no words")
            continue
        for piece in _news(news, notes, secondary=i > 0):
            yield replace(piece, folder=folder.name if part else "")
    known: dict[str, int] = {}
    for folder, part in folders:
        behaviors = find(folder, ("behaviors.tsv",))
        assert behaviors is not None
        for piece in _behaviors(behaviors, part, known, notes):
            yield replace(piece, folder=folder.name if part else "")


def _folders(source: Path) -> list[tuple[Path, str | None]]:
    """Folders with behaviours, and the part that each is (None for a folder given directly)."""
    if find(source, ("behaviors.tsv",)):
        return [(source, None)]
    found: list[tuple[Path, str | None]] = []
    for folder in sorted(source.iterdir()) if source.is_dir() else ():
        part = next((part for word, part in PARTS.items() if word in folder.name.lower()), None)
        if part and folder.is_dir() and find(folder, ("behaviors.tsv",)):
            found.append((folder, part))
    if not found:
        raise DataError(f"{source}: no behaviors.tsv here; right is {IMPORTER.reads}")
    order = list(dict.fromkeys(PARTS.values()))
    return sorted(found, key=lambda pair: order.index(pair[1] or ""))


def _news(file: Path, notes: Notes, secondary: bool) -> Iterator[Piece]:
    columns = parse_map("items", "item_id=news,title=title,category=category,description=abstract")
    notes.unused(file, list(NEWS[5:]))
    batches = (
        Batch(
            batch.frame.with_columns(
                pl.concat_str("category", "subcategory", separator="|", ignore_nulls=True)
            ),
            batch.broken,
        )
        for batch in read_rows(file, Layout("\t", NEWS, fewest=4))
    )
    for mapped in mapped_pieces(file, columns, batches):
        yield replace(mapped.piece, secondary=secondary)


def _behaviors(
    file: Path, part: str | None, known: dict[str, int], notes: Notes
) -> Iterator[Piece]:
    read = 0
    for batch in read_rows(file, Layout("\t", BEHAVIORS), BATCH_LINES):
        read += batch.frame.height + len(batch.broken)
        frame = batch.frame.with_columns(
            timestamp=pl.col("time")
            .str.to_datetime("%m/%d/%Y %I:%M:%S %p", time_unit="us", strict=False)
            .dt.timestamp("us")
            / 1e6,
            request_id=pl.concat_str(pl.lit(f"{part}-" if part else ""), "impression"),
        )
        new = _first_histories(frame, known, notes)
        events = pl.concat([_past(frame.filter(new)), _shown(frame)], how="diagonal")
        events = events.sort(ROW, maintain_order=True)
        if part is not None:
            shown = pl.col("request_id").is_not_null()
            split = pl.when(shown).then(pl.lit(part)).otherwise(pl.lit("train"))
            events = events.with_columns(split=split)
        silent = frame.filter(~pl.col(ROW).is_in(events[ROW].implode()))[ROW].to_list()
        notes.count("lines that show no news and no history that was not told before", len(silent))
        wrong = _wrong(events)
        yield Piece("events", file, events, read, batch.broken, wrong, noted=tuple(silent))


def _first_histories(frame: pl.DataFrame, known: dict[str, int], notes: Notes) -> pl.Series:
    """bool per line: the user's first, whose history is told. MIND repeats it in every line."""
    new, differ = [], 0
    for user, history in zip(frame["user"], frame["history"], strict=True):
        mark = hash(history)
        new.append(user not in known)
        differ += known.setdefault(user, mark) != mark
    notes.count("lines whose history differs from the user's first one, which is kept", differ)
    return pl.Series(new, dtype=pl.Boolean)


def _past(frame: pl.DataFrame) -> pl.DataFrame:
    """The clicks before, oldest first; when and beside what is not known."""
    clicks = frame.filter(pl.col("history").is_not_null()).select(
        ROW,
        LINE,
        user_id="user",
        item_id=pl.col("history").str.split(" "),
        event=pl.lit("click"),
        position=pl.int_ranges(0, pl.col("history").str.split(" ").list.len()),
    )
    return clicks.explode("item_id", "position")


def _shown(frame: pl.DataFrame) -> pl.DataFrame:
    """What was shown: clicks and impressions of one request."""
    items = pl.col("shown").str.split(" ")
    shown = frame.filter(pl.col("shown").is_not_null()).select(
        ROW,
        LINE,
        "timestamp",
        pl.col("time").alias(TIME),
        "request_id",
        user_id="user",
        item=items,
        position=pl.int_ranges(0, items.list.len()),
    )
    label = pl.col("item").str.extract(r"-([01])$")
    kind = pl.when(label == "1").then(pl.lit("click")).when(label == "0").then(pl.lit("impression"))
    return (
        shown.explode("item", "position")
        .with_columns(
            item_id=pl.col("item").str.replace(r"-[01]$", ""),
            event=kind,
        )
        .drop("item")
    )


def _wrong(events: pl.DataFrame) -> Wrong:
    """Shown news without a label, and times that can not be read."""
    unlabelled = events["event"].is_null()
    untimed = events[TIME].is_not_null() & events["timestamp"].is_null()
    found = []
    if unlabelled.any():
        right = "-1 (clicked) or -0 behind each news id; MIND's test set has no labels"
        found.append((Finding("event", "not known", "error", right), unlabelled))
    if untimed.any():
        right = "a time such as 11/15/2019 8:55:22 AM"
        found.append((Finding("timestamp", "not a time", "warning", right), untimed))
    return tuple(found)


IMPORTER = Importer(
    help="MIND news: behaviors.tsv with clicks and non-clicks, news.tsv",
    reads="a folder with behaviors.tsv and news.tsv, or with such folders …train, …dev, …test",
    pieces=pieces,
)
