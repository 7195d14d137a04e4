"""metarank events: item, user, ranking, interaction, one JSON object per line.

Source: https://github.com/metarank/metarank, `doc/event-schema.md`, `doc/timestamp-formats.md`.
A ranking becomes one impression for each item shown, an interaction with it has its request_id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from m6rec.data.files import Broken
from m6rec.data.importers.collect import UPDATED
from m6rec.data.importers.columnmap import Wrong, other_units
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import files_of
from m6rec.data.jsonlines import Objects, Record, object_frame, read_objects
from m6rec.data.jsontext import as_text, is_vector
from m6rec.data.report import Finding
from m6rec.data.schema import DataError
from m6rec.data.values.nothing import nothing
from m6rec.data.values.times import times

ENDINGS = (".jsonl", ".json", ".ndjson")
KINDS = ("item", "user", "ranking", "interaction")
ITEM_WORDS = {
    "title": ("title", "name"),
    "category": ("category", "categories", "genres"),
    "description": ("description", "overview", "abstract", "text"),
    "brand": ("brand", "vendor", "manufacturer"),
}
VALUES = ("value", "rating", "quantity", "count", "price")
EVENTS = ("user_id", "item_id", "event", "timestamp", "value", "query", "request_id", "position")
BATCH_LINES = 20_000
"""A ranking has tens of items."""

Row = tuple[int, int, dict[str, str | None]]


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """The events of one file, or of the JSON Lines files of a folder by name."""
    del maps
    files = files_of(source, lambda name: Path(name).suffix.lower() in ENDINGS)
    if not files:
        raise DataError(f"{source}: no JSON Lines here; right is {IMPORTER.reads}")
    for file in files:
        for objects in read_objects(file, BATCH_LINES):
            yield from _batch(file, objects, notes)


def _batch(file: Path, objects: Objects, notes: Notes) -> Iterator[Piece]:
    rows: dict[str, list[Row]] = defaultdict(list)
    broken = list(objects.broken)
    empty: list[int] = []
    for row, line, record in objects.rows:
        problem = _problem(record)
        if problem:
            broken.append(Broken(row, line, str(record), *problem))
        elif record["event"] == "item":
            rows["items"].append((row, line, _item(record, notes)))
        elif record["event"] == "user":
            rows["users"].append((row, line, _user(record, notes)))
        elif record["event"] == "ranking":
            events = [(row, line, shown) for shown in _shown(record, notes)]
            rows["events"] += events
            empty += [row] * (not events)
        else:
            rows["events"].append((row, line, _interaction(record, notes)))
    lines = tuple(broken)
    for table, columns in (("items", ("item_id", "title")), ("users", ("user_id",))):
        if rows[table]:
            frame, wrong = _timed(object_frame(rows[table], (*columns, "timestamp")), UPDATED)
            yield Piece(table, file, frame, objects.read, lines, wrong, mergeable=True)
            lines = ()
    notes.count("rankings that show no item", len(empty))
    if rows["events"] or lines or empty:
        frame, wrong = _timed(object_frame(rows["events"], EVENTS), "timestamp")
        yield Piece("events", file, frame, objects.read, lines, wrong, noted=tuple(empty))


def _problem(record: Record) -> tuple[str, str] | None:
    """What is wrong with an event as a whole, and what is right."""
    kind = record.get("event")
    if kind not in KINDS:
        return f"event {as_text(kind)!r}", f"an event that is one of {', '.join(KINDS)}"
    if not isinstance(record.get("fields", []), list | None):
        return "fields that are no list", '"fields": [{"name": …, "value": …}]'
    items = record.get("items", [])
    if kind == "ranking" and not (isinstance(items, list) and all(map(_has_id, items))):
        return "items that are no list of objects with an id", '"items": [{"id": …}]'
    return None


def _has_id(item: object) -> bool:
    return isinstance(item, dict) and item.get("id") is not None


def _timed(frame: pl.DataFrame, target: str) -> tuple[pl.DataFrame, Wrong]:
    """Milliseconds as text or number, or ISO 8601, as seconds in the column `target`."""
    found = times(frame["timestamp"], "ms")
    frame = frame.with_columns(pl.col("timestamp").alias("#time"), found.seconds.alias(target))
    unread = ~nothing(pl.col("#time")) & pl.col(target).is_null()
    bad = frame.select(unread.alias("bad"))["bad"]
    right = "milliseconds since 1970, or a time such as 2022-06-22T11:21:39Z"
    lost: Wrong = (
        ((Finding("timestamp", "not a time", "warning", right), bad),) if bad.any() else ()
    )
    wrong = lost + other_units("timestamp", "ms", found)
    return frame.drop("timestamp") if target != "timestamp" else frame, wrong


def _fields(record: Record, notes: Notes, kind: str) -> dict[str, str | None]:
    fields: dict[str, str | None] = {}
    listed = record.get("fields")
    for field in listed if isinstance(listed, list) else ():
        name, value = (field.get("name"), field.get("value")) if isinstance(field, dict) else (0, 0)
        if not isinstance(name, str):
            notes.count(f"fields of {kind} events without a name")
        elif is_vector(value):
            notes.say(f"field {name!r} of {kind} events is not used: numbers, not words")
        else:
            fields[name] = as_text(value)
    return fields


def _item(record: Record, notes: Notes) -> dict[str, str | None]:
    fields = _fields(record, notes, "item")
    words: dict[str, str | None] = {}
    for target, names in ITEM_WORDS.items():
        found = next((name for name in names if fields.get(name) is not None), None)
        if found is not None:
            words[target] = fields.pop(found)
    identity = {
        "item_id": as_text(record.get("item")),
        "timestamp": as_text(record.get("timestamp")),
    }
    return {**fields, **words, **identity}


def _user(record: Record, notes: Notes) -> dict[str, str | None]:
    fields = _fields(record, notes, "user")
    time = as_text(record.get("timestamp"))
    return {**fields, "user_id": as_text(record.get("user")), "timestamp": time}


def _who(record: Record) -> str | None:
    """Who did it: where metarank knows no user, the session stands for one."""
    return as_text(record.get("user")) or as_text(record.get("session"))


def _shown(record: Record, notes: Notes) -> Iterator[dict[str, str | None]]:
    fields = _fields(record, notes, "ranking")
    others = sorted(name for name in fields if name != "query")
    if others:
        notes.say(f"fields of ranking events that are not used: {', '.join(others)}")
    items = record.get("items")
    for position, item in enumerate(items if isinstance(items, list) else ()):
        yield {
            "user_id": _who(record),
            "item_id": as_text(item["id"]),
            "event": "impression",
            "timestamp": as_text(record.get("timestamp")),
            "query": fields.get("query"),
            "request_id": as_text(record.get("id")),
            "position": str(position),
        }


def _interaction(record: Record, notes: Notes) -> dict[str, str | None]:
    fields = _fields(record, notes, "interaction")
    value = next((name for name in VALUES if fields.get(name) is not None), None)
    others = sorted(name for name in fields if name not in (value, "query"))
    if others:
        notes.say(f"fields of interaction events that are not used: {', '.join(others)}")
    return {
        "user_id": _who(record),
        "item_id": as_text(record.get("item")),
        "event": as_text(record.get("type")),
        "timestamp": as_text(record.get("timestamp")),
        "value": fields[value] if value else None,
        "query": fields.get("query"),
        "request_id": as_text(record.get("ranking")),
    }


IMPORTER = Importer(
    help="metarank events: item, user, ranking, interaction",
    reads="one file of JSON Lines, or a folder of them (.jsonl, .json, .ndjson, also .gz)",
    pieces=pieces,
)
