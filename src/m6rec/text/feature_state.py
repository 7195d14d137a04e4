"""Cross features while events come in: the same numbers as `CrossFeatures`, one event at a time."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from m6rec.records import Event, M6Error, Request
from m6rec.text.feature_table import Counts, FeatureTable, rates
from m6rec.text.feature_words import FeatureWords
from m6rec.text.own_history import Catalogue, Questions, count_histories
from m6rec.text.past import PartSums, YesNo, percentile, pooled, read_one
from m6rec.text.tally import Sums
from m6rec.text.templates import Templates

HISTORY_SCHEMA = {
    "event": pl.String,
    "item_id": pl.String,
    "text": pl.String,
    "timestamp": pl.Float64,
    "value": pl.Float64,
}

REMEMBERED = 1 << 20


@dataclass(slots=True)
class Count:
    """Events of one key: acted, judged, positive."""

    acted: float = 0.0
    judged: float = 0.0
    positive: float = 0.0

    def add(self, other: Count) -> None:
        self.acted += other.acted
        self.judged += other.judged
        self.positive += other.positive


@dataclass(order=True, frozen=True, slots=True)
class Waiting:
    """An event that a later moment will see; ordered by time, then by arrival."""

    timestamp: float
    number: int
    user_id: str = field(compare=False)
    item_id: str = field(compare=False)
    event: Event = field(compare=False)
    request_id: str | None = field(compare=False)


class FeatureState:
    """Counts that grow with the log; asked at a moment, it has seen what lies strictly before.

    Memory grows with users, items, and the pairs of user and item or part of an item that occur.
    Of the judgements within one request (see `past.read`) the newest REMEMBERED are remembered.
    A moment before one already asked about sees what that one saw: nothing is ever taken back.
    """

    def __init__(self, items: pl.DataFrame, rule: YesNo, templates: Templates) -> None:
        self.rule, self.words = rule, FeatureWords(templates)
        self._recent = int(templates.option("recent"))
        self._catalogue = Catalogue.read(items, templates.option("cross"))
        self._waiting: list[Waiting] = []
        self._arrived = 0
        self._everybody = Count()
        self._item: defaultdict[str, Count] = defaultdict(Count)
        self._user: defaultdict[str, Count] = defaultdict(Count)
        self._part: defaultdict[tuple[str, str, int], Count] = defaultdict(Count)
        self._pair: dict[tuple[str, str], tuple[int, float]] = {}
        self._items_with: list[int] = [0, 0]
        self._told: dict[tuple[str, str, str, bool], None] = {}

    def update(self, user_id: str, event: Event, request_id: str | None = None) -> None:
        """Takes in one event with an item and a time (seconds), in any order.

        Raises M6Error for one that lacks them.
        """
        if event.item_id is None or event.timestamp is None or not math.isfinite(event.timestamp):
            raise M6Error(
                f"cross features count events with an item_id and a timestamp; got {event!r}"
            )
        self._arrived += 1
        place = (event.timestamp, self._arrived)
        heapq.heappush(self._waiting, Waiting(*place, user_id, event.item_id, event, request_id))

    def table(self, request: Request) -> FeatureTable:
        """Features of the request's candidates at its timestamp."""
        now = float("nan") if request.timestamp is None else request.timestamp
        while self._waiting and self._waiting[0].timestamp < now:
            self._count(heapq.heappop(self._waiting))
        own = self._own(request, now)
        return rates(own if math.isnan(now) else self._over_log(request, now, own))

    def sentences(self, request: Request) -> list[list[str]]:
        """The features of the request's candidates in words."""
        return self.words.sentences(self.table(request))

    def _count(self, event: Waiting) -> None:
        added = self._added(event)
        user, item = event.user_id, event.item_id
        self._everybody.add(added)
        self._user[user].add(added)
        self._item[item].add(added)
        for column in self._catalogue.columns:
            for part in self._parts(item, column):
                self._part[user, column, part].add(added)
        if added.acted:
            times = int(self._item[item].acted)
            self._items_with.extend([0] * (times + 2 - len(self._items_with)))
            self._items_with[times] += 1
            count, last = self._pair.get((user, item), (0, event.timestamp))
            self._pair[user, item] = (count + 1, max(last, event.timestamp))

    def _added(self, waiting: Waiting) -> Count:
        """What an event adds; of one request, an item is judged once."""
        acted, judged, positive = read_one(waiting.event.event, waiting.event.value, self.rule)
        if self.rule.event is None and waiting.request_id is not None:
            key = (waiting.user_id, waiting.item_id, waiting.request_id)
            judged = judged and self._first((*key, False))
            positive = positive and self._first((*key, True))
        return Count(float(acted), float(judged), float(positive))

    def _first(self, judgement: tuple[str, str, str, bool]) -> bool:
        """Whether it has not been told before; the oldest are forgotten."""
        if judgement in self._told:
            return False
        self._told[judgement] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return True

    def _parts(self, item_id: str, column: str) -> list[int]:
        code = self._catalogue.items.get(item_id)
        parts = self._catalogue.columns[column]
        return [] if code < 0 else parts.part[parts.start[code] : parts.start[code + 1]].tolist()

    def _own(self, request: Request, now: float) -> Counts:
        """What the request's history says; the user's side is left out for users of the log."""
        ids = [candidate.item_id for candidate in request.candidates]
        asked = Questions(
            request=np.zeros(len(ids), dtype=np.int64),
            now=np.full(len(ids), now),
            ids=ids,
            texts=[candidate.text for candidate in request.candidates],
        )
        pool = pl.DataFrame(
            [tuple(getattr(event, name) for name in HISTORY_SCHEMA) for event in request.history],
            schema=HISTORY_SCHEMA,
            orient="row",
        )
        rows = pl.DataFrame({"start": [0], "stop": [pool.height]})
        known = not math.isnan(now) and request.user_id in self._user
        skip = np.full(len(ids), known)
        return count_histories(asked, pool, rows, self._catalogue, self.rule, self._recent, skip)

    def _over_log(self, request: Request, now: float, own: Counts) -> Counts:
        """What the log says, and what the history says of a user it does not know yet."""
        ids = [candidate.item_id or "" for candidate in request.candidates]
        item = _sums([self._item.get(name, Count()) for name in ids])
        times = item.acted.astype(np.int64)
        with_events = np.array(self._items_with, dtype=np.int64)
        counts = replace(
            own,
            known=np.ones(len(ids), dtype=bool),
            everybody=_sums([self._everybody] * len(ids)),
            item=item,
            percentile=percentile(
                times, with_events[times], with_events[times + 1], with_events[1]
            ),
        )
        user = request.user_id
        if user is None or user not in self._user:
            return counts
        pairs = [self._pair.get((user, name), (0, math.nan)) for name in ids]
        return replace(
            counts,
            user=_sums([self._user[user]] * len(ids)),
            own=np.array([count for count, _ in pairs], dtype=np.float64),
            own_seconds=now - np.array([last for _, last in pairs], dtype=np.float64),
            parts={column: self._part_sums(user, column, ids) for column in own.parts},
        )

    def _part_sums(self, user: str, column: str, ids: list[str]) -> PartSums:
        row, found = [], []
        for index, name in enumerate(ids):
            for part in self._parts(name, column):
                row.append(index)
                found.append(self._part.get((user, column, part), Count()))
        return pooled(np.array(row, dtype=np.int64), _sums(found), len(ids))


def _sums(counts: list[Count]) -> Sums:
    rows = [(count.acted, count.judged, count.positive) for count in counts]
    return Sums(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)
