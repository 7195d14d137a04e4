"""No split tells the answer: properties over logs of every shape.

Every event has an item of its own, so that a target names its event.
"""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data_worlds as worlds
from m6rec.data.options import Method
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError
from m6rec.data.splits import Split, make_split
from m6rec.data.tables import Dataset

KINDS = ("click", "purchase", "impression")
TIMES = st.one_of(st.none(), st.integers(0, 6))
PARTS = st.sampled_from(["train", "train", "train", "valid", "test", "other"])
ROWS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(KINDS), TIMES, PARTS), min_size=6, max_size=30
)
METHODS: tuple[Method, ...] = ("temporal", "leave-one-out", "unseen-item", "column")


def log(rows: list[tuple[str, str, int | None, str]]) -> Dataset:
    events: list[worlds.EventRow] = [
        (user, f"i{row}", kind, time) for row, (user, kind, time, _) in enumerate(rows)
    ]
    data = worlds.dataset("", events, split=[part for *_, part in rows])
    return Dataset("drawn", items=worlds.items(*(row[1] for row in events)), events=data.events)


def split_of(data: Dataset, method: Method, **options: object) -> Split | None:
    """None where the log can not be split so, which is an answer too."""
    shares = {"valid_fraction": 0.25, "test_fraction": 0.25}
    try:
        return make_split(data, method=method, **shares, **options)  # type: ignore[arg-type]
    except DataError:
        return None


def past(events: pl.DataFrame, item: str, exclude: bool, limit: int) -> list[str]:
    """By the definition: what the user of the event did before it, oldest first."""
    rows = events.rows(named=True)
    (at,) = (i for i, row in enumerate(rows) if row["item_id"] == item)
    before = [
        row["item_id"]
        for row in rows[:at]
        if row["user_id"] == rows[at]["user_id"]
        and row["event"] != "impression"
        and not (
            exclude and row["timestamp"] is not None and row["timestamp"] == rows[at]["timestamp"]
        )
    ]
    return before[-limit:]


def check_histories(requests: Requests, events: pl.DataFrame, exclude: bool, limit: int) -> None:
    for request in requests:
        assert request.target is not None
        told = [event.item_id for event in request.history]
        assert told == past(events, request.target, exclude, limit)
        assert request.target not in told


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, limit=st.integers(1, 5), same_time=st.sampled_from(["auto", "keep", "exclude"]))
def test_no_answer_is_in_train_or_in_its_own_history(
    method: Method,
    rows: list[tuple[str, str, int | None, str]],
    limit: int,
    same_time: str,
) -> None:
    data = log(rows)
    split = split_of(data, method, max_history=limit, same_time=same_time)
    if split is None:
        return
    assert data.events is not None
    exclude = split.card.notes[0].endswith("exclude")
    judged = split.valid + split.test
    train_items = set(split.train_events["item_id"])
    assert not train_items & set(judged.rows["target"])
    assert not split.train_item_ids & set(judged.rows["target"])
    assert set(split.train.rows["target"]) <= train_items
    check_histories(judged, data.events, exclude, limit)
    check_histories(split.train, split.train_events, exclude, limit)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_a_temporal_split_learns_from_the_past_only(
    rows: list[tuple[str, str, int | None, str]],
) -> None:
    split = split_of(log(rows), "temporal")
    if split is None:
        return
    learnt = split.train_events["timestamp"].max()
    first_valid, first_test = (part.rows["timestamp"].min() for part in (split.valid, split.test))
    assert isinstance(first_test, float)
    assert learnt is None or learnt < first_test  # type: ignore[operator]
    if isinstance(first_valid, float):
        assert learnt is None or learnt < first_valid  # type: ignore[operator]
        assert split.valid.rows["timestamp"].max() < first_test  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_events_are_sorted_stably_whatever_the_users_between_them(
    rows: list[tuple[str, str, int | None, str]],
) -> None:
    events = log(rows).events
    assert events is not None
    order = sorted(
        range(len(rows)), key=lambda i: (rows[i][0], -1 if rows[i][2] is None else rows[i][2])
    )
    assert events["item_id"].to_list() == [f"i{i}" for i in order]


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, method=st.sampled_from(METHODS), data=st.data())
def test_the_split_hash_ignores_the_order_of_the_other_tables(
    rows: list[tuple[str, str, int | None, str]], method: Method, data: st.DataObject
) -> None:
    first = log(rows)
    order = data.draw(st.permutations(range(first.items.height)))
    users = pl.DataFrame({"user_id": data.draw(st.permutations(["u", "v", "w"]))})
    second = Dataset("other", items=first.items[order], users=users, events=first.events)
    splits = [split_of(each, method) for each in (first, second)]
    hashes = {None if split is None else split.card.split_hash for split in splits}
    assert len(hashes) == 1


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("uv"),
            st.sampled_from("rst"),
            st.sampled_from("abc"),
            st.sampled_from(["impression", "click"]),
            st.integers(0, 9),
        ),
        min_size=6,
        max_size=30,
    )
)
def test_ranking_tells_nothing_of_the_judged_click(
    rows: list[tuple[str, str, str, str, int]],
) -> None:
    """An item of a request has one name, so its click and its impression share it."""
    events: list[worlds.EventRow] = [
        (user, f"{user}{request}{item}", kind, float(time))
        for user, request, item, kind, time in rows
    ]
    data = worlds.dataset("", events, request_id=[row[0] + row[1] for row in rows])
    catalogue = worlds.items(*sorted({row[1] for row in events}))
    found = Dataset("drawn", items=catalogue, events=data.events)
    try:
        split = make_split(found, "rank", "temporal", valid_fraction=0.25, test_fraction=0.25)
    except DataError:
        return
    for request in split.test:
        (candidate,) = request.candidates
        assert candidate.item_id not in {event.item_id for event in request.history}
        assert candidate.item_id not in set(split.train_events["item_id"])
        clicked = {row[1] for row in events if row[2] == "click"}
        assert request.labels == (float(candidate.item_id in clicked),)
