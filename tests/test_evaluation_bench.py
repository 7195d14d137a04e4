"""Baselines of the `bench` extra learn a pattern that only they can; without it they say so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import evaluation_worlds as worlds
from evaluation_worlds import event
from m6rec.data.splits import Split
from m6rec.evaluation.baselines import extras, sasrec
from m6rec.evaluation.baselines.ctr import Batches, CTRSettings
from m6rec.evaluation.baselines.din import fit_din
from m6rec.evaluation.baselines.din_inputs import Inputs
from m6rec.evaluation.baselines.final_mlp import fit_final_mlp
from m6rec.evaluation.baselines.sasrec import (
    SASRecSettings,
    fit_sasrec,
    known_last,
    usual_length,
    windows,
)
from m6rec.evaluation.baselines.tuning import by_ndcg
from m6rec.evaluation.baselines.unisrec import UniSRecSettings, fit_unisrec
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.result import EvaluationError
from m6rec.evaluation.retrieval import evaluate_retrieval

BENCH = "needs `pip install -e '.[bench]'`, in an environment of its own (docs/evaluation.md)"
ITEMS = [f"i{i}" for i in range(12)]


def walk(rng: np.random.Generator, steps: int) -> list[str]:
    """Items in a circle of ten, so that only the order tells what comes next."""
    first = int(rng.integers(10))
    return [ITEMS[(first + step) % 10] for step in range(steps)]


def ordered_world() -> Split:
    rng = np.random.default_rng(0)
    walks = [walk(rng, 5) for _ in range(60)]
    rows = [{"history": items[:-1], "target": items[-1]} for items in walks]
    cold = [{"history": [], "target": "i0"}, {"history": ["i11"], "target": "i10"}]
    return worlds.split(
        ITEMS,
        train=[(f"u{user}", item) for user in range(150) for item in walk(rng, 6)],
        valid=rows[:30],
        test=rows[30:] + cold,
    )


def test_sasrec_learns_an_order_and_ranks_untrained_items_last() -> None:
    pytest.importorskip("rectools", reason=BENCH)
    data = ordered_world()
    settings = SASRecSettings(width=32, max_history=8, max_epochs=15, batch=32)
    seen: list[float] = []
    model = fit_sasrec(data, settings, by_ndcg(data), lambda epoch, figure: seen.append(figure))
    result = evaluate_retrieval(model, data)
    assert result.breakdown["seen"]["hr@1"].value > 0.9
    assert result.evidence["ranks"][-1] == 12
    assert by_ndcg(data)(model) == max(seen)


def test_sasrec_learns_the_order_from_drawn_items_too() -> None:
    pytest.importorskip("rectools", reason=BENCH)
    data = ordered_world()
    settings = SASRecSettings(
        width=32,
        blocks=1,
        heads=1,
        max_history=8,
        max_epochs=25,
        batch=32,
        negatives=9,
        learning_rate=5e-3,
    )
    model = fit_sasrec(data, settings, by_ndcg(data))
    assert model.name == "SASRec, sampled softmax"
    assert evaluate_retrieval(model, data).breakdown["seen"]["hr@1"].value > 0.9


@pytest.mark.parametrize("negatives", [None, 5])
def test_the_quicker_step_of_sasrec_learns_what_that_of_rectools_learns(
    negatives: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lightning = pytest.importorskip("rectools.models.nn.transformers.lightning", reason=BENCH)
    data = ordered_world()
    settings = SASRecSettings(
        width=16, max_history=8, max_epochs=3, batch=32, dropout=0.0, negatives=negatives
    )
    found = []
    for step in (sasrec.real_positions(), lightning.TransformerLightningModule):
        monkeypatch.setattr(sasrec, "real_positions", lambda step=step: step)
        found.append(fit_sasrec(data, settings, by_ndcg(data)).score(data.test))
    trained = found[0] > -np.inf
    assert np.ptp(found[0][trained]) > 0.5
    assert found[0][trained] == pytest.approx(found[1][trained], abs=1e-3)


def test_unisrec_learns_the_order_from_vectors_and_ranks_untrained_items_by_theirs() -> None:
    pytest.importorskip("rectools", reason=BENCH)
    data = ordered_world()
    vectors = np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32)
    vectors[10] = vectors[1] + 0.01  # an item without events that reads like i1
    settings = UniSRecSettings(
        width=32,
        hidden=16,
        blocks=1,
        dropout=0.0,
        max_history=8,
        max_epochs=20,
        batch=16,
        learning_rate=3e-3,
        patience=20,
    )
    seen: list[float] = []
    model = fit_unisrec(
        data, vectors, settings, by_ndcg(data), lambda epoch, figure: seen.append(figure)
    )
    assert by_ndcg(data)(model) == max(seen)
    twin = worlds.requests([{"history": ["i8", "i9", "i0"], "target": "i1"}])
    order = np.argsort(-model.score(twin)[0])
    assert set(order[:2].tolist()) == {1, 10}
    no_history = worlds.requests([{"history": [], "target": "i1"}])
    assert model.score(no_history)[0].tolist() == model.popularity.tolist()


def test_sasrec_repeats_with_the_same_seed() -> None:
    pytest.importorskip("rectools", reason=BENCH)
    data = ordered_world()
    settings = SASRecSettings(width=16, max_history=8, max_epochs=2)
    first, second = (fit_sasrec(data, settings, by_ndcg(data)) for _ in range(2))
    assert np.array_equal(first.score(data.test), second.score(data.test))


def rated_world() -> Split:
    """A user likes an item when the parity of both agrees; the history tells the user's parity."""
    rng = np.random.default_rng(1)

    def row() -> dict[str, object]:
        taste, item = int(rng.integers(2)), int(rng.integers(10))
        past = rng.integers(10, size=4)
        return {
            "user_id": None,
            "history": [
                event(ITEMS[i], event="rating", value=5.0 if i % 2 == taste else 1.0) for i in past
            ],
            "item_ids": [ITEMS[item]],
            "texts": [None],
            "labels": [float(item % 2 == taste)],
        }

    parts = {"train_requests": 1500, "valid": 200, "test": 200}
    rows = {name: [row() for _ in range(size)] for name, size in parts.items()}
    return worlds.split(ITEMS, [("u", "i0")], task="rank", **rows)  # type: ignore[arg-type]


def test_din_learns_tastes_from_rated_histories() -> None:
    pytest.importorskip("fuxictr", reason=BENCH)
    data = rated_world()
    settings = CTRSettings(batch=64, max_history=4, max_epochs=12, learning_rate=5e-3)
    result = evaluate_ranking(fit_din(data, settings), data)
    assert result.metrics["auc"].value > 0.9


def test_final_mlp_learns_tastes_from_rated_histories() -> None:
    pytest.importorskip("fuxictr", reason=BENCH)
    data = rated_world()
    settings = CTRSettings(batch=64, max_history=4, max_epochs=12, learning_rate=5e-3)
    result = evaluate_ranking(fit_final_mlp(data, settings), data)
    assert result.metrics["auc"].value > 0.9


def test_item_and_grade_together_are_one_number_unless_either_is_unknown() -> None:
    inputs = Inputs(
        user=np.array([0]),
        item=np.array([3]),
        history=np.array([[0, 2, 2, 3, 4]]),
        grade=np.array([[1, 0, 1, 1, 2]]),
        grades=2,
    )
    assert inputs.joined.tolist() == [[0, 0, 3, 5, 8]]
    _, item, _ = next(iter(Batches(inputs, None, size=8, joined=True)))
    assert item["joined"].tolist() == [0, 0, 3, 5, 8, 0]


def test_batches_end_with_the_candidate_whose_grade_is_unknown() -> None:
    inputs = Inputs(
        user=np.array([7]),
        item=np.array([3]),
        history=np.array([[0, 5]]),
        grade=np.array([[0, 2]]),
        grades=2,
    )
    (user, item, mask), *rest = Batches(inputs, np.array([1.0]), size=8)
    assert rest == []
    assert user["user"].tolist() == [7] and user["label"].tolist() == [1]
    assert item["item"].tolist() == [0, 5, 3]
    assert item["grade"].tolist() == [0, 2, 0]
    assert mask.tolist() == [[False, True]]


def test_paddings_move_to_the_front() -> None:
    tokens = np.array([[3, 0, 2], [0, 0, 1], [4, 5, 6]])
    assert known_last(tokens).tolist() == [[0, 3, 2], [0, 0, 1], [4, 5, 6]]


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(extras, "import_module", missing)
    data = ordered_world()
    with pytest.raises(EvaluationError, match=r"SASRec needs rectools.*pip install 'm6rec\[bench"):
        fit_sasrec(data, SASRecSettings(), by_ndcg(data))
    with pytest.raises(EvaluationError, match=r"DIN needs fuxictr.*pip install 'm6rec\[bench"):
        fit_din(rated_world(), CTRSettings())
    with pytest.raises(EvaluationError, match="FinalMLP needs fuxictr"):
        fit_final_mlp(rated_world(), CTRSettings())
    with pytest.raises(EvaluationError, match="UniSRec needs rectools"):
        fit_unisrec(data, np.eye(12), UniSRecSettings(), by_ndcg(data))


def test_a_long_past_is_cut_into_sequences_counted_from_the_newest() -> None:
    users = pl.Series(["u", "u", "v", "u", "u", "u"])
    codes = windows(users, 2).to_list()
    assert codes[0] != codes[1] == codes[3] != codes[4] == codes[5]
    assert codes[2] not in codes[:2] + codes[3:]


def test_the_session_length_fits_four_in_five_users_within_limits() -> None:
    train = [(f"u{user}", "i0") for user in range(10) for _ in range(5 * user + 5)]
    assert usual_length(worlds.split(ITEMS, train, test=[])) == 41  # of 5, 10, …, 50
    assert usual_length(worlds.split(ITEMS, train[:5], test=[])) == 10


def test_training_ends_when_its_time_is_up() -> None:
    pytest.importorskip("rectools", reason=BENCH)
    data = ordered_world()
    epochs: list[int] = []
    settings = SASRecSettings(width=16, max_history=8, max_epochs=9, max_seconds=0.0)
    fit_sasrec(data, settings, by_ndcg(data), lambda epoch, figure: epochs.append(epoch))
    assert epochs == [0]
