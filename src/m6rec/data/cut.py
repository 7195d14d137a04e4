"""Histories as slices of a pool of events, for millions of requests at once.

Legend: E events sorted by user and time, H of them in histories, R requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests


@dataclass(frozen=True)
class Histories:
    """pool: H events; the history before event e is pool[start_e:stop_e]. start, stop: [E]."""

    pool: pl.DataFrame
    start: np.ndarray
    stop: np.ndarray


def first_of_user(events: pl.DataFrame) -> np.ndarray:
    """bool [E]: true where the events of the next user begin."""
    return _changes(events, "user_id")


def has_order(events: pl.DataFrame) -> bool:
    """Whether a time or a position tells of any event when it came."""
    return any(
        name in events.columns and events[name].null_count() < events.height
        for name in ("timestamp", "position")
    )


def ties(events: pl.DataFrame) -> bool:
    """Whether some user has two events with the same timestamp."""
    return not bool(_first_of_moment(events).all())


def _changes(events: pl.DataFrame, column: str) -> np.ndarray:
    same = pl.col(column).eq_missing(pl.col(column).shift(1))
    changed: np.ndarray = (~events.select(same).to_series()).to_numpy().copy()
    changed[:1] = True
    return changed


def _first_of_moment(events: pl.DataFrame) -> np.ndarray:
    """bool [E]: true where user or timestamp change; an unknown time is a moment of its own."""
    unknown: np.ndarray = events["timestamp"].is_null().to_numpy()
    first: np.ndarray = unknown | first_of_user(events) | _changes(events, "timestamp")
    return first


def histories(
    events: pl.DataFrame, in_history: np.ndarray, max_history: int, exclude_same_time: bool
) -> Histories:
    """Slices of the newest `max_history` events that a user did before each event.

    in_history: bool [E], events that histories show. exclude_same_time: events at the very time
    of the event are not before it (the other items of a basket tell about each other).
    """
    before = np.cumsum(in_history) - in_history
    stop = _at_first(before, _first_of_moment(events)) if exclude_same_time else before
    start = np.maximum(_at_first(before, first_of_user(events)), stop - max_history)
    shown = events if in_history.all() else events.filter(in_history)
    return Histories(as_pool(shown), start, stop)


def _at_first(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Each value replaced by the one where its group begins."""
    begins = np.flatnonzero(first)
    return np.repeat(values[begins], np.diff(np.append(begins, len(values))))


def as_pool(events: pl.DataFrame) -> pl.DataFrame:
    """The columns of POOL_SCHEMA; those the events lack are null."""
    return events.select(
        pl.col(name) if name in events.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in POOL_SCHEMA.items()
    )


def target_requests(events: pl.DataFrame, rows: np.ndarray, before: Histories) -> Requests:
    """Retrieval: what follows the history before each event of `rows` is that event's item."""
    nothing = {name: pl.lit([], dtype=ROW_SCHEMA[name]) for name in ("item_ids", "texts", "labels")}
    asked = events.select("user_id", "timestamp", target="item_id")[rows]
    return _requests(asked.with_columns(**nothing), rows, before)


def label_requests(
    events: pl.DataFrame, rows: np.ndarray, labels: np.ndarray, before: Histories
) -> Requests:
    """Ranking: one candidate per event of `rows`, with its label (float64 [R])."""
    text = pl.col("text") if "text" in events.columns else pl.lit(None, dtype=pl.String)
    asked = events.select("user_id", "timestamp", "item_id", text=text)[rows]
    asked = asked.with_columns(label=labels).select(
        "user_id",
        "timestamp",
        pl.lit(None, dtype=pl.String).alias("target"),
        pl.concat_list("item_id").alias("item_ids"),
        pl.concat_list("text").alias("texts"),
        pl.concat_list("label").alias("labels"),
    )
    return _requests(asked, rows, before)


def _requests(asked: pl.DataFrame, rows: np.ndarray, before: Histories) -> Requests:
    slices = asked.with_columns(
        start=before.start[rows].astype(np.int64), stop=before.stop[rows].astype(np.int64)
    )
    return Requests(
        before.pool, slices.select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())
    )


def newest_per_user(rows: np.ndarray, first: np.ndarray, limit: int) -> np.ndarray:
    """The last `limit` of each user's rows. rows: ascending int64 [R]; first: bool [E]."""
    user = np.cumsum(first)[rows]
    ends = np.searchsorted(user, user, side="right")
    chosen: np.ndarray = rows[ends - np.arange(len(rows)) <= limit]
    return chosen


def draw(rows: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """At most `limit` rows, drawn by seed, in their order."""
    if limit is None or len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def without_events(requests: Requests, keep: np.ndarray) -> Requests:
    """The same requests over the pool's events that are kept (bool [H])."""
    if keep.all():
        return requests
    moved = np.concatenate([[0], np.cumsum(keep)])
    rows = requests.rows.with_columns(
        pl.Series(name, moved[requests.rows[name].to_numpy()], dtype=pl.Int64)
        for name in ("start", "stop")
    )
    return Requests(requests.pool.filter(keep), rows)
