"""The suite runs what can run, says what can not, and tunes by the valid part within its budget."""

from __future__ import annotations

import numpy as np
import pytest

import evaluation_worlds as worlds
from evaluation_worlds import event
from m6rec.data.labels import LabelRule
from m6rec.data.splits import Split
from m6rec.evaluation.baselines import extras
from m6rec.evaluation.baselines.makers import rule_of
from m6rec.evaluation.baselines.registry import BASELINES, baselines_of
from m6rec.evaluation.baselines.tuning import tune
from m6rec.evaluation.result import EvaluationError, compare
from m6rec.evaluation.suite import SuiteOptions, run_baselines, run_suite
from m6rec.metrics.bootstrap import Resampling

ITEMS = ["a", "b", "c", "new"]
FEW = Resampling(replicates=20)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the bench extra were not installed."""

    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(extras, "import_module", missing)


def shop() -> Split:
    train = [("u", "a"), ("u", "b"), ("v", "a"), ("v", "b"), ("w", "b"), ("w", "c"), ("x", "a")]
    return worlds.split(
        ITEMS,
        train,
        valid=[{"history": ["b"], "target": "a"}, {"history": ["c"], "target": "b"}],
        test=[{"history": ["a"], "target": "b"}, {"history": ["b"], "target": "a"}],
    )


def liked(item: str, label: float, likes: int, valid: bool = True) -> dict[str, object]:
    history = [event(None, event="like", text="x")] * likes
    history += [event(None, event="dislike", text="y")] * (2 - likes)
    known = {"item_ids": [item], "texts": [None]} if valid else {"item_ids": [None], "texts": ["t"]}
    return {"history": history, "labels": [label], **known}


def rated(ids: bool = True) -> Split:
    rows = [liked("a", 1.0, 2, ids), liked("b", 0.0, 0, ids), liked("a", 1.0, 1, ids)]
    return worlds.split(
        ITEMS if ids else [], [], test=rows, train_requests=rows, task="rank", valid=()
    )


@pytest.mark.usefixtures("bare")
def test_all_baselines_but_those_that_can_not_run_which_are_named_with_the_reason() -> None:
    said: list[str] = []
    suite = run_suite(shop(), None, SuiteOptions(resampling=FEW), said.append)
    names = [result.model for result in suite.results]
    assert names == ["popularity", "ItemKNN", "EASE", "TALE"]
    assert all(result.baseline for result in suite.results)
    assert set(suite.missing) == {
        "recent-popularity",
        "text-last",
        "text-mean",
        "l3ae",
        "sasrec",
        "sasrec-sampled",
        "unisrec",
    }
    assert "timestamp" in suite.missing["recent-popularity"]
    assert "text vectors" in suite.missing["text-last"]
    assert "pip install 'm6rec[bench]'" in suite.missing["sasrec"]
    assert any(words.startswith("sasrec: not run: ") for words in said)


@pytest.mark.usefixtures("bare")
def test_a_named_baseline_that_can_not_run_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="SASRec needs rectools"):
        run_baselines(shop(), ["popularity", "sasrec"])


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(EvaluationError, match=r"no baseline 'din' for the task 'retrieve'.*ease"):
        baselines_of("retrieve", ["din"])


def test_names_are_unique_and_every_grid_begins_with_a_default() -> None:
    assert len({baseline.name for baseline in BASELINES}) == len(BASELINES)
    assert all(len(baseline.choices) >= 1 for baseline in BASELINES)


def test_the_chosen_settings_are_the_best_trial_on_valid() -> None:
    (result,) = run_suite(shop(), ["item-knn"], SuiteOptions(resampling=FEW)).results
    assert result.made is not None
    figures = {tuple(sorted(chosen.items())): figure for chosen, figure in result.made.trials}
    assert len(figures) == result.made.choices == 32
    assert figures[tuple(sorted(result.made.settings.items()))] == max(figures.values())
    assert result.made.judged_by == "NDCG@10 on valid"
    cost = result.made.to_dict()["cpu_seconds"]
    assert isinstance(cost, float) and cost >= 0


def test_without_tuning_the_default_settings_are_taken_and_nothing_is_judged() -> None:
    (result,) = run_baselines(shop(), ["ease"], tune=False)
    assert result.made is not None
    assert result.made.trials == ()
    assert result.made.settings == {"ridge": 500.0, "itself": False, "decay": 0.8}


def test_baselines_of_one_split_can_be_compared() -> None:
    options = SuiteOptions(tuned=False, resampling=FEW, vectors=np.eye(4))
    knn, text = run_suite(shop(), ["item-knn", "text-last"], options).results
    assert compare(knn, text)["mrr"].value == pytest.approx(1 - 1 / 4)


def test_the_budget_ends_tuning_but_the_first_choice_is_always_tried() -> None:
    tried: list[float] = []
    found = tune(
        lambda size: size,
        [{"size": 1}, {"size": 2}],
        float,
        budget=0.0,
        report=lambda settings, figure: tried.append(figure),
    )
    assert tried == [1.0] and found.settings == {"size": 1} and found.seconds >= 0


def test_of_equal_figures_the_earlier_choice_wins() -> None:
    found = tune(lambda size: size, [{"size": 1}, {"size": 2}], lambda model: 0.5)
    assert found.settings == {"size": 1}


def test_few_shot_ranking_of_free_text_has_the_like_rate_tuned_on_its_shots() -> None:
    suite = run_suite(rated(ids=False), None, SuiteOptions(resampling=FEW))
    (result,) = suite.results
    assert result.metrics["auc"].value == 1
    assert result.made is not None and result.made.judged_by == "AUC on train"
    assert set(suite.missing) == {"item-rate", "user-item-rate", "din", "final-mlp"}
    assert "free text" in suite.missing["din"]


def test_item_rates_are_not_tuned_on_the_labels_they_learned() -> None:
    (result,) = run_suite(rated(), ["item-rate"], SuiteOptions(resampling=FEW)).results
    assert result.made is not None and result.made.trials == ()


def test_another_label_rule_than_the_split_was_made_with_is_refused() -> None:
    split = rated()
    labelled = worlds.replace_card(split, filters=("labels: rating >= 4",))
    with pytest.raises(EvaluationError, match="has 'labels: rating >= 4', not"):
        rule_of(labelled, None)
    rule = LabelRule(event="rating", threshold=4)
    assert rule_of(labelled, rule) is rule
