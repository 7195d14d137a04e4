"""Calibration: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from m6rec.metrics.calibration import Binning, copc, log_losses, promised_hits, reliability


@pytest.fixture
def judged() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predictions = rng.beta(1, 6, 2000)
    return predictions, (rng.random(2000) < predictions * 1.3).astype(np.float64)


def test_log_loss_equals_scikit_learn(judged: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, labels = judged
    predictions[:2], labels[:2] = [0.0, 1.0], [1.0, 0.0]
    assert log_losses(predictions, labels).mean() == pytest.approx(log_loss(labels, predictions))


def test_a_sure_and_wrong_prediction_costs_a_finite_36_nats() -> None:
    losses = log_losses(np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0]))
    assert losses == pytest.approx([36.04, 36.04, 0.0], abs=0.01)


@pytest.mark.parametrize("binning", ["quantile", "uniform"])
def test_reliability_bins_equal_scikit_learn(
    judged: tuple[np.ndarray, np.ndarray], binning: Binning
) -> None:
    predictions, labels = judged
    observed, predicted = calibration_curve(labels, predictions, n_bins=10, strategy=binning)
    found = reliability(predictions, labels, bins=10, binning=binning)
    assert found.observed == pytest.approx(observed)
    assert found.predicted == pytest.approx(predicted)
    assert found.counts.sum() == 2000


def test_expected_calibration_error_by_hand() -> None:
    predictions = np.array([0.1, 0.1, 0.1, 0.9])
    labels = np.array([0.0, 1.0, 0.0, 1.0])
    found = reliability(predictions, labels, bins=2, binning="uniform")
    assert found.counts.tolist() == [3, 1]
    assert found.ece == pytest.approx((3 * abs(1 / 3 - 0.1) + 1 * 0.1) / 4)


def test_a_constant_prediction_falls_into_one_bin() -> None:
    found = reliability(np.full(10, 0.25), np.repeat([0.0, 1.0], 5))
    assert found.counts.tolist() == [10]
    assert found.ece == pytest.approx(0.25)


def test_copc_above_one_says_too_little_was_promised() -> None:
    assert copc(np.array([0.2, 0.3]), np.array([1.0, 0.0])) == pytest.approx(2.0)


def test_the_first_k_promise_their_share_of_all_probability() -> None:
    probability = np.array([[0.1, 0.6, 0.3], [0.2, -np.inf, 0.3]])
    np.testing.assert_allclose(promised_hits(probability, (1, 2, 9)), [[0.6, 0.9, 1], [0.6, 1, 1]])
