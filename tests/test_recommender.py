"""The Python face: what people call, from an untrained first answer to a saved and opened task."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

import tiny
from m6rec.data.history import HistoryError
from m6rec.data.labels import LabelRule
from m6rec.data.schema import DataError
from m6rec.data.splits import make_split
from m6rec.data.tables import Dataset
from m6rec.model.checkpoint import CheckpointError
from m6rec.recommender import M6Rec
from m6rec.records import M6Error
from m6rec.tasks.folder import NotTunedError

TITLES = ["red shoe", "red tent", "blue lamp", "green tent"]
QUIET = Console(file=io.StringIO())
QUICK = {"epochs": 3, "batch": 16, "bf16": False, "patience": 0}


@pytest.fixture
def rec() -> M6Rec:
    return M6Rec(*tiny.backbone())


@pytest.fixture(scope="module")
def fitted() -> M6Rec:
    """Both tasks, tuned on the tiny shop."""
    rec = M6Rec(*tiny.backbone())
    rec.fit("retrieve", tiny.shop(), split="leave-one-out", train=QUICK, console=QUIET)
    rec.fit("rank", tiny.shop(), split="temporal", train=QUICK, console=QUIET)
    return rec


def ids(found: list) -> list[str]:
    return [one.item_id for one in found]


def test_unseen_user_and_unseen_items_are_answered_without_training(rec: M6Rec) -> None:
    found = rec.recommend(history=["green tent", "red shoe"], items=TITLES, k=2)
    assert ids(found)[0] == "red shoe"
    assert len(found) == 2
    assert found[0].score > found[1].score


def test_a_batch_equals_one_by_one(rec: M6Rec) -> None:
    histories = [["clicked: red shoe"], ["bought: blue lamp", "clicked: green tent"], []]
    together = rec.recommend_batch(histories, items=TITLES, k=4)
    alone = [rec.recommend(history, items=TITLES, k=4) for history in histories]
    for many, one in zip(together, alone, strict=True):
        assert ids(many) == ids(one)
        assert [r.score for r in many] == pytest.approx([r.score for r in one], abs=1e-3)


def test_catalogues_come_in_every_form_people_have(rec: M6Rec) -> None:
    history = ["clicked: blue lamp"]
    rows = [{"item_id": str(i), "title": title} for i, title in enumerate(TITLES)]
    forms = {
        "mapping": {str(i): title for i, title in enumerate(TITLES)},
        "rows": rows,
        "table": pl.DataFrame(rows),
    }
    answers = {name: rec.recommend(history, items=form, k=4) for name, form in forms.items()}
    assert ids(answers["mapping"]) == ids(answers["rows"]) == ids(answers["table"])
    assert answers["rows"][0].item_id == "2"


def test_items_of_the_history_are_left_out_by_id_unless_wanted(rec: M6Rec) -> None:
    rec.use(tiny.shop())
    event = {"event": "purchase", "item_id": "red-shoe"}
    assert "red-shoe" not in ids(rec.recommend([event], k=15))
    assert "red-shoe" in ids(rec.recommend([event], k=15, exclude_seen=False))


def test_a_user_of_the_data_is_known_by_id(rec: M6Rec) -> None:
    rec.use(tiny.shop())
    found = rec.recommend(user_id="u0", k=9)
    assert not any(name.startswith("red") for name in ids(found))
    assert len(found) == 9


def test_a_user_with_no_history_gets_what_most_people_chose(rec: M6Rec) -> None:
    data = tiny.shop(users=4)  # u0 and u3 keep to red
    rec.use(data)
    assert all(name.startswith("red") for name in ids(rec.recommend(user_id="nobody", k=3)))
    assert len(rec.recommend(items=TITLES, k=3)) == 3  # no data: still an answer


def test_a_catalogue_of_one_item_is_answered(rec: M6Rec) -> None:
    found = rec.recommend(["clicked: red shoe"], items=["blue lamp"])
    assert ids(found) == ["blue lamp"]


def test_special_tokens_in_titles_are_words(rec: M6Rec) -> None:
    titles = ["[EOS] [BOS]", "red shoe", "[PAD]", "\u202eright to left 🙂"]
    found = rec.recommend(["clicked: [EOS] red shoe"], items=titles, k=4)
    assert sorted(ids(found)) == sorted(titles)
    assert np.isfinite([one.score for one in found]).all()


def test_bad_input_is_told_what_would_be_right(rec: M6Rec) -> None:
    with pytest.raises(DataError, match="catalogue is empty"):
        rec.recommend(["clicked: red shoe"], items=[])
    with pytest.raises(DataError, match="row 2"):
        rec.recommend(["clicked: red shoe"], items=[{"item_id": "a", "title": "x"}] * 2)
    with pytest.raises(DataError, match="no column 'title'"):
        rec.recommend(["clicked: red shoe"], items=[{"item_id": "a"}])
    with pytest.raises(HistoryError, match="list of entries"):
        rec.recommend("clicked: red shoe", items=TITLES)
    with pytest.raises(M6Error, match="k = 0"):
        rec.recommend(["clicked: red shoe"], items=TITLES, k=0)
    with pytest.raises(M6Error, match="no catalogue"):
        rec.recommend(["clicked: red shoe"])
    with pytest.raises(NotTunedError, match="fit"):
        rec.rank(["clicked: red shoe"], TITLES)


def test_embeddings_are_unit_vectors_in_the_order_of_the_texts(rec: M6Rec) -> None:
    vectors = rec.embed(["red shoe", "blue lamp", "red shoe"])
    assert vectors.shape == (3, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (vectors[0] == vectors[2]).all()
    assert abs(float(vectors[0] @ vectors[1])) < 0.999


def test_retrieval_learns_the_colours_of_the_shop() -> None:
    rec, data = M6Rec(*tiny.backbone()), tiny.shop(users=60)
    split = make_split(data, "retrieve", "leave-one-out")
    rec.text_only = True  # what the towers learn, without what is counted
    before = rec.evaluate("retrieve", data, split=split).metrics["hr@5"].value
    train = {"epochs": 12, "batch": 16, "rate": 1e-2, "bf16": False, "patience": 0}
    rec.fit("retrieve", data, split=split, train=train, console=QUIET)
    after = rec.evaluate("retrieve", data, split=split).metrics["hr@5"].value
    assert before < after
    assert after > 0.9
    rec.text_only = False
    assert rec.evaluate("retrieve", data, split=split).metrics["hr@5"].value > 0.9


def test_people_of_a_kind_choose_alike_whatever_the_words_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Words that tell nothing: the log alone says what goes with what."""
    titles = [f"thing {n}" for n in range(8)]
    chosen = [(f"u{n}", f"i{(n % 2) * 4 + k}", k) for n in range(40) for k in range(4)]
    users, items, times = zip(*chosen, strict=True)
    events = pl.DataFrame(
        {"user_id": users, "item_id": items, "event": "click", "timestamp": times}
    ).with_columns(pl.col("timestamp").cast(pl.Float64))
    catalogue = pl.DataFrame({"item_id": [f"i{n}" for n in range(8)], "title": titles})
    rec = M6Rec(*tiny.backbone()).use(Dataset("kinds", items=catalogue, events=events))
    asked = [{"event": "click", "item_id": "i4"}]
    assert set(ids(rec.recommend(asked, k=3))) == {"i5", "i6", "i7"}
    assert rec.recommend(asked, k=1)[0].item_id == "i5"  # it came next, the others later
    retriever = rec._catalogue(None)[0].retriever
    monkeypatch.setattr(retriever, "user_vectors", None)  # counts alone need no vector of a user
    assert len(rec.recommend(asked, k=3)) == 3
    rec.use(rec.dataset, text_only=True)
    words = rec.recommend(asked, k=7)
    assert rec.text_only and ids(words) != ids(rec.use(rec.dataset).recommend(asked, k=7))


def test_tuning_leaves_the_backbone_as_it_was(fitted: M6Rec) -> None:
    fresh, _ = tiny.backbone()
    for (name, ours), (_, theirs) in zip(
        fitted.backbone.state_dict().items(), fresh.state_dict().items(), strict=True
    ):
        assert ours.equal(theirs), name


def test_ranking_gives_probabilities_best_first(fitted: M6Rec) -> None:
    found = fitted.rank(["bought: red shoe"], TITLES)
    chances = [one.score for one in found]
    assert sorted(chances, reverse=True) == chances
    assert all(0 <= chance <= 1 for chance in chances)
    assert sorted(ids(found)) == sorted(TITLES)


def test_saved_and_opened_gives_the_same_answers(fitted: M6Rec, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path / "model")
    opened = M6Rec.from_pretrained(tmp_path / "model")
    assert set(opened.tasks) == {"retrieve", "rank"}
    history = ["clicked: red shoe", "bought: blue lamp"]
    for ask in ("recommend", "rank"):
        first = getattr(fitted, ask)(history, TITLES)
        second = getattr(opened, ask)(history, TITLES)
        assert ids(first) == ids(second)
        assert [a.score for a in first] == pytest.approx([b.score for b in second], abs=1e-3)


def test_a_task_of_another_backbone_is_refused(fitted: M6Rec, tmp_path: Path) -> None:
    fitted.tasks["rank"].write(tmp_path / "rank")
    other = M6Rec(*tiny.backbone(seed=1))
    with pytest.raises(CheckpointError, match="another backbone"):
        other.load_adapter(tmp_path / "rank")


def test_a_task_folder_holds_only_what_was_trained(fitted: M6Rec) -> None:
    names = set(fitted.tasks["rank"].tensors)
    assert not any(
        name.startswith(("tokens", "positions", "lm_head", "blocks.0")) for name in names
    )
    assert "prompts" in names


def test_evaluation_leaves_the_data_in_use_alone(fitted: M6Rec) -> None:
    fitted.use(tiny.shop())
    before = fitted.dataset
    result = fitted.evaluate("retrieve", tiny.shop(users=12), split="leave-one-out")
    assert fitted.dataset is before
    assert result.card.split.startswith("leave-one-out")


def test_a_data_set_without_events_can_still_be_searched(rec: M6Rec) -> None:
    rec.use(Dataset(name="bare", items=tiny.shop().items))
    assert len(rec.recommend(["clicked: red shoe"], k=3)) == 3


@pytest.mark.parametrize("plan", ["late", "full"])
@pytest.mark.parametrize("layers", ["online", "all"])
@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_both_tasks_train_under_both_plans_with_adapters_anywhere(
    task: str, plan: str, layers: str
) -> None:
    rec, data = M6Rec(*tiny.backbone()), tiny.shop(users=30)
    split = make_split(data, task, "leave-one-out" if task == "retrieve" else "temporal")  # type: ignore[arg-type]
    train = {"epochs": 4, "batch": 16, "rate": 1e-2, "bf16": False, "patience": 0}
    short = {"max_history": 3} | ({"features": False} if task == "rank" else {})
    fitted = rec.fit(
        task,  # type: ignore[arg-type]
        data,
        plan=plan,  # type: ignore[arg-type]
        split=split,
        tuning={"layers": layers},
        train=train,
        console=QUIET,
        **short,
    )
    losses = [entry["loss"] for entry in fitted.trained_on["history"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("task", ["retrieve", "rank"])
def test_what_ran_before_does_not_change_what_is_learned(task: str) -> None:
    learned = []
    for before in (1, 2):
        rec = M6Rec(*tiny.backbone())
        torch.manual_seed(before)
        how = {"split": "temporal", "train": {**QUICK, "epochs": 1}, "residual": True}
        rec.fit(task, tiny.shop(), console=QUIET, **how)  # type: ignore[arg-type]
        learned.append(rec.tasks[task].tensors)
    assert learned[0].keys() == learned[1].keys()
    for name, tensor in learned[0].items():
        assert torch.equal(tensor, learned[1][name]), name


def test_a_ranking_is_judged_by_the_yes_and_no_that_it_was_tuned_with(rec: M6Rec) -> None:
    shop = tiny.shop()
    half = pl.int_range(pl.len()) % 2 == 0
    kind = pl.when(half).then(pl.lit("purchase")).otherwise(pl.lit("click"))
    log = replace(shop, events=shop.events.with_columns(event=kind))
    with pytest.raises(DataError, match="no labels for ranking"):
        rec.fit("rank", log, train=QUICK)
    rule = LabelRule.parse("purchase against click")
    train = {**QUICK, "epochs": 1}
    rec.fit("rank", log, split="temporal", label=rule, train=train, console=QUIET)
    told = rec.evaluate("rank", log, split="temporal")
    asked = rec.evaluate("rank", log, split="temporal", label=rule)
    assert told.card == asked.card and told.metrics == asked.metrics


def test_items_without_a_title_are_recommended_and_talked_about(rec: M6Rec, tmp_path: Path) -> None:
    text = "item_id,title,category\na,,garden\nb,red shoe,\nc,,kitchen\n"
    (tmp_path / "items.csv").write_text(text, encoding="utf-8")
    rec.use(tmp_path)
    found = {item.item_id: item.title for item in rec.recommend(history=["a red shoe"], k=3)}
    assert found == {"a": "garden", "b": "red shoe", "c": "kitchen"}
    assert rec.chat().say("something for the garden").text


def test_a_log_without_a_catalogue_says_what_is_missing(rec: M6Rec, tmp_path: Path) -> None:
    text = "user_id,item_id,event,timestamp\nu,a,click,1\n"
    (tmp_path / "events.csv").write_text(text, encoding="utf-8")
    rec.use(tmp_path)
    with pytest.raises(DataError, match="nothing to recommend: it needs a table items"):
        rec.recommend(user_id="u")
