"""The head and the dial: figures by hand, a likelihood that can not be bettered, never worse."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.collaborative.dial import DialPoint, choose_boost, dial_curve
from m6rec.collaborative.head import (
    COUNTS_ALONE,
    FEATURES,
    SIMILARITY_ALONE,
    Features,
    Head,
    chosen_feature,
    fit_head,
    fit_weights,
    popularity_feature,
    repeat_features,
    similarity_feature,
)
from m6rec.collaborative.sequences import Histories
from m6rec.metrics.ranking import ndcg, pessimistic_ranks

RNG = np.random.default_rng(11)


def drawn(requests: int, items: int) -> Features:
    normal = lambda: RNG.normal(size=(requests, items)).astype(np.float32)  # noqa: E731
    flag = lambda: (RNG.random((requests, items)) < 0.2).astype(np.float32)  # noqa: E731
    return Features(
        normal(),
        normal(),
        RNG.random(items).astype(np.float32),
        flag(),
        flag(),
        (RNG.random(items) < 0.3).astype(np.float32),
    )


def chosen_by(features: Features, weights: list[float]) -> np.ndarray:
    logit_BI = Head.of(np.array(weights))(features)
    return np.argmax(logit_BI + RNG.gumbel(size=logit_BI.shape), axis=1)


def test_features_by_hand() -> None:
    np.testing.assert_allclose(
        chosen_feature(np.array([[0.02, 0.0, -0.01]]), 50.0), [[np.log(3), 0.0, -1.0]], rtol=1e-6
    )
    np.testing.assert_allclose(
        similarity_feature(np.array([[1.0, 2.0, 3.0]])), [[-1.2247449, 0, 1.2247449]], rtol=1e-6
    )
    np.testing.assert_allclose(popularity_feature(np.array([0, 1, 3])), [0, 0.5, 1], rtol=1e-6)


def test_repeats_are_items_of_the_history_and_of_its_newest_basket() -> None:
    histories = Histories(
        request=np.array([0, 0, 0, 1]),
        code=np.array([2, 0, -1, 1]),
        weight=np.array([0.6, 1.0, 1.0, -1.0]),
        text=[None] * 4,
        count=2,
    )
    repeated, last = repeat_features(histories, 3)
    assert repeated.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert last.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_the_fit_finds_the_numbers_that_made_the_choices() -> None:
    features, true = drawn(3000, 40), [1.5, 0.7, 1.0, -1.0, 0.8, 0.5]
    found = fit_weights(features, chosen_by(features, true))
    np.testing.assert_allclose(found, true, atol=0.2)


def test_no_step_away_from_the_fit_is_likelier() -> None:
    features = drawn(200, 15)
    target_B = chosen_by(features, [1, 0.5, 0, 0, 0, 0])
    found = fit_weights(features, target_B)

    def likelihood(weights: np.ndarray) -> float:
        logit_BI = features.stacked().astype(np.float64) @ weights
        own_B = logit_BI[np.arange(len(target_B)), target_B]
        total_B = np.log(np.exp(logit_BI).sum(axis=1))
        return float((own_B - total_B).mean()) - 0.5e-3 * float(weights @ weights)

    for feature in range(len(FEATURES)):
        for step in (-0.05, 0.05):
            other = found.copy()
            other[feature] += step
            assert likelihood(other) < likelihood(found)


@pytest.mark.parametrize("weights", [[2, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
def test_the_head_is_never_worse_than_its_best_part(weights: list[float]) -> None:
    features = drawn(120, 60)
    target_B = chosen_by(features, weights)
    head, figures = fit_head(features, target_B)

    def figure(head: Head) -> float:
        return float(ndcg(pessimistic_ranks(head(features), target_B), 10).mean())

    assert figure(head) == pytest.approx(max(figures.values()))
    assert figure(head) >= max(figure(COUNTS_ALONE), figure(SIMILARITY_ALONE))


def test_the_dial_takes_the_least_boost_that_reaches_parity_at_its_price() -> None:
    curve = [
        DialPoint(0.0, all=0.40, known=0.42, new=0.02, first_ten=0.1),
        DialPoint(0.5, all=0.39, known=0.40, new=0.15, first_ten=0.1),
        DialPoint(1.0, all=0.37, known=0.38, new=0.20, first_ten=0.1),
        DialPoint(1.5, all=0.30, known=0.30, new=0.30, first_ten=0.1),
    ]
    assert choose_boost(curve) == 1.0
    assert choose_boost(curve, parity=0.9) == 1.0  # 1.5 would get there, at a quarter of all hits
    assert choose_boost(curve, parity=0.3) == 0.5
    assert choose_boost(curve, parity=0) == choose_boost([]) == 0.0


def test_the_curve_counts_hits_of_known_and_new_targets() -> None:
    scores_RI = np.zeros((4, 30), dtype=np.float32) - np.arange(30, dtype=np.float32)
    new_I = np.arange(30) >= 20
    target_R = np.array([0, 5, 25, 20])
    still, boosted = dial_curve(scores_RI, target_R, new_I, [0.0, 19.5])
    assert (still.all, still.known, still.new) == (0.25, 0.5, 0.0)  # the first three of 30
    assert (boosted.known, boosted.new) == (0.5, 0.5)
    assert not dial_curve(scores_RI, target_R, np.zeros(30, dtype=bool), [0.0])
