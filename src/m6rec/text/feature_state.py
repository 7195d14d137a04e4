"""Cross features while events come in: the same numbers as `CrossFeatures`, at any moment.

Legend: R requests, N candidates of all requests in order, E events, P pairs of a user and an item,
I items.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

import numpy as np
import polars as pl

from m6rec.records import Event, M6Error
from m6rec.text.agreement import Agreement, OwnJudgements, agreement, worth, worths
from m6rec.text.feature_table import Counts, FeatureTable, rates
from m6rec.text.feature_words import FeatureWords
from m6rec.text.features import in_time
from m6rec.text.judgements import Judgements
from m6rec.text.live_catalogue import LiveCatalogue, LiveCodes
from m6rec.text.live_counts import NEVER, Count, ItemCounts, Log, Person
from m6rec.text.own_history import Questions, codes_of, count_histories
from m6rec.text.past import PartSums, YesNo, pooled, read, read_one
from m6rec.text.tally import Sums
from m6rec.text.templates import Templates

REMEMBERED = 1 << 20


@dataclass(order=True, frozen=True, slots=True)
class Waiting:
    """An event that a later moment will see; ordered by time, then by arrival."""

    timestamp: float
    number: int
    user_id: str = field(compare=False)
    item_id: str = field(compare=False)
    event: Event = field(compare=False)
    request_id: str | None = field(compare=False)


@final
class FeatureState:
    """Counts that grow with the log; asked at a moment, it has seen what lies strictly before.

    Memory grows with users, items, and the pairs of user and item that occur. Of the judgements
    within one request (see `past.read`) the newest REMEMBERED are remembered. A moment before one
    already asked about sees what that one saw: time does not run back. Safe to use from threads.

    events: a log to begin with, columns as in `CrossFeatures`, counted at once up to `now`.
    """

    def __init__(
        self,
        items: pl.DataFrame,
        rule: YesNo,
        templates: Templates,
        events: pl.DataFrame | None = None,
        now: float = math.inf,
    ) -> None:
        self.rule, self.words = rule, FeatureWords(templates)
        self._recent = int(templates.option("recent"))
        self._catalogue = LiveCatalogue(templates.option("cross"))
        self._catalogue.read(items)
        self._lock = threading.RLock()
        self._waiting: list[Waiting] = []
        self._arrived = 0
        self._everybody = Count()
        self._items = ItemCounts()
        self._people: dict[str, Person] = {}
        self._told: dict[tuple[str, str, str, bool], None] = {}
        self._judgements, self._judges = Judgements(), LiveCodes()
        self._log = Log.empty()
        if events is not None:
            self._begin(in_time(events), now)

    def _begin(self, timed: pl.DataFrame, now: float) -> None:
        past = timed.filter(pl.col("timestamp") < now)
        for item_id in past["item_id"].unique().sort():
            self._catalogue.items.add(item_id)
        self._log, told = Log.of(past, self._catalogue.items, self.rule, REMEMBERED)
        self._told = dict.fromkeys(told)
        self._everybody.add(self._log.everybody())
        self._items.begin(*self._log.of_items(len(self._catalogue.items)))
        self._begin_judgements(past)
        for row in timed.filter(pl.col("timestamp") >= now).iter_rows(named=True):
            event = Event(
                row["event"], row["item_id"], timestamp=row["timestamp"], value=row["value"]
            )
            self.update(row["user_id"], event, row.get("request_id"))

    def _begin_judgements(self, past: pl.DataFrame) -> None:
        names = past["user_id"].unique(maintain_order=True)
        for name in names:
            self._judges.add(name)
        added = read(past, self.rule)
        events = {
            "user": self._judges.of(past["user_id"]),
            "item": self._catalogue.items.of(past["item_id"]),
            "judged": added.judged,
            "worth": worths(past, self.rule, added),
            "tells": added.acted > 0,
            "time": past["timestamp"].to_numpy(),
        }
        self._judgements.begin(pl.DataFrame(events), names)

    def put_item(self, item_id: str, row: Mapping[str, object] | None) -> None:
        """Adds an item, or replaces it; None: it is gone, and what the log says of it stays."""
        with self._lock:
            self._catalogue.put(item_id, row)

    def update(self, user_id: str, event: Event, request_id: str | None = None) -> None:
        """Takes in one event with an item and a time (seconds), in any order.

        Raises M6Error for one that lacks them.
        """
        if event.item_id is None or event.timestamp is None or not math.isfinite(event.timestamp):
            raise M6Error(
                f"cross features count events with an item_id and a timestamp; got {event!r}"
            )
        with self._lock:
            self._arrived += 1
            place = (event.timestamp, self._arrived)
            coming = Waiting(*place, user_id, event.item_id, event, request_id)
            heapq.heappush(self._waiting, coming)

    def users(self) -> list[str]:
        """Everybody who is counted."""
        with self._lock:
            waiting = (one.user_id for one in self._waiting)
            return list(dict.fromkeys((*self._people, *self._log.users(), *waiting)))

    def forget(self, user_id: str) -> None:
        """Takes a user and all their events out of every count."""
        with self._lock:
            person = self._person(user_id)
            if person is not None:
                self._everybody.take(person.total)
                for item, pair in person.items.items():
                    self._items.take(item, pair)
            self._people.pop(user_id, None)
            self._judgements.forget(self._judges.get(user_id))
            self._log.forget(user_id)
            self._told = {key: None for key in self._told if key[0] != user_id}
            self._waiting = [one for one in self._waiting if one.user_id != user_id]
            heapq.heapify(self._waiting)

    def table(self, pool: pl.DataFrame, rows: pl.DataFrame) -> FeatureTable:
        """Features of every candidate of every request, each at its request's timestamp.

        pool, rows: as in `Requests`.
        """
        asked = Questions.of(rows)
        with self._lock:
            added = read(pool, self.rule)
            said = self._said(asked, pool, rows, added)
            own = count_histories(
                asked, pool, rows, self._catalogue, added, self._recent, said.covered
            )
            return rates(said.beside(own))

    def sentences(self, pool: pl.DataFrame, rows: pl.DataFrame) -> list[list[str]]:
        """The features of every candidate in words."""
        return self.words.sentences(self.table(pool, rows))

    def _person(self, user_id: str | None) -> Person | None:
        """What is counted of a user; None: nothing yet."""
        if user_id is None:
            return None
        person = self._people.get(user_id) or self._log.person(user_id)
        if person is not None:
            self._people[user_id] = person
        return person

    def _count_until(self, now: float) -> None:
        while self._waiting and self._waiting[0].timestamp < now:
            self._count(heapq.heappop(self._waiting))

    def _count(self, event: Waiting) -> None:
        item = self._catalogue.items.add(event.item_id)
        added = self._added(event)
        person = self._person(event.user_id)
        if person is None:
            person = self._people[event.user_id] = Person()
        self._everybody.add(added)
        self._items.add(item, added)
        person.add(item, added, event.timestamp)
        said = worth(event.event.value, added.judged > 0, added.positive > 0, self.rule)
        self._judgements.add(
            self._judges.add(event.user_id),
            event.user_id,
            item,
            (added.judged, said),
            added.acted > 0,
            event.timestamp,
        )

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

    def _said(self, asked: Questions, pool: pl.DataFrame, rows: pl.DataFrame, added: Sums) -> _Said:
        """What the log says of every candidate, each request at its own moment."""
        columns = self._catalogue.columns
        said = _Said.nothing(len(asked), list(columns))
        users = rows["user_id"].to_list()
        codes = partial(codes_of, self._catalogue.items)
        own = OwnJudgements.read(pool, rows, added, self.rule, codes)
        for request, part in asked.in_order():
            now = float(asked.now[part.start])
            self._count_until(now)
            item = self._catalogue.items.of(asked.ids[part])
            said.known[part] = True
            said.everybody[part] = self._everybody.row()
            said.item[part], said.percentile[part] = self._items.of(item)
            person = self._person(users[request])
            judge = -1 if person is None else self._judges.get(users[request])
            judged = own.of(request) if person is None else self._judgements.of_user(judge)
            said.agreement.put(part, agreement(self._judgements, judged, judge, item))
            if person is None:
                continue
            said.covered[part] = True
            said.user[part] = person.total.row()
            pairs = [person.items.get(code) for code in item.tolist()]
            said.own[part] = [0.0 if pair is None else pair.acted for pair in pairs]
            last = np.array([NEVER if pair is None else pair.last for pair in pairs])
            said.own_seconds[part] = now - np.where(np.isfinite(last), last, np.nan)
            for column, parts in columns.items():
                of_part = person.of_parts(column, parts, self._catalogue.version)
                row_M, part_M = parts.explode(item)
                sums = [of_part.get(code, (0.0, 0.0, 0.0)) for code in part_M.tolist()]
                sums_M3 = np.array(sums, dtype=np.float64).reshape(-1, 3)
                found = pooled(row_M, Sums(*sums_M3.T), len(item))
                said.parts[column][part] = np.stack([found.most, found.judged, found.positive], 1)
        return said


@dataclass(frozen=True)
class _Said:
    """Counts over the log for N candidates: float64 [N], or [N, 3] (acted, judged, positive)."""

    known: np.ndarray
    covered: np.ndarray
    everybody: np.ndarray
    item: np.ndarray
    percentile: np.ndarray
    user: np.ndarray
    own: np.ndarray
    own_seconds: np.ndarray
    parts: dict[str, np.ndarray]
    agreement: Agreement

    @classmethod
    def nothing(cls, count: int, columns: list[str]) -> _Said:
        three, no, nan = (count, 3), np.zeros(count, dtype=bool), np.full(count, np.nan)
        return cls(
            known=no.copy(),
            covered=no.copy(),
            everybody=np.zeros(three),
            item=np.zeros(three),
            percentile=nan.copy(),
            user=np.zeros(three),
            own=np.zeros(count),
            own_seconds=nan.copy(),
            parts={column: np.full(three, np.nan) for column in columns},
            agreement=Agreement.unknown(count),
        )

    def beside(self, own: Counts) -> Counts:
        """With what histories say of users whom the log does not know yet."""
        covered = self.covered
        return replace(
            own,
            known=self.known,
            everybody=Sums(*self.everybody.T),
            item=Sums(*self.item.T),
            percentile=self.percentile,
            user=Sums.choose(covered, Sums(*self.user.T), own.user),
            own=np.where(covered, self.own, own.own),
            own_seconds=np.where(covered, self.own_seconds, own.own_seconds),
            parts={
                column: PartSums.choose(covered, PartSums(*part.T), own.parts[column])
                for column, part in self.parts.items()
            },
            agreement=self.agreement,
        )
