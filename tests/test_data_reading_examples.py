"""Files as people have them, and what is right for each: nothing is lost without a count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data.check import check
from m6rec.data.delimited import looks_like_data, quotes_protect
from m6rec.data.files import read_batches
from m6rec.data.importers import Imported, import_data
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset, load
from parquet_worlds import BASKETS, FIRST, INTERVALS, SECOND, UUIDS, parquet

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


# Objects and arrays

GA4 = [
    {"user_pseudo_id": "ann", "event_name": "purchase",
     "items": [{"item_id": "SKU_1", "price": 2.5}, {"item_id": "SKU_2", "price": 3}]},
    {"user_pseudo_id": "bob", "event_name": "purchase",
     "items": {"item_id": "SKU_3", "price": 4}},
    {"user_pseudo_id": "cy", "event_name": "purchase", "items": []},
]  # fmt: skip
WHO = "user_id=user_pseudo_id,event=event_name"


def test_an_item_that_is_an_object_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the path to the id: item_id=items\.item_id"):
        imported(tmp_path, "columns", {"events.jsonl": worlds.jsonl(GA4)}, f"{WHO},item_id=items")


@pytest.mark.parametrize("ending", ["jsonl", "json", "array"])
def test_a_path_through_a_list_is_one_event_for_each(tmp_path: Path, ending: str) -> None:
    text = json.dumps(GA4, indent=1) if ending == "array" else worlds.jsonl(GA4)
    name = "events.json" if ending == "array" else f"events.{ending}"
    columns = f"{WHO},item_id=items.item_id,price=items.price"
    outcome, data = imported(tmp_path, "columns", {name: text}, columns)
    assert data.events is not None
    assert data.events.select("user_id", "item_id", "price").rows() == [
        ("ann", "SKU_1", 2.5), ("ann", "SKU_2", 3.0), ("bob", "SKU_3", 4.0)
    ]  # fmt: skip
    assert (outcome.read, outcome.rejected) == ({name: 3}, {name: 1})


def test_a_path_into_parquet_is_one_event_for_each(tmp_path: Path) -> None:
    columns = "user_id=u,item_id=items.item_id,value=items.n,event='click'"
    _, data = imported(tmp_path, "columns", {"events.parquet": parquet(BASKETS)}, columns)
    assert data.events is not None
    assert data.events.select("user_id", "item_id", "value").rows() == [
        ("ann", FIRST, 1.0), ("ann", SECOND, 2.0)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("ids", [["a", "b"], [1, 2]], ids=str)
def test_a_list_of_ids_is_one_event_for_each_and_no_id_in_a_table(
    tmp_path: Path, kind: str, ids: list[object]
) -> None:
    frame = pl.DataFrame({"user_id": ["u"], "item_id": [ids], "event": ["click"]})
    source = tmp_path / "source"
    source.mkdir()
    path = source / f"events.{kind}"
    (frame.write_parquet if kind == "parquet" else frame.write_ndjson)(path)
    columns = "user_id=user_id,item_id=item_id,event=event"
    import_data("columns", source, tmp_path / "out", columns=columns)
    events = load(tmp_path / "out").events
    assert events is not None and events["item_id"].to_list() == [str(one) for one in ids]
    with pytest.raises(DataError, match="item_id a JSON object or array, no id: 1"):
        load(source)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_table_with_objects_for_ids_names_the_path(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"item_id": [{"item_id": "SKU_1", "n": 1}], "title": ["A"]})
    path = tmp_path / f"items.{kind}"
    (frame.write_parquet if kind == "parquet" else frame.write_ndjson)(path)
    (problem,) = (one for one in check(tmp_path).problems if one.column == "item_id")
    assert problem.severity == "error"
    assert problem.right.endswith("takes it out by item_id=item_id.item_id")


def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    columns = f"{WHO},item_id=items.itemid"
    with pytest.raises(DataError, match=r"no column 'items\.itemid'"):
        imported(tmp_path, "columns", {"events.jsonl": worlds.jsonl(GA4)}, columns)
    columns = "user_id=u,item_id=items.itemid,event='click'"
    with pytest.raises(DataError, match=r"no column 'items\.itemid'"):
        imported(tmp_path / "more", "columns", {"events.parquet": parquet(BASKETS)}, columns)


def test_a_column_with_a_dot_in_its_name_goes_before_a_path(tmp_path: Path) -> None:
    rows = [{"u": {"id": 7}, "items.item_id": "x", "items": [{"item_id": "y"}]}]
    columns = "user_id=u.id,item_id=items.item_id,event='click'"
    _, data = imported(tmp_path, "columns", {"events.jsonl": worlds.jsonl(rows)}, columns)
    assert data.events is not None
    assert data.events.select("user_id", "item_id").rows() == [("7", "x")]


def test_ids_of_mongodb_are_the_text_inside(tmp_path: Path) -> None:
    rows = [
        {"item_id": {"$oid": "507f1f77bcf86cd799439011"}, "title": "A"},
        {"item_id": {"$numberLong": "12"}, "title": "B"},
        {"item_id": {"$uuid": FIRST}, "title": "C"},
        {"item_id": {"$binary": {"base64": "EjRWeJq83vASNFZ4mrze8A==", "subType": "04"}},
         "title": "D"},
    ]  # fmt: skip
    data = load(worlds.write(tmp_path / "tables", {"items.jsonl": worlds.jsonl(rows)}))
    ids = ["507f1f77bcf86cd799439011", "12", FIRST, SECOND]
    assert data.items["item_id"].to_list() == ids
    rows = [{"who": {"$oid": "5f"}, "what": one["item_id"], "at": {"$date": "2024-05-01T12:00:00Z"}}
            for one in rows] + [
            {"who": 1, "what": 2, "at": {"$date": {"$numberLong": "1714564800000"}}}]  # fmt: skip
    columns = "user_id=who,item_id=what,event='click',timestamp=at:iso"
    _, data = imported(tmp_path, "columns", {"events.json": worlds.jsonl(rows)}, columns)
    assert data.events is not None
    assert sorted(data.events["item_id"]) == sorted([*ids, "2"])
    assert set(data.events["timestamp"]) == {1714564800.0}


def test_one_json_array_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    rows = [{"item_id": 1, "title": "A"}, {"item_id": 2, "title": "B"}, 3]
    text = json.dumps(rows, indent=2)
    data = load(worlds.write(tmp_path / "good", {"items.jsonl": text}))
    assert (titles(data), data.rejected) == ({"1": "A", "2": "B"}, {"items": 1})
    broken = text.replace('"title": "B"', '"title" "B"')
    with pytest.raises(DataError, match=r"line 6: this is one JSON array, .* one object per line"):
        load(worlds.write(tmp_path / "bad", {"items.jsonl": broken}))


def test_words_of_python_in_the_place_of_json_are_named(tmp_path: Path) -> None:
    text = "{'item_id': u'1', 'title': None, 'new': True}\n" * 2
    folder = worlds.write(tmp_path, {"items.jsonl": text + '{"item_id": 2, "title": "B"}\n'})
    (problem,) = check(folder).problems
    assert problem.problem == "an object in Python's words (single quotes, None, True), not JSON"
    assert problem.count == 2 and "ast.literal_eval" in problem.right
    assert load(folder).rejected == {"items": 2}


# No header

YOOCHOOSE = "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,0\n"


@pytest.mark.parametrize("name", ["events.dat", "events.csv"])
def test_a_file_without_header_is_read_by_numbers_of_columns(tmp_path: Path, name: str) -> None:
    columns = "user_id=1,timestamp=2:iso,item_id=3,event='click',header=none"
    outcome, data = imported(tmp_path, "columns", {name: YOOCHOOSE}, columns)
    assert outcome.read == {name: 2}
    assert data.events is not None
    assert data.events["item_id"].to_list() == ["214536502", "214536500"]


@pytest.mark.parametrize(
    ("format", "name", "text", "columns"),
    [
        ("columns", "events.csv", YOOCHOOSE, "user_id=user,item_id=item,event='click'"),
        ("amazon", "ratings_Books.csv", "A1,0001,5.0,1369699200\nA2,0002,3.0,1369699201\n", None),
        ("movielens", "ratings.csv", "1,31,2.5,1260759144\n", None),
        ("columns", "events.csv", "1,1,5,964982703\n", "user_id=1,item_id=2,event='click'"),
    ],
)
def test_a_header_that_looks_like_data_is_hinted_at(
    tmp_path: Path, format: str, name: str, text: str, columns: str | None
) -> None:
    with pytest.raises(DataError, match=r"the first line looks like data: .*say header=none"):
        imported(tmp_path, format, {name: text}, columns)


def test_a_header_of_data_that_is_mapped_is_noted(tmp_path: Path) -> None:
    text = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
    columns = "user_id=196,item_id=242,event='click'"
    outcome, _ = imported(tmp_path, "columns", {"events.tsv": text}, columns)
    assert any("looks like data; header=none" in note for note in outcome.notes)


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_a_table_with_another_separator_says_so(tmp_path: Path, separator: str) -> None:
    lines = (("item_id", "title", "price"), ("1", "A,b", "1,50"), ("2", "B", "2,00"))
    text = "".join(separator.join(line) + "\n" for line in lines)
    folder = worlds.write(tmp_path, {"items.csv": text})
    with pytest.raises(DataError, match="seems to stand between the columns; right is a comma"):
        load(folder)
    report = check(folder)
    assert report.exit_code == 2 and "right is a comma" in str(report.to_dict())


def test_a_table_without_header_says_so(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"events.csv": "196,242,3,881250949\n186,302,3,891717742\n"})
    with pytest.raises(DataError, match="the first line looks like data: 196, 242, 3"):
        load(folder)
    assert "the first line looks like data" in str(check(folder).to_dict())


def test_names_that_are_years_or_count_columns_are_no_data() -> None:
    assert not looks_like_data(("0", "1", "2")) and not looks_like_data(("1", "2"))
    assert not looks_like_data(("item_id", "title"))
    assert looks_like_data(("a", "5.0")) and looks_like_data(("u", "2014-04-07T10:51:09.277Z"))
