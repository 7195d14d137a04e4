"""The check of a folder: every problem with its place and its remedy, rejects, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from rich.text import Text

import data_worlds as worlds
from m6rec.data import files
from m6rec.data.check import check
from m6rec.data.report import Problem, Report, TableReport
from m6rec.data.reporttext import as_text
from m6rec.data.schema import DataError
from m6rec.data.tables import load

ITEMS = "item_id,title\na,apple\nb,bread\n"
EVENTS = "user_id,item_id,event,timestamp\n"


def found(report: Report) -> dict[tuple[str, str], Problem]:
    """Problems by "table.column" and problem."""
    return {(f"{p.table}.{p.column}".rstrip("."), p.problem): p for p in report.problems}


def places(problem: Problem) -> list[tuple[int | None, int | None, str]]:
    return [(example.row, example.line, example.value) for example in problem.examples]


def rejected(folder: Path, table: str) -> list[dict[str, object]]:
    lines = (folder / f"{table}.rejects.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_sound_data_has_no_problem_and_no_reject_file(tmp_path: Path) -> None:
    folder = worlds.write(
        tmp_path / "data", {"items.csv": ITEMS, "events.csv": EVENTS + "u,a,click,1\n"}
    )
    report = check(folder, tmp_path / "rejects")
    assert report.problems == () and report.rejects == {} and report.exit_code == 0
    assert report.tables == (
        TableReport("items", "items.csv", 2, 0),
        TableReport("events", "events.csv", 1, 0),
    )
    assert not (tmp_path / "rejects").exists()


def test_each_bad_time_is_told_with_row_line_value_and_remedy(tmp_path: Path) -> None:
    times = ["5", "nan", "-1", "soon", "1700000000000", "inf", ""]
    rows = "".join(f"u{n},a,click,{time}\n" for n, time in enumerate(times))
    report = check(worlds.write(tmp_path, {"items.csv": ITEMS, "events.csv": EVENTS + rows}))
    problems = found(report)
    expected = {
        "before 1970": (3, 4, "'-1'"),
        "not a time": (4, 5, "'soon'"),
        "milliseconds, not seconds": (5, 6, "'1700000000000'"),
        "infinite": (6, 7, "'inf'"),
    }
    assert {what: places(problems["events.timestamp", what]) for what in expected} == {
        what: [place] for what, place in expected.items()
    }
    assert len(problems) == 4
    right = problems["events.timestamp", "before 1970"].right
    assert right.startswith("seconds since 1970 (UTC)") and right.endswith("read as nothing")
    right = problems["events.timestamp", "milliseconds, not seconds"].right
    assert right == "seconds since 1970; they are read as milliseconds"
    assert report.tables[1] == TableReport("events", "events.csv", 7, 0)
    assert (report.errors, report.warnings, report.exit_code) == (0, 4, 0)


def test_rejected_rows_are_written_with_all_their_problems_as_they_are_in_the_file(
    tmp_path: Path,
) -> None:
    items = 'item_id,title,price\na,apple,\na,"حذاء 👟",3\n'
    folder = worlds.write(tmp_path / "data", {"items.csv": items})
    report = check(folder, tmp_path / "rejects")
    assert report.rejects == {"items": str(tmp_path / "rejects" / "items.rejects.jsonl")}
    (row,) = rejected(tmp_path / "rejects", "items")
    assert (row["file"], row["row"], row["line"]) == ("items.csv", 2, 3)
    assert row["data"] == {"item_id": "a", "title": "حذاء 👟", "price": "3"}
    right = "one row for each id; the first row is kept"
    assert row["problems"] == [{"column": "item_id", "problem": "repeated", "right": right}]


def test_a_repeated_id_is_rejected_and_the_first_row_kept(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path / "data", {"items.csv": ITEMS + "a,again\na,thrice\n"})
    report = check(folder, tmp_path)
    problem = found(report)["items.item_id", "repeated"]
    assert problem.count == 2 and places(problem) == [(3, 4, "'a'"), (4, 5, "'a'")]
    assert [row["data"]["title"] for row in rejected(tmp_path, "items")] == ["again", "thrice"]  # type: ignore[index]


def test_what_check_rejects_is_what_load_leaves_out(tmp_path: Path) -> None:
    items = ITEMS + ",x\nb,again\nc,\nd,t,too,many\n"
    events = EVENTS + ",a,click,1\nu,,click,1\nu,a,,1\nu,zzz,click,1\nNULL,a,click,3\n"
    folder = worlds.write(tmp_path, {"items.csv": items, "events.csv": events})
    data = load(folder)
    assert data.rejected == {"items": 4, "events": 4}
    assert {table.name: table.rejected for table in check(folder).tables} == data.rejected


def test_lines_that_are_no_rows_are_rejected_too(tmp_path: Path) -> None:
    rows = '{"item_id": 1, "title": "a"}\n[1]\n{oops\n'
    folder = worlds.write(tmp_path / "data", {"items.jsonl": rows})
    report = check(folder, tmp_path)
    assert places(found(report)["items", "a JSON list"]) == [(2, 2, "'[1]'")]
    assert [row["data"] for row in rejected(tmp_path, "items")] == ["[1]", "{oops"]
    assert report.tables[0] == TableReport("items", "items.jsonl", 3, 2)


def test_warnings_keep_their_rows(tmp_path: Path) -> None:
    items = "item_id,title,brand,price\na,,Acme,-1\n b,x,,inf\n" + f"c,{'y' * 2**20},,\n"
    events = (
        "user_id,item_id,event,value,split\nu,a,share,,train\nu,zzz,click,,later\n"
        "u,a,rating,,test\nu,a,impression,,test\n"
    )
    folder = worlds.write(tmp_path, {"items.csv": items, "events.csv": events})
    report = check(folder)
    assert set(found(report)) == {
        ("items.title", "empty"),
        ("items.price", "negative"),
        ("items.item_id", "spaces at the ends"),
        ("items.price", "not finite"),
        ("items.title", "very long"),
        ("events.event", "unknown kind"),
        ("events.item_id", "not in the items table"),
        ("events.split", "unknown split"),
        ("events.value", "rating without a value"),
        ("events.request_id", "impression without a request"),
    }
    assert {problem.severity for problem in report.problems} == {"warning"}
    assert (report.errors, report.warnings, report.exit_code) == (0, 10, 0)
    (example,) = found(report)["items.title", "very long"].examples
    assert len(example.value) < 120 and example.value.endswith("(1,048,578 characters)")


def test_special_token_names_and_any_script_are_no_problem(tmp_path: Path) -> None:
    titles = ["[EOS] [BOS]", "👟🏽", "حذاء الجري", "运动鞋"]
    rows = [{"item_id": i, "title": title} for i, title in enumerate(titles)]
    assert check(worlds.write(tmp_path, {"items.jsonl": worlds.jsonl(rows)})).problems == ()


def test_examples_are_the_first_and_the_count_is_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 2)
    rows = ",a,click,1\n" * 7
    folder = worlds.write(
        tmp_path, {"items.csv": ITEMS, "events.csv": EVENTS + rows + "u,a,click,1\n"}
    )
    steps: list[tuple[str, int]] = []
    report = check(folder, examples=3, progress=lambda table, rows: steps.append((table, rows)))
    (problem,) = report.problems
    assert problem.count == 7
    assert [example.row for example in problem.examples] == [1, 2, 3]
    assert steps == [("items", 2), *(("events", rows) for rows in (2, 4, 6, 8))]


def test_an_empty_table_can_not_be_used(tmp_path: Path) -> None:
    report = check(worlds.write(tmp_path, {"items.csv": "item_id,title\n"}))
    assert found(report)["items", "no rows"].right == "add rows, or remove the file"
    assert report.exit_code == 2


def test_a_table_of_bad_rows_only_can_not_be_used(tmp_path: Path) -> None:
    report = check(worlds.write(tmp_path, {"items.csv": "item_id,title\n,a\n"}))
    assert ("items", "no row can be used") in found(report)
    assert report.exit_code == 2


def test_a_missing_column_is_one_problem_and_the_other_columns_are_checked(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"items.csv": "item_id,titel,price\na,x,1\na,y,z\n"})
    report = check(folder)
    problem = found(report)["items.title", "missing column"]
    assert problem.count == 1 and problem.right == "table 'items' needs item_id, title"
    (example,) = problem.examples
    assert example.value == ("the columns are item_id, titel, price; is it called 'titel' there?")
    assert set(found(report)) == {
        ("items.title", "missing column"),
        ("items.price", "not a number"),
    }
    assert report.exit_code == 2


def test_without_item_ids_no_event_is_blamed_for_its_item(tmp_path: Path) -> None:
    folder = worlds.write(
        tmp_path, {"items.csv": "id,title\na,x\n", "events.csv": EVENTS + "u,a,click,1\n"}
    )
    assert set(found(check(folder))) == {("items.item_id", "missing column")}


def test_without_an_items_table_events_must_speak_for_themselves(tmp_path: Path) -> None:
    events = "user_id,item_id,event,text\nu,a,click,red shoes\nu,b,click,\n"
    (problem,) = check(worlds.write(tmp_path, {"events.csv": events})).problems
    assert problem.problem == "not in the items table" and problem.severity == "warning"
    assert places(problem) == [(2, 3, "'b'")]


def test_a_file_that_can_not_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = worlds.write(
        tmp_path, {"items.parquet": b"no parquet", "events.csv": EVENTS + "u,a,click,-1\n"}
    )
    report = check(folder)
    problems = found(report)
    (broken,) = (problem for problem in report.problems if problem.table == "items")
    assert broken.problem.startswith("can not be read as PARQUET")
    assert broken.right.endswith("its real format (parquet, csv, jsonl)")
    assert ("events.timestamp", "before 1970") in problems
    assert report.exit_code == 2


def test_parquet_rows_have_no_line_and_keep_their_types_in_rejects(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "item_id": [1, None],
            "title": ["a", "b"],
            "tags": [["x"], ["y", "z"]],
            "price": [1.0, float("inf")],
        }
    )
    folder = tmp_path / "data"
    folder.mkdir()
    frame.write_parquet(folder / "items.parquet")
    report = check(folder, tmp_path)
    assert places(found(report)["items.item_id", "empty"]) == [(2, None, "nothing")]
    (row,) = rejected(tmp_path, "items")
    assert row["data"] == {"item_id": None, "title": "b", "tags": ["y", "z"], "price": "inf"}
    assert [p["problem"] for p in row["problems"]] == ["empty", "not finite"]  # type: ignore[attr-defined]


def test_requests_are_checked_line_by_line(tmp_path: Path) -> None:
    past = [{"event": "click", "item_id": "a"}]
    lines = [
        {"history": past, "target": "b"},
        {"history": past, "target": "zzz"},
        {"history": [{"event": "click", "item_id": "zzz"}], "target": "a"},
        {"history": [{"item_id": "a"}, {"event": "click"}]},
        {"history": past, "candidates": [{"text": "new"}, {"item_id": "zzz"}], "labels": [1, 2]},
        {"history": [], "candidates": [{"item_id": "a"}], "labels": []},
    ]
    requests = worlds.jsonl(lines) + "\n{oops\n"
    folder = worlds.write(tmp_path / "data", {"items.csv": ITEMS, "requests.test.jsonl": requests})
    report = check(folder, tmp_path)
    problems = {
        (p.column, p.problem): places(p) for p in report.problems if p.table == "requests.test"
    }
    assert problems == {
        ("target", "not in the items table"): [(2, 2, "'zzz'")],
        ("history[].item_id", "not in the items table"): [(3, 3, "history[0].item_id: 'zzz'")],
        ("history[].event", "empty"): [(4, 4, "history[0].event: nothing")],
        ("history[]", "says nothing"): [(4, 4, "history[1]: {'event': 'click'}")],
        ("target", "missing"): [(4, 4, "nothing")],
        ("candidates[].item_id", "not in the items table"): [
            (5, 5, "candidates[1].item_id: 'zzz'")
        ],
        ("labels[]", "no label"): [(5, 5, "labels[1]: 2")],
        ("labels", "not one for each candidate"): [(6, 6, "[]")],
        ("", "not JSON: Expecting property name enclosed in double quotes"): [(7, 8, "'{oops'")],
    }
    assert [row["row"] for row in rejected(tmp_path, "requests.test")] == [2, 4, 5, 6, 7]
    assert report.tables[-1] == TableReport("requests.test", "requests.test.jsonl", 7, 5)
    assert report.exit_code == 1


def test_requests_for_no_known_part_are_told(tmp_path: Path) -> None:
    line = {"history": [], "candidates": [{"text": "x"}], "labels": [1]}
    (problem,) = check(
        worlds.write(tmp_path, {"requests.holdout.jsonl": worlds.jsonl([line])})
    ).problems
    assert (problem.table, problem.problem) == ("requests.holdout", "unknown split")


def test_dialogues_are_checked(tmp_path: Path) -> None:
    turn = {"role": "USER", "text": "hello", "items": [{"id": 1, "title": "Heat", "liked": True}]}
    lines = [
        {"dialog_id": 1, "turns": [turn]},
        {"dialog_id": 1, "turns": [turn]},
        {"turns": []},
        {"dialog_id": 2, "turns": [{"role": "BOT", "text": None, "items": [{}]}, "hi"]},
    ]
    folder = worlds.write(tmp_path / "data", {"dialogs.jsonl": worlds.jsonl(lines)})
    report = check(folder, tmp_path)
    assert {(p.column, p.problem): p.examples[0].row for p in report.problems} == {
        ("dialog_id", "repeated"): 2,
        ("dialog_id", "empty"): 3,
        ("turns", "no turns"): 3,
        ("turns[].role", "unknown role"): 4,
        ("turns[].text", "no text"): 4,
        ("turns[].items[]", "no item"): 4,
        ("turns[]", "no object"): 4,
    }
    assert [row["row"] for row in rejected(tmp_path, "dialogs")] == [2, 3, 4]


def test_a_folder_with_nothing_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table here"):
        check(tmp_path)


def test_rejects_that_can_not_be_written_are_an_error_of_their_own(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"items.csv": ITEMS + ",x\n", "file": ""})
    with pytest.raises(DataError, match="rejected rows can not be written"):
        check(folder, tmp_path / "file")


def test_an_earlier_reject_file_does_not_survive_a_clean_check(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path / "data", {"items.csv": ITEMS + ",x\n"})
    check(folder, tmp_path)
    worlds.write(folder, {"items.csv": ITEMS})
    check(folder, tmp_path)
    assert not (tmp_path / "items.rejects.jsonl").exists()


def test_a_report_is_json(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"items.csv": "item_id,title,price\na,x,inf\n,y,1\n"})
    body = json.loads(json.dumps(check(folder).to_dict(), allow_nan=False))
    assert (body["errors"], body["warnings"], body["exit_code"]) == (1, 1, 1)
    assert body["problems"][0] == {
        "table": "items",
        "column": "item_id",
        "problem": "empty",
        "severity": "error",
        "right": "a value in every row",
        "count": 1,
        "examples": [{"row": 2, "line": 3, "value": "nothing"}],
    }


def plain(report: Report) -> str:
    """The report as it shows on a screen."""
    text = Text.from_markup(as_text(report))
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(text)
    return capture.get()


def test_the_report_in_words_names_places_values_and_remedies(tmp_path: Path) -> None:
    items = ITEMS + "[red] ,[EOS] [BOS]\n" + "".join(f",{i}\n" for i in range(7))
    words = plain(check(worlds.write(tmp_path / "data", {"items.csv": items}), tmp_path))
    assert "  items.csv: 10 rows, 7 rejected (written to" in words
    assert "error items.item_id: empty (7 times)\n  row 4, line 5: nothing\n" in words
    assert "  … and 2 more\n  right: a value in every row\n" in words
    assert "warning items.item_id: spaces at the ends (1 time)\n  row 3, line 4: '[red] '" in words
    assert "7 errors, 1 warning. Rows with errors are left out" in words


def test_the_report_in_words_of_sound_and_of_unusable_data(tmp_path: Path) -> None:
    folder = worlds.write(tmp_path, {"items.csv": ITEMS})
    assert plain(check(folder)).rstrip().endswith("No problem found.")
    worlds.write(folder, {"items.csv": "item_id\na\n"})
    words = plain(check(folder))
    assert "error items.title: missing column\n  the columns are item_id\n" in words
    assert "1 error, 0 warnings. The data can not be loaded as it stands." in words
