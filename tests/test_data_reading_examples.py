"""Files as people have them, and what is right for each: nothing is lost without a count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data.check import check
from m6rec.data.delimited import quotes_protect
from m6rec.data.files import read_batches
from m6rec.data.importers import Imported, import_data
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset, load
from parquet_worlds import FIRST, INTERVALS, SECOND, UUIDS, parquet

STRAY = 'item_id,title\n1,A\n2,"B 24 inch\n3,C\n4,D\n'
UNCLOSED = "a quote is opened and not closed"


def titles(data: Dataset) -> dict[str, str]:
    return dict(data.items.select("item_id", "title").rows())


def imported(
    tmp_path: Path, format: str, files: Mapping[str, str | bytes], columns: object = None
) -> tuple[Imported, Dataset]:
    source = worlds.write(tmp_path / "source", files)
    outcome = import_data(format, source, tmp_path / "data", columns=columns)  # type: ignore[arg-type]
    return outcome, load(tmp_path / "data")


# Quotes


def test_a_quote_that_is_never_closed_sets_its_row_aside_and_check_says_so(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"items.csv": STRAY})
    data = load(folder)
    assert titles(data) == {"1": "A", "3": "C", "4": "D"}
    assert data.rejected == {"items": 1}
    report = check(folder, tmp_path / "rejects")
    (problem,) = report.problems
    assert (problem.problem, problem.examples[0].line) == (UNCLOSED, 3)
    assert (report.tables[0].rows, report.tables[0].rejected, report.exit_code) == (4, 1, 1)
    reject = json.loads((tmp_path / "rejects/items.rejects.jsonl").read_text())
    assert (reject["line"], reject["data"]) == (3, '2,"B 24 inch')


def test_of_a_thousand_rows_one_stray_quote_costs_one(tmp_path: Path) -> None:
    rows = [f"{n},title {n}" for n in range(1000)]
    rows[3] = '3,"B 24 inch'
    folder = worlds.write(tmp_path, {"items.csv": "item_id,title\n" + "\n".join(rows)})
    data = load(folder)
    assert (data.items.height, data.rejected) == (999, {"items": 1})


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ('2,"B 24 inch\n3,C 12"\n4,D\n', {"3": 'C 12"', "4": "D"}),  # closed by another's quote
        ('2,"B\n3,"C"\n4,D\n', {"3": "C", "4": "D"}),
        ('2,"B\n3,C\n4,"D\n5,E\n', {"3": "C", "5": "E"}),
        ('2,"B ""x\n3,C\n', {"3": "C"}),
        ('2,"two\nlines, and more"\n3,C\n', {"2": "two\nlines, and more", "3": "C"}),
        ('2,"two\r\n\r\nlines"\r\n3,C\r\n', {"2": "two\r\n\r\nlines", "3": "C"}),
        ('2,B 24" inch\n3,C\n', {"2": 'B 24" inch', "3": "C"}),
        ('2,"x" y "z"\n3,C\n', {"2": '"x" y "z"', "3": "C"}),
        ('2,"a, b" c\n3,C\n', {"2": '"a, b" c', "3": "C"}),
        ('2,"12"" vinyl, red"\n3,C', {"2": '12" vinyl, red', "3": "C"}),
        ("2,B\rb\n3,C\n", {"2": "B\rb", "3": "C"}),
        ("2,B\r\r\n3,C\r\r\n", {"2": "B", "3": "C"}),
    ],
)
def test_quotes_and_line_ends_that_files_have(
    tmp_path: Path, text: str, there: dict[str, str]
) -> None:
    path = worlds.write(tmp_path, {"items.csv": "item_id,title\n" + text}) / "items.csv"
    (batch,) = read_batches(path)
    assert dict(batch.frame.select("item_id", "title").rows()) == there


def test_lines_that_end_as_on_old_macs_are_rows(tmp_path: Path) -> None:
    data = load(worlds.write(tmp_path, {"items.csv": 'item_id,title\r1,A\r2,"b\nc"\r'}))
    assert titles(data) == {"1": "A", "2": "b\nc"}


def test_movielens_titles_keep_their_quotes(tmp_path: Path) -> None:
    movies = (
        "movieId,title,genres\n"
        '1,"Great Performances" Cats (1998),Musical\n'
        '2,"""Great Performances"" Cats (1998)",Musical\n'
        '3,"American President, The (1995)",Comedy|Drama\n'
    )
    ratings = "userId,movieId,rating,timestamp\n1,1,5.0,964982703\n"
    _, data = imported(tmp_path, "movielens", {"movies.csv": movies, "ratings.csv": ratings})
    assert titles(data) == {
        "1": '"Great Performances" Cats (1998)',
        "2": '"Great Performances" Cats (1998)',
        "3": "American President, The (1995)",
    }


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\t1\t5\t10\n"
RAW = (
    "item_id:token\ttitle:token_seq\n"
    '1\t"Heroes"\n2\t12" vinyl\n3\t"Weird Al" Yankovic\n4\t"Open\n5\t"""x"""\n'
)


def test_a_recbole_file_written_by_pandas_loses_the_quotes_of_csv(tmp_path: Path) -> None:
    written = pl.DataFrame(
        {
            "item_id:token": ["1", "2", "3", "4"],
            "title:token_seq": ['12" vinyl, red', '"Heroes"', "plain", "two\nlines"],
        }
    ).write_csv(separator="\t")
    assert '"12"" vinyl, red"' in written
    _, data = imported(tmp_path, "recbole", {"x.inter": INTER, "x.item": written})
    assert titles(data) == {
        "1": '12" vinyl, red', "2": '"Heroes"', "3": "plain", "4": "two\nlines"
    }  # fmt: skip


def test_a_raw_recbole_file_stays_as_it_is(tmp_path: Path) -> None:
    outcome, data = imported(tmp_path, "recbole", {"x.inter": INTER, "x.item": RAW})
    assert titles(data) == {
        "1": '"Heroes"', "2": '12" vinyl', "3": '"Weird Al" Yankovic', "4": '"Open', "5": '"""x"""'
    }  # fmt: skip
    assert outcome.rejected == {}


@pytest.mark.parametrize(
    ("text", "protects"),
    [
        ("a\tb\n1\tx\n", False),
        ('a\tb\n1\t"x ""y"""\n', True),
        ('a\tb\n1\t"x"\n', False),  # no writer puts quotes where none are needed
        ('"a"\t"b"\n"1"\t"x"\n', True),  # but for one that puts them everywhere
        ('a\tb\n1\t"x ""y"""\n2\tz 12" q\n3\tz 7" q\n', False),
        ('a\tb\n1\t"two\nlines"\n', True),
    ],
)
def test_the_fields_of_a_file_tell_whether_its_quotes_protect(
    tmp_path: Path, text: str, protects: bool
) -> None:
    path = worlds.write(tmp_path, {"x.item": text}) / "x.item"
    assert quotes_protect(path, "\t") is protects


# Paths


@pytest.mark.parametrize("name", ["run[1]", "data [v1]", "run*", "run?", "{run1}", "key=1"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_path_is_no_pattern(tmp_path: Path, name: str, kind: str) -> None:
    for folder, title in ((name, "right"), ("run1", "wrong"), ("data v", "wrong")):
        (tmp_path / folder).mkdir(exist_ok=True)
        frame = pl.DataFrame({"item_id": ["1"], "title": [title]})
        write = {"parquet": frame.write_parquet, "csv": frame.write_csv}
        write.get(kind, frame.write_ndjson)(tmp_path / folder / f"items.{kind}")
    data = load(tmp_path / name)
    assert titles(data) == {"1": "right"}
    assert "key" not in data.items.columns
    assert check(tmp_path / name).exit_code == 0
    source, target = tmp_path / name / f"items.{kind}", tmp_path / f"{name} out[1]*"
    import_data("columns", source, target, columns={"items": "item_id=item_id,title=title"})
    assert titles(load(target)) == {"1": "right"}


def test_a_file_name_is_no_pattern(tmp_path: Path) -> None:
    for name, title in (("a[1].parquet", "right"), ("a1.parquet", "wrong")):
        pl.DataFrame({"sku": ["1"], "name": [title]}).write_parquet(tmp_path / name)
    columns = {"items": "from=a[1].parquet,item_id=sku,title=name"}
    import_data("columns", tmp_path, tmp_path / "out", columns=columns)
    assert titles(load(tmp_path / "out")) == {"1": "right"}


# Parquet


def test_uuids_of_parquet_are_ids_as_people_write_them(tmp_path: Path) -> None:
    events = f"user_id,item_id,event\nann,{SECOND},click\n"
    files = {"items.parquet": parquet(UUIDS), "events.csv": events}
    data = load(worlds.write(tmp_path, files))
    assert titles(data) == {FIRST: "A", SECOND: "B"}
    assert check(tmp_path).problems == ()


def test_binary_ids_are_their_words_or_their_digits(tmp_path: Path) -> None:
    ids = [b"abc", "é".encode(), bytes(range(16)), b"\xff\x00"]
    frame = pl.DataFrame(
        {"item_id": ids, "title": list("ABCD")}, schema_overrides={"item_id": pl.Binary}
    )
    frame.write_parquet(tmp_path / "items.parquet")
    names = ["abc", "é", "000102030405060708090a0b0c0d0e0f", "ff00"]
    assert load(tmp_path).items["item_id"].to_list() == names


def test_a_column_of_intervals_is_left_out_and_named(tmp_path: Path) -> None:
    worlds.write(tmp_path, {"items.parquet": parquet(INTERVALS)})
    data = load(tmp_path)
    assert data.items.rows() == [("a", "A"), ("b", "B")]
    assert data.rejected == {}
    (problem,) = check(tmp_path).problems
    assert (problem.column, problem.severity) == ("warranty", "warning")
    assert problem.problem == "an INTERVAL, which can not be read"
    columns = {"items": "item_id=item_id,title=title,*"}
    outcome = import_data("columns", tmp_path, tmp_path / "out", columns=columns)
    assert outcome.rows == {"items": 2}
    assert any("warranty" in note and "INTERVAL" in note for note in outcome.notes)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_text_that_is_not_utf8_sets_its_row_aside(tmp_path: Path, nested: bool) -> None:
    values: list[object] = ["plain", "caf?", "ok"]
    if nested:
        values = [[{"name": value}] for value in values]
    frame = pl.DataFrame({"item_id": ["1", "2", "3"], "title": ["A", "B", "C"], "more": values})
    path = tmp_path / "items.parquet"
    frame.write_parquet(path, compression="uncompressed", statistics=False)
    path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    data = load(tmp_path)
    assert (data.items["item_id"].to_list(), data.rejected) == (["1", "3"], {"items": 1})
    assert data.items["more"].to_list() == [values[0], values[2]]
    (problem,) = check(tmp_path, tmp_path / "rejects").problems
    assert (problem.problem, problem.examples[0].row) == ("bytes that are not UTF-8", 2)
    assert "caf" in (tmp_path / "rejects/items.rejects.jsonl").read_text()


def test_damaged_parquet_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    whole = parquet(UUIDS)
    for cut in range(0, len(whole), 7):
        for data in (whole[:cut], whole[cut:], whole[:cut] + b"\xff\x7f" + whole[cut + 2 :]):
            path = worlds.write(tmp_path, {"items.parquet": data}) / "items.parquet"
            try:
                list(read_batches(path))
            except DataError as error:
                assert str(path) in str(error)
