"""Transitions that follow a log as it grows: exact after additions, late events and erasures.

Counts of a log (`counts.count`) lie below; what came since lies above as whole numbers by pair and
distance, more or less. A change of somebody's sequence takes off the pairs of the window around it
and adds those of the window as it is now: within a basket all distances change with its size, and
so do those across it. A row is read from both together, whole, and cut to its strongest then.

Legend: I items, N pairs of a row, P pairs.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np

from m6rec.collaborative.counts import (
    DISTANCE_BITS,
    ROW_SHIFT,
    TransitionCounts,
    add_counts,
)
from m6rec.collaborative.live_rows import LiveRow
from m6rec.collaborative.live_sequences import Baskets, LiveSequences, Moment
from m6rec.collaborative.matrix import norms, own_weights
from m6rec.collaborative.pairs import distance_between, pairs_of_one
from m6rec.collaborative.repeats import LiveRepeats, Repeats
from m6rec.collaborative.settings import MOST_APART, ScoreSettings

MOST_ROWS = 100_000
"""Rows that are kept ready, some 300 MB with 300 pairs each."""
FOLDED = 1_000_000
"""Pairs above from which on they are counted into those below."""
Change = dict[int, dict[int, int]]
"""Earlier item → later item and distance → how often, more or less."""
NOTHING: dict[int, int] = {}


@final
class LiveTransitions:
    """Safe to use from threads. base: counts of the sequences, their items numbered by `codes`,
    which grow."""

    def __init__(
        self,
        base: TransitionCounts,
        sequences: LiveSequences,
        codes: dict[str, int],
        settings: ScoreSettings | None = None,
    ) -> None:
        self.settings, self.codes = settings or ScoreSettings(), codes
        self._base, self._sequences = base, sequences
        self._above: Change = {}
        self._folding: Change = {}
        self._rows: dict[int, LiveRow] = {}
        decay = self.settings.distance_decay
        norm_I = norms(base.by_distance(), decay)
        self._repeats = LiveRepeats(
            own_weights(base, decay), norm_I, decay, self.settings.shrinkage
        )
        self._lock = threading.RLock()
        self._changes = 0

    @property
    def ordered(self) -> bool:
        """Whether anything tells what came first."""
        return self._sequences.ordered

    def names(self) -> list[str]:
        """Everybody who chose something."""
        with self._lock:
            return self._sequences.names()

    def last(self, person: str) -> Moment:
        """When a person chose last."""
        with self._lock:
            return self._sequences.of(person)[1]

    def code(self, item_id: str) -> int:
        """The number of an item, which it has from now on."""
        return self.codes.setdefault(item_id, len(self.codes))

    def append(self, person: str, item_id: str, time: float, alone: bool = False) -> None:
        """One more choice, not earlier than the person's last one. alone: nothing else may be of
        its moment. Raises ValueError where it came earlier; then `replace` is right."""
        with self._lock:
            item = self.code(item_id)
            baskets, last = self._sequences.of(person)
            if time < last.time or (time == last.time and last.alone and not alone):
                raise ValueError(f"{time}: earlier than the last choice at {last.time}")
            if not self.ordered or (time == last.time and not alone and baskets):
                basket = baskets[-1] if baskets else []
                if item not in basket:
                    self._replace(person, [*baskets[:-1], [*basket, item]], Moment(time, alone))
                return
            self._count_last(baskets, item)
            baskets.append([item])
            self._sequences.put(person, baskets, Moment(time, alone))

    def replace(self, person: str, baskets: Sequence[Sequence[str]], last: Moment) -> None:
        """A person's choices are these now, oldest first; `last`: when the last one was.

        For all that `append` can not do: late events, choices that are taken back."""
        with self._lock:
            coded = [list(dict.fromkeys(map(self.code, basket))) for basket in baskets]
            if not self.ordered:
                coded = [list(dict.fromkeys(item for basket in coded for item in basket))]
            self._replace(person, [basket for basket in coded if basket], last)

    def pairs(self, person: str) -> int:
        """How many pairs a person is counted for."""
        with self._lock:
            return sum(1 for _ in pairs_of_one(self._sequences.of(person)[0], self.ordered))

    def erase(self, person: str) -> int:
        """Takes off all that a person was counted for; returns how many pairs that were."""
        with self._lock:
            pairs = self.pairs(person)
            self._replace(person, [], Moment())
            return pairs

    def row(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """The strongest later items of an item and their weights: int32 and float32 [N]."""
        with self._lock:
            return self._ready(item).shown

    def counted(self, item_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of items, the weight of all pairs with themselves (R_ii), and the sum of squared weights
        of all pairs that they begin (a_i): float64 [N] each."""
        with self._lock:
            return self._repeats.counted(item_N)

    def repeats(self) -> Repeats:
        """What the log says of repeats."""
        with self._lock:
            return self._repeats.repeats()

    def repeat_rates(self, item_N: np.ndarray) -> np.ndarray:
        """How often items are chosen again: float64 [N]."""
        with self._lock:
            counted = self._repeats.counted(item_N)
            return self._repeats.repeats().of(*counted)

    def counts(self) -> TransitionCounts:
        """All counts as they are now."""
        with self._lock:
            return self._summed(self._base, [self._above, self._folding])

    def fold(self, least: int = FOLDED) -> bool:
        """Counts what lies above into what lies below, where so many changes came; rows are read
        meanwhile. One thread at a time. True: it did."""
        if self._changes < least:
            return False
        with self._lock:
            self._folding, self._above, self._changes = self._above, {}, 0
        base = self._summed(self._base, [self._folding])
        with self._lock:
            self._base, self._folding = base, {}
            for row in self._rows.values():
                row.place = None
        return True

    def _summed(self, base: TransitionCounts, changes: Sequence[Change]) -> TransitionCounts:
        parts = [_keys_above(item, row) for change in changes for item, row in change.items()]
        if not parts:
            return TransitionCounts(base.key_P, base.count_P, len(self.codes))
        above = add_counts(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        return TransitionCounts(*_sum([(base.key_P, base.count_P), above]), len(self.codes))

    def _count_last(self, baskets: Baskets, item: int) -> None:
        """Counts one choice in a basket of its own behind all others: it changes nothing else."""
        between, above, shifted = 0, self._above, item << DISTANCE_BITS
        for basket in reversed(baskets):
            size = len(basket)
            distance = between + 1 if size == 1 else distance_between(size, 1, between)
            if distance <= MOST_APART:
                key = shifted | distance
                for earlier in basket:
                    row = above.get(earlier)
                    if row is None:
                        row = above[earlier] = {}
                    row[key] = row.get(key, 0) + 1
                    self._repeats.change(earlier, item, distance, 1)
                    if earlier in self._rows:
                        self._rows[earlier].changed.add(item)
                self._changes += size
            between += size
            if between >= MOST_APART:
                return

    def _replace(self, person: str, baskets: Baskets, moment: Moment) -> None:
        before, _ = self._sequences.of(person)
        old, new = _window(before, baskets) if self.ordered else (before, baskets)
        change = Counter(pairs_of_one(new, self.ordered))
        change.subtract(pairs_of_one(old, self.ordered))
        for (earlier, later, distance), times in change.items():
            if times:
                self._change(earlier, later, distance, times)
        self._sequences.put(person, baskets, moment)

    def _change(self, earlier: int, later: int, distance: int, times: int) -> None:
        above = self._above.setdefault(earlier, {})
        key = later << DISTANCE_BITS | distance
        above[key] = above.get(key, 0) + times
        self._changes += 1
        self._repeats.change(earlier, later, distance, times)
        if earlier in self._rows:
            self._rows[earlier].changed.add(later)

    def _ready(self, item: int) -> LiveRow:
        row = self._rows.get(item)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                del self._rows[next(iter(self._rows))]
            settings = self.settings
            row = LiveRow.of(*self._pairs(item), settings.distance_decay, settings.best_per_item)
            self._rows[item] = row
        elif row.changed:
            if row.place is None:
                row.place = self._base.rows(item, item + 1)
            if not row.renew(self._some(item, row.place, row.changed)):
                del self._rows[item]
                return self._ready(item)
        return row

    def _pairs(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys and counts of a whole row."""
        place = self._base.rows(item, item + 1)
        parts = [(self._base.key_P[place], self._base.count_P[place])]
        for change in (self._folding, self._above):
            if row := change.get(item):
                parts.append(_keys_above(item, row))
        return _sum(parts)

    def _some(
        self, item: int, place: slice, laters: Iterable[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keys and counts of some pairs of a row. place: where the row lies in the base."""
        above, folding = self._above.get(item, NOTHING), self._folding.get(item, NOTHING)
        some: dict[int, int] = {}
        order = sorted(laters)
        for later in order:
            for distance in range(1, MOST_APART + 1):
                key = later << DISTANCE_BITS | distance
                if times := above.get(key, 0) + folding.get(key, 0):
                    some[key] = times
        parts = [_keys_above(item, some)]
        key_N, count_N = self._base.key_P[place], self._base.count_P[place]
        first = np.array(order, dtype=np.int64) << DISTANCE_BITS | item << ROW_SHIFT
        begin, end = key_N.searchsorted(first), key_N.searchsorted(first + MOST_APART, "right")
        for start, stop in zip(begin.tolist(), end.tolist(), strict=True):
            if start < stop:
                parts.append((key_N[start:stop], count_N[start:stop]))
        return _sum(parts)


def _keys_above(item: int, row: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Keys and counts of what lies above."""
    key = np.fromiter(row.keys(), dtype=np.int64, count=len(row)) | item << ROW_SHIFT
    return key, np.fromiter(row.values(), dtype=np.int32, count=len(row))


def _sum(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    keys, counts = zip(*parts, strict=True)
    return add_counts(np.concatenate(keys), np.concatenate(counts))


def _window(before: Baskets, after: Baskets) -> tuple[Baskets, Baskets]:
    """What two sequences differ in, and around it all that a pair may reach from there."""
    least = min(len(before), len(after))
    head = 0
    while head < least and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < least - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    start, reached = head, 0
    while start and reached < MOST_APART:
        start -= 1
        reached += len(before[start])
    stop, reached = tail, 0
    while stop and reached < MOST_APART:
        reached += len(before[-stop])
        stop -= 1
    return before[start : len(before) - stop], after[start : len(after) - stop]
