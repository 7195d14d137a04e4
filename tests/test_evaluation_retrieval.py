"""Full-ranking evaluation: ranks, masks, shares, coverage, intervals, errors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

import evaluation_worlds as worlds
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation import retrieval
from m6rec.evaluation.result import EvaluationError, Result, compare
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.metrics.bootstrap import Resampling

ITEMS = ["a", "b", "c", "d", "e"]


@dataclass
class Fixed:
    """Scores written down beforehand, one row per request, whatever the block."""

    scores: np.ndarray
    name: str = "fixed"
    blocks: list[int] = field(default_factory=list)

    def score(self, requests: Requests) -> np.ndarray:
        first = sum(self.blocks)
        self.blocks.append(len(requests))
        return self.scores[first : first + len(requests)].astype(np.float32)


def world(seen_items: str = "kept") -> Split:
    return worlds.split(
        ITEMS,
        train=[("u", "a"), ("u", "b"), ("v", "c")],
        test=[
            {"user_id": "u", "history": ["a", "b"], "target": "c"},
            {"user_id": "v", "history": ["c"], "target": "d"},
            {"history": [], "target": "a"},
        ],
        seen_items=seen_items,
    )


SCORES = np.array([[9, 8, 7, 1, 0], [0, 0, 9, 1, 0], [1, 5, 5, 5, 5]], dtype=np.float32)


def test_metrics_are_means_over_requests() -> None:
    result = evaluate_retrieval(Fixed(SCORES), world(), ks=(1, 2, 3))
    assert result.evidence["ranks"].tolist() == [3, 2, 5]
    assert result.metrics["hr@1"].value == 0
    assert result.metrics["hr@2"].value == pytest.approx(1 / 3)
    assert result.metrics["recall@3"].value == pytest.approx(2 / 3)
    assert result.metrics["ndcg@3"].value == pytest.approx((1 / 2 + 1 / np.log2(3)) / 3)
    assert result.metrics["mrr@2"].value == pytest.approx(1 / 6)
    assert result.metrics["mrr"].value == pytest.approx((1 / 3 + 1 / 2 + 1 / 5) / 3)


def test_masked_history_leaves_the_ranking() -> None:
    result = evaluate_retrieval(Fixed(SCORES), world("masked"), ks=(1,))
    assert result.evidence["ranks"].tolist() == [1, 1, 5]


def test_seen_and_unseen_targets_are_told_apart() -> None:
    result = evaluate_retrieval(Fixed(SCORES), world(), ks=(2,))
    assert result.counts["seen"] == 2 and result.counts["unseen"] == 1
    assert result.breakdown["seen"]["hr@2"].value == 0
    assert result.breakdown["unseen"]["hr@2"].value == 1


def test_coverage_is_the_share_of_items_in_any_list() -> None:
    scores = np.array([[9, 8, 0, 0, 0], [9, 0, 8, 0, 0], [9, 8, 0, 0, 0]], dtype=np.float32)
    result = evaluate_retrieval(Fixed(scores), world(), ks=(1, 2))
    assert result.metrics["coverage@1"].value == pytest.approx(1 / 5)
    assert result.metrics["coverage@2"].value == pytest.approx(3 / 5)
    assert result.metrics["coverage@2"].low is None


def test_masked_and_refused_items_cover_nothing() -> None:
    scores = np.full((3, 5), -np.inf)
    scores[:, 4] = 1
    result = evaluate_retrieval(Fixed(scores), world("masked"), ks=(3,))
    assert result.metrics["coverage@3"].value == pytest.approx(1 / 5)


def test_blocks_change_nothing_but_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate_retrieval(Fixed(SCORES), world("masked"))
    monkeypatch.setattr(retrieval, "BLOCK_CELLS", 10)
    model = Fixed(SCORES)
    blocks = evaluate_retrieval(model, world("masked"))
    assert model.blocks == [2, 1]
    assert blocks.metrics == whole.metrics


def test_the_model_is_not_shown_the_target() -> None:
    shown: list[object] = []

    class Nosy(Fixed):
        def score(self, requests: Requests) -> np.ndarray:
            shown.extend(requests.rows["target"].to_list())
            return super().score(requests)

    evaluate_retrieval(Nosy(SCORES), world())
    assert shown == [None, None, None]


def test_a_basket_is_one_question_with_several_targets() -> None:
    basket = {"user_id": "u", "timestamp": 5.0, "start": 0, "stop": 2}
    other = {"user_id": "v", "timestamp": 5.0, "start": 0, "stop": 2}
    rows = [basket | {"target": "c"}, basket | {"target": "d"}, other | {"target": "d"}]
    data = worlds.split(ITEMS, [("u", "a")], test=[{"history": ["a", "b"], **rows[0]}, *rows[1:]])
    model = Fixed(SCORES[:2])
    result = evaluate_retrieval(model, data)
    assert model.blocks == [2]
    assert result.evidence["ranks"].tolist() == [3, 4, 2]


def test_a_constant_scorer_gains_nothing() -> None:
    result = evaluate_retrieval(Fixed(np.zeros((3, 5))), world(), ks=(4,))
    assert result.metrics["hr@4"].value == 0
    assert result.metrics["mrr"].value == pytest.approx(1 / 5)


def test_the_catalogue_is_ranked_whole_however_few_items_there_are() -> None:
    single = worlds.split(["only"], [("u", "only")], test=[{"target": "only"}])
    result = evaluate_retrieval(Fixed(np.zeros((1, 1))), single, ks=(10,))
    assert result.metrics["hr@10"].value == 1


def test_users_without_an_id_count_each() -> None:
    assert evaluate_retrieval(Fixed(SCORES), world()).counts["users"] == 3


def test_nan_names_the_model_and_the_place() -> None:
    scores = SCORES.copy()
    scores[1, 3] = np.nan
    with pytest.raises(EvaluationError, match=r"'fixed' returned NaN .*request 1 .*item 3"):
        evaluate_retrieval(Fixed(scores), world())


def test_a_wrong_shape_names_the_right_one() -> None:
    with pytest.raises(EvaluationError, match=r"shape \(3, 4\).*right is \(3, 5\)"):
        evaluate_retrieval(Fixed(SCORES[:, :4]), world())


def test_a_target_outside_the_catalogue_is_named() -> None:
    broken = worlds.split(ITEMS, [("u", "a")], test=[{"target": "a"}, {"target": "zzz"}])
    with pytest.raises(EvaluationError, match=r"request 1: target 'zzz' .*1 of 2"):
        evaluate_retrieval(Fixed(SCORES), broken)


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="valid part of 'by hand' has no requests"):
        evaluate_retrieval(Fixed(SCORES), world(), part="valid")


def test_a_result_file_holds_card_and_figures_and_no_rows() -> None:
    stored = json.loads(json.dumps(evaluate_retrieval(Fixed(SCORES), world()).to_dict()))
    assert stored["card"]["card_hash"] == world().card.to_dict()["card_hash"]
    assert stored["card"]["seen_items"] == "kept"
    assert set(stored["metrics"]["ndcg@10"]) == {"value", "low", "high"}
    assert stored["interval"]["level"] == 0.95
    assert "evidence" not in stored and "ranks" not in stored
    assert stored["curves"]["rank_cdf_all"]["share"][-1] == 1


@dataclass
class Probable(Fixed):
    """The same as probabilities."""

    gives_probabilities: bool = True


def test_probabilities_are_compared_with_how_often_they_hit() -> None:
    """20 items of which the first ten have 60 %: 60 of 100 targets are among them, then 30."""
    items = [f"i{n:02}" for n in range(20)]
    scores = np.tile([0.06] * 10 + [0.04] * 10, (100, 1)) - np.arange(20) * 1e-6

    def judged(hits: int, model: type[Fixed]) -> Result:
        rows = [{"user_id": str(n), "target": items[0 if n < hits else 19]} for n in range(100)]
        split = worlds.split(items, [("u", "i00")], test=rows)
        return evaluate_retrieval(model(scores), split)

    true, bold = judged(60, Probable), judged(30, Probable)
    assert true.metrics["ece@10"].value == pytest.approx(0, abs=1e-4)
    assert true.metrics["copc@10"].value == pytest.approx(1, abs=1e-3)
    assert bold.metrics["ece@10"].value == pytest.approx(0.3, abs=1e-4)
    assert bold.metrics["copc@10"].value == pytest.approx(0.5, abs=1e-3)
    assert bold.curves["reliability"]["observed"] == [0.3]
    assert "ece@10" not in judged(60, Fixed).metrics


def many(scores: np.ndarray, name: str) -> tuple[Fixed, Split]:
    rows = [{"user_id": str(i), "target": ITEMS[i % 5]} for i in range(len(scores))]
    return Fixed(scores, name), worlds.split(ITEMS, [("u", "a")], test=rows)


def test_intervals_resample_users_with_all_their_requests() -> None:
    rng = np.random.default_rng(4)
    lucky = np.repeat(rng.random(50) < 0.5, 20)
    scores = np.where(lucky[:, None], np.eye(5)[0], -np.eye(5)[0])
    widths = []
    for users in (np.arange(1000), np.repeat(np.arange(50), 20)):
        rows = [
            {"user_id": f"u{user}", "timestamp": float(i), "target": "a"}
            for i, user in enumerate(users)
        ]
        data = worlds.split(ITEMS, [("u", "a")], test=rows)
        hr = evaluate_retrieval(Fixed(scores), data).metrics["hr@1"]
        assert hr.value == lucky.mean()
        widths.append(hr.high - hr.low)  # type: ignore[operator]
    assert 3 < widths[1] / widths[0] < 6


def test_a_paired_comparison_finds_a_small_and_steady_gain() -> None:
    rng = np.random.default_rng(0)
    worse = rng.random((400, 5))
    better = worse.copy()
    better[np.arange(400), np.arange(400) % 5] += 0.05
    first = evaluate_retrieval(*many(better, "better"))
    second = evaluate_retrieval(*many(worse, "worse"))
    gain = compare(first, second)["mrr"]
    assert gain.value == pytest.approx(
        first.metrics["mrr"].value - second.metrics["mrr"].value, abs=1e-12
    )
    assert gain.low is not None and gain.low > 0
    assert compare(first, first)["mrr"].high == 0


def test_results_of_different_protocols_are_not_compared() -> None:
    kept = evaluate_retrieval(Fixed(SCORES), world())
    masked = evaluate_retrieval(Fixed(SCORES, "masked"), world("masked"))
    with pytest.raises(EvaluationError, match=r"'fixed' and 'masked'.*protocol card differs"):
        compare(kept, masked)


def test_intervals_depend_on_the_seed_alone() -> None:
    model, data = many(np.random.default_rng(1).random((50, 5)), "any")
    first = evaluate_retrieval(model, data, resampling=Resampling(seed=3)).metrics
    again = evaluate_retrieval(Fixed(model.scores), data, resampling=Resampling(seed=3)).metrics
    other = evaluate_retrieval(Fixed(model.scores), data, resampling=Resampling(seed=4)).metrics
    assert first == again
    assert first["mrr"] != other["mrr"] and first["mrr"].value == other["mrr"].value
