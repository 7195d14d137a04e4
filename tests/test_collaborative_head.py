"""The head and the dial: figures by hand, a likelihood that can not be bettered, never worse."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.collaborative.dial import DialPoint, choose_boost, dial_curve
from m6rec.collaborative.head import (
    COUNTS_ALONE,
    SIMILARITY_ALONE,
    Features,
    Head,
    Logit,
    chosen_feature,
    log_softmax,
    popularity_feature,
    repeat_features,
    similarity_feature,
)
from m6rec.collaborative.head_fit import PENALTY, Likelihood, fit_head, likeliest
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


def chosen_by(features: Features, head: Head) -> np.ndarray:
    """Drawn by the probabilities of a head."""
    log_BI = head(features)
    return np.argmax(log_BI + RNG.gumbel(size=log_BI.shape), axis=1)


def of(*weights: float) -> Logit:
    return Logit.of(np.array([*weights, *[0.0] * (6 - len(weights))]))


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


def test_a_mixture_by_hand() -> None:
    """Two items: one logit says 3 : 1, the other 1 : 4; a third of the choices go by the first."""
    two = Features(
        np.log([[3.0, 1.0]]).astype(np.float32),
        np.log([[1.0, 4.0]]).astype(np.float32),
        *np.zeros((4, 2), dtype=np.float32),
    )
    head = Head(choices=of(1), likeness=of(0, 1), share=1 / 3)
    wanted = np.array([0.75 / 3 + 0.2 * 2 / 3, 0.25 / 3 + 0.8 * 2 / 3])
    np.testing.assert_allclose(np.exp(head(two)), [wanted], rtol=1e-6)
    more = head.model_copy(update={"emphasis": 1.0})
    shares = wanted * [3, 1]
    np.testing.assert_allclose(np.exp(more(two)), [shares / shares.sum()], rtol=1e-6)


@pytest.mark.parametrize("head", [Head(), COUNTS_ALONE, SIMILARITY_ALONE, Head(boost=2.0)])
def test_scores_are_logarithms_of_probabilities(head: Head) -> None:
    log_BI = head(drawn(9, 70))
    np.testing.assert_allclose(np.exp(log_BI).sum(axis=1), 1, rtol=1e-5)


def test_a_boost_moves_new_items_alone_and_all_alike() -> None:
    features = drawn(9, 70)
    moved_BI = Head(boost=1.5)(features) - Head()(features)
    new_I = features.new > 0
    np.testing.assert_allclose(np.ptp(moved_BI[:, new_I], axis=1), 0, atol=1e-5)
    gap_B = moved_BI[:, new_I].mean(1) - moved_BI[:, ~new_I].mean(1)
    np.testing.assert_allclose(gap_B, 1.5, rtol=1e-5)


def test_a_column_stands_for_its_copies() -> None:
    """Of a catalogue that repeats items, one of each gives the same probabilities."""
    few = drawn(5, 6)
    times = np.array([1, 4, 1, 2, 1, 3])
    whole = few.columns(np.repeat(np.arange(6), times))
    some = few.columns(np.arange(6), times.astype(np.float32))
    head = Head(emphasis=0.5, boost=0.3)
    first_I = np.cumsum(times) - times
    np.testing.assert_allclose(head(some), head(whole)[:, first_I], atol=1e-5)
    np.testing.assert_allclose((np.exp(head(some)) * times).sum(1), 1, rtol=1e-5)


def test_the_fit_finds_the_mixture_that_made_the_choices() -> None:
    features = drawn(6000, 40)
    true = Head(choices=of(2.5, 0, 0, -1, 1), likeness=of(0, 2, 1, 0, 0, 1), share=0.6)
    found = likeliest(features, chosen_by(features, true))
    np.testing.assert_allclose(found.choices.weights(), true.choices.weights(), atol=0.3)
    np.testing.assert_allclose(found.likeness.weights(), true.likeness.weights(), atol=0.3)
    assert found.share == pytest.approx(true.share, abs=0.05)


def test_slopes_are_those_of_the_likelihood() -> None:
    features = drawn(40, 15)
    features = features.columns(np.arange(15), np.linspace(1, 3, 15).astype(np.float32))
    target_B = RNG.integers(0, 15, 40)
    likelihood = Likelihood.of(features, target_B)
    number_P = RNG.normal(size=13)
    _, slope_BP = likelihood(number_P)
    slope_P = slope_BP.mean(0) - PENALTY * number_P
    for place in range(13):
        step_P = np.zeros(13)
        step_P[place] = 1e-2
        by_steps = (likelihood(number_P + step_P)[0] - likelihood(number_P - step_P)[0]) / 2e-2
        assert slope_P[place] == pytest.approx(by_steps, abs=2e-4)


def test_the_likelihood_is_that_of_the_head() -> None:
    features, target_B = drawn(30, 15), RNG.integers(0, 15, 30)
    head = Head(choices=of(1.5, 0.5), likeness=of(0, 0.7, 2.3), share=0.3)
    odds = np.log(0.3 / 0.7)
    number_P = np.array([*head.choices.weights(), *head.likeness.weights(), odds], dtype=float)
    value, _ = Likelihood.of(features, target_B)(number_P)
    wanted = head(features)[np.arange(30), target_B].mean() - PENALTY / 2 * number_P @ number_P
    assert value == pytest.approx(wanted, abs=1e-5)


MADE_BY = (COUNTS_ALONE, SIMILARITY_ALONE, Head(choices=of(1, 1, 1, 1, 1, 1), share=1.0))


@pytest.mark.parametrize("maker", MADE_BY)
def test_the_head_is_never_worse_than_its_best_part(maker: Head) -> None:
    features = drawn(120, 60)
    target_B = chosen_by(features, maker)
    head, figures = fit_head(features, target_B)

    def figure(head: Head) -> float:
        return float(ndcg(pessimistic_ranks(head(features), target_B), 10).mean())

    best = max(figure(COUNTS_ALONE), figure(SIMILARITY_ALONE))
    assert max(figures["counts alone"], figures["similarity alone"]) == pytest.approx(best)
    assert figure(head) >= best - 1e-12


def test_where_the_mixture_is_worse_the_best_part_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    features = drawn(300, 60)
    target_B = chosen_by(features, Head(choices=of(3), share=1.0))
    worse = Head(choices=of(-50), likeness=of(0, 3), share=0.5)
    monkeypatch.setattr("m6rec.collaborative.head_fit.likeliest", lambda *_: worse)
    head, figures = fit_head(features, target_B)
    assert head == COUNTS_ALONE and len(figures) == 7


def test_the_softmax_is_of_any_size() -> None:
    np.testing.assert_allclose(
        log_softmax(np.array([[1e4, 1e4, -1e4]], dtype=np.float32)),
        [[-np.log(2), -np.log(2), -2e4 - np.log(2)]],
        rtol=1e-6,
    )


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
