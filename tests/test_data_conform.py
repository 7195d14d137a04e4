"""Columns in canonical dtypes: ids as words, times in seconds, the words that mean the same."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from m6rec.data.conform import conform
from m6rec.data.schema import TABLES


def column(name: str, series: pl.Series, table: str = "events") -> list[object]:
    return conform(pl.DataFrame({name: series}), TABLES[table])[name].to_list()


def test_whole_floats_are_the_ids_of_integers() -> None:
    assert column("item_id", pl.Series([3.0, None, 2.5])) == ["3", None, "2.5"]
    assert column("item_id", pl.Series([3, 4])) == ["3", "4"]


def test_large_integer_ids_keep_every_digit() -> None:
    assert column("item_id", pl.Series([2**63 - 1])) == ["9223372036854775807"]


def test_lists_of_words_are_joined() -> None:
    assert column("category", pl.Series([["a", "b"], ["c", None], None]), "items") == [
        "a|b",
        "c",
        None,
    ]


def test_times_of_every_type_are_seconds_since_1970() -> None:
    moment = datetime(2020, 1, 1, 12, tzinfo=UTC)
    assert column("timestamp", pl.Series([moment])) == [1577880000.0]
    assert column("timestamp", pl.Series([moment.replace(tzinfo=None)])) == [1577880000.0]
    assert column("timestamp", pl.Series([date(1970, 1, 2)])) == [86400.0]
    assert column("timestamp", pl.Series([" 12.5 ", "soon", None])) == [12.5, None, None]


def test_booleans_and_decimals_are_numbers() -> None:
    assert column("value", pl.Series([True, False])) == [1.0, 0.0]
    decimals = pl.Series(["1.50"]).cast(pl.Decimal(10, 2))
    assert column("price", decimals, "items") == [1.5]


def test_positions_count() -> None:
    assert column("position", pl.Series(["3", "x"])) == [3, None]


def test_event_and_split_words_have_one_spelling() -> None:
    kinds = pl.Series(["View", " add_to_cart", "history_click", "impression_no_click", "share"])
    assert column("event", kinds) == ["click", "cart", "click", "impression", "share"]
    assert column("split", pl.Series(["Training", "val", "dev", "test"])) == [
        "train",
        "valid",
        "valid",
        "test",
    ]


def test_other_columns_stay_as_they_are() -> None:
    frame = pl.DataFrame({"item_id": [1], "title": ["a"], "stock": [7]})
    assert conform(frame, TABLES["items"]).schema["stock"] == pl.Int64
