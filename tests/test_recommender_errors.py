"""What people hand in by mistake, or as they have it: it is read, or told what would be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

import tiny
from m6rec.config import ConfigError
from m6rec.data.catalogue import as_items
from m6rec.data.history import parse_history
from m6rec.data.options import SplitOptions
from m6rec.data.schema import DataError
from m6rec.data.where import Where
from m6rec.recommender import M6Rec
from m6rec.records import M6Error


@pytest.fixture(scope="module")
def rec() -> M6Rec:
    model, words = tiny.backbone()
    return M6Rec(model, words).use(tiny.shop())


ROWS = {
    "item_id": ["7", "8"],
    "title": ["red shoe", "blue tent"],
    "price": [1.5, float("nan")],
    "category": [["Action", "Comedy"], ["Drama"]],
}
RIGHT = pl.DataFrame(
    {
        "item_id": ["7", "8"],
        "title": ["red shoe", "blue tent"],
        "price": [1.5, None],
        "category": ["Action|Comedy", "Drama"],
    }
)


class Frame:
    """In the shape of a pandas frame: iterating it gives the names of its columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def to_dict(self, orient: str) -> dict[str, list[Any]]:
        assert orient == "list"
        return self._columns


def test_a_frame_of_another_library_is_read_as_a_table(rec: M6Rec) -> None:
    found = as_items(Frame(ROWS))  # type: ignore[arg-type]
    assert found.select(RIGHT.columns).equals(RIGHT)
    best = rec.recommend(["clicked: red shoe"], Frame(ROWS), k=9)  # type: ignore[arg-type]
    assert {one.item_id for one in best} == {"7", "8"}


def test_a_pandas_frame_is_read_as_a_table() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    found = as_items(pandas.DataFrame(ROWS))
    assert found.select(RIGHT.columns).equals(RIGHT)


def test_an_arrow_table_and_a_lazy_frame_are_read_as_tables() -> None:
    lazy = RIGHT.lazy()
    assert as_items(lazy).select(RIGHT.columns).equals(RIGHT)  # type: ignore[arg-type]
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert as_items(pyarrow.table(ROWS)).select(RIGHT.columns).equals(RIGHT)


def test_a_list_of_categories_in_a_row_is_read() -> None:
    rows = [
        {"item_id": "7", "title": "a", "category": ["Action", "Comedy"]},
        {"item_id": "8", "title": "b", "category": "Drama"},
    ]
    assert as_items(rows)["category"].to_list() == ["Action|Comedy", "Drama"]


@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_a_task_that_is_none_names_the_nearest(rec: M6Rec, call: str) -> None:
    with pytest.raises(ConfigError, match="no task 'retreive'; did you mean 'retrieve'"):
        getattr(rec, call)("retreive", tiny.shop())
    with pytest.raises(ConfigError, match="no task 'xyz'; right is one of retrieve, rank"):
        getattr(rec, call)("xyz", tiny.shop())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"epochs": 2}, r"'epochs' belongs to train=\{'epochs': 2\}"),
        ({"rate": 0.1}, r"'rate' belongs to train=\{'rate': 0.1\}"),
        ({"rank": 4}, r"'rank' belongs to tuning=\{'rank': 4\}"),
        ({"epoch": 2}, r"'epoch' is unknown; did you mean train=\{'epochs': 2\}"),
        ({"max_histroy": 2}, "did you mean 'max_history'"),
    ],
)
@pytest.mark.parametrize("task", ["retrieve", "rank", "explain"])
def test_a_setting_in_the_wrong_place_says_where_it_belongs(
    rec: M6Rec, task: Any, setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(M6Error, match=said):
        rec.fit(task, tiny.shop(), **setting)


def test_users_may_be_numbers(rec: M6Rec) -> None:
    data = tiny.shop()
    assert data.events is not None
    numbered = data.events.with_columns(pl.col("user_id").str.strip_prefix("u"))
    named = M6Rec(*tiny.backbone()).use(
        type(data)(name="numbered", items=data.items, events=numbered)
    )
    right = named.recommend(user_id="3", k=3)
    assert right != named.recommend(user_id="4", k=3)
    for user in (3, 3.0, np.int64(3)):
        assert named.recommend(user_id=user, k=3) == right  # type: ignore[arg-type]
    for wrong in (True, 2.5, ["3"]):
        with pytest.raises(DataError, match=r"user_id = .*: right is an id of the events"):
            named.recommend(user_id=wrong, k=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 2.5, 1.0, "5", True, None])
def test_a_k_that_is_no_count_is_told(rec: M6Rec, k: Any) -> None:
    with pytest.raises(M6Error, match="right is a whole number, 1 or more"):
        rec.recommend(["clicked: shoe"], k=k)


def test_ids_of_a_catalogue_may_be_numbers_of_both_kinds(rec: M6Rec) -> None:
    assert as_items({1: "hat", 2.0: "shoe", "x": "sock"})["item_id"].to_list() == ["1", "2", "x"]
    rows = [{"item_id": 1, "title": "hat"}, {"item_id": "x", "title": "shoe"}]
    assert as_items(rows)["item_id"].to_list() == ["1", "x"]


@pytest.mark.parametrize(
    "items", [["a\ud800"], [{"title": 1}, {"title": "a"}, {"title": {}}], 5, object()], ids=repr
)
def test_a_catalogue_that_is_no_table_is_told(items: Any) -> None:
    with pytest.raises(DataError, match="catalogue"):
        as_items(items)


def test_a_cap_and_a_label_that_are_none_are_told() -> None:
    with pytest.raises(DataError, match="max_events_per_user = 'x'"):
        SplitOptions(max_events_per_user="x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"right is LabelRule.parse\('rating>=4'\)"):
        SplitOptions(label="rating>=4")  # type: ignore[arg-type]
    with pytest.raises(M6Error, match="a history is None; right is a list"):
        parse_history(None)  # type: ignore[arg-type]


def test_a_where_that_is_no_mapping_is_told_and_ids_of_it_may_be_numbers(rec: M6Rec) -> None:
    with pytest.raises(ConfigError, match="where = 'hat': right is a mapping"):
        rec.recommend(["clicked: shoe"], where="hat")  # type: ignore[arg-type]
    assert Where.parse({"hide": [7, 8.0, "x"]}, "where").hide == ("7", "8", "x")
    assert Where.parse({"hide": 7}, "where").hide == ("7",)


def test_where_names_the_nearest_key(rec: M6Rec) -> None:
    with pytest.raises(ConfigError, match="where: unknown key 'category'; did you mean 'categ"):
        rec.recommend(["clicked: shoe"], where={"category": "hat"})
    hats = rec.recommend(["clicked: shoe"], where={"categories": "hat"}, k=20)
    assert {one.item_id for one in hats} == {"red-hat", "blue-hat", "green-hat"}
