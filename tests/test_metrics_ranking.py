"""Ranking metrics: by hand, and against ir-measures and scikit-learn."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from m6rec.metrics import ranking


def test_rank_counts_every_item_that_scores_higher() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [3.0, 2.0, 1.0]], dtype=np.float32)
    assert ranking.pessimistic_ranks(scores, np.array([2, 0])).tolist() == [2, 1]


def test_a_tie_counts_against_the_model() -> None:
    scores = np.array([[1.0, 1.0, 0.0, 1.0]], dtype=np.float32)
    assert ranking.pessimistic_ranks(scores, np.array([1])).tolist() == [3]


def test_a_constant_scorer_has_the_last_rank() -> None:
    scores = np.zeros((2, 50), dtype=np.float32)
    assert ranking.pessimistic_ranks(scores, np.array([0, 49])).tolist() == [50, 50]


def test_a_target_that_is_never_recommended_has_the_last_rank() -> None:
    scores = np.array([[1.0, -np.inf, -np.inf]], dtype=np.float32)
    assert ranking.pessimistic_ranks(scores, np.array([1])).tolist() == [3]


def test_top_k_is_best_first_and_never_longer_than_the_catalogue() -> None:
    scores = np.array([[0.2, 0.9, 0.5], [3.0, 1.0, 2.0]])
    assert ranking.top_k(scores, 2).tolist() == [[1, 2], [0, 2]]
    assert ranking.top_k(scores, 9).tolist() == [[1, 2, 0], [0, 2, 1]]


def test_metrics_of_one_target_by_hand() -> None:
    ranks = np.array([1, 3, 11])
    assert ranking.hit_rate(ranks, 10).tolist() == [1, 1, 0]
    assert ranking.recall(ranks, 10).tolist() == [1, 1, 0]
    assert ranking.ndcg(ranks, 10) == pytest.approx([1, 0.5, 0])
    assert ranking.reciprocal_rank(ranks, 10) == pytest.approx([1, 1 / 3, 0])
    assert ranking.reciprocal_rank(ranks) == pytest.approx([1, 1 / 3, 1 / 11])


def test_metrics_of_several_targets_by_hand() -> None:
    ranks = np.array([[2, 7, 0], [4, 1, 2]])
    assert ranking.hit_rate(ranks, 3).tolist() == [1, 1]
    assert ranking.recall(ranks, 3) == pytest.approx([1 / 2, 2 / 3])
    assert ranking.reciprocal_rank(ranks, 3) == pytest.approx([1 / 2, 1])
    ideal_of_two = 1 + 1 / np.log2(3)
    ideal_of_three = ideal_of_two + 1 / 2
    expected = [(1 / np.log2(3)) / ideal_of_two, ideal_of_two / ideal_of_three]
    assert ranking.ndcg(ranks, 3) == pytest.approx(expected)


@pytest.mark.parametrize("targets", [1, 4])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_metrics_equal_ir_measures(targets: int, k: int) -> None:
    rng = np.random.default_rng(targets)
    scores = rng.normal(size=(40, 25))
    relevant = np.argsort(rng.random((40, 25)), axis=1)[:, :targets]
    ranks = np.stack([ranking.pessimistic_ranks(scores, column) for column in relevant.T], axis=1)
    qrels = {str(r): {str(i): 1 for i in row} for r, row in enumerate(relevant)}
    run = {
        str(r): {str(i): float(score) for i, score in enumerate(row)}
        for r, row in enumerate(scores)
    }
    ours = {
        ir_measures.Success @ k: ranking.hit_rate(ranks, k),
        ir_measures.R @ k: ranking.recall(ranks, k),
        ir_measures.nDCG @ k: ranking.ndcg(ranks, k),
        ir_measures.RR @ k: ranking.reciprocal_rank(ranks, k),
    }
    for found in ir_measures.iter_calc(list(ours), qrels, run):
        expected = ours[found.measure][int(found.query_id)]
        assert found.value == pytest.approx(expected, abs=1e-9), (found, expected)


def _judgements(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, 600) / levels
    labels = (rng.random(600) < 0.2 + 0.5 * scores).astype(np.float64)
    return scores, labels, rng.integers(0, 40, 600)


@pytest.mark.parametrize("levels", [5, 10_000])
def test_auc_equals_scikit_learn_with_and_without_ties(levels: int) -> None:
    scores, labels, _ = _judgements(levels, levels)
    assert ranking.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_weighted_auc_equals_scikit_learn() -> None:
    scores, labels, _ = _judgements(3, 8)
    weights = np.random.default_rng(4).integers(0, 4, (3, 600)).astype(np.float64)
    expected = [roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    assert ranking.weighted_auc(scores, labels, weights) == pytest.approx(expected, abs=1e-12)


def test_auc_of_one_class_does_not_exist() -> None:
    assert np.isnan(ranking.auc(np.array([0.1, 0.7]), np.array([1.0, 1.0])))


def test_auc_of_a_constant_is_one_half() -> None:
    assert ranking.auc(np.full(4, 0.3), np.array([0.0, 1.0, 1.0, 0.0])) == 0.5


@pytest.mark.parametrize("levels", [4, 10_000])
def test_gauc_is_the_mean_of_scikit_learns_auc_weighted_by_impressions(levels: int) -> None:
    scores, labels, groups = _judgements(levels, levels)
    labels[groups < 5] = 1.0
    aucs, sizes, left_out = [], [], 0
    for group in range(40):
        inside = groups == group
        if len(np.unique(labels[inside])) < 2:
            left_out += 1
            continue
        aucs.append(roc_auc_score(labels[inside], scores[inside]))
        sizes.append(inside.sum())
    found = ranking.grouped_auc(scores, labels, groups)
    assert found.left_out == left_out >= 5
    assert found.aucs == pytest.approx(aucs, abs=1e-12)
    assert found.value == pytest.approx(np.average(aucs, weights=sizes), abs=1e-12)


def test_gauc_by_hand() -> None:
    scores = np.array([0.9, 0.1, 0.3, 0.2, 0.5, 0.5, 0.8])
    labels = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    groups = np.array([0, 0, 1, 1, 1, 1, 2])
    found = ranking.grouped_auc(scores, labels, groups)
    # User 1: (0.2 beats none of 0.3, 0.5), (0.5 beats 0.3, ties 0.5): 1.5 of 4 pairs.
    assert found.aucs.tolist() == [1.0, 0.375]
    assert found.value == pytest.approx((2 * 1.0 + 4 * 0.375) / 6)
    assert found.left_out == 1


def test_gauc_without_a_usable_group_does_not_exist() -> None:
    found = ranking.grouped_auc(np.array([0.1, 0.2]), np.array([1.0, 1.0]), np.array([0, 1]))
    assert np.isnan(found.value)
    assert found.left_out == 2


def test_the_best_k_are_in_order_and_ties_by_position() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.9, 0.5, 0.5], [1, 1, 1, 1, 1, 1]], dtype=np.float32)
    assert ranking.top_k(scores, 4).tolist() == [[1, 3, 2, 4], [0, 1, 2, 3]]
    assert ranking.top_k(scores, 9).tolist() == [[1, 3, 2, 4, 5, 0], [0, 1, 2, 3, 4, 5]]
    draw = np.random.default_rng(0).integers(0, 9, (40, 30)).astype(np.float32)
    assert (ranking.top_k(draw, 7) == np.argsort(-draw, axis=1, kind="stable")[:, :7]).all()
