"""Counting event by event gives what counting over the whole log gives."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_worlds import (
    CATALOGUE,
    KINDS,
    LOG_ROWS,
    RATINGS,
    REQUESTS,
    TEMPLATES,
    LogRow,
    ask,
    log,
)
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.records import Event, M6Error, Request
from m6rec.text import feature_state
from m6rec.text.feature_state import FeatureState
from m6rec.text.features import CrossFeatures


def tell(state: FeatureState, row: LogRow) -> None:
    user, item, kind, at, value, request = row
    state.update(user, Event(kind, item, timestamp=at, value=value), request)


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(LOG_ROWS, max_size=30),
    requests=st.lists(REQUESTS, min_size=1, max_size=4),
    rule=st.sampled_from([KINDS, RATINGS]),
)
def test_a_state_that_heard_the_log_says_what_the_log_says(
    events: list[LogRow], requests: list[Request], rule: LabelRule
) -> None:
    whole = CrossFeatures(log(events), CATALOGUE, rule, TEMPLATES)
    state = FeatureState(CATALOGUE, rule, TEMPLATES)
    for row in events:
        tell(state, row)
    for request in sorted(requests, key=lambda r: -1.0 if r.timestamp is None else r.timestamp):
        asked = Requests.of([request])
        table, expected = state.table(request), whole.table(asked.pool, asked.rows)
        assert table.columns == expected.columns == ("category", "brand")
        assert list(table.numbers) == list(expected.numbers)
        for name, numbers in expected.numbers.items():
            np.testing.assert_array_equal(table.numbers[name], numbers, err_msg=name)
        assert state.sentences(request) == whole.sentences(asked.pool, asked.rows)


def test_an_event_is_seen_from_the_next_moment_on() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    tell(state, ("u", "a1", "click", 5.0, None, None))
    assert state.table(ask("a1", at=5.0)).numbers["item_count"].tolist() == [0]
    assert state.table(ask("a1", at=5.1)).numbers["item_count"].tolist() == [1]


def test_a_late_event_does_not_turn_back_the_time_of_the_last() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    tell(state, ("u", "a1", "click", 50.0, None, None))
    state.table(ask("a1", at=60.0))
    tell(state, ("u", "a1", "click", 10.0, None, None))
    table = state.table(ask("a1", at=60.0))
    assert table.numbers["own_count"].tolist() == [2]
    assert table.numbers["own_seconds"].tolist() == [10]


def test_judgements_within_requests_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feature_state, "REMEMBERED", 2)
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    for number in range(50):
        tell(state, ("u", "a1", "impression", float(number), None, f"r{number}"))
        tell(state, ("u", "a1", "impression", float(number), None, f"r{number}"))
    state.table(ask("a1"))
    assert len(state._told) == 2
    assert state._user["u"].judged == 50


@pytest.mark.parametrize(
    "event",
    [Event("click", "a1"), Event("click", timestamp=1.0), Event("click", "a1", timestamp=math.nan)],
)
def test_an_event_without_item_or_time_is_refused(event: Event) -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    with pytest.raises(M6Error, match="with an item_id and a timestamp; got Event"):
        state.update("u", event)


def test_an_event_and_a_question_take_microseconds_and_milliseconds() -> None:
    state = FeatureState(CATALOGUE, KINDS, TEMPLATES)
    begin = time.perf_counter()
    for number in range(20_000):
        tell(state, (f"u{number % 100}", "a1", "click", float(number), None, None))
    state.table(ask("a1", user="u1", at=1e6))
    for _ in range(20):
        state.sentences(ask("a1", "a2", "b1", user="u1", at=1e6))
    assert time.perf_counter() - begin < 5
