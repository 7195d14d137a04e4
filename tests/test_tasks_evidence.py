"""What a ranker starts from: the expected rate as log-odds, and likeness to what was liked."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

import tiny
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.model.plans import SegmentStates
from m6rec.records import Candidate, Event, Request
from m6rec.tasks.build import Backbone, TaskSpec, build_ranker
from m6rec.tasks.evidence import (
    NUMBERS,
    PRIOR,
    Evidence,
    first_weights,
    likeness,
    log_odds,
    signs,
    signs_of_history,
    told,
)
from m6rec.text.feature_table import FeatureTable
from m6rec.text.features import CrossFeatures
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

RATING = LabelRule(event="rating", threshold=4.0)


def test_rates_become_log_odds_and_an_unknown_rate_says_nothing() -> None:
    nothing = np.full(2, np.nan)
    numbers = {
        "item_count": np.zeros(2),
        "expected": np.array([0.5, 0.8]),
        "item_rate": np.array([1.0, 0.0]),
        "user_rate": nothing,
        "recent_rate": np.array([0.2, np.nan]),
        "category_rate": np.array([0.6, np.nan]),
        "brand_rate": np.array([0.8, 0.9]),
    }
    found = log_odds(FeatureTable(("category", "brand"), numbers))
    sure, four = np.log(49), np.log(4)
    assert found[0].tolist() == pytest.approx([0, sure, 0, -four, np.log(0.7 / 0.3)], abs=1e-5)
    assert found[1].tolist() == pytest.approx([four, -sure, 0, 0, np.log(9)], abs=1e-5)
    bare = {name: value for name, value in numbers.items() if name.count("_rate") == 0}
    bare |= {"item_rate": nothing, "user_rate": nothing, "recent_rate": nothing}
    assert log_odds(FeatureTable((), bare))[:, 1:].tolist() == [[0, 0, 0, 0]] * 2


def test_counts_stand_beside_the_rates_they_carry() -> None:
    nothing, counts = np.full(2, np.nan), np.array([0.0, np.e**5 - 1])
    rates = dict.fromkeys(("expected", "item_rate", "user_rate", "recent_rate"), nothing)
    agreement = {"agreement": np.array([np.nan, 2.0]), "item_lean": nothing}
    numbers = {**rates, "item_count": counts, "user_count": nothing, "recent_total": counts}
    numbers |= {**agreement, "user_lean": np.array([-0.5, 9.0])}
    found = told(FeatureTable((), numbers))
    first, second = [0] * 10 + [-1.5], [0, 0, 0, 0, 0, 1, 0, 1, 2, 0, 4]
    assert found.tolist() == [pytest.approx(first), pytest.approx(second)]


def test_at_the_start_the_options_count_for_nothing() -> None:
    logits = torch.tensor([[3.0, -7.0], [0.0, 2.0]])
    evidence = torch.tensor([[1.5] + [9.0] * 12, [-1.0] + [9.0] * 12])
    found = Evidence(4)(logits, evidence)
    assert found.tolist() == [[0.0, 1.5], [0.0, -1.0]]


def test_first_weights_follow_many_labels_and_few_leave_them_where_they_begin() -> None:
    begin, rng = np.eye(NUMBERS)[0], np.random.default_rng(0)
    x_BE = rng.normal(size=(40_000, NUMBERS)).astype(np.float32)
    true_E = begin * 0.5 + np.eye(NUMBERS)[8]
    label_B = rng.random(40_000) < 1 / (1 + np.exp(-x_BE @ true_E))
    assert first_weights(x_BE, label_B) == pytest.approx(true_E, abs=0.05)
    assert first_weights(x_BE[:16], label_B[:16]) == pytest.approx(begin, abs=0.1)
    assert first_weights(x_BE[:0], label_B[:0]).tolist() == begin.tolist()
    slope_E = x_BE.T @ (1 / (1 + np.exp(-x_BE @ first_weights(x_BE, label_B))) - label_B)
    held_E = PRIOR * (first_weights(x_BE, label_B) - begin)
    assert slope_E + held_E == pytest.approx(np.zeros(NUMBERS), abs=0.01)


def test_events_are_yes_no_or_neither_under_both_kinds_of_rules() -> None:
    pool = pl.DataFrame(
        {
            "event": ["rating", "rating", "rating", "purchase", "dislike", "search", "impression"],
            "value": [5.0, 3.0, None, None, None, None, None],
        }
    )
    assert signs(pool, RATING).tolist() == [1, -1, 1, 1, -1, 0, 0]
    assert signs(pool, LabelRule()).tolist() == [1, 0, 1, 1, -1, 0, -1]


def test_signs_lie_beside_the_newest_events() -> None:
    past = tuple(Event("like", f"i{n}") for n in range(3))
    asked = Requests.of([Request(past), Request(past[:1]), Request()])
    sign_E = np.array([1, -1, 1, -1], dtype=np.float32)
    assert signs_of_history(asked, sign_E, 2).tolist() == [[-1, 1], [0, -1], [0, 0]]


def test_likeness_by_hand() -> None:
    h_SKD = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    states = SegmentStates(h_SKD, torch.ones(3, 1, dtype=torch.bool))
    event_BH = np.array([[0, 1, 2], [0, 1, -1]])
    sign_BH = np.array([[1, -1, 1], [1, 0, 0]], dtype=np.float32)
    items, requests = np.array([0, 2]), np.arange(2)
    found = likeness(states, torch.zeros(2), items, event_BH, sign_BH, requests)
    half = 1 / np.sqrt(2)
    first = [5 * (1 - 0), 5 * ((1 + half) / 2 - 0)]  # liked: itself and one at 45 degrees
    second = [5 * half, 5 * half]  # nothing was disliked
    assert found.tolist() == [pytest.approx(first, abs=1e-5), pytest.approx(second, abs=1e-5)]


def test_an_untrained_ranker_orders_by_the_expected_rate() -> None:
    shop = tiny.shop()
    templates = Templates.load()
    features = CrossFeatures(None, shop.items, LabelRule(), templates)
    made = build_ranker(
        Backbone(*tiny.backbone()),
        Verbalizer(templates, shop.items),
        TaskSpec(task="rank"),
        features,
        rule=LabelRule(),
    )
    made.model.eval()
    likes, dislikes = Event("like", "red-shoe"), Event("dislike", "blue-shoe")
    asked = [
        Request((likes,) * yes + (dislikes,) * no, candidates=(Candidate("green-hat"),))
        for yes, no in ((5, 0), (3, 2), (0, 5))
    ]
    chances = made.predict(Requests.of(asked))
    assert chances[0] > chances[1] > 0.5 > chances[2]
