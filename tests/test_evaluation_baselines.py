"""The baselines that need nothing but numpy, on worlds small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import evaluation_worlds as worlds
from m6rec.data.splits import Split
from m6rec.evaluation.baselines import acted_on
from m6rec.evaluation.baselines.neighbours import co_occurrence, ease, item_knn
from m6rec.evaluation.baselines.popularity import DAY, popularity
from m6rec.evaluation.baselines.text_similarity import decay_weights, text_similarity
from m6rec.evaluation.baselines.tuning import Sweep, by_ndcg, defaults, grid, tune
from m6rec.evaluation.result import EvaluationError
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.evaluation.suite import run_baselines

ITEMS = ["a", "b", "c", "new"]
TRAIN = [
    ("u", "a"),
    ("u", "b"),
    ("u", "a"),
    ("v", "a"),
    ("v", "b"),
    ("w", "b"),
    ("w", "c"),
    ("x", "a"),
]


def world(times: list[float] | None = None) -> Split:
    return worlds.split(
        ITEMS,
        TRAIN,
        test=[{"history": ["a"], "target": "b"}, {"history": [], "target": "new"}],
        valid=[{"history": ["c"], "target": "b"}, {"history": ["b"], "target": "a"}],
        times=times,
    )


def test_popularity_counts_the_people_of_training_the_same_for_everybody() -> None:
    scores = popularity(world()).score(world().test)
    assert scores.tolist() == [[3, 3, 1, 0], [3, 3, 1, 0]]


def test_recent_popularity_halves_a_person_after_their_half_life() -> None:
    days = [0, 0, 0, 0, 0, 0, 10, 10]
    model = popularity(world([day * DAY for day in days]), half_life_days=10)
    assert model.scores == pytest.approx([1 + 2 / 2, 3 / 2, 1, 0])


def test_recent_popularity_without_times_says_what_is_missing() -> None:
    with pytest.raises(EvaluationError, match="8 of 8 training events of 'by hand' have none"):
        popularity(world(), half_life_days=10)


def test_decay_counts_back_from_the_newest_known_event() -> None:
    codes = np.array([[-1, 2, 0, 1], [0, 1, 2, -1], [-1, -1, -1, -1]])
    assert decay_weights(codes, 0.5).tolist() == [
        [0, 0.25, 0.5, 1],
        [0.25, 0.5, 1, 0],
        [0, 0, 0, 0],
    ]
    assert decay_weights(codes, 0.0)[1].tolist() == [0, 0, 1, 0]


def test_text_similarity_is_the_cosine_to_the_last_item_or_the_decayed_mean() -> None:
    vectors = np.array([[2, 0], [0, 3], [1, 1], [-1, 0]], dtype=np.float32)
    data = worlds.split(ITEMS, TRAIN, test=[{"history": ["a", "b"], "target": "c"}])
    last = text_similarity(data, vectors).score(data.test)[0]
    assert last == pytest.approx([0, 1, np.sqrt(0.5), 0], abs=1e-6)
    mean = text_similarity(data, vectors, decay=1.0).score(data.test)[0]
    assert mean == pytest.approx([np.sqrt(0.5), np.sqrt(0.5), 1, -np.sqrt(0.5)], abs=1e-6)


def test_text_similarity_of_an_empty_history_is_a_tie_not_nan() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert text_similarity(world(), vectors).score(world().test)[1].tolist() == [0, 0, 0, 0]


def test_item_vectors_must_fit_the_catalogue_and_be_finite() -> None:
    with pytest.raises(EvaluationError, match=r"\(3, 2\).*4 catalogue items"):
        text_similarity(world(), np.ones((3, 2)))
    with pytest.raises(EvaluationError, match="NaN"):
        text_similarity(world(), np.full((4, 2), np.nan))


def test_co_occurrence_counts_users_with_both_items_once() -> None:
    counted = co_occurrence(world())
    assert counted.counts.tolist() == [[3, 2, 0], [2, 3, 1], [0, 1, 1]]
    assert counted.acted.codes.tolist() == [0, 1, 2]


def test_item_knn_is_the_shrunk_cosine() -> None:
    model = item_knn(co_occurrence(world()), shrink=1.0)
    root = np.sqrt(3)
    assert model.similarity == pytest.approx(
        np.array([[0, 2 / 4, 0], [2 / 4, 0, 1 / (root + 1)], [0, 1 / (root + 1), 0]])
    )


def test_item_knn_keeps_the_nearest_neighbours_alone() -> None:
    model = item_knn(co_occurrence(world()), shrink=1.0, neighbours=1)
    assert np.count_nonzero(model.similarity[1]) == 1
    assert model.similarity[1, 0] == pytest.approx(0.5)


def test_item_knn_may_recommend_the_same_again() -> None:
    model = item_knn(co_occurrence(world()), shrink=0.0, itself=True)
    assert np.diag(model.similarity).tolist() == [1, 1, 1]


@pytest.mark.parametrize("itself", [False, True])
def test_ease_solves_its_ridge_regression(itself: bool) -> None:
    counted = co_occurrence(world())
    weights = ease(counted, ridge=2.0, itself=itself).similarity
    gram = counted.counts.astype(np.float64)
    residual = (gram + 2 * np.eye(3)) @ weights - gram
    if itself:
        assert residual == pytest.approx(np.zeros((3, 3)), abs=1e-6)
    else:
        assert np.diag(weights).tolist() == [0, 0, 0]
        # Stationary but for the multipliers of the constraint, which act on the diagonal.
        off_diagonal = residual[~np.eye(3, dtype=bool)]
        assert off_diagonal == pytest.approx(np.zeros(6), abs=1e-6)


def test_newer_events_weigh_more_and_popularity_orders_the_rest() -> None:
    data = worlds.split(ITEMS, TRAIN, test=[{"history": ["c", "a"], "target": "b"}, {}])
    model = item_knn(co_occurrence(data), shrink=1.0, decay=0.5)
    scores = model.score(data.test)
    expected = model.similarity[0] + 0.5 * model.similarity[2]
    assert scores[0, :3] == pytest.approx(expected, abs=1e-3)
    assert scores[0, 3] == 0
    assert np.argsort(-scores[1]).tolist() == [0, 1, 2, 3]
    assert scores[1].max() < 1e-3


def test_items_without_events_take_no_place_in_the_matrices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acted_on, "MAX_ITEMS", 3)
    data = worlds.split(
        [*(f"unsold {i}" for i in range(500)), *ITEMS], TRAIN, test=[{"history": ["a"]}]
    )
    counted = co_occurrence(data)
    assert counted.counts.shape == (3, 3)
    small, large = (item_knn(co_occurrence(one)).score(one.test)[0] for one in (world(), data))
    assert large.tolist() == [0] * 500 + small.tolist()


@pytest.mark.parametrize("who", ["item-knn", "ease", "l3ae", "tale"])
def test_more_items_with_events_than_fit_are_refused_with_their_number(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(acted_on, "MAX_ITEMS", 2)
    with pytest.raises(EvaluationError, match=r"training events; 3 of them.*the 2 items"):
        run_baselines(world(), [who], vectors=np.eye(4))


def test_every_baseline_scores_items_and_requests_it_never_saw() -> None:
    data = world()
    counted = co_occurrence(data)
    for model in (popularity(data), item_knn(counted), ease(counted)):
        result = evaluate_retrieval(model, data)
        assert result.counts["unseen"] == 1
        assert result.evidence["ranks"].tolist()[1] == 4, model.name


def test_tuning_keeps_the_best_on_valid_and_every_trial() -> None:
    data = world()
    counted = co_occurrence(data)
    choices = grid(shrink=(0.0, 1.0), neighbours=(1, 4))
    assert len(choices) == 4
    judge = by_ndcg(data)
    found = tune(lambda **settings: item_knn(counted, **settings), choices, judge)  # type: ignore[arg-type]
    figures = [figure for _, figure in found.trials]
    assert len(figures) == 4
    assert judge(found.model) == max(figures)
    assert found.settings == choices[int(np.argmax(figures))]


def test_tuning_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to tune"):
        tune(lambda: 0, [], lambda model: 0.0)


def test_a_sweep_takes_one_setting_after_another_and_tries_none_twice() -> None:
    choices = Sweep({"a": (0, 1, 2), "b": (0, 1)}, rounds=2)
    figures = {(0, 0): 0.0, (1, 0): 1.0, (2, 0): 2.0, (2, 1): 3.0, (0, 1): 0.0, (1, 1): 4.0}
    found = tune(lambda a, b: (a, b), choices, figures.__getitem__)
    tried = [(s["a"], s["b"]) for s, _ in found.trials]
    assert tried == [(0, 0), (1, 0), (2, 0), (2, 1), (0, 1), (1, 1)]
    assert found.settings == {"a": 1, "b": 1}
    assert len(tried) <= len(choices) == 7
    assert defaults(choices) == {"a": 0, "b": 0}


def test_tuning_counts_the_processor_beside_the_clock() -> None:
    def busy(model: int) -> float:
        return float(np.linalg.norm(np.ones((200, 200)) @ np.ones((200, 200))))

    found = tune(lambda size: size, grid(size=(1, 2)), busy)
    assert found.cpu_seconds > 0 and found.seconds > 0
