"""How often an item is chosen again: by hand, by simulation, and in the score."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.collaborative.repeats import STRONGEST, Repeats, RepeatSums, repeats_of


def test_a_rate_lies_between_the_item_and_the_log() -> None:
    repeats = Repeats(rate=0.1, strength=10)
    found = repeats.of(np.array([0.0, 6.0, 0.0, 9.0]), np.array([0.0, 10.0, 90.0, 5.0]))
    np.testing.assert_allclose(found, [0.1, 7 / 20, 1 / 100, 6 / 15])


def test_the_estimate_by_hand() -> None:
    """Two items of ten pairs, one with four repeats, one with none; one of five with one."""
    own, norm = np.array([4.0, 0.0, 1.0, 0.0]), np.array([10.0, 10.0, 5.0, 0.0])
    between = ((16 / 10 + 1 / 5) - 25 / 25) / 2
    within = (5 - (16 / 10 + 1 / 5)) / (25 - 3)
    size = (25 - 225 / 25) / 2
    alike = (between - within) / (between + (size - 1) * within)
    weight = lambda a: a / (1 + (a - 1) * alike)  # noqa: E731
    rate = (weight(10) * 0.4 + weight(5) * 0.2) / (2 * weight(10) + weight(5) + weight(50))
    assert repeats_of(own, norm, 50) == pytest.approx((rate, 1 / alike - 1))


@pytest.mark.parametrize(("rate", "strength"), [(0.2, 4.0), (0.05, 2.0), (0.3, 20.0)])
def test_a_beta_binomial_is_found_again(rate: float, strength: float) -> None:
    rng = np.random.default_rng(3)
    norm = rng.integers(1, 60, 20_000).astype(float)
    own = rng.binomial(norm.astype(int), rng.beta(rate * strength, (1 - rate) * strength, 20_000))
    found = repeats_of(own.astype(float), norm, 50)
    assert found.rate == pytest.approx(rate, rel=0.05)
    assert found.strength == pytest.approx(strength, rel=0.15)


def test_items_that_differ_by_chance_alone_have_one_rate() -> None:
    rng = np.random.default_rng(4)
    norm = rng.integers(1, 30, 5000).astype(float)
    found = repeats_of(rng.binomial(norm.astype(int), 0.1).astype(float), norm, 50)
    assert found.strength > 200
    assert found.of(np.zeros(1), np.array([10.0]))[0] == pytest.approx(0.1, rel=0.1)


def test_a_log_without_repeats_or_pairs_says_nothing_of_them() -> None:
    assert repeats_of(np.zeros(3), np.array([4.0, 9.0, 0.0]), 50) == (0.0, STRONGEST)
    assert repeats_of(np.zeros(0), np.zeros(0), 50).of(np.zeros(2), np.zeros(2)).tolist() == [0, 0]


def test_a_single_repeat_in_a_log_of_three_pairs_is_no_habit() -> None:
    assert repeats_of(np.array([1.0, 0.0]), np.array([2.0, 1.0]), 50).rate < 0.02


def test_sums_forget_what_is_taken_off() -> None:
    own, norm = np.array([4.0, 0.0, 1.0]), np.array([10.0, 10.0, 5.0])
    sums = RepeatSums()
    sums.add(own, norm)
    sums.add(own[:1], norm[:1], -1)
    assert sums.repeats(50) == pytest.approx(repeats_of(own[1:], norm[1:], 50))
