"""Counting event by event gives what counting over the whole log gives."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_worlds import (
    CATALOGUE,
    KINDS,
    LOG_ROWS,
    RATINGS,
    REQUESTS,
    TEMPLATES,
    USERS,
    LogRow,
    ask,
    log,
)
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.records import Event, M6Error, Request
from m6rec.text import feature_state
from m6rec.text.feature_state import FeatureState
from m6rec.text.feature_table import FeatureTable
from m6rec.text.features import CrossFeatures


def tell(state: FeatureState, row: LogRow) -> None:
    user, item, kind, at, value, request = row
    state.update(user, Event(kind, item, timestamp=at, value=value), request)


def table(state: FeatureState, request: Request) -> FeatureTable:
    asked = Requests.of([request])
    return state.table(asked.pool, asked.rows)


def check(
    state: FeatureState, events: list[LogRow], items: pl.DataFrame, requests: list[Request]
) -> None:
    """The state says, of all requests at once, what counting over the whole log says."""
    whole = CrossFeatures(log(events), items, state.rule, TEMPLATES)
    asked = Requests.of(requests)
    found, expected = (one.table(asked.pool, asked.rows) for one in (state, whole))
    assert found.columns == expected.columns
    assert list(found.numbers) == list(expected.numbers)
    for name, numbers in expected.numbers.items():
        np.testing.assert_array_equal(found.numbers[name], numbers, err_msg=name)
    assert state.words.sentences(found) == whole.words.sentences(expected)


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(
    events=st.lists(LOG_ROWS, max_size=30),
    begin=st.integers(0, 30),
    now=st.integers(0, 13).map(float),
    requests=st.lists(REQUESTS, min_size=1, max_size=4),
    rule=st.sampled_from([KINDS, RATINGS]),
)
def test_a_state_that_heard_the_log_says_what_the_log_says(
    events: list[LogRow],
    begin: int,
    now: float,
    requests: list[Request],
    rule: LabelRule,
) -> None:
    """Some of the log at the start, what lies after `now` of it later, the rest one by one."""
    state = FeatureState(CATALOGUE, rule, TEMPLATES, log(events[:begin]), now)
    for row in events[begin:]:
        tell(state, row)
    late = [
        one if one.timestamp is None else replace(one, timestamp=max(now, one.timestamp))
        for one in requests
    ]
    check(state, events, CATALOGUE, late)  # a moment before `now` would see what lies before now


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(
    events=st.lists(LOG_ROWS, max_size=30),
    begin=st.integers(0, 30),
    asked_between=st.lists(REQUESTS, max_size=2),
    changes=st.lists(
        st.tuples(
            st.sampled_from(("a1", "a2", "b1", "c1", "new")),
            st.none() | st.sampled_from(("Home", "Tools|Home", "")),
        ),
        max_size=4,
    ),
    gone=st.sampled_from(USERS),
    requests=st.lists(REQUESTS, min_size=1, max_size=3),
)
def test_items_that_change_and_users_that_are_erased_leave_what_a_new_start_would_say(
    events: list[LogRow],
    begin: int,
    asked_between: list[Request],
    changes: list[tuple[str, str | None]],
    gone: str,
    requests: list[Request],
) -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES, log(events[:begin]))
    rows = {row["item_id"]: row for row in CATALOGUE.to_dicts()}
    for row in events[begin:]:
        tell(state, row)
    for request in asked_between:
        table(state, request)
    for item, category in changes:
        if item in rows and category is None:
            rows.pop(item)
            state.put_item(item, None)
        else:
            rows[item] = {"item_id": item, "title": item, "category": category, "brand": None}
            state.put_item(item, rows[item])
    state.forget(gone)
    assert gone not in state.users()
    left = [row for row in events if row[0] != gone]
    late = [replace(one, timestamp=50.0) for one in requests]
    check(state, left, pl.DataFrame(list(rows.values()), CATALOGUE.schema), late)


def test_a_user_who_comes_back_after_an_erasure_begins_anew() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES, log([("u", "a1", "click", 5.0, None, None)]))
    state.forget("u")
    tell(state, ("u", "a1", "purchase", 7.0, None, None))
    assert table(state, ask("a1")).numbers["own_count"].tolist() == [1]
    assert table(state, ask("a1")).numbers["item_count"].tolist() == [1]


def test_an_event_is_seen_from_the_next_moment_on() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    tell(state, ("u", "a1", "click", 5.0, None, None))
    assert table(state, ask("a1", at=5.0)).numbers["item_count"].tolist() == [0]
    assert table(state, ask("a1", at=5.1)).numbers["item_count"].tolist() == [1]


def test_of_several_requests_each_is_answered_at_its_own_moment() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    tell(state, ("u", "a1", "click", 5.0, None, None))
    asked = Requests.of([ask("a1", at=6.0), ask("a1", "a2", at=4.0)])
    assert state.table(asked.pool, asked.rows).numbers["item_count"].tolist() == [1, 0, 0]


def test_a_late_event_does_not_turn_back_the_time_of_the_last() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    tell(state, ("u", "a1", "click", 50.0, None, None))
    table(state, ask("a1", at=60.0))
    tell(state, ("u", "a1", "click", 10.0, None, None))
    found = table(state, ask("a1", at=60.0))
    assert found.numbers["own_count"].tolist() == [2]
    assert found.numbers["own_seconds"].tolist() == [10]


def test_judgements_within_requests_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_state, "REMEMBERED", 2)
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    for number in range(50):
        tell(state, ("u", "a1", "impression", float(number), None, f"r{number}"))
        tell(state, ("u", "a1", "impression", float(number), None, f"r{number}"))
    found = table(state, ask("a1"))
    assert len(state._told) == 2
    assert state._people["u"].total.judged == 50
    assert found.numbers["item_count"].tolist() == [0]


@pytest.mark.parametrize(
    "event",
    [Event("click", "a1"), Event("click", timestamp=1.0), Event("click", "a1", timestamp=math.nan)],
)
def test_an_event_without_item_or_time_is_refused(event: Event) -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    with pytest.raises(M6Error, match="with an item_id and a timestamp; got Event"):
        state.update("u", event)
