"""How often an item was chosen so far after another one: whole numbers by pair and distance.

Kept whole, so that every decay of distance can be read from the same counts. A pair and a distance
are one key of 63 bits; keys are sorted, so a row (all pairs of an earlier item) is a slice.

A long log is counted in runs: the keys of each are sorted and written down, then merged range by
range of items. Memory holds one run, or one range.

Legend: E choices, I items, P distinct pairs and distances, A distances (MOST_APART).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from m6rec.collaborative.pairs import Sequences, pairs_of
from m6rec.collaborative.sequences import blocks_of
from m6rec.collaborative.settings import MOST_APART
from m6rec.records import M6Error

LATER_BITS, DISTANCE_BITS = 28, 4
ROW_SHIFT = LATER_BITS + DISTANCE_BITS
LATER, DISTANCE = (1 << LATER_BITS) - 1, (1 << DISTANCE_BITS) - 1
AT_ONCE = 8_000_000
"""Keys of a range that is merged at once (64 MB)."""
IN_A_RUN = 32_000_000
"""Pairs that are put in order at once (256 MB)."""
PAIRED_AT_ONCE = 100_000
"""Choices whose pairs are made at once."""
KEYS, COUNTS = "keys.i64", "counts.i32"
"""The files of counts that are too many for memory: plain numbers, little-endian."""


@dataclass(frozen=True)
class TransitionCounts:
    """key_P: int64, ascending (see `keys_of`). count_P: int32, 1 or more. items: I."""

    key_P: np.ndarray
    count_P: np.ndarray
    items: int

    def rows(self, first: int, stop: int) -> slice:
        """Where the pairs of the earlier items first … stop - 1 lie."""
        bounds = np.array([first, stop], dtype=np.int64) << ROW_SHIFT
        begin, end = np.searchsorted(self.key_P, bounds)
        return slice(int(begin), int(end))

    def by_distance(self, own: bool = False) -> np.ndarray:
        """How many pairs each item begins, by distance: int64 [I, A]. own: with itself alone."""
        total = np.zeros(self.items * MOST_APART, dtype=np.int64)
        for first in range(0, len(self.key_P), AT_ONCE):
            key = self.key_P[first : first + AT_ONCE]
            count = self.count_P[first : first + AT_ONCE]
            if own:
                again = key >> ROW_SHIFT == key >> DISTANCE_BITS & LATER
                key, count = key[again], count[again]
            place = (key >> ROW_SHIFT) * MOST_APART + (key & DISTANCE) - 1
            counts = np.bincount(place, count, len(total))
            total += counts.astype(np.int64)
        return total.reshape(self.items, MOST_APART)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Ranges of earlier items, first and stop, of about AT_ONCE keys each."""
        first = 0
        while first < self.items:
            end = min(self.rows(0, first).stop + AT_ONCE, len(self.key_P))
            stop = self.items if end == len(self.key_P) else int(self.key_P[end] >> ROW_SHIFT)
            stop = max(stop, first + 1)
            yield first, stop
            first = stop


def keys_of(earlier: np.ndarray, later: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """int64 [P]; they sort by the earlier item, then the later one, then the distance."""
    return np.asarray((earlier << ROW_SHIFT) | (later << DISTANCE_BITS) | distance)


def count(blocks: Iterable[Sequences], items: int, folder: Path | None = None) -> TransitionCounts:
    """Counts the pairs of all blocks; one person's choices stand in one block.

    folder: where the counts are written, and mapped into memory from; None: they are held. Blocks
    beyond the first are set down in scratch files there, which are removed.
    Raises M6Error for more items than a key can number.
    """
    if items > LATER:
        raise M6Error(f"{items} items: transitions are counted among at most {LATER}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        runs: list[TransitionCounts] = []
        for key_P, count_P in _runs(blocks):
            run = TransitionCounts(key_P, count_P, items)
            if folder is not None or runs:
                run = _written([run], Path(scratch) / str(len(runs)))
            runs.append(run)
        if not runs:
            return TransitionCounts(np.zeros(0, np.int64), np.zeros(0, np.int32), items)
        if folder is not None:
            return _written(_merged(runs), folder)
        if len(runs) == 1:
            return runs[0]
        parts = list(_merged(runs))
        key_P = np.concatenate([part.key_P for part in parts])
        return TransitionCounts(key_P, np.concatenate([part.count_P for part in parts]), items)


def read_counts(folder: Path, items: int) -> TransitionCounts:
    """Counts that `count` wrote into a folder, mapped into memory."""
    if not (folder / KEYS).stat().st_size:
        return TransitionCounts(np.zeros(0, np.int64), np.zeros(0, np.int32), items)
    key_P = np.memmap(folder / KEYS, dtype="<i8", mode="r")
    return TransitionCounts(key_P, np.memmap(folder / COUNTS, dtype="<i4", mode="r"), items)


def _written(parts: Iterable[TransitionCounts], folder: Path) -> TransitionCounts:
    """Parts in ascending order of keys, one after the other in the files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    items = 0
    with (folder / KEYS).open("wb") as keys, (folder / COUNTS).open("wb") as counts:
        for part in parts:
            part.key_P.tofile(keys)
            part.count_P.tofile(counts)
            items = part.items
    return read_counts(folder, items)


def _runs(blocks: Iterable[Sequences]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Counts of some 32 million pairs at a time, in one piece of memory that is used again: fresh
    memory for every step would take most of the time."""
    room, filled = np.empty(IN_A_RUN, dtype=np.int64), 0
    for block in blocks:
        for part in blocks_of(block, PAIRED_AT_ONCE):
            for found in pairs_of(part):
                key = keys_of(found.earlier, found.later, found.distance)
                if filled and filled + len(key) > len(room):
                    yield _counted(room[:filled])
                    filled = 0
                if len(key) > len(room):
                    yield _counted(key)
                else:
                    room[filled : filled + len(key)] = key
                    filled += len(key)
    if filled:
        yield _counted(room[:filled])


def _counted(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys, which are put in order where they stand, each once, and how often they stand there."""
    key.sort()
    first = _firsts(key)
    return key[first], np.diff(first, append=len(key)).astype(np.int32)


def _firsts(key_N: np.ndarray) -> np.ndarray:
    """Where each key of an ascending array stands first."""
    if not len(key_N):
        return np.zeros(0, dtype=np.int64)
    is_first = np.empty(len(key_N), dtype=bool)
    is_first[0] = True
    np.not_equal(key_N[1:], key_N[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def _merged(runs: list[TransitionCounts]) -> Iterator[TransitionCounts]:
    """The sum of several counts, range by range of earlier items, about AT_ONCE keys in each: a few
    items begin most of the pairs."""
    items = runs[0].items
    size_I = np.zeros(items, dtype=np.int64)
    for run in runs:
        for first in range(0, len(run.key_P), AT_ONCE):
            earlier = run.key_P[first : first + AT_ONCE] >> ROW_SHIFT
            size_I += np.bincount(earlier, minlength=items)
    part_I = np.cumsum(size_I) // AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(part_I)) + 1).tolist(), items]
    for first, stop in pairwise(bounds):
        parts = [run.rows(first, stop) for run in runs]
        keys = [run.key_P[part] for run, part in zip(runs, parts, strict=True)]
        counts = [run.count_P[part] for run, part in zip(runs, parts, strict=True)]
        yield TransitionCounts(*add_counts(np.concatenate(keys), np.concatenate(counts)), items)


def add_counts(key_N: np.ndarray, count_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal keys as one, ascending, with the sum of their counts; sums of 0 are left out."""
    order = np.argsort(key_N, kind="stable")  # merges what is sorted already
    key_N, count_N = key_N[order], count_N[order]
    first = _firsts(key_N)
    if not len(first):
        return key_N, count_N
    total = np.add.reduceat(count_N, first, dtype=np.int64)
    kept = total != 0
    return key_N[first][kept], total[kept].astype(np.int32)
