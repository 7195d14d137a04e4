"""TALE against a dense reference that unfolds every row, on a log of six items."""

from __future__ import annotations

import math

import numpy as np
import pytest

import evaluation_worlds as worlds
from m6rec.data.splits import Split
from m6rec.evaluation.baselines import tale
from m6rec.evaluation.baselines.popularity import DAY
from m6rec.evaluation.baselines.tale import tale_builder, walks

ITEMS = ["a", "b", "c", "d", "unsold", "e", "f"]
SOLD = ["a", "b", "c", "d", "e", "f"]
LOG = [("u", item) for item in "abcabde"] + [("v", item) for item in "fbbac"] + [("w", "d")]
DAYS = [0, 0, 1, 3, 3, 9, 40, 2, 2.5, 4, 4, 60, 7]


def world(times: list[float] | None) -> Split:
    test = [{"history": ["a", "unsold", "c"], "target": "b"}, {"history": []}]
    return worlds.split(ITEMS, LOG, test=test, times=times)


def reference(
    days: list[float] | None, ridge: float, span: float, floor: float, trend: float, window: float
) -> np.ndarray:
    """B row by row as the paper words it."""
    number = {item: i for i, item in enumerate(SOLD)}

    def count(event: int) -> int:
        item = LOG[event][1]
        same = [i for i, (_, other) in enumerate(LOG) if other == item]
        if days is None:
            return len(same)
        return sum(days[event] - window < days[i] <= days[event] for i in same)

    sources, targets = [], []
    for user in "uvw":
        events = [i for i, (who, _) in enumerate(LOG) if who == user]
        for place, event in enumerate(events[1:], start=1):
            source, target = np.zeros(6), np.zeros(6)
            for before in range(max(0, place - 10), place):
                past = events[before]
                age = place - before - 1 if days is None else days[event] - days[past]
                weight = max(math.exp(-age / span), floor)
                source[number[LOG[past][1]]] += weight * count(past) ** trend
            target[number[LOG[event][1]]] = count(event) ** trend
            sources.append(source)
            targets.append(target)
    s, t = np.array(sources), np.array(targets)
    return np.linalg.inv(s.T @ s + ridge * np.eye(6)) @ s.T @ t


@pytest.mark.parametrize("rows", [512, 2])
@pytest.mark.parametrize("days", [None, DAYS])
@pytest.mark.parametrize(
    ("ridge", "span", "floor", "trend", "window"),
    [(1.0, 2.0, 0.0, 0.0, 180.0), (3.0, 0.5, 0.3, -0.5, 180.0), (0.5, 8.0, 0.1, -0.2, 5.0)],
)
def test_the_weights_are_those_of_the_dense_reference(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    days: list[float] | None,
    ridge: float,
    span: float,
    floor: float,
    trend: float,
    window: float,
) -> None:
    monkeypatch.setattr(tale, "ROWS", rows)
    split = world(None if days is None else [day * DAY for day in days])
    model = tale_builder(walks(split))(ridge, span, floor, trend, window)
    wanted = reference(days, ridge, span, floor, trend, window)
    assert model.similarity == pytest.approx(wanted, abs=2e-6)


def test_the_history_weighs_less_with_age_and_unsold_items_add_and_get_nothing() -> None:
    split = world(None)
    model = tale_builder(walks(split))(ridge=1.0, decay=0.5)
    scores = model.score(split.test)
    wanted = model.similarity[2] + 0.25 * model.similarity[0] + model.prior
    assert scores[0, [0, 1, 2, 3, 5, 6]] == pytest.approx(wanted, abs=1e-6)
    assert scores[:, 4].tolist() == [0, 0]
    # Nothing is known of the second history: popularity alone.
    assert scores[1, [0, 1, 2, 3, 5, 6]] == pytest.approx(model.prior)
    assert 0 < model.prior.max() < 1e-3


def test_a_history_is_cut_to_what_requests_show() -> None:
    long = [("u", "a"), *[("u", "b")] * 11, ("u", "c")]
    split = worlds.split(ITEMS, long, test=[{"history": []}])
    model = tale_builder(walks(split))(ridge=1.0, span=1e9)
    # a is a source of the first ten b after it, and of c no more.
    assert model.similarity[0, 2] == pytest.approx(
        reference_of(["a", *["b"] * 11, "c"], reach=10)[0, 2], abs=1e-6
    )


def reference_of(walk: list[str], reach: int) -> np.ndarray:
    number = {item: i for i, item in enumerate("abc")}
    s, t = np.zeros((2, len(walk) - 1, 3))
    for row in range(1, len(walk)):
        for past in walk[max(0, row - reach) : row]:
            s[row - 1, number[past]] += 1
        t[row - 1, number[walk[row]]] = 1
    return np.linalg.inv(s.T @ s + np.eye(3)) @ s.T @ t
