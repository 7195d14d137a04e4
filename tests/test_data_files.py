"""Reading tables in batches: row and line numbers, and the lines that are no rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import files
from m6rec.data.files import LINE, ROW, Batch, find_table, read_batches
from m6rec.data.schema import DataError


def read(folder: Path, name: str, content: str | bytes) -> list[Batch]:
    return list(read_batches(worlds.write(folder, {name: content}) / name))


def test_csv_rows_know_the_line_they_start_on(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, "items.csv", 'item_id,title\n1,"two\nlines"\n\n2,\n')
    assert batch.frame.rows() == [(1, 2, "1", "two\nlines"), (2, 5, "2", None)]
    assert batch.frame.columns == [ROW, LINE, "item_id", "title"]
    assert batch.broken == ()


def test_csv_short_rows_are_filled_and_long_rows_are_broken(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, "items.csv", "item_id,title,brand\n1,a\n2,b,c,d\n3,x,y\n")
    assert batch.frame.rows() == [(1, 2, "1", "a", None), (3, 4, "3", "x", "y")]
    (broken,) = batch.broken
    assert (broken.row, broken.line, broken.text) == (2, 3, "2,b,c,d")
    assert broken.problem == "4 fields where the header has 3"


def test_csv_with_a_byte_order_mark_has_clean_column_names(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, "items.csv", b"\xef\xbb\xbfitem_id,title\r\n1,a\r\n")
    assert batch.frame["item_id"].to_list() == ["1"]
    assert batch.frame["title"].to_list() == ["a"]


@pytest.mark.parametrize("row", [b"2,caf\xe9", b"2,caf\xe9,too,long"])
def test_csv_bytes_that_are_no_utf8_break_their_row_only(tmp_path: Path, row: bytes) -> None:
    (batch,) = read(tmp_path, "items.csv", b"item_id,title\n1,a\n" + row + b"\n3,b\n")
    assert batch.frame["item_id"].to_list() == ["1", "3"]
    (broken,) = batch.broken
    assert (broken.row, broken.line) == (2, 3)
    assert broken.text.startswith("2,caf�")


def test_csv_header_without_rows_is_one_empty_batch(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, "items.csv", "item_id,title\n")
    assert batch.frame.height == 0
    assert batch.frame.columns == [ROW, LINE, "item_id", "title"]


def test_csv_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1 names column 'title' twice; rename one"):
        read(tmp_path, "items.csv", "item_id,title,title\n1,a,b\n")


def test_csv_header_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items\.csv.*UTF-8"):
        read(tmp_path, "items.csv", b"item_id,titl\xe9\n1,a\n")


def test_rows_go_on_counting_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 2)
    monkeypatch.setattr(files, "BATCH_ROWS", 2)
    csv = read(tmp_path, "items.csv", "item_id\na\nb\nc,\nd\ne\n")
    jsonl = read(tmp_path, "items.jsonl", '{"item_id": "a"}\n[]\n{"item_id": "c"}\n')
    pl.DataFrame({"item_id": list("abcde")}).write_parquet(tmp_path / "items.parquet")
    parquet = list(read_batches(tmp_path / "items.parquet"))
    assert [batch.frame[ROW].to_list() for batch in csv] == [[1, 2], [4], [5]]
    assert [batch.frame[LINE].to_list() for batch in csv] == [[2, 3], [5], [6]]
    assert [batch.frame[ROW].to_list() for batch in jsonl] == [[1], [3]]
    assert [batch.frame[ROW].to_list() for batch in parquet] == [[1, 2], [3, 4], [5]]


def test_a_full_last_batch_is_followed_by_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 2)
    assert len(read(tmp_path, "items.csv", "item_id\na\nb\n")) == 1
    assert len(read(tmp_path, "items.jsonl", '{"item_id": 1}\n{"item_id": 2}\n')) == 1


def test_json_values_become_words(tmp_path: Path) -> None:
    row = '{"item_id": 3.0, "title": "a", "tags": ["x", 2], "more": {"k": "é"}, "yes": true}\n\n'
    (batch,) = read(tmp_path, "items.jsonl", row + '{"item_id": 4, "price": 1.5}\n')
    assert batch.frame.select("item_id", "tags", "more", "yes", "price").rows() == [
        ("3", "x|2", '{"k": "é"}', "true", None),
        ("4", None, None, None, "1.5"),
    ]
    assert batch.frame[LINE].to_list() == [1, 3]


def test_json_numbers_that_are_none_are_kept_as_words(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, "items.jsonl", '{"a": NaN, "b": Infinity, "c": 1e400}\n')
    assert batch.frame.select("a", "b", "c").row(0) == ("nan", "inf", "inf")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"item_id": ', "not JSON: Expecting value"),
        (b"[1, 2]", "a JSON list"),
        (b'"word"', "a JSON str"),
        (b'{"title": "caf\xe9"}', "bytes that are not UTF-8"),
        (b'{"title": "\\ud800"}', "a lone surrogate"),
        (b"[" * 100_000, "not JSON: nested too deep"),
    ],
)
def test_lines_that_are_no_object_are_broken(tmp_path: Path, line: bytes, problem: str) -> None:
    (batch,) = read(tmp_path, "items.jsonl", b'{"item_id": 1}\n' + line + b"\n")
    assert batch.frame["item_id"].to_list() == ["1"]
    (broken,) = batch.broken
    assert (broken.row, broken.line) == (2, 2)
    assert broken.problem.startswith(problem)
    broken.text.encode()  # can be written to a reject file


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_an_empty_file_is_refused_or_has_no_rows(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        with pytest.raises(DataError, match="can not be read as PARQUET"):
            read(tmp_path, "items.parquet", b"")
    else:
        (batch,) = read(tmp_path, f"items.{kind}", "")
        assert batch.frame.height == 0


def test_a_file_with_the_wrong_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give it the ending of its real format"):
        read(tmp_path, "items.parquet", "item_id,title\n1,a\n")


def test_two_files_for_one_table_are_refused(tmp_path: Path) -> None:
    worlds.write(tmp_path, {"items.csv": "item_id\n", "items.jsonl": ""})
    with pytest.raises(DataError, match="keep one of them"):
        find_table(tmp_path, "items")
    assert find_table(tmp_path, "events") is None
