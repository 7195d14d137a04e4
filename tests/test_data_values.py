"""Values as files and people write them: nothing, numbers, times, ids."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_worlds as worlds
from m6rec.data.check import check
from m6rec.data.importers import import_data
from m6rec.data.schema import DataError
from m6rec.data.tables import load
from m6rec.data.values.ids import id_text
from m6rec.data.values.nothing import is_nothing
from m6rec.data.values.numbers import number, numbers
from m6rec.data.values.times import times, wrong_seconds

NOON = 1714564800.0
"""2024-05-01 12:00 UTC."""
DAY = NOON - 12 * 3600


def seconds(*values: object, kind: str = "s") -> list[float | None]:
    return times(pl.Series(list(values)), kind).seconds.to_list()


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "NaN",
        "NULL",
        "None",
        "NA",
        "n/a",
        "\\N",
        "undefined",
        "(not set)",
        "—",
        "-",
        "",
        " ",
        "nil",
        "<null>",
        "(not provided)",
        "#REF!",
        "Not available",
        "[]",
        "−",
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_words_that_mean_nothing(word: str) -> None:
    assert is_nothing(word) and is_nothing(word.upper()) and is_nothing(f" {word}\t")
    assert number(word) is None and seconds(word) == [None]


@pytest.mark.parametrize("word", ["nano", "n", "0", "none of us", "-1", "Nancy", "NAN 1"])
def test_words_that_only_look_like_nothing(word: str) -> None:
    assert not is_nothing(word)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$12.99", 12.99),
        ("12,99 €", 12.99),
        ("1,299.00", 1299.0),
        ("1.299,50 €", 1299.5),
        ("1 299,00 kr", 1299.0),
        ("1,299", 1299.0),
        ("1.299", 1.299),
        ("USD 12.99", 12.99),
        ("from 12.99", 12.99),
        ("ab 1.299,00 €", 1299.0),
        ("12.99 USD", 12.99),
        ("CHF 1'299.05", 1299.05),
        ("Rs. 1,299", 1299.0),
        ("R$ 12,50", 12.5),
        ("−5", -5.0),
        ("1e3", 1000.0),
        ("4,5", 4.5),
        ("Free to Play", None),
        ("12.99.1", None),
        ("1,29,9", None),
        ("12 months", None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: float | None) -> None:
    assert number(text) == value


def test_the_column_says_what_begins_the_decimals() -> None:
    assert numbers(pl.Series(["12,99", "1.299", "5"])).to_list() == [12.99, 1299.0, 5.0]
    assert numbers(pl.Series(["12.99", "1,299", "5"])).to_list() == [12.99, 1299.0, 5.0]
    assert numbers(pl.Series(["12.99", "12,99"])).to_list() == [12.99, 12.99]


@given(st.floats(-1e9, 1e9).map(lambda value: round(value, 2)))
def test_a_written_price_is_read_as_it_was_meant(value: float) -> None:
    english = f"{value:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert number(f"${english}") == number(f"{german} €") == pytest.approx(value)


@pytest.mark.parametrize("kind", ["s", "ms", "us", "ns", "iso"])
@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_a_number_says_by_its_size_what_it_counts(kind: str, unit: float) -> None:
    assert seconds(NOON * unit, kind=kind) == [NOON]
    assert seconds(f"{NOON * unit:.0f}", kind=kind) == [NOON]


def test_what_was_not_said_is_told() -> None:
    found = times(pl.Series([NOON, NOON * 1e3, 5.0, None]))
    assert found.seconds.to_list() == [NOON, NOON, 5.0, None]
    assert {unit: rows.to_list() for unit, rows in found.otherwise.items()} == {
        "ms": [False, True, False, False]
    }
    assert list(times(pl.Series([1714564800]), "ms").otherwise) == ["s"]


@given(st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30)), st.sampled_from([1, 3, 6, 9]))
def test_every_usual_moment_is_read_in_every_unit(moment: datetime, digits: int) -> None:
    whole = int(moment.replace(tzinfo=UTC, microsecond=0).timestamp())
    unit = 10 ** (digits if digits > 1 else 0)
    assert seconds(str(whole * unit), str(whole * unit)) == [whole, whole]


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2024-05-01", DAY),
        ("2024/05/01", DAY),
        ("2024-05", DAY),
        ("2024-05-01 12:00", NOON),
        ("2024-05-01T12", NOON),
        ("2024-05-01 12:00:00+00", NOON),
        ("2024-05-01T12:00:00z", NOON),
        ("2024-05-01t12:00:00Z", NOON),
        ("2024-05-01 12:00:00 UTC", NOON),
        ("2024-05-01 12:00:00 GMT", NOON),
        ("2024-05-01 14:00:00.250+02:00", NOON + 0.25),
        ("2024-05-01 06:30:00,5 -0530", NOON + 0.5),
        ("20240501T120000Z", NOON),
        ("20240501 1200", NOON),
        ("20240501", DAY),
        ("202405011200", NOON),
        ("20240501120000", NOON),
        ("2024-13-01", None),
        ("2024-05-01 25:00", None),
        ("soon", None),
    ],
)
def test_iso_8601_in_every_usual_form(text: str, second: float | None) -> None:
    assert seconds(text) == seconds(text, kind="iso") == [second]


def test_dates_without_separators_and_seconds_may_stand_in_one_column() -> None:
    found = times(pl.Series([20240501, 1714564800, 202405011200]))
    assert found.seconds.to_list() == [1714521600, 1714564800, 1714564800]
    assert found.otherwise["date"].to_list() == [True, False, True]


def test_a_counter_that_looks_like_dates_stays_a_counter() -> None:
    assert seconds(20_000_099, 20_000_100, 20_000_101) == [20_000_099, 20_000_100, 20_000_101]
    assert seconds(1, 2, 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.7e12, "looks like milliseconds; right is 1700000000"),
        (1e18, "looks like nanoseconds; right is 1000000000"),
        (-5, "is before 1970; right is seconds since 1970"),
        (20240501, "looks like dates such as 20240501; right is 1714521600"),
        ("2024-05-01T12:00Z", "is a text; right is 1714564800"),
        ("soon", "is no time; right is seconds since 1970"),
        (4e11, "is after the year 9999"),
    ],
)
def test_a_wrong_time_is_told_with_the_right_one(value: str | float, message: str) -> None:
    found = wrong_seconds(value)
    assert found is not None and message in found


@pytest.mark.parametrize("value", [0, 5.5, NOON, 253_402_214_400])
def test_seconds_are_no_wrong_time(value: float) -> None:
    assert wrong_seconds(value) is None


PRICES = ["NULL", "—", "N/A", "Free to Play", "$12.99", "12.99", ""]
READ = [None, None, None, None, 12.99, 12.99, None]


def catalogue(folder: Path, kind: str) -> Path:
    rows = [{"item_id": i, "title": f"t{i}", "price": price} for i, price in enumerate(PRICES)]
    folder.mkdir()
    if kind == "csv":
        pl.DataFrame(rows).write_csv(folder / "items.csv")
    elif kind == "jsonl":
        (folder / "items.jsonl").write_text(worlds.jsonl(rows), "utf-8")
    else:
        pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    return folder


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_price_that_is_none_costs_itself_not_the_item(tmp_path: Path, kind: str) -> None:
    folder = catalogue(tmp_path / "shop", kind)
    data = load(folder)
    assert data.items["price"].to_list() == READ and data.rejected == {}
    (problem,) = check(folder).problems
    assert (problem.problem, problem.severity, problem.count) == ("not a number", "warning", 1)
    assert problem.examples[0].value == "'Free to Play'"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_import_keeps_the_item_and_tells_the_price(tmp_path: Path, kind: str) -> None:
    source = catalogue(tmp_path / "source", kind)
    maps = {"items": "item_id=item_id,title=title,price=price"}
    outcome = import_data("columns", source, tmp_path / "shop", columns=maps)
    assert load(tmp_path / "shop").items["price"].to_list() == READ
    (note,) = (note for note in outcome.notes if "price" in note)
    assert "'Free to Play'" in note and note.endswith(": 1")


def test_words_for_nothing_are_no_person(tmp_path: Path) -> None:
    users = ["ann", "nan", "NULL", "undefined", "bob", "None", ""]
    text = "user_id,item_id,event\n" + "".join(f"{user},a,click\n" for user in users)
    folder = worlds.write(tmp_path, {"items.csv": "item_id,title\na,A\n", "events.csv": text})
    data = load(folder)
    assert data.events is not None and data.events["user_id"].to_list() == ["ann", "bob"]
    assert data.rejected == {"events": 5}
    problems = {problem.problem: problem for problem in check(folder).problems}
    words = problems["a word for nothing"]
    assert (words.column, words.count) == ("user_id", 4)
    assert [example.value for example in words.examples][:2] == ["'nan'", "'NULL'"]
    assert problems["empty"].count == 1


def test_missing_ids_of_pandas_are_no_person(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [1.0, float("nan")], "item_id": [7.0, 7.0], "event": "click"})
    frame.write_parquet(tmp_path / "events.parquet")
    events = load(tmp_path).events
    assert events is not None and events.select("user_id", "item_id").rows() == [("1", "7")]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_whole_floats_meet_the_ids_of_integers(tmp_path: Path, kind: str) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n101,A\n102,B\n")
    floats = pl.DataFrame({"user_id": [5.0, None, 6.0], "item_id": [101.0, 101.0, 102.0]})
    floats = floats.with_columns(event=pl.lit("click"))
    if kind == "csv":
        floats.write_csv(tmp_path / "events.csv")
        assert "101.0" in (tmp_path / "events.csv").read_text()
    elif kind == "jsonl":
        floats.write_ndjson(tmp_path / "events.jsonl")
    else:
        floats.write_parquet(tmp_path / "events.parquet")
    data = load(tmp_path)
    assert data.events is not None and data.events["item_id"].to_list() == ["101", "102"]
    assert data.events["user_id"].to_list() == ["5", "6"]
    problems = [problem.problem for problem in check(tmp_path).problems]
    assert problems == ["empty"]


def test_versions_are_words_in_every_table(tmp_path: Path) -> None:
    items = "item_id,title\n1.0,first\n1.1,second\n2.0,third\n"
    events = "user_id,item_id,event\n7.0,1.0,click\n8.0,2.0,click\n"
    data = load(worlds.write(tmp_path, {"items.csv": items, "events.csv": events}))
    assert data.items["item_id"].to_list() == ["1.0", "1.1", "2.0"]
    assert data.events is not None and data.events["item_id"].to_list() == ["1.0", "2.0"]
    assert data.events["user_id"].to_list() == ["7", "8"]


def test_two_spellings_in_one_catalogue_are_two_items(tmp_path: Path) -> None:
    items = "item_id,title\n1,one\n1.0,another\n"
    data = load(worlds.write(tmp_path, {"items.csv": items}))
    assert data.items["item_id"].to_list() == ["1", "1.0"] and data.rejected == {}


def test_ids_of_json() -> None:
    assert [id_text(value) for value in (101, 101.0, "101.0", 1.5)] == [
        "101",
        "101",
        "101.0",
        "1.5",
    ]


def test_a_title_may_be_a_word_for_nothing_where_nothing_else_can_be_read(tmp_path: Path) -> None:
    items = "item_id,title,brand\na,Null,\nb,nan,Acme\nc,None,n/a\n"
    data = load(worlds.write(tmp_path, {"items.csv": items}))
    assert data.items["title"].to_list() == ["Null", "Acme", "None"]
    assert data.items["brand"].to_list() == [None, "Acme", None]


def test_a_search_for_nan_is_a_search(tmp_path: Path) -> None:
    events = "user_id,item_id,event,query\nu,(not set),search,nan\n"
    data = load(worlds.write(tmp_path, {"events.csv": events}))
    assert data.events is not None
    assert data.events.select("item_id", "query").rows() == [(None, "nan")]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("timestamp=t:%d.%m.%Y %H:%M", "01.05.2024 12:00"),
        ("timestamp='t:%b %d, %Y %I:%M %p'", '"May 01, 2024 12:00 PM"'),
        ("timestamp=t:%d/%m/%Y %H:%M %z", "01/05/2024 14:00 +0200"),
        ("timestamp=t:%d.%m.%Y", "01.05.2024"),
        ("timestamp=t:ns", "1714564800000000000"),
        ("timestamp=t:s", "1714564800000"),
        ("timestamp=t:ms", "1714564800"),
        ("timestamp=t", "2024-05-01 12:00:00+00"),
    ],
)
def test_a_column_map_reads_times_of_every_format(tmp_path: Path, spec: str, text: str) -> None:
    source = worlds.write(tmp_path / "source", {"events.csv": f"u,i,t\nann,a,{text}\n"})
    columns = f"user_id=u,item_id=i,event='click',{spec}"
    import_data("columns", source, tmp_path / "data", columns=columns)
    events = load(tmp_path / "data").events
    assert events is not None
    assert events["timestamp"].to_list() == [DAY if spec.endswith("%Y") else NOON]


@pytest.mark.parametrize("form", ["%Q", "%H:%M", "%%"])
def test_a_format_that_reads_no_time_is_refused(tmp_path: Path, form: str) -> None:
    source = worlds.write(tmp_path / "source", {"events.csv": "u,i,t\nann,a,1\n"})
    with pytest.raises(DataError, match=r"reads no time for timestamp; right is a format"):
        columns = f"user_id=u,item_id=i,event='click',timestamp=t:{form}"
        import_data("columns", source, tmp_path / "data", columns=columns)
