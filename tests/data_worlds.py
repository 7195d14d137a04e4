"""Small data sets made by hand, for the tests of the data room."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from m6rec.data.conform import conform
from m6rec.data.schema import TABLES
from m6rec.data.tables import Dataset, sort_events

EventRow = tuple[str, str, str, float | None]
"""user, item, kind, time"""


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes files by name, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
    return folder


def jsonl(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def items(*ids: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"item_id": ids, "title": [f"title {name}" for name in ids]},
        schema={"item_id": pl.String, "title": pl.String},
    )


def events(rows: Sequence[EventRow], **columns: Sequence[object]) -> pl.DataFrame:
    """Events in canonical form and order; `columns` are given in the order of `rows`."""
    frame = pl.DataFrame(
        [(*row, None) for row in rows],
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "event": pl.String,
            "timestamp": pl.Float64,
            "value": pl.Float64,
        },
        orient="row",
    )
    more = [pl.Series(name, values, strict=False) for name, values in columns.items()]
    return sort_events(conform(frame.with_columns(more), TABLES["events"]))


def dataset(catalogue: str, rows: Sequence[EventRow], **columns: Sequence[object]) -> Dataset:
    """A data set with one item for each letter of `catalogue`."""
    return Dataset("by hand", items=items(*catalogue), events=events(rows, **columns))
