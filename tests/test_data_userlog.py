"""A log by user, against filtering the whole log."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from m6rec.data.known import own_events, popularity, user_log
from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA
from m6rec.data.tables import Dataset
from m6rec.data.userlog import UserLog
from m6rec.records import Event


def mixed(seed: int, rows: int = 200) -> pl.DataFrame:
    """Events of users in any order, some without a user."""
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user_id": [None if n == 7 else f"u{n}" for n in draw.integers(0, 12, rows)],
            "item_id": [f"i{n}" for n in range(rows)],
            "event": draw.choice(["click", "impression", "like"], rows).tolist(),
            "timestamp": np.arange(rows, dtype=float),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_it_gives_every_user_what_a_filter_of_the_log_gives(seed: int) -> None:
    events = mixed(seed)
    log = UserLog(events)
    for user in [f"u{n}" for n in range(12)] + ["nobody", ""]:
        rows = events.filter(pl.col("user_id") == user).rows(named=True)
        assert log.events(user) == tuple(
            Event(row["event"], row["item_id"], timestamp=row["timestamp"]) for row in rows
        )
        assert (user in log) == bool(rows)


def test_requests_of_many_users_are_in_the_order_asked_for() -> None:
    log = UserLog(mixed(3))
    users = ["u5", "nobody", "u0", "u5", "u11"]
    asked = log.requests(users)
    assert [(r.user_id, r.history) for r in asked] == [(user, log.events(user)) for user in users]
    assert dict(asked.pool.schema) == POOL_SCHEMA
    assert dict(asked.rows.schema) == ROW_SCHEMA
    assert asked.pool.height == sum(len(log.events(user)) for user in users)
    assert len(log.requests([])) == 0


def test_what_was_only_shown_is_no_part_of_a_history() -> None:
    data = Dataset(name="x", events=mixed(1))
    kinds = {event.event for n in range(12) for event in own_events(data, f"u{n}")}
    assert kinds == {"click", "like"}


def test_a_data_set_is_read_once_and_one_with_other_tables_anew() -> None:
    data = Dataset(name="x", items=pl.DataFrame({"item_id": ["i1"], "title": ["a"]}))
    assert user_log(data) is None
    other = Dataset(name="x", items=data.items, events=mixed(1))
    assert user_log(other) is user_log(other)
    counts = popularity(other)
    assert counts is popularity(other)
    assert counts is not None
    with pytest.raises(ValueError, match="read-only"):
        counts[0] = 1
