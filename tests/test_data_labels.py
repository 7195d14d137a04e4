"""Which events are targets of retrieval, and which are a yes or a no of ranking."""

from __future__ import annotations

import pytest

import data_worlds as worlds
from m6rec.data.labels import LabelRule, default_rule, label_events, target_mask
from m6rec.data.schema import DataError

RATINGS = LabelRule(event="rating", threshold=4)


def test_targets_are_what_a_user_chose() -> None:
    kinds = ["impression", "search", "dislike", "click", "cart", "purchase", "like", "rating", "x"]
    events = worlds.events([("u", "a", kind, float(i)) for i, kind in enumerate(kinds)])
    assert target_mask(events, None, None).tolist() == [False] * 3 + [True] * 6
    chosen = target_mask(events, frozenset({"cart", "search"}), None)
    assert [kind for kind, yes in zip(kinds, chosen, strict=True) if yes] == ["search", "cart"]


def test_low_ratings_are_no_targets_where_a_bound_is_given() -> None:
    rows = [("u", "a", "rating", 1.0), ("u", "b", "rating", 2.0), ("u", "c", "rating", 3.0)]
    events = worlds.events([*rows, ("u", "d", "click", 4.0)], value=[3.0, 4.0, None, 1.0])
    assert target_mask(events, None, 4).tolist() == [False, True, True, True]


def test_labels_by_value_leave_out_events_without_one() -> None:
    rows = [("u", "a", "rating", 1.0), ("u", "b", "rating", 2.0), ("u", "c", "rating", 3.0)]
    events = worlds.events([*rows, ("u", "d", "click", 4.0)], value=[3.9, 4.0, None, 5.0])
    where, labels = label_events(events, RATINGS)
    assert where.tolist() == [0, 1] and labels.tolist() == [0.0, 1.0]


def test_a_clicked_impression_is_one_positive_at_the_moment_it_was_shown() -> None:
    rows = [
        ("u", "a", "impression", 1.0),
        ("u", "b", "impression", 1.0),
        ("u", "b", "click", 2.0),
        ("u", "b", "purchase", 3.0),
        ("u", "c", "click", 4.0),
        ("u", "b", "impression", 5.0),
        ("u", "b", "search", 6.0),
    ]
    events = worlds.events(rows, request_id=["r", "r", "r", "r", None, "s", "s"])
    where, labels = label_events(events, LabelRule())
    assert where.tolist() == [0, 1, 4, 5]
    assert labels.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_past_click_does_not_answer_for_a_later_impression_of_the_same_request() -> None:
    rows = [("u", "a", "click", None), ("u", "a", "impression", 5.0), ("u", "b", "impression", 5.0)]
    where, labels = label_events(worlds.events(rows, request_id=["r", "r", "r"]), LabelRule())
    assert where.tolist() == [0, 1, 2] and labels.tolist() == [1.0, 0.0, 0.0]


def test_the_same_request_id_of_two_users_is_two_requests() -> None:
    rows = [("u", "a", "impression", 1.0), ("v", "a", "click", 1.0)]
    _, labels = label_events(worlds.events(rows, request_id=["r", "r"]), LabelRule())
    assert labels.tolist() == [0.0, 1.0]


def test_without_request_ids_every_event_is_judged_alone() -> None:
    rows = [("u", "a", "impression", 1.0), ("u", "a", "click", 2.0)]
    where, labels = label_events(worlds.events(rows), LabelRule())
    assert where.tolist() == [0, 1] and labels.tolist() == [0.0, 1.0]


def test_the_rule_follows_from_the_events() -> None:
    both = worlds.events([("u", "a", "impression", 1.0), ("u", "b", "click", 2.0)])
    stars = worlds.events([("u", "a", "rating", 1.0)], value=[5.0])
    assert default_rule(both) == LabelRule()
    assert default_rule(stars) == RATINGS
    assert str(RATINGS) == "rating >= 4"
    assert str(LabelRule(frozenset({"like"}), frozenset({"dislike"}))) == "like against dislike"


def test_without_a_yes_and_a_no_there_is_no_rule() -> None:
    with pytest.raises(DataError, match="no labels for ranking: the events are click; say which"):
        default_rule(worlds.events([("u", "a", "click", 1.0)]))
    with pytest.raises(DataError, match="no labels for ranking"):
        default_rule(worlds.events([("u", "a", "rating", 1.0)]))


def test_the_rule_of_ratings_follows_their_scale() -> None:
    for value, rule in ((5.0, "rating >= 4"), (9.0, "rating >= 8"), (60.0, "rating >= 80")):
        assert str(default_rule(worlds.events([("u", "a", "rating", 1.0)], value=[value]))) == rule


def test_a_no_is_no_target() -> None:
    kinds = ["rating", "rating", "rating", "skip", "refund", "remove_from_cart", "purchase"]
    rows = [("u", str(n), kind, float(n)) for n, kind in enumerate(kinds)]
    events = worlds.events([*rows, ("u", "6", "return", 9.0)], value=[1, 3, 4] + [None] * 5)
    assert target_mask(events, None, None).tolist() == [False] * 2 + [True] + [False] * 5
    named = target_mask(events, frozenset({"rating", "purchase"}), None)
    assert named.tolist() == [False] * 2 + [True] + [False] * 5
    every = target_mask(events, frozenset({"rating"}), 1)
    assert every.tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize(
    "rule",
    [
        RATINGS,
        LabelRule(event="stars", threshold=3.5),
        LabelRule(frozenset({"purchase", "cart"}), frozenset({"click"})),
        LabelRule(),
    ],
)
def test_a_rule_is_read_as_it_is_told(rule: LabelRule) -> None:
    told = LabelRule.parse(str(rule))
    assert str(told) == str(rule)
    if not rule.by_value:
        assert told == rule
    assert (told.event, told.threshold) == (rule.event, rule.threshold)


def test_a_rule_has_the_names_that_tables_give_to_events() -> None:
    assert LabelRule.parse("Buy/addToCart against view") == LabelRule(
        frozenset({"purchase", "cart"}), frozenset({"click"})
    )
    assert LabelRule.parse("Rating >=4").event == "rating"


@pytest.mark.parametrize(
    "text", ["", "rating", "rating>=many", ">=4", "click against ", "a//b against c"]
)
def test_what_is_no_rule_says_what_is(text: str) -> None:
    with pytest.raises(DataError, match="'rating>=4', or kinds of yes and no, such as"):
        LabelRule.parse(text)


def test_rules_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(DataError, match="a label by value needs both"):
        LabelRule(event="rating")
    with pytest.raises(DataError, match="'click' can not be positive and negative"):
        LabelRule(frozenset({"click"}), frozenset({"click"}))
