"""Histories as slices of one pool, and requests over them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import cut

EVENTS = worlds.events(
    [
        ("u", "a", "click", 1.0),
        ("u", "b", "impression", 2.0),
        ("u", "c", "click", 2.0),
        ("u", "d", "click", 2.0),
        ("u", "e", "click", 3.0),
        ("v", "f", "click", None),
        ("v", "g", "click", None),
        ("v", "h", "click", 3.0),
    ]
)
ALL = np.ones(EVENTS.height, dtype=bool)


def told(before: cut.Histories) -> list[str]:
    """The items of the history before each event."""
    ids = before.pool["item_id"].to_list()
    return ["".join(ids[i:j]) for i, j in zip(before.start, before.stop, strict=True)]


def test_a_history_is_what_the_same_user_did_before() -> None:
    assert told(cut.histories(EVENTS, ALL, 50, exclude_same_time=False)) == [
        *("", "a", "ab", "abc", "abcd"),
        *("", "f", "fg"),
    ]


def test_histories_keep_the_newest_events() -> None:
    before = cut.histories(EVENTS, ALL, 2, exclude_same_time=False)
    assert told(before) == ["", "a", "ab", "bc", "cd", "", "f", "fg"]


def test_events_of_the_same_moment_can_be_left_out() -> None:
    """An unknown time is no moment that two events share."""
    assert told(cut.histories(EVENTS, ALL, 3, exclude_same_time=True)) == [
        *("", "a", "a", "a", "bcd"),
        *("", "f", "fg"),
    ]


def test_hidden_events_are_in_no_history() -> None:
    shown = (EVENTS["event"] != "impression").to_numpy()
    assert told(cut.histories(EVENTS, shown, 50, exclude_same_time=False)) == [
        *("", "a", "a", "ac", "acd"),
        *("", "f", "fg"),
    ]


def test_ties_are_events_of_one_user_at_one_known_time() -> None:
    assert cut.ties(EVENTS)
    assert not cut.ties(EVENTS.filter(pl.col("item_id").is_in(list("adefgh"))))


def test_the_pool_has_its_columns_whatever_the_events_have() -> None:
    pool = cut.histories(EVENTS, ALL, 50, exclude_same_time=False).pool
    assert pool.columns == ["event", "item_id", "text", "query", "timestamp", "value"]
    assert pool["text"].null_count() == pool.height


def test_target_requests_ask_for_the_item_that_followed() -> None:
    before = cut.histories(EVENTS, ALL, 50, exclude_same_time=False)
    requests = cut.target_requests(EVENTS, np.array([2, 7]), before)
    first, second = requests
    assert [event.item_id for event in first.history] == ["a", "b"]
    assert (first.user_id, first.timestamp, first.target) == ("u", 2.0, "c")
    assert first.candidates == () and first.labels == ()
    assert (second.user_id, second.target) == ("v", "h")


def test_label_requests_have_one_candidate_each() -> None:
    events = EVENTS.with_columns(text=pl.Series([None] * 7 + ["words"], dtype=pl.String))
    before = cut.histories(events, ALL, 50, exclude_same_time=False)
    first, second = cut.label_requests(events, np.array([1, 7]), np.array([0.0, 1.0]), before)
    assert first.target is None and first.labels == (0.0,) and second.labels == (1.0,)
    assert (first.candidates[0].item_id, first.candidates[0].text) == ("b", None)
    assert second.candidates[0].text == "words"


def test_the_newest_rows_of_each_user_are_chosen() -> None:
    first = cut.first_of_user(EVENTS)
    assert np.flatnonzero(first).tolist() == [0, 5]
    rows = np.array([0, 2, 4, 5])
    assert cut.newest_per_user(rows, first, 1).tolist() == [4, 5]
    assert cut.newest_per_user(rows, first, 2).tolist() == [2, 4, 5]


def test_a_draw_is_in_order_and_repeats_with_its_seed() -> None:
    rows = np.arange(100)
    drawn = cut.draw(rows, 10, seed=3)
    assert len(set(drawn)) == 10 and (np.diff(drawn) > 0).all()
    assert drawn.tolist() == cut.draw(rows, 10, seed=3).tolist()
    assert drawn.tolist() != cut.draw(rows, 10, seed=4).tolist()
    assert cut.draw(rows, None, seed=3) is rows and cut.draw(rows, 100, seed=3) is rows


def test_requests_without_some_events_keep_the_others() -> None:
    before = cut.histories(EVENTS, ALL, 3, exclude_same_time=False)
    requests = cut.target_requests(EVENTS, np.array([0, 3, 4, 7]), before)
    keep = ~requests.pool["item_id"].is_in(["b", "f"]).to_numpy()
    fewer = cut.without_events(requests, keep)
    assert fewer.pool.height == 6
    assert ["".join(str(e.item_id) for e in request.history) for request in fewer] == [
        *("", "ac", "cd"),
        "g",
    ]
    assert cut.without_events(requests, np.ones(8, dtype=bool)) is requests


@pytest.mark.parametrize("exclude", [False, True])
def test_no_events_have_no_histories(exclude: bool) -> None:
    none = EVENTS.head(0)
    before = cut.histories(none, np.ones(0, dtype=bool), 5, exclude)
    assert before.pool.height == 0 and len(before.start) == len(before.stop) == 0
