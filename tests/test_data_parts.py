"""Which event is train, valid or test, for each way to cut. T, V, S, - stand for the parts."""

from __future__ import annotations

import numpy as np
import pytest

import data_worlds as worlds
from m6rec.data import parts
from m6rec.data.cut import first_of_user
from m6rec.data.schema import DataError


def letters(part: np.ndarray) -> str:
    return "".join("TVS-"[code] for code in part)


def at(*times: float | None) -> list[worlds.EventRow]:
    return [("u", "a", "click", time) for time in times]


def test_by_column_follows_the_column() -> None:
    split = ["train", "val", "TEST", "other", None]
    events = worlds.events(at(1, 2, 3, 4, 5), split=split)
    assert letters(parts.by_column(events)) == "TVS--"


def test_temporal_cuts_all_users_at_the_same_moments() -> None:
    rows = [("u", "a", "click", float(t)) for t in (0, 2, 4, 6, 8)]
    rows += [("v", "a", "click", float(t)) for t in (1, 3, 5, 7, 9)]
    events = worlds.events(rows)
    part, valid_from, test_from = parts.temporal(events, np.ones(10, dtype=bool), 0.2, 0.2)
    assert (valid_from, test_from) == (6.0, 8.0)
    assert letters(part) == "TTTVSTTTVS"


def test_temporal_shares_are_of_the_anchors() -> None:
    events = worlds.events(at(*range(10)))
    anchors = np.arange(10) < 5
    part, valid_from, test_from = parts.temporal(events, anchors, 0.2, 0.2)
    assert (valid_from, test_from) == (3.0, 4.0)
    assert letters(part) == "TTTVSSSSSS"


def test_temporal_keeps_a_moment_whole_and_unknown_times_in_train() -> None:
    events = worlds.events(at(None, None, 1, 1, 2, 2, 2, 3, 3, 3))
    part, valid_from, test_from = parts.temporal(events, np.ones(10, dtype=bool), 0.25, 0.25)
    assert (valid_from, test_from) == (2.0, 3.0)
    assert letters(part) == "TTTTVVVSSS"


@pytest.mark.parametrize("times", [(1.0,), (1.0, 1.0, 1.0), (1.0, 2.0)])
def test_temporal_needs_three_moments(times: tuple[float, ...]) -> None:
    events = worlds.events(at(*times))
    with pytest.raises(DataError, match="too few different times"):
        parts.temporal(events, np.ones(len(times), dtype=bool), 0.1, 0.1)


def test_temporal_needs_times() -> None:
    with pytest.raises(DataError, match="no event has a timestamp"):
        parts.temporal(worlds.events(at(None, None)), np.ones(2, dtype=bool), 0.1, 0.1)


def test_leave_one_out_takes_a_users_last_anchors() -> None:
    users = "uuuuuvvwwwx"
    rows = [(user, "a", "click", float(i)) for i, user in enumerate(users)]
    anchors = np.array([1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0], dtype=bool)
    part = parts.leave_one_out(anchors, first_of_user(worlds.events(rows)))
    assert letters(part) == "TVVSSTTTVST"


def test_unseen_item_holds_every_event_of_an_item_out() -> None:
    rows = [(user, item, "click", 1.0) for user in "uvw" for item in "abcdefghij"]
    events = worlds.events(rows)
    part = parts.unseen_item(events, np.ones(30, dtype=bool), 0.2, 0.3, seed=0)
    of_item = {item: set() for item in "abcdefghij"}
    for item, code in zip(events["item_id"], part, strict=True):
        of_item[item].add(int(code))
    assert all(len(codes) == 1 for codes in of_item.values())
    counts = [sum(codes == {code} for codes in of_item.values()) for code in range(3)]
    assert counts == [5, 2, 3]


def test_unseen_item_is_drawn_by_seed_whatever_the_order_of_rows() -> None:
    rows = [(user, item, "click", 1.0) for user in "uv" for item in "abcdefghij"]
    drawn = []
    for order, seed in ((rows, 0), (rows[::-1], 0), (rows, 1)):
        events = worlds.events(order)
        part = parts.unseen_item(events, np.ones(20, dtype=bool), 0.2, 0.2, seed)
        drawn.append({(i, int(p)) for i, p in zip(events["item_id"], part, strict=True)})
    assert drawn[0] == drawn[1] != drawn[2]


def test_unseen_item_needs_an_item_left_to_learn_from() -> None:
    events = worlds.events([("u", "a", "click", 1.0), ("u", "b", "click", 2.0)])
    with pytest.raises(DataError, match="2 items are too few to hold 1 \\+ 1 of them"):
        parts.unseen_item(events, np.ones(2, dtype=bool), 0.1, 0.1, 0)
