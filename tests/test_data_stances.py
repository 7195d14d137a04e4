"""Histories in two parts: for and against, as they stood at the moment of each request."""

from __future__ import annotations

import numpy as np
import polars as pl

import data_worlds as worlds
from m6rec.data.cut import as_pool
from m6rec.data.requests import ROW_SCHEMA, Requests
from m6rec.data.stances import stances
from m6rec.data.verdicts import Scale, Verdict, history_verdicts
from m6rec.records import Event, Request


def parts(history: list[Event], scale: Scale | None = None) -> tuple[list[Event], list[Event]]:
    found = stances(Requests.of([Request(tuple(history))]), scale)
    against = [] if found.disliked is None else list(found.disliked[0].history)
    return list(found.liked[0].history), against


def slices_of(places: list[tuple[int, int]]) -> pl.DataFrame:
    """Rows of requests over a pool."""
    nothing = dict.fromkeys(ROW_SCHEMA) | {"item_ids": [], "texts": [], "labels": []}
    rows = [nothing | {"start": start, "stop": stop} for start, stop in places]
    return pl.DataFrame(rows, schema=ROW_SCHEMA)


def test_a_history_without_a_no_is_left_as_it_is() -> None:
    asked = Requests.of([Request((Event("click", "a"), Event("search", query="x"))), Request()])
    found = stances(asked)
    assert found.liked is asked and found.disliked is None
    assert found.is_blank.tolist() == [False, True]
    assert found.is_against.tolist() == [False, False]


def test_yes_and_no_are_parted_and_what_was_shown_is_in_neither() -> None:
    click, shown, no = Event("click", "a"), Event("impression", "b"), Event("dislike", "c")
    middling, bad = Event("rating", "d", value=6.0), Event("rating", "e", value=4.0)
    liked, against = parts([click, shown, no, middling, bad], Scale(10.0))
    assert liked == [click, middling] and against == [no, bad]


def test_only_what_stands_in_the_history_takes_back() -> None:
    rows = [("u", "a", "purchase", 1.0), ("u", "b", "click", 2.0), ("u", "a", "return", 3.0)]
    events = worlds.events([*rows, ("u", "c", "click", 4.0)])
    asked = slices_of([(0, 2), (0, 3), (0, 4)])
    found = stances(Requests(as_pool(events), asked))
    ids = [[event.item_id for event in request.history] for request in found.liked]
    assert ids == [["a", "b"], ["b"], ["b", "c"]]
    assert found.disliked is not None
    ids = [[event.item_id for event in request.history] for request in found.disliked]
    assert ids == [[], ["a"], ["a"]]
    assert found.is_against.tolist() == [False, True, True]


def test_parts_of_slices_are_those_of_each_history_alone() -> None:
    draw = np.random.default_rng(1)
    kinds = ["click", "cart", "purchase", "return", "dislike", "like", "impression", "skip"]
    for _ in range(40):
        rows = [
            (f"u{user}", f"i{item}", kinds[kind], float(time))
            for time, (user, item, kind) in enumerate(draw.integers((3, 3, 8), size=(30, 3)))
        ]
        pool = as_pool(worlds.events(rows))
        users = worlds.events(rows)["user_id"].to_list()
        ends = sorted(draw.integers(1, 31, size=8).tolist())
        slices = [(max(users.index(users[end - 1]), end - 12), end) for end in ends]
        asked = slices_of(slices)
        requests = Requests(pool, asked)
        found = stances(requests)
        for number in range(len(requests)):
            history = requests[number].history
            said = history_verdicts(history)
            pairs = list(zip(history, said, strict=True))
            liked = [e for e, s in pairs if s in (Verdict.YES, Verdict.NEITHER)]
            against = [e for e, s in pairs if s == Verdict.NO]
            assert list(found.liked[number].history) == liked
            there = () if found.disliked is None else found.disliked[number].history
            assert list(there) == against
