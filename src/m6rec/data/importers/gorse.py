"""gorse: its export of users, items and feedback, JSON Lines or (of older versions) CSV.

Source: https://github.com/gorse-io/gorse, `storage/data/database.go` and `master/rest.go`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.importers.columnmap import Wrong
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import ending, find
from m6rec.data.jsonlines import Located, Objects, Record, object_frame, read_objects
from m6rec.data.jsontext import as_text, is_vector, joined
from m6rec.data.report import Finding
from m6rec.data.schema import DataError
from m6rec.data.values.nothing import nothing
from m6rec.data.values.times import EXAMPLES, known, times

KEYS = {"items": ("itemid",), "users": ("userid",), "events": ("feedbacktype", "userid", "itemid")}
FILES = {"items": "items", "users": "users", "events": "feedback"}
Texts = dict[str, str | None]


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """Items, users, then feedback."""
    del maps
    found = 0
    for table, name in FILES.items():
        file = find(source, tuple(f"{name}{end}" for end in (".jsonl", ".json", ".csv")))
        if file is None:
            continue
        found += 1
        for objects in _objects(file):
            _require_keys(file, table, objects.rows)
            yield _piece(file, table, objects, notes)
    if not found:
        raise DataError(f"{source}: no export of gorse here; right is {IMPORTER.reads}")


def _objects(file: Path) -> Iterator[Objects]:
    """Records with keys in small letters without `_`: ItemId and item_id are the same."""
    if ending(file) != ".csv":
        for objects in read_objects(file):
            rows = [(row, line, _small(record)) for row, line, record in objects.rows]
            yield Objects(rows, objects.broken, objects.read)
        return
    read = 0
    for batch in read_rows(file, Layout(quotes=True)):
        read += batch.frame.height + len(batch.broken)
        rows = [_csv_row(record) for record in batch.frame.iter_rows(named=True)]
        yield Objects(rows, batch.broken, read)


def _small(record: Record) -> Record:
    return {name.lower().replace("_", ""): value for name, value in record.items()}


def _csv_row(record: Record) -> Located:
    row, line = record.pop(ROW), record.pop(LINE)
    assert isinstance(row, int) and isinstance(line, int)
    record = _small(record)
    if "labels" in record:
        record["labels"] = _labels(record["labels"])
    if "categories" in record:
        record["categories"] = str(record["categories"] or "").split("|")
    record["comment"] = record.pop("description", None) or record.get("comment")
    return row, line, record


def _labels(text: object) -> object:
    """Labels of a CSV are JSON since 0.4.15, and a|b before."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        return str(text).split("|")


def _require_keys(file: Path, table: str, rows: list[Located]) -> None:
    """Raises DataError where the first record is not of the table its file is named for."""
    for _, line, record in rows[:1]:
        missing = [key for key in KEYS[table] if key not in record]
        if missing:
            raise DataError(
                f"{file}: line {line} has no {missing[0]!r}, it has {', '.join(record)}; is this "
                f"gorse's export of {FILES[table]}?"
            )


def _piece(file: Path, table: str, objects: Objects, notes: Notes) -> Piece:
    makers = {"items": _item, "users": _user, "events": _feedback}
    first = {
        "items": ("item_id", "title", "time"),
        "users": ("user_id",),
        "events": ("user_id", "item_id", "event", "value", "time"),
    }
    located = [
        (row, line, makers[table](file, record, notes)) for row, line, record in objects.rows
    ]
    frame = object_frame(located, first[table])
    wrong: Wrong = ()
    if table != "users":
        target = "timestamp" if table == "events" else "available_from"
        frame = frame.with_columns(times(frame["time"], "iso").seconds.alias(target))
        unread = ~nothing(pl.col("time")) & pl.col(target).is_null()
        bad = frame.select(unread.alias("bad"))["bad"]
        if bad.any():
            wrong = ((Finding(target, "not a time", "warning", EXAMPLES["iso"]), bad),)
        frame = frame.with_columns(known(pl.col(target)).alias(target)).rename({"time": "#time"})
    return Piece(table, file, frame, objects.read, objects.broken, wrong)


def _item(file: Path, record: Record, notes: Notes) -> Texts:
    labels = _as_columns(file, record.get("labels"), notes)
    comment = as_text(record.get("comment"))
    if record.get("ishidden") in (True, "true"):
        notes.count(f"{file.name}: hidden items (is_hidden), imported like the others")
        labels["is_hidden"] = "true"
    title = labels.pop("title", None) or labels.pop("name", None)
    words: Texts = {"description": comment} if title and comment else {}
    if not title and not comment and labels.get("labels"):
        words = {"description": labels["labels"]}
    category = joined(record.get("categories"), "|") or labels.pop("category", None)
    return {
        **labels,
        "item_id": as_text(record.get("itemid")),
        "title": title or comment,
        **({"category": category} if category else {}),
        **words,
        "time": as_text(record.get("timestamp")),
    }


def _user(file: Path, record: Record, notes: Notes) -> Texts:
    labels = _as_columns(file, record.get("labels"), notes)
    comment = as_text(record.get("comment"))
    told = {"comment": comment} if comment else {}
    return {**labels, **told, "user_id": as_text(record.get("userid"))}


def _as_columns(file: Path, labels: object, notes: Notes) -> Texts:
    """A column for each named label; a plain list of labels is the column `labels`."""
    if not isinstance(labels, dict):
        words = joined(labels, "|")
        return {"labels": words} if words else {}
    columns: Texts = {}
    for name, value in labels.items():
        if is_vector(value):
            notes.say(f"{file.name}: label {name!r} is not used: numbers, not words")
        elif isinstance(value, dict):
            inner = _as_columns(file, value, notes)
            columns |= {f"{name}_{key}": words for key, words in inner.items()}
        elif (text := as_text(value)) is not None:
            columns[name] = text
    return columns


def _feedback(file: Path, record: Record, notes: Notes) -> Texts:
    del file, notes
    value = as_text(record.get("value"))
    comment = as_text(record.get("comment"))
    told = {"comment": comment} if comment else {}
    return {
        "user_id": as_text(record.get("userid")),
        "item_id": as_text(record.get("itemid")),
        "event": as_text(record.get("feedbacktype")),
        "value": None if value == "0" else value,  # what gorse writes where none was given
        "time": as_text(record.get("timestamp")),
        **told,
    }


IMPORTER = Importer(
    help="gorse exports of items, users and feedback (JSON Lines or CSV)",
    reads="a folder with items.jsonl, users.jsonl, feedback.jsonl (or .csv)",
    pieces=pieces,
)
