"""Rates as rankers: the user's, the item's, and both."""

from __future__ import annotations

import numpy as np
import pytest

import evaluation_worlds as worlds
from evaluation_worlds import event
from m6rec.data.labels import LabelRule
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.like_rate import (
    history_likes,
    item_rate,
    like_rate,
    prior_rate,
    user_item_rate,
)
from m6rec.evaluation.ranking import evaluate_ranking

KINDS = LabelRule()
STARS = LabelRule(event="rating", threshold=4)


def judged(item: str, label: float, history: tuple[object, ...] = ()) -> dict[str, object]:
    return {"history": history, "item_ids": [item], "texts": [None], "labels": [label]}


def world() -> Split:
    liked, disliked = event("a", event="like"), event("b", event="dislike")
    return worlds.split(
        ["a", "b", "c"],
        train=[("u", "a"), ("u", "b")],
        train_requests=[judged("a", 1), judged("a", 1), judged("b", 0), judged("b", 1)],
        test=[
            judged("a", 1, (liked, liked, disliked)),
            judged("b", 0, ()),
            judged("c", 0, (disliked,)),
        ],
        task="rank",
    )


def test_likes_and_dislikes_are_counted_in_each_history() -> None:
    likes, judgements = history_likes(world().test, KINDS)
    assert likes.tolist() == [2, 0, 0]
    assert judgements.tolist() == [3, 0, 1]


def test_ratings_are_likes_from_the_threshold_on_and_nothing_without_a_value() -> None:
    history = [event("a", event="rating", value=value) for value in (3.0, 4.0, 5.0, None)]
    likes, judgements = history_likes(worlds.requests([{"history": history}]), STARS)
    assert (likes.tolist(), judgements.tolist()) == ([2], [3])


def test_histories_that_share_a_pool_are_counted_apart() -> None:
    whole = world().test
    assert history_likes(whole.take(np.array([2, 0])), KINDS)[1].tolist() == [1, 3]


def test_like_rate_is_drawn_to_the_prior() -> None:
    model = like_rate(world(), KINDS, strength=1.0)
    assert prior_rate(world()) == 0.75
    assert model.predict(world().test) == pytest.approx([2.75 / 4, 0.75, 0.75 / 2])


def test_without_training_labels_the_prior_is_one_half() -> None:
    data = worlds.split(["a"], [("u", "a")], test=[judged("a", 1)], task="rank")
    assert like_rate(data, KINDS).predict(data.test).tolist() == [0.5]


def test_item_rate_knows_trained_items_and_gives_others_the_prior() -> None:
    model = item_rate(world(), strength=2.0)
    assert model.predict(world().test) == pytest.approx([3.5 / 4, 2.5 / 4, 0.75])


def test_user_and_item_rates_add_in_log_odds() -> None:
    def odds(rate: float) -> float:
        return rate / (1 - rate)

    found = user_item_rate(world(), KINDS, user_strength=1.0, item_strength=2.0)
    expected = odds(2.75 / 4) * odds(3.5 / 4) / odds(0.75)
    assert odds(found.predict(world().test)[0]) == pytest.approx(expected)


def test_rates_repeat_for_every_candidate_of_a_request() -> None:
    row = {"item_ids": ["a", "b", "c"], "texts": [None] * 3, "labels": [1.0, 0.0, 0.0]}
    data = worlds.split(["a", "b", "c"], [("u", "a")], test=[row, judged("a", 1)], task="rank")
    assert like_rate(data, KINDS).predict(data.test).shape == (4,)
    assert evaluate_ranking(like_rate(data, KINDS), data).metrics["auc"].value == 0.5
