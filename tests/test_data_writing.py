"""Passages to write: who is told what, and that nothing of the answer is among it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from m6rec.config import ConfigError
from m6rec.data import tables
from m6rec.data.passages import Cutting, Passage, share_of, split_hash
from m6rec.data.schema import DataError
from m6rec.data.shop import generate_shop
from m6rec.data.tables import Dataset
from m6rec.data.writing import writing_split

ITEMS = pl.DataFrame(
    {"item_id": ["i1", "i2", "i3"], "title": ["Red Tent", "Blue Lamp", "Green Hat"]}
)
EVENTS = pl.DataFrame(
    {
        "user_id": ["u"] * 5,
        "item_id": ["i1", "i2", "i2", "i3", "i1"],
        "event": ["click", "impression", "click", "purchase", "purchase"],
        "timestamp": [1.0, 2.0, 2.0, 5.0, 6.0],
        "value": [None] * 5,
    },
    schema_overrides={"value": pl.Float64},
)


def data(**tables: pl.DataFrame) -> Dataset:
    return Dataset(name="small", items=ITEMS, **tables)


def all_of(split: object) -> list[Passage]:
    return [*split.train, *split.valid, *split.test]  # type: ignore[attr-defined]


def reviews(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": ["u", "u", "v"],
            "item_id": ["i2", "i3", "i3"],
            "rating": [5.0, 5.0, 1.0],
            "timestamp": [2.5, 5.5, 3.0],
            "text": ["so bright", "so warm", "too small"],
            "feature": ["light", "warmth", "size"],
            "explanation": ["It is bright.", "It is warm.", None],
            **columns,
        }
    )


def test_an_explanation_is_told_what_was_before_it_but_nothing_of_its_item() -> None:
    found = all_of(writing_split(data(reviews=reviews(), events=EVENTS), "explain"))
    of = {p.item_id: p for p in found}
    assert [e.item_id for e in of["i2"].history] == ["i1"]
    assert of["i2"].own == ()
    assert [e.item_id for e in of["i3"].history] == ["i1", "i2"]  # not its own purchase
    assert of["i3"].own == ("light: so bright",)
    assert of["i3"].references == ("It is warm.",) and of["i3"].feature == "warmth"


def test_others_praise_of_an_item_is_of_train_alone_and_no_complaint() -> None:
    given = reviews(split=["train", "test", "train"])
    split = writing_split(data(reviews=given), "explain", valid_fraction=1e-9)
    assert split.test[0].others == ()  # of v there is only a complaint
    kind = reviews(split=["train", "test", "train"], rating=[5.0, 5.0, 4.0])
    split = writing_split(data(reviews=kind), "explain", valid_fraction=1e-9)
    assert split.test[0].others == ("size: too small",)
    judged = reviews(split=["train", "test", "test"], rating=[5.0, 5.0, 4.0])
    assert writing_split(data(reviews=judged), "explain").test[0].others == ()


def test_reviews_without_a_time_hold_all_other_items_and_no_earlier_reviews() -> None:
    untimed = reviews().drop("timestamp")
    found = all_of(writing_split(data(reviews=untimed, events=EVENTS), "explain"))
    of = {p.item_id: p for p in found}
    assert [e.item_id for e in of["i2"].history] == ["i1", "i3", "i1"]
    assert of["i3"].own == ()


def test_review_texts_are_written_where_nothing_is_explained() -> None:
    split = writing_split(data(reviews=reviews().drop("explanation")), "explain")
    assert {p.references[0] for p in all_of(split)} == {"so bright", "so warm", "too small"}
    assert all(p.others == () for p in all_of(split))


def test_titles_are_of_purchases_told_by_what_was_before() -> None:
    found = all_of(writing_split(data(events=EVENTS), "title"))
    assert [(p.item_id, p.references) for p in found] == [
        ("i3", ("Green Hat",)),
        ("i1", ("Red Tent",)),
    ]
    # "Red Tent" was clicked before it was bought, and the writer is not told
    assert [e.item_id for e in found[1].history] == ["i2", "i3"]


def test_titles_without_events_are_told_by_searches_and_else_by_the_catalogue() -> None:
    queries = pl.DataFrame({"query": ["tent"], "item_id": ["i1"]})
    found = all_of(writing_split(data(queries=queries), "title"))
    assert [(p.history[0].query, p.references) for p in found] == [("tent", ("Red Tent",))]
    items = ITEMS.with_columns(category=pl.lit("Home"), brand=pl.Series(["A", None, "A"]))
    found = all_of(writing_split(Dataset(name="small", items=items), "title"))
    assert {p.profile for p in found} == {"A, Home", "Home"}


def test_queries_of_an_item_are_the_relevant_ones_and_fall_on_one_side() -> None:
    queries = pl.DataFrame(
        {
            "query": ["red tent", "tent", "a tent", "tent", "lamp"],
            "item_id": ["i1", "i1", "i1", "i1", "i2"],
            "relevance": [3.0, 2.5, 2.0, 3.0, None],
        }
    )
    split = writing_split(data(queries=queries), "query", test_fraction=0.98, valid_fraction=0.01)
    assert [(p.item_id, p.references) for p in split.test] == [
        ("i1", ("red tent", "tent")),
        ("i2", ("lamp",)),
    ]


def test_queries_for_users_need_to_say_who_asked_and_when() -> None:
    queries = pl.DataFrame({"query": ["hat"], "item_id": ["i3"]})
    with pytest.raises(DataError, match="user_id"):
        writing_split(data(queries=queries), "query", query_from="user")
    timed = queries.with_columns(user_id=pl.lit("u"), timestamp=pl.lit(5.0))
    found = all_of(writing_split(data(queries=timed, events=EVENTS), "query", query_from="user"))
    assert found[0].references == ("hat",) and found[0].item_id is None
    assert [e.item_id for e in found[0].history] == ["i1", "i2"]


def test_a_hash_decides_the_part_so_one_more_row_moves_no_other() -> None:
    cutting = Cutting(by="user", test_fraction=0.3, valid_fraction=0.3)
    keys = [f"u{i}" for i in range(200)]
    parts = cutting.parts(pl.Series(keys), None).to_list()
    assert cutting.parts(pl.Series(keys[::-1]), None).to_list() == parts[::-1]
    assert 40 < parts.count("test") < 80 and 40 < parts.count("valid") < 80
    assert parts[3] == (
        "test" if share_of("u3") < 0.3 else "valid" if share_of("u3") < 0.6 else "train"
    )


def test_given_parts_stand_and_valid_is_cut_from_train_by_user() -> None:
    given = pl.Series(["train"] * 100 + ["test"] * 5 + [None])
    keys = pl.Series([f"u{i // 2}" for i in range(106)])
    parts = Cutting(by="user", valid_fraction=0.3).parts(keys, given).to_list()
    assert parts[100:105] == ["test"] * 5 and parts[105] in ("train", "valid")
    assert all(parts[i] == parts[i + 1] for i in range(0, 100, 2)) and "valid" in parts
    with pytest.raises(DataError, match="right is one of train, valid, test"):
        Cutting(by="user").parts(pl.Series(["u"]), pl.Series(["later"]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"valid_fraction": "x"}, "settings of the split: valid_fraction"),
        ({"test_fraction": 0.0}, "test_fraction"),
        ({"test_fraction": 0.95}, "right is below 1"),
        ({"max_train": 0}, "max_train"),
        ({"max_evel": 3}, "did you mean 'max_eval'"),
    ],
)
def test_wrong_limits_of_a_split_are_named(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        writing_split(data(reviews=reviews()), "explain", **wrong)


def test_the_card_says_the_rule_and_its_hash_changes_with_a_reference() -> None:
    split = writing_split(data(reviews=reviews(), events=EVENTS), "explain", max_eval=7)
    assert split.card.task == "explain" and "by hash of the user" in split.card.split
    assert "max_eval 7 (seed 0)" in split.card.filters
    one = [Passage("u", "i", ("text",))]
    assert split_hash(one, []) != split_hash([], one)
    assert split_hash(one, []) != split_hash([Passage("u", "i", ("texts",))], [])


@pytest.mark.parametrize(
    ("task", "words"), [("explain", "`reviews`"), ("query", "`queries`"), ("title", "`items`")]
)
def test_a_task_without_its_table_says_which_it_needs(task: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        writing_split(Dataset(name="none"), task)  # type: ignore[arg-type]


def test_an_empty_part_is_an_error_and_not_a_row_of_nothing() -> None:
    split = writing_split(data(reviews=reviews(split=["train"] * 3)), "explain")
    with pytest.raises(DataError, match="test part of 'small' has nothing to write"):
        split.part("test")


def test_the_shop_has_all_three_tasks(tmp_path: Path) -> None:
    generate_shop(tmp_path, size="tiny")
    shop = tables.load(tmp_path)
    for task, options in (
        ("explain", {}),
        ("title", {}),
        ("query", {}),
        ("query", {"query_from": "user"}),
    ):
        split = writing_split(shop, task, **options)  # type: ignore[arg-type]
        users = [{p.user_id for p in split.part(name)} - {None} for name in ("train", "test")]
        assert not users[0] & users[1]


def test_real_data_keep_their_own_parts(shared_data: Callable[[str], Path]) -> None:
    split = writing_split(tables.load(shared_data("xrec")), "explain")
    assert len(split.test) == 1190 and len(split.train) + len(split.valid) == 4810
    assert not {p.user_id for p in split.test} & {p.user_id for p in split.train}


def test_the_card_counts_texts_of_test_that_stand_in_train() -> None:
    queries = pl.DataFrame(
        {
            "query": ["red tent", "tent", "Red  Tent", "lamp", "a lamp", "warm hat"],
            "item_id": ["i1", "i1", "i2", "i2", "i2", "i3"],
            "split": ["train", "train", "test", "test", "test", "valid"],
        }
    )
    card = writing_split(data(queries=queries), "query").card
    assert card.counts["test"] == 1  # one item, with three searches for it
    assert card.counts["test_texts"] == 3
    assert card.counts["test_texts_in_train"] == 1
    assert "1 of 3 texts of test stand in train as well" in card.notes
    apart = queries.filter(pl.col("query") != "Red  Tent")
    card = writing_split(data(queries=apart), "query").card
    assert card.counts["test_texts_in_train"] == 0
    assert not any("stand in train" in note for note in card.notes)
