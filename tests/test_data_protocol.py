"""The hash of a split: it tells other judged rows apart, and nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import protocol
from m6rec.data.protocol import split_hash
from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests
from m6rec.data.splits import make_split

ROW = {
    "user_id": "u",
    "timestamp": 1.5,
    "start": 0,
    "stop": 0,
    "target": None,
    "item_ids": ["a", None],
    "texts": [None, "é"],
    "labels": [1.0, 0.25],
}


def requests(*rows: dict[str, object]) -> Requests:
    return Requests(pl.DataFrame(schema=POOL_SCHEMA), pl.DataFrame(list(rows), ROW_SCHEMA))


def test_the_hash_is_sha256_of_the_lines_as_written_down() -> None:
    line = "\x1f".join(["u", "1500", "", "a\x1e", "\x1eé", "1000000\x1e250000", "test"])
    expected = hashlib.sha256((line + "\n").encode()).hexdigest()
    assert split_hash(requests(), requests(ROW)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "v"},
        {"timestamp": 1.501},
        {"timestamp": None},
        {"target": "a"},
        {"item_ids": ["b", None]},
        {"texts": [None, "e"]},
        {"labels": [0.0, 0.25]},
    ],
)
def test_every_judged_field_changes_the_hash(change: dict[str, object]) -> None:
    assert split_hash(requests(), requests(ROW)) != split_hash(requests(), requests(ROW | change))


def test_part_and_order_change_the_hash_and_histories_do_not() -> None:
    other = ROW | {"user_id": "v"}
    both = split_hash(requests(), requests(ROW, other))
    assert both != split_hash(requests(), requests(other, ROW))
    assert both != split_hash(requests(ROW), requests(other))
    assert both == split_hash(requests(), requests(ROW | {"stop": 7}, other))


def test_blocks_do_not_show_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = requests(*(ROW | {"user_id": str(i)} for i in range(7)))
    whole = split_hash(rows, rows)
    monkeypatch.setattr(protocol, "HASH_ROWS", 2)
    assert split_hash(rows, rows) == whole


def test_the_order_of_other_tables_and_of_rows_at_other_times_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    rows: list[worlds.EventRow] = [
        (f"u{i % 7}", "abcdefgh"[i % 8], "click", float(i)) for i in range(60)
    ]
    data = worlds.dataset("abcdefgh", rows)
    shuffled = worlds.dataset("hgfedcba", [rows[i] for i in rng.permutation(60)])
    hashes = {make_split(each, method="temporal").card.split_hash for each in (data, shuffled)}
    assert len(hashes) == 1
