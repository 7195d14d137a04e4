"""Requests files of published protocols: what a line may be, and how it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import data_worlds as worlds
from m6rec.data.published import Wrong, read_lines, read_requests, serves, unknown_items, wrongs
from m6rec.data.schema import DataError
from m6rec.records import Candidate, Event, Request

PAST = [{"event": "click", "item_id": "a"}]


def kinds(request: dict[str, object]) -> list[tuple[str, str]]:
    return [(wrong.column, wrong.problem) for wrong in wrongs(request)]


@pytest.mark.parametrize(
    "request_",
    [
        {"history": [], "target": "a"},
        {"history": PAST, "target": 7, "user_id": "u", "timestamp": 1.5},
        {"history": [{"event": "search", "query": "shoes"}], "target": "a"},
        {"history": [], "candidates": [{"item_id": 1}, {"text": "x"}], "labels": [0.5, 1]},
    ],
)
def test_sound_requests_have_nothing_wrong(request_: dict[str, object]) -> None:
    assert kinds(request_) == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"target": "a"}, ("history", "no list")),
        ({"history": ["a"], "target": "a"}, ("history[0]", "no object")),
        (
            {"history": [{"event": "click", "text": " "}], "target": "a"},
            ("history[0]", "says nothing"),
        ),
        ({"history": [{"item_id": "a"}], "target": "a"}, ("history[0].event", "empty")),
        ({"history": [], "target": "a", "timestamp": -1}, ("timestamp", "no time")),
        ({"history": [], "target": "a", "timestamp": 1.7e12}, ("timestamp", "no time")),
        ({"history": [], "target": "a", "timestamp": 10**400}, ("timestamp", "no time")),
        ({"history": [], "target": ""}, ("target", "no id")),
        ({"history": [], "target": True}, ("target", "no id")),
        ({"history": []}, ("target", "missing")),
        ({"history": [], "candidates": []}, ("candidates", "no candidate")),
        ({"history": [], "candidates": [{}], "labels": [1]}, ("candidates[0]", "says nothing")),
        ({"history": [], "candidates": PAST}, ("labels", "not one for each candidate")),
        ({"history": [], "candidates": PAST, "labels": [1.5]}, ("labels[0]", "no label")),
        ({"history": [], "candidates": PAST, "labels": [float("nan")]}, ("labels[0]", "no label")),
    ],
)
def test_each_wrong_is_named_by_its_key(
    request_: dict[str, object], expected: tuple[str, str]
) -> None:
    assert kinds(request_) == [expected]


def test_unknown_items_matter_where_no_text_stands_in() -> None:
    request_: dict[str, object] = {
        "history": [
            {"event": "click", "item_id": "x"},
            {"event": "click", "item_id": "x", "text": "shoes"},
            {"event": "search", "item_id": "x", "query": "shoes"},
            {"event": "click", "item_id": 1},
        ],
        "candidates": [{"item_id": "x"}, {"item_id": "x", "text": "shoes"}],
        "target": "x",
    }
    found: list[Wrong] = list(unknown_items(request_, {"1"}))
    assert [(wrong.column, wrong.severity) for wrong in found] == [
        ("history[0].item_id", "warning"),
        ("candidates[0].item_id", "error"),
        ("target", "error"),
    ]


def test_requests_are_read_in_order_with_their_newest_events(tmp_path: Path) -> None:
    lines = [
        {
            "history": [
                {"event": "View", "item_id": 1},
                {"event": "rating", "item_id": 2, "value": 4, "timestamp": 9},
                {"event": "search", "query": "red"},
            ],
            "target": 3,
            "user_id": 8,
            "timestamp": 10,
        },
        {"history": [], "candidates": [{"text": "x"}, {"item_id": 2}], "labels": [1, 0]},
    ]
    path = worlds.write(tmp_path, {"r.jsonl": worlds.jsonl(lines)}) / "r.jsonl"
    assert list(read_requests(path, max_history=2)) == [
        Request(
            history=(
                Event("rating", "2", timestamp=9.0, value=4.0),
                Event("search", query="red"),
            ),
            user_id="8",
            timestamp=10.0,
            target="3",
        ),
        Request(candidates=(Candidate(text="x"), Candidate("2")), labels=(1.0, 0.0)),
    ]
    assert read_requests(path, max_history=50)[0].history[0] == Event("click", "1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"history": []}', r"line 2, target: missing .*right is target: item_id"),
        ("{oops", r"line 2: not JSON.*right is one JSON object per line"),
        ('{"history": [{}], "target": 1}', r"line 2, history\[0\]: says nothing"),
    ],
)
def test_a_published_file_is_taken_whole_or_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    good = json.dumps({"history": [], "target": 1})
    path = worlds.write(tmp_path, {"r.jsonl": f"{good}\n{line}\n"}) / "r.jsonl"
    with pytest.raises(DataError, match=message):
        read_requests(path, 5)


def test_an_empty_or_absent_requests_file_is_refused(tmp_path: Path) -> None:
    path = worlds.write(tmp_path, {"r.jsonl": "\n\n"}) / "r.jsonl"
    with pytest.raises(DataError, match="no requests; add rows, or remove the file"):
        read_requests(path, 5)
    with pytest.raises(DataError, match="can not be read"):
        list(read_lines(tmp_path / "nowhere.jsonl"))


def test_the_first_request_says_what_a_file_is_for(tmp_path: Path) -> None:
    lines = '{oops\n{"history": [], "target": 1}\n'
    path = worlds.write(tmp_path, {"r.jsonl": lines}) / "r.jsonl"
    assert serves(path, "target") and not serves(path, "candidates")
