"""`M6Rec` and the command line, for tasks that write: on a shop that needs no other data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from language_worlds import backbone
from m6rec.authors import Explanation
from m6rec.cli.app import build_app
from m6rec.data.tables import Dataset, write_table
from m6rec.model.checkpoint import save_backbone
from m6rec.recommender import M6Rec
from m6rec.records import M6Error
from m6rec.tasks.folder import NotTunedError
from writing_worlds import dataset

SMALL: dict[str, Any] = {
    "tuning": {"rank": 4, "prompts": 2},
    "train": {"epochs": 1, "batch": 8, "bf16": False},
}
SHORT = {"max_tokens": 8}


def new() -> M6Rec:
    return M6Rec(*backbone(3))


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return dataset(20)


@pytest.fixture(scope="module")
def rec(shop: Dataset) -> M6Rec:
    """All three tasks tuned for an epoch."""
    made = new()
    for task in ("explain", "title", "query"):
        made.fit(task, shop, **SMALL)  # type: ignore[arg-type]
    return made.use(shop)


def test_a_task_that_is_not_tuned_says_what_to_call() -> None:
    with pytest.raises(NotTunedError, match=r"fit\('explain', data\)"):
        new().explain("a red tent")


def test_an_explanation_of_an_item_of_the_data_and_of_words(rec: M6Rec) -> None:
    known = rec.explain("red-shoe", user_id="u0", **SHORT)
    assert known.features[0] == "red" and known.unsupported == ()
    assert known.log_p < 0
    free = rec.explain("Red Tent", ["clicked: blue lamp"], profile="likes red", **SHORT)
    assert free.unsupported == () and "red" in free.features
    rec.explain("", **SHORT)


def test_free_words_are_told_where_they_are_in_neither_item_nor_history(rec: M6Rec) -> None:
    found = rec.explain("red-shoe", faithful=False, method="sample", seed=1, max_tokens=12)
    assert found.text and found.unsupported


def test_the_same_seed_writes_the_same_and_settings_are_checked(rec: M6Rec) -> None:
    again = [rec.title(user_id="u1", n=2, seed=5, **SHORT) for _ in range(2)]
    assert again[0] == again[1] and len(again[0]) == 2
    with pytest.raises(M6Error, match="did you mean 'max_tokens'"):
        rec.title(user_id="u1", max_token=3)


def test_woven_titles_are_of_the_catalogue_and_written_where_nothing_is_known(rec: M6Rec) -> None:
    found = rec.title(user_id="u1", n=3, woven=True)
    assert 0 < len(found) <= 3 and len({one.title for one in found}) == len(found)
    assert all(len(one.title.split()) >= 2 and one.category and one.log_p < 0 for one in found)
    assert rec.title(user_id="u1", n=3, woven=True) == found
    assert rec.title(woven=True, **SHORT) == rec.title(**SHORT)
    assert rec.tasks["title"].known


def test_a_group_is_read_as_one_history_in_the_order_of_time(rec: M6Rec) -> None:
    events = rec._of_group(["u0", "u1"])
    times = [event.timestamp or 0 for event in events]
    assert times == sorted(times) and len(events) == 12
    assert rec.title(group=["u0", "u1"], **SHORT)
    assert rec.title(profile="young people in flats", **SHORT)
    assert rec.title(**SHORT)


def test_queries_come_as_many_as_asked_for_and_need_an_item(rec: M6Rec) -> None:
    assert len(rec.query("red-shoe", n=3, max_tokens=5)) == 3
    assert len(rec.query("red-shoe", n=2, checked=True, max_tokens=5)) == 2
    with pytest.raises(M6Error, match="give item="):
        rec.query(user_id="u0")
    with pytest.raises(M6Error, match="need the item_id"):
        rec.query("a hat", checked=True)


def test_queries_for_users_are_tuned_by_a_setting(shop: Dataset) -> None:
    made = new()
    fitted = made.fit("query", shop, query_from="user", **SMALL)
    assert fitted.trained_on["card"]["split"].startswith("by hash of the user")
    assert len(made.use(shop).query(user_id="u0", n=2, max_tokens=5)) == 2
    assert made.query(max_tokens=5)  # a user of whom nothing is known
    results = made.evaluate_writing("query", shop, "valid")
    assert {r.model for r in results} >= {"most frequent text", "what people wrote"}
    assert "round-trip" not in results[0].metrics


def test_a_task_that_writes_takes_no_rules_for_events(shop: Dataset) -> None:
    with pytest.raises(M6Error, match="split of its own"):
        new().fit("title", shop, split="temporal")
    with pytest.raises(M6Error, match="did you mean 'budget'"):
        new().fit("title", shop, budge=3)


@pytest.mark.parametrize(
    ("task", "baselines", "metrics"),
    [
        (
            "explain",
            {"nearest explanation, copied", "best template", "what people wrote"},
            {"bleu-4", "rouge2", "usr", "fmr", "fcr", "div", "faithful", "ppl"},
        ),
        (
            "title",
            {"retrieval, title copied", "last of the history, copied", "most frequent text"},
            {"bleu-4", "dist-2", "novel", "copied", "category", "ppl"},
        ),
        (
            "query",
            {"nearest item's query, copied", "title's first 2 words", "title's last 2 words"},
            {"bleu-2", "dist-2", "round-trip", "round-trip-words", "ppl"},
        ),
    ],
)
def test_every_task_is_judged_beside_its_baselines(
    rec: M6Rec, shop: Dataset, task: Any, baselines: set[str], metrics: set[str]
) -> None:
    results = rec.evaluate_writing(task, shop, max_eval=6)
    ours = results[0]
    assert metrics <= set(ours.metrics)
    assert not ours.baseline and ours.card.task == task
    assert baselines <= {result.model for result in results if result.baseline}
    assert ours.metrics["rouge1"].low is not None and ours.metrics["ppl"].low is not None
    people = results[-1]
    assert people.metrics["rouge1"].value == 1
    if task == "query":
        assert [r.model.split(", ")[-1] for r in results[1:3]] == ["faithful", "checked"]
        checked, held = (r.metrics["round-trip"].value for r in (results[2], results[1]))
        assert checked >= held
    if task == "explain":
        assert results[1].model.endswith("faithful")
        assert results[1].metrics["faithful"].value == 1
    assert rec.dataset is shop


def test_a_task_is_judged_as_it_is_told_to_write(rec: M6Rec, shop: Dataset) -> None:
    def mean_words(**decoding: Any) -> float:
        found = rec.evaluate_writing("title", shop, baselines=False, decoding=decoding, max_eval=4)[
            0
        ]
        return found.metrics["words"].value

    assert mean_words(max_tokens=3) <= 3 < mean_words(min_tokens=30)
    assert mean_words() == mean_words(method="greedy")
    with pytest.raises(M6Error, match="did you mean 'max_tokens'"):
        mean_words(max_token=3)


def test_a_tuned_task_is_saved_and_opened_with_its_aspects(rec: M6Rec, tmp_path: Path) -> None:
    rec.save_pretrained(tmp_path)
    again = M6Rec.from_pretrained(tmp_path)
    assert set(again.tasks) == {"explain", "title", "query"}
    again.use(rec.dataset or dataset())
    told = again.explain("red-shoe", user_id="u0", **SHORT)
    here = rec.explain("red-shoe", user_id="u0", **SHORT)
    assert (told.text, told.features) == (here.text, here.features)


def write(folder: Path, data: Dataset) -> Path:
    folder.mkdir()
    for name in ("items", "events", "users", "reviews", "queries"):
        table = getattr(data, name)
        write_table(table, folder / f"{name}.parquet")
    return folder


def test_the_command_line_tunes_judges_and_writes(tmp_path: Path, shop: Dataset) -> None:
    data = write(tmp_path / "shop", shop)
    save_backbone(*backbone(3), tmp_path / "model")
    model = ["--model", str(tmp_path / "model")]
    run = CliRunner().invoke
    app = build_app(["tune", "eval", "explain", "title", "query"])

    def ask(*words: str) -> Any:
        found = run(app, [*words, *model, "--json", "-"])
        assert found.exit_code == 0, found.output
        return json.loads(found.stdout)

    few = ["rank=4", "prompts=2", "epochs=1", "batch=8", "bf16=false", "budget=12", "max_eval=4"]
    sets = [word for setting in few for word in ("--set", setting)]
    for task in ("explain", "title", "query"):
        out = str(tmp_path / task)
        told = ask("tune", task, "--data", str(data), "--out", out, *sets)
        assert told["trainable_share"] > 0 and told["card"]["task"] == task
    adapter = ["--data", str(data), "--adapter"]
    judged = ask("eval", "query", *adapter, str(tmp_path / "query"), "--limit", "4")
    assert [r["task"] for r in judged["results"]] == ["query"] * 7
    asked = ["--set", "max_tokens=6"]
    one = ask("explain", "--item", "red-shoe", "--user", "u0", *adapter, str(tmp_path / "explain"),
              *asked)  # fmt: skip
    assert one["features"][0] == "red" and one["unsupported"] == []
    two = ask("title", "--user", "u0", "-n", "2", *adapter, str(tmp_path / "title"), *asked)
    assert len(two["products"]) == 2
    three = ask("query", "--item", "a tent", "-n", "2", *adapter, str(tmp_path / "query"), *asked)
    assert len(three["queries"]) == 2


def test_nothing_written_is_null_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute:
        def explain(self, *_: object, **__: object) -> Explanation:
            return Explanation("", (), (), float("-inf"))

    monkeypatch.setattr("m6rec.cli.explain.open_author", lambda *_: Mute())
    words = ["explain", "--item", "x", "--adapter", "a", "--json", "-"]
    found = CliRunner().invoke(build_app(["explain", "query"]), words)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["log_p"] is None


def test_the_real_data_give_something_to_write(shared_data: Callable[[str], Path]) -> None:
    made = new()
    fitted = made.fit(
        "query", shared_data("home_depot"), max_train=40, max_eval=10, budget=16, **SMALL
    )
    card = fitted.trained_on["card"]
    texts = {"test_texts": 15, "test_texts_in_train": 0}  # an item is asked for in several ways
    assert card["counts"] == {"train": 40, "valid": 10, "test": 10, **texts}
    assert any("max_train 40" in words for words in card["filters"])
