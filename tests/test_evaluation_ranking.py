"""Ranking evaluation: AUC, GAUC, log loss, calibration, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import auc as area_under
from sklearn.metrics import log_loss, roc_auc_score

import evaluation_worlds as worlds
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation import ranking
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.result import EvaluationError, Result, compare
from m6rec.metrics.calibration import copc, reliability
from m6rec.metrics.ranking import grouped_auc


@dataclass
class Fixed:
    predictions: np.ndarray
    name: str = "fixed"
    done: int = 0

    def predict(self, requests: Requests) -> np.ndarray:
        candidates = int(requests.rows["labels"].list.len().sum())
        self.done += candidates
        return self.predictions[self.done - candidates : self.done]


def world(labels: np.ndarray, users: np.ndarray | None = None, size: int = 4) -> Split:
    """Requests of `size` candidates, items "i0" … "i9" in turn; even items are seen."""
    rows = [
        {
            "user_id": None if users is None else f"u{users[at]}",
            "item_ids": [f"i{(at + j) % 10}" for j in range(len(labels[at : at + size]))],
            "texts": [None] * len(labels[at : at + size]),
            "labels": labels[at : at + size].tolist(),
        }
        for at in range(0, len(labels), size)
    ]
    seen = [("u", f"i{i}") for i in range(0, 10, 2)]
    return worlds.split([f"i{i}" for i in range(10)], seen, test=rows, task="rank")


@pytest.fixture
def judged() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predictions = rng.beta(2, 4, 800).round(2)
    labels = (rng.random(800) < predictions).astype(np.float64)
    return predictions, labels, np.repeat(rng.integers(0, 50, 200), 4)


@pytest.fixture
def result(judged: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Result:
    predictions, labels, users = judged
    return evaluate_ranking(Fixed(predictions), world(labels, users))


def test_metrics_equal_scikit_learn_and_the_metrics_module(
    result: Result, judged: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    predictions, labels, users = judged
    codes = np.unique(users, return_inverse=True)[1]
    found = {name: estimate.value for name, estimate in result.metrics.items()}
    assert found["auc"] == pytest.approx(roc_auc_score(labels, predictions))
    assert found["logloss"] == pytest.approx(log_loss(labels, predictions))
    assert found["gauc"] == pytest.approx(grouped_auc(predictions, labels, codes).value)
    assert found["ece"] == pytest.approx(reliability(predictions, labels).ece)
    assert found["copc"] == pytest.approx(copc(predictions, labels))


def test_every_metric_lies_inside_its_interval_or_near(result: Result) -> None:
    for name in ("auc", "gauc", "logloss", "copc"):
        estimate = result.metrics[name]
        assert estimate.low is not None and estimate.high is not None
        assert estimate.low < estimate.value < estimate.high, name
    assert result.metrics["auc"].high - result.metrics["auc"].low < 0.12  # type: ignore[operator]


def test_intervals_resample_users_not_candidates() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat((rng.random(100) < 0.5).astype(float), 20)
    predictions = np.clip(0.5 + 0.1 * (labels - 0.5) + np.repeat(rng.normal(0, 0.1, 100), 20), 0, 1)
    apart = evaluate_ranking(Fixed(predictions), world(labels, np.arange(2000), size=1))
    together = evaluate_ranking(
        Fixed(predictions), world(labels, np.repeat(np.arange(100), 20), size=20)
    )
    widths = [
        r.metrics["auc"].high - r.metrics["auc"].low  # type: ignore[operator]
        for r in (apart, together)
    ]
    assert widths[1] > 3 * widths[0]


def test_users_with_one_label_are_left_out_of_gauc_and_counted() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0, 0, 1], dtype=float)
    users = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    predictions = np.array([0.9, 0.8, 0.2, 0.1, 0.7, 0.3, 0.6, 0.4])
    result = evaluate_ranking(Fixed(predictions), world(labels, users, size=2))
    assert result.counts["gauc_users"] == 2
    assert result.counts["gauc_users_left_out"] == 2
    assert result.metrics["gauc"].value == 0.5
    assert result.notes == ("GAUC leaves out 2 users whose labels are all the same.",)


def test_requests_without_a_user_are_users_of_their_own() -> None:
    labels = np.array([1, 0, 1, 0], dtype=float)
    predictions = np.array([0.9, 0.1, 0.2, 0.3])
    result = evaluate_ranking(Fixed(predictions), world(labels, None, size=2))
    assert result.counts["users"] == 2
    assert result.metrics["gauc"].value == 0.5


def test_one_class_leaves_auc_out_and_says_so() -> None:
    result = evaluate_ranking(Fixed(np.array([0.2, 0.4])), world(np.ones(2), np.zeros(2, int)))
    assert "auc" not in result.metrics and "gauc" not in result.metrics
    assert result.metrics["copc"].value == pytest.approx(2 / 0.6)
    assert result.notes == (
        "AUC is absent: all labels are the same.",
        "GAUC is absent: no user has candidates of both labels.",
    )
    assert "roc" not in result.curves


def test_seen_and_unseen_candidates_are_told_apart(
    result: Result, judged: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    predictions, labels, _ = judged
    item = np.array([(at + j) % 10 for at in range(0, 800, 4) for j in range(4)])
    for name, share in (("seen", item % 2 == 0), ("unseen", item % 2 == 1)):
        assert result.counts[name] == share.sum()
        expected = roc_auc_score(labels[share], predictions[share])
        assert result.breakdown[name]["auc"].value == pytest.approx(expected)


def test_free_text_candidates_are_neither_seen_nor_unseen() -> None:
    rows = [{"item_ids": [None], "texts": ["a book"], "labels": [y]} for y in (0.0, 1.0)]
    data = worlds.split(["a"], [("u", "a")], test=rows, task="rank")
    assert evaluate_ranking(Fixed(np.array([0.1, 0.2])), data).breakdown == {}


def test_the_model_is_not_shown_the_labels() -> None:
    class Nosy(Fixed):
        def predict(self, requests: Requests) -> np.ndarray:
            assert requests.rows["labels"].to_list() == [[0.0, 0.0], [0.0]]
            return super().predict(requests)

    data = world(np.array([1.0, 0.0, 1.0]), size=2)
    assert evaluate_ranking(Nosy(np.array([0.9, 0.1, 0.8])), data).metrics["auc"].value == 1


def test_blocks_change_nothing(
    result: Result,
    judged: tuple[np.ndarray, np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "BLOCK_REQUESTS", 7)
    predictions, labels, users = judged
    assert evaluate_ranking(Fixed(predictions), world(labels, users)).metrics == result.metrics


def test_the_roc_curve_has_the_area_that_auc_says(result: Result) -> None:
    roc = result.curves["roc"]
    area = area_under(roc["fpr"], roc["tpr"])
    assert area == pytest.approx(result.metrics["auc"].value, abs=2e-3)


def test_a_paired_comparison_sees_the_same_draws(
    result: Result, judged: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    predictions, labels, users = judged
    noise = np.random.default_rng(2).normal(0, 0.15, 800)
    worse = np.clip(predictions + noise, 0, 1)
    other = evaluate_ranking(Fixed(worse, "worse"), world(labels, users))
    gain = compare(result, other)["auc"]
    assert gain.value == pytest.approx(
        result.metrics["auc"].value - other.metrics["auc"].value, abs=1e-12
    )
    assert gain.low is not None and gain.low > 0
    alone = result.metrics["auc"].high - result.metrics["auc"].low  # type: ignore[operator]
    assert gain.high - gain.low < alone  # type: ignore[operator]


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ([0.1, np.nan], "'fixed' returned NaN for candidate 1"),
        ([0.1, 1.2], r"'fixed' returned values from 0.1 to 1.2; probabilities"),
        ([0.1], r"'fixed' returned \(1,\) predictions for 2 candidates"),
    ],
)
def test_senseless_predictions_are_refused(predictions: list[float], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        evaluate_ranking(Fixed(np.array(predictions)), world(np.array([0.0, 1.0])))


def test_labels_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"request 0 has the label 4.0"):
        evaluate_ranking(Fixed(np.array([0.1, 0.2])), world(np.array([0.0, 4.0])))


def test_a_request_without_candidates_is_refused() -> None:
    data = worlds.split(["a"], [("u", "a")], test=[{"target": "a"}], task="rank")
    with pytest.raises(EvaluationError, match="request 0 has no candidates"):
        evaluate_ranking(Fixed(np.array([])), data)


def test_a_result_file_holds_card_bins_and_no_predictions(result: Result) -> None:
    stored = json.loads(json.dumps(result.to_dict()))
    assert stored["card"]["task"] == "rank"
    assert len(stored["curves"]["reliability"]["count"]) == 10
    assert sum(stored["curves"]["reliability"]["count"]) == 800
    assert "predictions" not in json.dumps(stored)
