"""What an id model is fed: codes from 1, zeros for everything training did not show."""

from __future__ import annotations

import evaluation_worlds as worlds
from evaluation_worlds import event
from m6rec.data.requests import Requests
from m6rec.evaluation.baselines import din_inputs
from m6rec.evaluation.baselines.din_inputs import coding


def rated(item: str, value: float) -> dict[str, object]:
    return event(item, event="rating", value=value)


def train() -> Requests:
    return worlds.requests(
        [
            {
                "user_id": "u",
                "history": [rated("a", 5), rated("b", 2)],
                "item_ids": ["c", "d"],
                "texts": [None, None],
                "labels": [1.0, 0.0],
            }
        ]
    )


def test_every_candidate_is_a_row_with_its_users_history() -> None:
    inputs = coding(train(), max_history=3).inputs(train())
    assert inputs.user.tolist() == [1, 1]
    assert inputs.item.tolist() == [1, 2]
    assert inputs.history.tolist() == [[0, 3, 4]] * 2
    assert inputs.grade.tolist() == [[0, 1, 2]] * 2


def test_users_items_and_grades_that_training_did_not_show_are_0() -> None:
    later = worlds.requests(
        [
            {
                "user_id": "new",
                "history": [rated("new", 5), rated("a", 1)],
                "item_ids": ["new"],
                "texts": [None],
                "labels": [1.0],
            }
        ]
    )
    inputs = coding(train(), max_history=2).inputs(later)
    assert (inputs.user.tolist(), inputs.item.tolist()) == ([0], [0])
    assert inputs.history.tolist() == [[0, 3]]
    assert inputs.grade.tolist() == [[1, 0]]


def test_only_the_newest_events_are_kept_and_known() -> None:
    code = coding(train(), max_history=1)
    assert "a" not in code.items.to_list()
    assert code.inputs(train()).history.tolist() == [[3], [3]]


def test_values_that_are_no_grades_are_left_out() -> None:
    many = worlds.requests(
        [
            {
                "history": [rated("a", value) for value in range(din_inputs.MAX_GRADES + 1)],
                "item_ids": ["a"],
                "texts": [None],
                "labels": [1.0],
            }
        ]
    )
    assert coding(many, max_history=5).grades.to_list() == ["rating"]


def test_a_request_without_history_is_all_padding() -> None:
    lone = worlds.requests([{"item_ids": ["c"], "texts": [None], "labels": [1.0]}])
    inputs = coding(train(), max_history=2).inputs(lone)
    assert inputs.history.tolist() == [[0, 0]]
