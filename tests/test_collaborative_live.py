"""Live transitions are those of a log counted anew: after additions, late events, erasures."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.collaborative.counts import TransitionCounts, count
from m6rec.collaborative.live import LiveTransitions
from m6rec.collaborative.live_sequences import LiveSequences, Moment
from m6rec.collaborative.matrix import transition_matrix
from m6rec.collaborative.pairs import Sequences
from m6rec.collaborative.repeats import repeats_of
from m6rec.collaborative.settings import ScoreSettings

ITEMS = 9
PEOPLE = "abcd"


@dataclass
class Shop:
    """Live transitions beside the plain log of the same: person → (time, order, alone, item)."""

    live: LiveTransitions
    log: dict[str, list[tuple[float, int, bool, str]]] = field(default_factory=dict)
    number: int = 0

    def add(self, person: str, item: str, time: float, alone: bool) -> None:
        """By the quick way where that is allowed, else by the other one."""
        own = self.log.setdefault(person, [])
        self.number += 1
        own.append((time, self.number if alone else 0, alone, item))
        own.sort(key=lambda one: one[:2])
        last = self.live.last(person)
        if time > last.time or (time == last.time and (alone or not last.alone)):
            self.live.append(person, item, time, alone)
        else:
            self.live.replace(person, baskets(own), Moment(own[-1][0], own[-1][2]))

    def drop(self, person: str, place: int) -> None:
        """Takes back one choice."""
        own = self.log.get(person, [])
        if own:
            own.pop(place % len(own))
            last = Moment(own[-1][0], own[-1][2]) if own else Moment()
            self.live.replace(person, baskets(own), last)

    def erase(self, person: str) -> int:
        """Takes a person out."""
        self.log.pop(person, None)
        return self.live.erase(person)

    def rebuilt(self) -> TransitionCounts:
        """Of the plain log."""
        everybody = [baskets(own) for own in self.log.values()]
        return count([coded(everybody, self.live.codes, self.live.ordered)], len(self.live.codes))

    def check(self) -> None:
        """Counts, rows and norms are those of the plain log."""
        wanted, settings = self.rebuilt(), self.live.settings
        same_counts(self.live.counts(), wanted)
        matrix = transition_matrix(wanted, settings.distance_decay, settings.best_per_item)
        for item in range(len(self.live.codes)):
            for found, right in zip(self.live.row(item), matrix.row(item), strict=True):
                np.testing.assert_array_equal(found, right)
        items = np.arange(len(self.live.codes))
        own_I, norm_I = self.live.counted(items)
        np.testing.assert_allclose(own_I, matrix.own_I, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(norm_I, matrix.norm_I, rtol=1e-6, atol=1e-9)
        repeats = repeats_of(matrix.own_I, matrix.norm_I, settings.shrinkage)
        assert self.live.repeats() == pytest.approx(repeats, rel=1e-6)
        wanted_I = repeats.of(matrix.own_I, matrix.norm_I)
        np.testing.assert_allclose(self.live.repeat_rates(items), wanted_I, rtol=1e-6, atol=1e-12)


def baskets(own: list[tuple[float, int, bool, str]]) -> list[list[str]]:
    found: dict[tuple[float, int], list[str]] = {}
    for time, order, _, item in own:
        found.setdefault((time, order), []).append(item)
    return list(found.values())


def coded(people: list[list[list[str]]], codes: dict[str, int], ordered: bool = True) -> Sequences:
    items, places, persons = [], [], []
    for person, own in enumerate(people):
        rows = own if ordered else [[item for basket in own for item in basket]]
        for basket in rows:
            once = list(dict.fromkeys(basket))
            if once:
                items += [codes[item] for item in once]
                places += [len(persons)] * len(once)
                persons.append(person)
    as_array = lambda values: np.array(values, dtype=np.int64)  # noqa: E731
    return Sequences(as_array(items), as_array(places), as_array(persons), ordered)


def opened(people: list[list[list[str]]], ordered: bool = True, best: int = 3) -> Shop:
    """A log that was counted before: basket n of a person is of time n."""
    codes: dict[str, int] = {}
    for item in (item for own in people for basket in own for item in basket):
        codes.setdefault(item, len(codes))
    names = [f"old {number}" for number in range(len(people))]
    moments = [Moment(len(own) - 1.0) if own else Moment() for own in people]
    sequences = coded(people, codes, ordered)
    base = count([sequences], len(codes))
    settings = ScoreSettings(best_per_item=best, distance_decay=0.7)
    live = LiveTransitions(base, LiveSequences(sequences, names, moments), codes, settings)
    log = {
        name: [(float(time), 0, False, item) for time, basket in enumerate(own) for item in basket]
        for name, own in zip(names, people, strict=True)
    }
    return Shop(live, log)


def same_counts(found: TransitionCounts, wanted: TransitionCounts) -> None:
    np.testing.assert_array_equal(found.key_P, wanted.key_P)
    np.testing.assert_array_equal(found.count_P, wanted.count_P)


NAME = st.integers(0, ITEMS - 1).map(str)
OLD = st.lists(st.lists(st.lists(NAME, min_size=1, max_size=4), max_size=5), max_size=3)
PERSON = st.sampled_from([*PEOPLE, "old 0", "old 1"])
STEP = st.one_of(
    st.tuples(st.just("add"), PERSON, NAME, st.integers(0, 20), st.booleans()),
    st.tuples(st.just("add"), PERSON, NAME, st.integers(20, 23), st.just(False)),
    st.tuples(st.just("drop"), PERSON, st.integers(0, 50)),
    st.tuples(st.just("erase"), PERSON),
    st.tuples(st.just("look")),
    st.tuples(st.just("fold")),
)


def take(shop: Shop, step: tuple[Any, ...]) -> None:
    kind, *rest = step
    if kind == "add":
        shop.add(*rest)
    elif kind == "drop":
        shop.drop(*rest)
    elif kind == "erase":
        shop.erase(*rest)
    elif kind == "fold":
        shop.live.fold(1)
    else:
        for item in range(len(shop.live.codes)):  # so that rows are ready when they change
            shop.live.row(item)


@settings(max_examples=150, deadline=None)
@given(OLD, st.booleans(), st.lists(STEP, max_size=40))
def test_live_is_rebuilt(people: list[list[list[str]]], ordered: bool, steps: list[Any]) -> None:
    shop = opened(people, ordered)
    for step in steps:
        take(shop, step)
    shop.check()


def changed(changes: int, people: int, items: int, seed: int = 0) -> Shop:
    """A shop after random additions (one in ten late), choices taken back, and erasures."""
    draw = random.Random(seed)
    old = [[[str(draw.randrange(items))] for _ in range(12)] for _ in range(people // 4)]
    shop = opened(old, best=20)
    names = [*shop.log, *(f"new {n}" for n in range(people))]
    for step in range(changes):
        person, chance = draw.choice(names), draw.random()
        item = str(int(items * draw.random() ** 3))
        if chance < 0.85:
            late = draw.random() < 0.1
            time = float(draw.randrange(step + 1) if late else 20 + step // 3)
            shop.add(person, item, time, draw.random() < 0.1)
        elif chance < 0.98:
            shop.drop(person, draw.randrange(1000))
        else:
            shop.erase(person)
        if step % 7 == 0:
            shop.live.row(draw.randrange(len(shop.live.codes)))
        if step % (changes // 4) == 99:
            shop.live.fold(1)
    return shop


def test_live_is_rebuilt_after_three_thousand_changes() -> None:
    changed(3_000, 40, 60).check()


def test_a_choice_in_a_basket_changes_the_distances_of_its_neighbours() -> None:
    """a, then b; c comes into b's basket: a → b is no longer one apart, but (1 + 2) / 2, rounded
    half up."""
    shop = opened([])
    for item, time in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        shop.add("u", item, time, False)
    keys = shop.live.counts().key_P
    assert sorted((int(k) >> 32, int(k) >> 4 & 0xF, int(k) & 0xF) for k in keys) == [
        (0, 1, 2),
        (0, 2, 2),
        (1, 2, 1),
        (2, 1, 1),
    ]


def test_an_erasure_says_how_many_pairs_it_took_off_and_leaves_nothing() -> None:
    shop = opened([[["a"], ["b"], ["a"]]])
    assert shop.live.erase("old 0") == 3
    assert shop.live.erase("old 0") == 0
    assert not len(shop.live.counts().key_P) and shop.live.names() == []
    assert shop.live.counted(np.array([0]))[1][0] == 0 and not len(shop.live.row(0)[0])


def test_what_came_earlier_is_not_appended() -> None:
    live = opened([]).live
    live.append("u", "a", 5.0)
    with pytest.raises(ValueError, match="earlier than the last"):
        live.append("u", "b", 4.0)


def test_rows_are_read_while_counts_are_folded_and_stay_the_same() -> None:
    shop = changed(400, 10, 12, seed=3)
    before = [shop.live.row(item) for item in range(len(shop.live.codes))]
    shop.live.fold(0)
    shop.add("late", "0", 1e6, False)
    shop.add("late", "1", 1e6 + 1, False)
    shop.check()
    assert len(before) == len(shop.live.codes)
