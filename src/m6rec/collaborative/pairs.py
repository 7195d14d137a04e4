"""Which choices of one person are a pair, and how far they lie apart.

A person's choices are a sequence of baskets: choices of the same moment, whose order means nothing.
The distance of two choices is the mean of their distance over all orders within the baskets,
rounded (half up): for a log whose moments differ it is the difference of their places. So within a
basket of m choices it is (m + 1) / 3, in both directions; between a basket of m and a later one of
n, with c choices between them, c + (m + n) / 2. Pairs beyond MOST_APART are none, so a basket of
more than 30 says nothing: what was bought for a whole shop at once tells little of any two of it.

Without any order, a person's items are one set: every two of them lie one apart.

Legend: E choices, B baskets, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from m6rec.collaborative.settings import MOST_APART

MOST_UNORDERED = 100
"""Items of a set that are paired; of a larger set these are drawn by their number."""
MIXER = 0x9E3779B97F4A7C15
"""Knuth's multiplier: spreads numbers, so that a draw by them is no choice by catalogue order."""

Number = TypeVar("Number", int, np.ndarray)


@dataclass(frozen=True)
class Sequences:
    """Choices of many people, each person's together, oldest first.

    item_E: int64 item codes. basket_E: int64, never decreasing, a number for each basket; no item
    stands twice in a basket. person_B: int64 [B], whose basket it is, B = basket_E[-1] + 1.
    ordered: False where nothing tells what came first; then each person has one basket.
    """

    item_E: np.ndarray
    basket_E: np.ndarray
    person_B: np.ndarray
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.item_E)


@dataclass(frozen=True)
class Pairs:
    """Item codes of the earlier and the later one, and their distance: int64 [P] each."""

    earlier: np.ndarray
    later: np.ndarray
    distance: np.ndarray


def distance_within(size: Number) -> Number:
    """Of two choices of a basket of `size`."""
    return (2 * size + 5) // 6


def distance_between(size: Number, later_size: Number, between: Number) -> Number:
    """Of a choice of a basket and one of a later basket, with `between` choices between them."""
    return (size + later_size + 2 * between + 1) // 2  # type: ignore[no-any-return]


def pairs_of(sequences: Sequences) -> Iterator[Pairs]:
    """All pairs, in parts: those within baskets, then those with the next basket, and so on."""
    size_B = np.bincount(sequences.basket_E, minlength=len(sequences.person_B)).astype(np.int64)
    start_B = np.cumsum(size_B) - size_B
    if not sequences.ordered:
        yield _unordered(sequences, start_B, size_B)
        return
    inner = np.flatnonzero((size_B > 1) & (distance_within(size_B) <= MOST_APART))
    if inner.size:
        far = distance_within(size_B[inner])
        found = _product(sequences.item_E, start_B, size_B, inner, inner, far)
        other = found.earlier != found.later
        yield Pairs(found.earlier[other], found.later[other], found.distance[other])
    for step in range(1, MOST_APART + 1):
        one = np.arange(len(size_B) - step)
        one = one[sequences.person_B[:-step] == sequences.person_B[step:]] if one.size else one
        other = one + step
        between = start_B[other] - start_B[one] - size_B[one]
        far = distance_between(size_B[one], size_B[other], between)
        near = far <= MOST_APART
        if not near.any():
            return
        yield _product(sequences.item_E, start_B, size_B, one[near], other[near], far[near])


def _product(
    item_E: np.ndarray,
    start_B: np.ndarray,
    size_B: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    distance: np.ndarray,
) -> Pairs:
    """Every choice of `one` with every choice of `other`, basket by basket."""
    m, n = size_B[one], size_B[other]
    total = m * n
    if (total == 1).all():
        return Pairs(item_E[start_B[one]], item_E[start_B[other]], distance)
    which = np.repeat(np.arange(len(one)), total)
    place = np.arange(len(which)) - np.repeat(np.cumsum(total) - total, total)
    earlier = item_E[start_B[one][which] + place // n[which]]
    later = item_E[start_B[other][which] + place % n[which]]
    return Pairs(earlier, later, distance[which])


def _unordered(sequences: Sequences, start_B: np.ndarray, size_B: np.ndarray) -> Pairs:
    kept = np.ones(len(sequences), dtype=bool)
    for basket in np.flatnonzero(size_B > MOST_UNORDERED):
        items = slice(start_B[basket], start_B[basket] + size_B[basket])
        kept[items] = drawn(sequences.item_E[items])
    item_E = sequences.item_E[kept]
    size_B = np.bincount(sequences.basket_E[kept], minlength=len(size_B)).astype(np.int64)
    start_B = np.cumsum(size_B) - size_B
    every = np.flatnonzero(size_B > 1)
    found = _product(item_E, start_B, size_B, every, every, np.ones(len(every), dtype=np.int64))
    other = found.earlier != found.later
    return Pairs(found.earlier[other], found.later[other], found.distance[other])


def drawn(item_N: np.ndarray) -> np.ndarray:
    """bool [N]: which items of a large set are paired; in any order they are the same ones."""
    mixed = item_N.astype(np.uint64) * np.uint64(MIXER)
    kept = np.zeros(len(item_N), dtype=bool)
    kept[np.argsort(mixed, kind="stable")[:MOST_UNORDERED]] = True
    return kept


def pairs_of_one(
    baskets: Sequence[Sequence[int]], ordered: bool = True
) -> Iterator[tuple[int, int, int]]:
    """`pairs_of` for one person's baskets, without arrays: earlier, later, distance."""
    if not ordered:
        items = [item for basket in baskets for item in basket]
        if len(items) > MOST_UNORDERED:
            items = np.array(items)[drawn(np.array(items))].tolist()
        yield from ((i, j, 1) for i in items for j in items if i != j)
        return
    for place, basket in enumerate(baskets):
        yield from _within(basket)
        between = 0
        for later in baskets[place + 1 :]:
            distance = distance_between(len(basket), len(later), between)
            if distance <= MOST_APART:
                yield from ((i, j, distance) for i in basket for j in later)
            between += len(later)
            if between >= MOST_APART:
                break


def _within(basket: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    distance = distance_within(len(basket))
    if len(basket) > 1 and distance <= MOST_APART:
        yield from ((i, j, distance) for i in basket for j in basket if i != j)
