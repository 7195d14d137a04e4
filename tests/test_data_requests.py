"""Requests in columns: one at a time, added, taken, in blocks, and as catalogue positions."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests
from m6rec.records import Candidate, Event, Request


def make(*histories: str) -> Requests:
    """One retrieval request for each word: its letters are the history, "z" the target."""
    pool = [{"event": "click", "item_id": letter} for word in histories for letter in word]
    stops = np.cumsum([len(word) for word in histories])
    rows = [
        {
            "start": int(stop) - len(word),
            "stop": int(stop),
            "target": "z",
            "item_ids": [],
            "texts": [],
            "labels": [],
        }
        for word, stop in zip(histories, stops, strict=True)
    ]
    return Requests(pl.DataFrame(pool, POOL_SCHEMA), pl.DataFrame(rows, ROW_SCHEMA))


def words(requests: Requests) -> list[str]:
    return ["".join(str(event.item_id) for event in request.history) for request in requests]


def test_a_row_reads_as_a_request() -> None:
    requests = make("ab", "")
    assert len(requests) == 2
    assert requests[0] == Request(history=(Event("click", "a"), Event("click", "b")), target="z")
    assert requests[1] == Request(target="z")


def test_candidates_and_labels_are_parallel() -> None:
    row = {
        "user_id": "u",
        "timestamp": 1.0,
        "start": 0,
        "stop": 0,
        "item_ids": ["a", None],
        "texts": [None, "new"],
        "labels": [1.0, 0.0],
    }
    requests = Requests(pl.DataFrame(schema=POOL_SCHEMA), pl.DataFrame([row], ROW_SCHEMA))
    assert requests[0] == Request(
        user_id="u",
        timestamp=1.0,
        candidates=(Candidate("a"), Candidate(text="new")),
        labels=(1.0, 0.0),
    )


def test_added_requests_keep_their_histories() -> None:
    assert words(make("ab", "c") + make("", "de")) == ["ab", "c", "", "de"]


def test_taken_requests_share_the_pool() -> None:
    requests = make("ab", "c", "d")
    taken = requests.take(np.array([2, 0]))
    assert words(taken) == ["d", "ab"] and taken.pool is requests.pool
    assert [words(block) for block in requests.blocks(2)] == [["ab", "c"], ["d"]]


def test_history_codes_are_the_newest_positions_at_the_end() -> None:
    codes, lengths = make("abc", "", "xb").history_codes(["a", "b", "c"], max_history=2)
    assert codes.tolist() == [[1, 2], [-1, -1], [-1, 1]]
    assert lengths.tolist() == [2, 0, 2]


def test_history_codes_of_empty_pools_are_empty() -> None:
    codes, lengths = make("", "").history_codes(["a"], max_history=3)
    assert codes.tolist() == [[-1] * 3] * 2 and lengths.tolist() == [0, 0]
