"""The zero-shot measures, by hand and on a tiny world."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tiny
from m6rec.data.requests import Requests
from m6rec.records import Candidate, Event, Request


def bench() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "bench_zero_shot.py"
    spec = importlib.util.spec_from_file_location("bench_zero_shot", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_also_clicks_counts_wins_against_a_random_other_item_and_half_of_ties() -> None:
    made = bench()
    ids = [f"i{n}" for n in range(5)]
    requests = Requests.of([Request(target=ids[n % 5]) for n in range(400)])
    pairs = made.against_random(requests, ids, seed=3).rows["item_ids"].to_list()
    assert [first for first, _ in pairs] == requests.rows["target"].to_list()
    assert all(first != second for first, second in pairs)
    assert {second for _, second in pairs} == set(ids)
    assert pairs == made.against_random(requests, ids, seed=3).rows["item_ids"].to_list()
    assert pairs != made.against_random(requests, ids, seed=4).rows["item_ids"].to_list()
    assert made.preferred(np.array([2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 1.0, 0.0])).value == 0.625
    number = {one: float(n) for n, one in enumerate(ids)}

    def by_number(asked: Requests) -> np.ndarray:
        return np.array([number[c.item_id] for r in asked for c in r.candidates if c.item_id])

    found = made.also_clicks_accuracy(by_number, requests, ids, seed=3)
    assert found.value == np.mean([number[a] > number[b] for a, b in pairs])
    assert found.low < found.value < found.high


def test_auc_beyond_likes_gives_nothing_for_counting_likes() -> None:
    """Groups (likes, dislikes): (1, 0) with AUC 1, (0, 1) with AUC ¼; (2, 0) has one class."""
    made = bench()
    like, dislike = Event("like", text="x"), Event("dislike", text="y")
    rows = [
        *[((like,), label, score) for label, score in ((1, 0.9), (0, 0.8))],
        *[((dislike,), label, s) for label, s in ((1, 0.1), (1, 0.3), (0, 0.2), (0, 0.4))],
        ((like, like), 1, 0.0),
    ]
    one = (Candidate(None, "z"),)
    requests = Requests.of([Request(h, candidates=one, labels=(float(y),)) for h, y, _ in rows])
    found = made.grouped_auc_beyond_likes(np.array([s for _, _, s in rows]), requests)
    assert found["auc"].value == pytest.approx((2 * 1 + 4 * 0.25) / 6)
    assert found["plain mean"].value == pytest.approx((1 + 0.25) / 2)
    counting = np.array([float(len(h) * (h[0] is like)) for h, _, _ in rows])
    assert made.grouped_auc_beyond_likes(counting, requests)["auc"].value == 0.5


def test_the_bench_runs_on_a_tiny_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench()
    data = tmp_path / "amazon_industrial"
    tiny.write_shop(data)
    for part in ("valid", "test"):
        bought = {"event": "purchase", "item_id": "red-shoe"}
        rows = [{"history": [bought], "target": "red-tent"}, {"history": [], "target": "blue-hat"}]
        lines = [json.dumps(row) for row in rows]
        (data / f"requests.{part}.jsonl").write_text("\n".join(lines) + "\n")
    books = tmp_path / "tallrec_book"
    books.mkdir()
    for part in ("valid", "test"):
        rows = [
            {
                "history": [{"event": "like", "text": "red"}, {"event": "dislike", "text": "hat"}],
                "candidates": [{"text": text}],
                "labels": [label],
            }
            for text, label in (("red shoe", 1), ("blue hat", 0), ("red boot", 1))
        ]
        lines = [json.dumps(row) for row in rows]
        (books / f"requests.{part}.jsonl").write_text("\n".join(lines) + "\n")
    model = tiny.write_backbone(tmp_path / "model")
    out = tmp_path / "figures.json"
    words = ["bench", "--model", str(model), "--data", str(tmp_path), "--json", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    made.main()
    body = json.loads(out.read_text())
    assert len(body["also_clicks"]["ways"]) == 42
    assert 0 <= body["also_clicks"]["test"]["value"] <= 1
    assert body["beyond_likes"]["chosen on valid"] in body["beyond_likes"]["ways"]
