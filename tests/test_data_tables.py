"""Loading a folder of canonical tables: what is kept, what is left out, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import files
from m6rec.data.schema import DataError
from m6rec.data.tables import load, write_table

ITEMS = "item_id,title\na,apple\nb,bread\n"
EVENTS = "user_id,item_id,event,timestamp\nu,a,click,1\nu,b,view,2\n"


def test_a_folder_of_mixed_formats_is_one_data_set(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": ["u"], "age": [30]}).write_parquet(tmp_path / "users.parquet")
    review = {"user_id": "u", "item_id": "a", "rating": 5, "text": "good"}
    worlds.write(
        tmp_path,
        {
            "items.csv": ITEMS,
            "events.jsonl": worlds.jsonl([{"user_id": 1, "item_id": "a", "event": "buy"}]),
            "reviews.jsonl": worlds.jsonl([review]),
            "queries.csv": "query,item_id\nred apple,a\n",
            "requests.test.jsonl": "",
            "requests.test.rejects.jsonl": "",
            "dialogs.jsonl": "",
        },
    )
    data = load(tmp_path)
    assert data.name == tmp_path.name
    assert data.items.rows() == [("a", "apple"), ("b", "bread")]
    assert data.events is not None and data.users is not None
    assert data.events.rows(named=True) == [
        {"user_id": "1", "item_id": "a", "event": "purchase", "timestamp": None, "value": None}
    ]
    assert data.users.rows() == [("u", 30)]
    assert data.reviews is not None and data.reviews["rating"].to_list() == [5.0]
    assert data.queries is not None and data.queries.height == 1
    assert dict(data.requests) == {"test": tmp_path / "requests.test.jsonl"}
    assert data.dialogs == tmp_path / "dialogs.jsonl" and data.templates is None
    assert data.rejected == {}


def test_events_are_sorted_by_user_time_position_and_row(tmp_path: Path) -> None:
    rows = "v,1,click,5,2\nv,2,click,5,1\nu,3,click,9,\nu,4,click,,\nu,5,click,9,\nv,6,click,5,1\n"
    header = "user_id,item_id,event,timestamp,position\n"
    events = load(worlds.write(tmp_path, {"events.csv": header + rows})).events
    assert events is not None
    assert events["item_id"].to_list() == ["4", "3", "5", "2", "6", "1"]


def test_unusable_rows_are_left_out_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = ITEMS + "a,again\n,nameless\nc,\n"
    folder = worlds.write(tmp_path, {"items.csv": items, "events.csv": EVENTS + ",a,click,3\n"})
    with caplog.at_level(logging.WARNING):
        data = load(folder)
    assert data.rejected == {"items": 3, "events": 1}
    assert data.items["title"].to_list() == ["apple", "bread"]
    assert data.events is not None and data.events["timestamp"].to_list() == [1.0, 2.0]
    assert "3 of 5 rows left out" in caplog.text and "user_id empty: 1" in caplog.text


def test_times_that_can_not_be_read_cost_themselves_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = ["nan", "-1", "1700000000000", "soon", "inf", "2023-11-14 22:13:20+00"]
    rows = "".join(f"u{n},a,click,{time}\n" for n, time in enumerate(times))
    header = EVENTS.splitlines()[0] + "\n"
    with caplog.at_level(logging.WARNING):
        data = load(worlds.write(tmp_path, {"events.csv": header + rows}))
    assert data.rejected == {} and data.events is not None
    assert data.events["timestamp"].to_list() == [None, None, 1.7e9, None, None, 1.7e9]
    for kind in ("before 1970", "not a time", "infinite", "milliseconds, not seconds"):
        assert f"timestamp {kind}: 1" in caplog.text


def test_a_repeated_id_after_an_unusable_row_is_the_first_one(tmp_path: Path) -> None:
    items = "item_id,title\na, \na,good\na,late\n"
    data = load(worlds.write(tmp_path, {"items.csv": items}))
    assert data.items["title"].to_list() == ["good"]
    assert data.rejected == {"items": 2}


def test_repeated_ids_are_found_over_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 1)
    data = load(worlds.write(tmp_path, {"items.csv": ITEMS + "a,again\n"}))
    assert data.items["title"].to_list() == ["apple", "bread"]


def test_numbers_that_are_not_finite_are_read_as_nothing(tmp_path: Path) -> None:
    items = "item_id,title,price\na,apple,inf\nb,bread,2\n"
    assert load(worlds.write(tmp_path, {"items.csv": items})).items["price"].to_list() == [None, 2]


def test_other_words_stand_in_for_an_empty_title(tmp_path: Path) -> None:
    long = "a lamp that " * 20
    items = f"item_id,title,brand,description\na,,Acme,\nb, ,,{long}\nc,apple,Acme,red\n"
    found = load(worlds.write(tmp_path, {"items.csv": items})).items
    assert found["title"].to_list() == ["Acme", long[:80], "apple"]
    assert found["brand"].to_list() == ["Acme", None, "Acme"]


def test_a_search_needs_no_item(tmp_path: Path) -> None:
    events = "user_id,item_id,event,query\nu,,search,shoes\nu,,search,\n"
    data = load(worlds.write(tmp_path, {"events.csv": events}))
    assert data.events is not None and data.events["query"].to_list() == ["shoes"]
    assert data.rejected == {"events": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item_id,title\n", "the table has no rows; add rows, or remove the file"),
        ("", "the table has no rows|column 'item_id' is missing"),
        ("item_id,titel\na,b\n", "column 'title' is missing.*is it called 'titel' there"),
        (",title\n1,a\n", "column 'item_id' is missing"),
        ("item_id,title\n,a\n,b\n", r"none of its 2 rows can be used \(item_id empty: 2\)"),
    ],
)
def test_a_table_without_use_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(worlds.write(tmp_path, {"items.csv": content}))


def test_json_lines_may_name_a_required_column_late_but_not_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 1)
    rows = [{"item_id": 1, "brand": "x"}, {"item_id": 2, "title": "b"}]
    folder = worlds.write(tmp_path, {"items.jsonl": worlds.jsonl(rows)})
    assert load(folder).items.select("item_id", "title").rows() == [("1", "x"), ("2", "b")]
    worlds.write(tmp_path, {"items.jsonl": worlds.jsonl(rows[:1])})
    with pytest.raises(DataError, match="column 'title' is missing"):
        load(folder)


def test_lines_that_are_no_rows_are_counted_as_rejected(tmp_path: Path) -> None:
    rows = '{"item_id": 1, "title": "a"}\n{oops\n'
    assert load(worlds.write(tmp_path, {"items.jsonl": rows})).rejected == {"items": 1}
    with pytest.raises(DataError, match=r"none of its 1 rows can be used \(not a row: 1\)"):
        load(worlds.write(tmp_path, {"items.jsonl": "{oops\n"}))


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table here; right is items, events"):
        load(tmp_path)
    with pytest.raises(DataError, match="is not there"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        load(worlds.write(tmp_path, {"items.csv": ITEMS}) / "items.csv")


def test_titles_in_any_script_and_of_any_length_are_kept(tmp_path: Path) -> None:
    titles = ["👟 running 🏃‍♀️", "حذاء الجري", "[EOS] [BOS]", "x" * 2**20, "运动鞋"]
    rows = [{"item_id": i, "title": title} for i, title in enumerate(titles)]
    for kind in ("jsonl", "csv", "parquet"):
        folder = tmp_path / kind
        folder.mkdir()
        write_table(pl.DataFrame(rows), folder / f"items.{kind}")
        data = load(folder)
        assert data.items["title"].to_list() == titles
        assert data.items["item_id"].to_list() == ["0", "1", "2", "3", "4"]
        assert data.rejected == {}


def test_written_tables_are_read_back(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"item_id": ["a"], "title": ['say "hi",\nthen go'], "category": [["x", "y"]]}
    )
    for kind in ("parquet", "csv", "jsonl"):
        folder = tmp_path / kind
        folder.mkdir()
        write_table(frame, folder / f"items.{kind}")
        assert load(folder).items.rows() == [("a", 'say "hi",\nthen go', "x|y")]
        assert [path.name for path in folder.iterdir()] == [f"items.{kind}"]


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no table format '\.xlsx'; right is one of \.parquet"):
        write_table(worlds.items("a"), tmp_path / "items.xlsx")
