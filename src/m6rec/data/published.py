"""Reads requests.SPLIT.jsonl: requests of a published protocol, used as they stand.

Each line: {"history": [{"event", "item_id" or "text"}, …], oldest first, then "target": item_id,
or "candidates": [{"item_id" or "text"}, …] with "labels": [0 or 1, …]; "user_id", "timestamp"}.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from m6rec.data.batches import Broken
from m6rec.data.jsonlines import json_rows
from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests
from m6rec.data.rules import Severity
from m6rec.data.schema import DataError, event_kind
from m6rec.data.values.times import EXAMPLES, wrong_seconds

Line = dict[str, object]
EVENT_WORDS = ("item_id", "text", "query")
UNKNOWN = "not in the items table"


@dataclass(frozen=True)
class Wrong:
    """One problem of one line; `column` is a key such as "history[2].event"."""

    column: str
    value: object
    problem: str
    right: str
    severity: Severity = "error"


def read_lines(path: Path) -> Iterator[tuple[int, Line | Broken]]:
    """(line, object or what is wrong with it); blank lines are none. Raises DataError."""
    try:
        for _, line, value in json_rows(path):
            yield line, value
    except OSError as error:
        raise DataError(f"{path}: can not be read ({error.strerror})") from error


def wrongs(request: Line) -> Iterator[Wrong]:
    """Everything that is wrong with a request in itself."""
    history = request.get("history")
    if not isinstance(history, list):
        yield Wrong("history", history, "no list", "a list of events, oldest first; [] for none")
        history = []
    for i, event in enumerate(history):
        yield from _wrong_words(f"history[{i}]", event, EVENT_WORDS)
        if isinstance(event, dict) and not (isinstance(event.get("event"), str) and event["event"]):
            yield Wrong(f"history[{i}].event", event.get("event"), "empty", "click, purchase, …")
    time = request.get("timestamp")
    if time is not None and (right := _wrong_time(time)):
        yield Wrong("timestamp", time, "no time", right)
    if "target" not in request and "candidates" not in request:
        yield Wrong("target", None, "missing", "target: item_id, or candidates with labels")
    if "target" in request and not is_word(request["target"]):
        yield Wrong("target", request["target"], "no id", "the item_id of the item that followed")
    if "candidates" in request:
        yield from _wrong_candidates(request)


def _wrong_candidates(request: Line) -> Iterator[Wrong]:
    candidates, labels = request["candidates"], request.get("labels")
    if not isinstance(candidates, list) or not candidates:
        yield Wrong("candidates", candidates, "no candidate", "a list of items to judge")
        return
    for i, candidate in enumerate(candidates):
        yield from _wrong_words(f"candidates[{i}]", candidate, ("item_id", "text"))
    if not isinstance(labels, list) or len(labels) != len(candidates):
        right = "as many labels as candidates, in their order"
        yield Wrong("labels", labels, "not one for each candidate", right)
        return
    for i, label in enumerate(labels):
        if not _between(label, 0, 1):
            yield Wrong(f"labels[{i}]", label, "no label", "0 (no) to 1 (yes)")


def _wrong_time(value: object) -> str | None:
    """What would be right in the place of this, where it is no time in seconds."""
    number = _number(value)
    return EXAMPLES["s"] if number is None else wrong_seconds(number)


def _wrong_words(key: str, value: object, names: tuple[str, ...]) -> Iterator[Wrong]:
    if not isinstance(value, dict):
        yield Wrong(key, value, "no object", f"an object with {' or '.join(names)}")
    elif not any(is_word(value.get(name)) for name in names):
        yield Wrong(key, value, "says nothing", f"a value for {' or '.join(names)}")


def unknown_items(request: Line, item_ids: Set[str]) -> Iterator[Wrong]:
    """Items that no row of the items table and no text describes.

    A split refuses such a target or candidate, and leaves such an event out of the history.
    """
    right = "an item_id of the items table, or a text beside it"
    for key in ("history", "candidates"):
        entries = request.get(key)
        instead = EVENT_WORDS[1:] if key == "history" else ("text",)
        for i, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, dict) or any(is_word(entry.get(name)) for name in instead):
                continue
            item = entry.get("item_id")
            if is_word(item) and str(item) not in item_ids:
                severity: Severity = "warning" if key == "history" else "error"
                yield Wrong(f"{key}[{i}].item_id", item, UNKNOWN, right, severity)
    target = request.get("target")
    if is_word(target) and str(target) not in item_ids:
        yield Wrong("target", target, UNKNOWN, "an item_id of the items table")


def is_word(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def _between(value: object, low: float, high: float) -> bool:
    number = _number(value)
    return number is not None and low <= number <= high


def serves(path: Path, key: str) -> bool:
    """Whether the first request has the key: "target" for retrieval, "candidates" for ranking."""
    first = next((value for _, value in read_lines(path) if isinstance(value, dict)), {})
    return key in first


def read_requests(path: Path, max_history: int) -> Requests:
    """The requests of one file; of longer histories the newest `max_history` events.

    Raises DataError for the first line that is no request: a published protocol with rows left
    out would be another protocol.
    """
    pool: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    for line, value in read_lines(path):
        if isinstance(value, Broken):
            _refuse(path, line, Wrong("", value.text, value.problem, value.right))
            continue
        for wrong in wrongs(value):
            _refuse(path, line, wrong)
        history = value["history"]
        assert isinstance(history, list)  # wrongs() has seen to it
        start = len(pool)
        pool += [_event(event) for event in history[max(len(history) - max_history, 0) :]]
        rows.append(_row(value, start, len(pool)))
    if not rows:
        raise DataError(f"{path}: no requests; add rows, or remove the file")
    return Requests(
        pl.DataFrame(pool, schema=dict(POOL_SCHEMA), orient="row"),
        pl.DataFrame(rows, schema=dict(ROW_SCHEMA), orient="row"),
    )


def _refuse(path: Path, line: int, wrong: Wrong) -> None:
    where = f"{path}, line {line}" + (f", {wrong.column}" if wrong.column else "")
    raise DataError(
        f"{where}: {wrong.problem} ({str(wrong.value)[:60]!r}); right is {wrong.right} "
        f"(`m6rec check {path.parent}` shows all)"
    )


def _event(event: Line) -> tuple[object, ...]:
    numbers = (_number(event.get("timestamp")), _number(event.get("value")))
    return (
        event_kind(str(event["event"])),
        *(_word(event.get(name)) for name in EVENT_WORDS),
        *numbers,
    )


def _row(request: Line, start: int, stop: int) -> tuple[object, ...]:
    candidates, labels = request.get("candidates", []), request.get("labels", [])
    assert isinstance(candidates, list)
    assert isinstance(labels, list)
    return (
        _word(request.get("user_id")),
        _number(request.get("timestamp")),
        start,
        stop,
        _word(request.get("target")),
        [_word(candidate.get("item_id")) for candidate in candidates],
        [_word(candidate.get("text")) for candidate in candidates],
        [float(label) for label in labels],
    )


def _word(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    """A finite number as float; None for anything else, also for integers beyond any float."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
