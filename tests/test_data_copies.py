"""Exact copies of events are one event; a cap keeps one user from being a crowd."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import files
from m6rec.data.caps import capped, parse_cap
from m6rec.data.check import check
from m6rec.data.copies import Census, without_copies
from m6rec.data.files import ROW
from m6rec.data.schema import DataError
from m6rec.data.splits import make_split
from m6rec.data.tables import load, sort_events

ITEMS = "item_id,title\n" + "".join(f"{name},title {name}\n" for name in "abcdef")
HEADER = "user_id,item_id,event,timestamp,position,request_id,value\n"


def lines(users: int = 30, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        f"u{user},{draw.choice('abcdef')},click,{1_700_000_000 + 60 * step + user},,,\n"
        for user in range(users)
        for step in range(8)
    ]


def folder(path: Path, rows: list[str]) -> Path:
    return worlds.write(path, {"items.csv": ITEMS, "events.csv": HEADER + "".join(rows)})


@pytest.mark.parametrize("method", ["leave-one-out", "temporal", "auto"])
def test_every_row_twice_gives_the_same_split(tmp_path: Path, method: str) -> None:
    rows = lines()
    once = make_split(load(folder(tmp_path / "once", rows)), method=method)  # type: ignore[arg-type]
    for number, doubled in enumerate((rows + rows, [row for row in rows for _ in (1, 2)])):
        data = load(folder(tmp_path / f"twice{number}", doubled))
        twice = make_split(data, method=method)  # type: ignore[arg-type]
        assert twice.card.split_hash == once.card.split_hash
        assert twice.train_events.equals(once.train_events)
        assert data.copies == len(rows)
        assert f"events: {len(rows)} exact copies left out" in twice.card.filters


def test_what_differs_in_any_column_is_no_copy(tmp_path: Path) -> None:
    rows = [
        "u,a,rating,5,1,r,3\n",
        "u,a,rating,5,1,r,3\n",
        "u,a,rating,5,1,r,4\n",
        "u,a,rating,5,2,r,3\n",
        "u,a,rating,5,1,s,3\n",
        "u,a,click,5,1,r,3\n",
        "u,b,rating,5,1,r,3\n",
        "v,a,rating,5,1,r,3\n",
    ]
    data = load(folder(tmp_path, rows))
    assert data.events is not None and (data.events.height, data.copies) == (7, 1)


def test_copies_need_not_be_neighbours(tmp_path: Path) -> None:
    data = load(folder(tmp_path, ["u,a,click,5,,,\n", "u,b,click,5,,,\n"] * 3))
    assert data.events is not None and data.events["item_id"].to_list() == ["a", "b"]
    assert data.copies == 4


def test_a_position_alone_makes_a_copy(tmp_path: Path) -> None:
    data = load(folder(tmp_path, ["u,a,click,,1,,\n", "u,a,click,,1,,\n", "u,a,click,,2,,\n"]))
    assert data.events is not None and (data.events.height, data.copies) == (2, 1)


def test_repeats_without_a_time_are_kept_and_counted(tmp_path: Path) -> None:
    data = load(folder(tmp_path, ["u,a,purchase,,,,\n"] * 3))
    assert data.events is not None and (data.events.height, data.copies) == (3, 0)
    (problem,) = check(tmp_path).problems
    assert (problem.problem, problem.count) == ("a repeat without a time", 2)
    assert problem.severity == "warning"


def test_copies_are_logged_and_counted_by_check_over_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BATCH_ROWS", 2)
    rows = ["u,a,click,5,,,\n", "v,a,click,5,,,\n", "u,b,click,6,,,\n", "u,a,click,5,,,\n"]
    with caplog.at_level(logging.WARNING):
        assert load(folder(tmp_path, rows)).copies == 1
    assert "1 of 4 events are exact copies" in caplog.text
    (problem,) = check(tmp_path).problems
    assert (problem.problem, problem.count) == ("a copy of another event", 1)
    (example,) = problem.examples
    assert (example.row, example.line, example.value) == (4, 5, "the same as row 1")


def test_what_check_counts_is_what_load_drops() -> None:
    draw = random.Random(3)
    for _ in range(30):
        rows = [
            (draw.choice("uv"), draw.choice("ab"), "click", draw.choice([None, 1.0, 2.0]))
            for _ in range(draw.randrange(1, 40))
        ]
        names = ["user_id", "item_id", "event", "timestamp"]
        schema = {name: pl.Float64 if name == "timestamp" else pl.String for name in names}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        kept, copies = without_copies(sort_events(frame))
        timed = [row for row in rows if row[3] is not None]
        assert copies == len(timed) - len(set(timed)) and kept.height == len(rows) - copies
        census = Census()
        for part in frame.with_row_index(ROW, 1).cast({ROW: pl.Int64}).iter_slices(7):
            census.add(part)
        found = {finding.problem: count for finding, count, _ in census.findings(1)}
        untimed = [row for row in rows if row[3] is None]
        assert found.get("a copy of another event", 0) == copies
        assert found.get("a repeat without a time", 0) == len(untimed) - len(set(untimed))


def crowd(path: Path) -> Path:
    bot = [f"bot,a,click,{step},,,\n" for step in range(5000)]
    buyers = [f"u{user},{'bcdef'[user % 5]},purchase,{user * 10},,,\n" for user in range(200)]
    return folder(path, bot + buyers)


def test_check_names_a_user_who_dominates(tmp_path: Path) -> None:
    (problem,) = check(crowd(tmp_path)).problems
    assert problem.problem == "one user did much of what there is" and problem.severity == "warning"
    (example,) = problem.examples
    assert example.value == "'bot': 5,000 of 5,200 events (96.2%)"
    assert "--max-events-per-user" in problem.right


def test_usual_users_do_not_dominate(tmp_path: Path) -> None:
    assert check(folder(tmp_path, lines(3))).problems == ()


@pytest.mark.parametrize(
    ("cap", "kept"), [(7, 7), (0.01, 52), ("1%", 52), ("7", 7), (1e-9, 1), (10**6, 5000)]
)
def test_a_cap_keeps_the_newest_events(tmp_path: Path, cap: int | float | str, kept: int) -> None:
    limit = parse_cap(cap) if isinstance(cap, str) else cap
    data = capped(load(crowd(tmp_path)), limit)
    assert data.events is not None
    own = data.events.filter(pl.col("user_id") == "bot")["timestamp"].to_list()
    assert own == [float(step) for step in range(5000 - kept, 5000)]
    assert data.events.height == kept + 200
    (words,) = data.left_out()
    assert f"{5000 - kept} older events of {int(kept < 5000)} users left out" in words


def test_the_card_shows_the_cap(tmp_path: Path) -> None:
    split = make_split(load(folder(tmp_path, lines())), max_events_per_user=4)
    words = "max_events_per_user 4: 120 older events of 30 users left out"
    assert words in split.card.filters
    assert split.train_events.group_by("user_id").len()["len"].max() <= 4  # type: ignore[operator]


@pytest.mark.parametrize("cap", [0, -1, 1.5, "many", "0", "200%", "100%"])
def test_no_cap(tmp_path: Path, cap: int | float | str) -> None:
    data = load(folder(tmp_path, lines(2)))
    with pytest.raises(DataError, match=r"right is a number of events \(200\) or a share"):
        capped(data, parse_cap(cap) if isinstance(cap, str) else cap)


def test_days_alone_do_not_make_auto_choose_what_can_not_be(tmp_path: Path) -> None:
    days = [1_700_006_400] * 5 + [1_700_092_800] * 2 + [1_700_179_200]
    rows = [
        f"u{user},{'abcdef'[(user + step) % 6]},click,{days[step]},,,\n"
        for user in range(20)
        for step in range(6 if user else 8)
    ]
    split = make_split(load(folder(tmp_path, rows)))
    assert split.card.split.startswith("leave-one-out")
    assert len(split.test) == 20
