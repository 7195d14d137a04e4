"""Pairs and counts: by their definition, in blocks as in one, live as from the log."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.collaborative.counts import (
    DISTANCE,
    DISTANCE_BITS,
    LATER,
    LATER_BITS,
    ROW_SHIFT,
    TransitionCounts,
    count,
)
from m6rec.collaborative.matrix import transition_matrix
from m6rec.collaborative.pairs import (
    MOST_UNORDERED,
    Sequences,
    distance_between,
    distance_within,
    pairs_of_one,
)
from m6rec.collaborative.sequences import blocks_of
from m6rec.collaborative.settings import MOST_APART

Baskets = list[list[int]]
ITEMS = 12
BASKET = st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=5, unique=True)
PEOPLE = st.lists(st.lists(BASKET, min_size=1, max_size=8), min_size=1, max_size=6)


def sequences(people: list[Baskets], ordered: bool = True) -> Sequences:
    items, baskets, persons = [], [], []
    for person, own in enumerate(people):
        for basket in own:
            items += basket
            baskets += [len(persons)] * len(basket)
            persons.append(person)
    as_array = lambda values: np.array(values, dtype=np.int64)  # noqa: E731
    return Sequences(as_array(items), as_array(baskets), as_array(persons), ordered)


def as_dict(counts: TransitionCounts) -> dict[tuple[int, int, int], int]:
    key = counts.key_P
    names = zip(key >> ROW_SHIFT, (key >> DISTANCE_BITS) & LATER, key & DISTANCE, strict=True)
    return {
        (int(i), int(j), int(d)): int(n) for (i, j, d), n in zip(names, counts.count_P, strict=True)
    }


def summed(people: list[Baskets], ordered: bool = True) -> dict[tuple[int, int, int], int]:
    found: dict[tuple[int, int, int], int] = {}
    for own in people:
        for pair in pairs_of_one(own, ordered):
            found[pair] = found.get(pair, 0) + 1
    return found


def test_a_log_without_baskets_counts_differences_of_place() -> None:
    """a b a c: by hand."""
    counted = as_dict(count([sequences([[[0], [1], [0], [2]]])], 3))
    assert counted == {
        (0, 1, 1): 1,
        (0, 0, 2): 1,
        (0, 2, 3): 1,
        (1, 0, 1): 1,
        (1, 2, 2): 1,
        (0, 2, 1): 1,
    }


def test_pairs_further_apart_than_ten_are_none() -> None:
    counted = as_dict(count([sequences([[[n] for n in range(12)]])], 12))
    assert max(d for _, _, d in counted) == MOST_APART
    assert (0, 10, 10) in counted and not any(i == 0 and j == 11 for i, j, _ in counted)


@pytest.mark.parametrize(("m", "n", "between"), [(1, 1, 0), (2, 1, 0), (2, 3, 1), (3, 3, 2)])
def test_the_distance_between_baskets_is_its_mean_over_all_orders(
    m: int, n: int, between: int
) -> None:
    far = [m - one + between + other for one, other in product(range(m), range(n))]
    assert distance_between(m, n, between) == int(np.floor(np.mean(far) + 0.5))


@pytest.mark.parametrize("m", [2, 3, 4, 5, 6])
def test_the_distance_within_a_basket_is_its_mean_over_all_orders(m: int) -> None:
    far = [abs(order.index(0) - order.index(1)) for order in permutations(range(m))]
    assert distance_within(m) == int(np.floor(np.mean(far) + 0.5))


def test_the_order_of_rows_within_a_basket_changes_nothing() -> None:
    one = count([sequences([[[0, 1, 2], [3, 4]]])], 5)
    other = count([sequences([[[2, 0, 1], [4, 3]]])], 5)
    assert as_dict(one) == as_dict(other)
    assert as_dict(one)[(0, 1, 1)] == as_dict(one)[(1, 0, 1)] == 1


def test_a_basket_of_more_than_thirty_says_nothing_of_its_items() -> None:
    within = [(i, j) for i, j, _ in pairs_of_one([list(range(30))])]
    assert len(within) == 30 * 29
    assert not list(pairs_of_one([list(range(31))]))
    assert not len(count([sequences([[list(range(31))]])], 31).key_P)


@settings(max_examples=150, deadline=None)
@given(PEOPLE, st.booleans())
def test_arrays_and_lists_find_the_same_pairs(people: list[Baskets], ordered: bool) -> None:
    if not ordered:
        people = [[list(dict.fromkeys(i for basket in own for i in basket))] for own in people]
    assert as_dict(count([sequences(people, ordered)], ITEMS)) == summed(people, ordered)


def test_a_set_without_order_pairs_every_two_and_draws_from_a_large_one() -> None:
    assert summed([[[3, 1, 2]]], ordered=False) == {
        (i, j, 1): 1 for i, j in permutations((1, 2, 3), 2)
    }
    large = list(range(300))
    one = as_dict(count([sequences([[large]], ordered=False)], 300))
    other = summed([[large[::-1]]], ordered=False)
    assert one == other and len({i for i, _, _ in one}) == MOST_UNORDERED


@settings(max_examples=60, deadline=None)
@given(PEOPLE, st.integers(1, 10))
def test_blocks_count_as_one(people: list[Baskets], size: int) -> None:
    whole = sequences(people)
    parts = list(blocks_of(whole, size))
    assert sum(len(part) for part in parts) == len(whole)
    assert as_dict(count(parts, ITEMS)) == as_dict(count([whole], ITEMS))


def test_counts_in_a_folder_are_those_in_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = [[[int(i)] for i in rng.integers(0, 40, 30)] for _ in range(50)]
    whole = sequences(people)
    held, written = count([whole], 40), count(blocks_of(whole, 100), 40, tmp_path)
    assert as_dict(held) == as_dict(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.i32", "keys.i64"]
    np.testing.assert_array_equal(held.by_distance(), written.by_distance())


@settings(max_examples=40, deadline=None)
@given(PEOPLE, st.sampled_from([0.3, 0.5, 1.0]), st.integers(1, 4))
def test_rows_weigh_counts_and_keep_the_strongest(
    people: list[Baskets], decay: float, best: int
) -> None:
    counts = count([sequences(people)], ITEMS)
    matrix = transition_matrix(counts, decay, best)
    dense_II, norm_I = np.zeros((ITEMS, ITEMS)), np.zeros(ITEMS)
    for (i, j, d), n in as_dict(counts).items():
        dense_II[i, j] += n * decay ** (d - 1)
        norm_I[i] += n * decay ** (2 * (d - 1))
    np.testing.assert_allclose(matrix.norm_I, norm_I)
    for item in range(ITEMS):
        later, weight = matrix.row(item)
        kept = sorted(range(ITEMS), key=lambda j: (-dense_II[item, j], j))[:best]
        assert later.tolist() == sorted(j for j in kept if dense_II[item, j] > 0)
        np.testing.assert_allclose(weight, dense_II[item, later], rtol=1e-6)


def test_keys_sort_by_the_earlier_item_first() -> None:
    counts = count([sequences([[[5], [1], [5]]])], 6)
    assert counts.rows(5, 6) == slice(1, 3)
    assert (counts.key_P >> ROW_SHIFT).tolist() == [1, 5, 5]
    assert LATER_BITS + DISTANCE_BITS == ROW_SHIFT
