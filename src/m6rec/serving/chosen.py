"""What people chose next, counted from a journal while it grows.

An event that says yes of an item is appended to its user's sequence; anything else that changes
what the user chose (a return, a dislike, an event that comes late) has the user's events read again
and the sequence replaced. Both leave the counts of a journal that is read anew.

Legend: E events, C codes (items of the catalogue, and those that only events name).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl

from m6rec.collaborative.counts import TransitionCounts, count
from m6rec.collaborative.live import LiveTransitions
from m6rec.collaborative.live_sequences import LiveSequences, Moment
from m6rec.collaborative.pairs import Sequences
from m6rec.collaborative.sequences import blocks_of, codes_of
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data.kinds import Reach, Verdict, kind_of
from m6rec.data.tables import sort_events
from m6rec.data.verdicts import Scale, history_verdicts, standing, verdict
from m6rec.records import Event
from m6rec.serving.choices import AGAINST, Choices, OwnEvents, event_of
from m6rec.serving.counts_snapshot import CountsSnapshot
from m6rec.serving.known import Known
from m6rec.stores.journal.base import Entry, Journal
from m6rec.tasks.shelf import Shelf


@final
class LiveChosen:
    """Counts of the journal as far as they were told. shelf: the catalogue; items have their places
    as codes at first. Safe to use from threads; one at a time may tell."""

    def __init__(
        self,
        journal: Journal,
        known: Known,
        shelf: Shelf,
        settings: ScoreSettings,
        folder: Path | None = None,
    ) -> None:
        self._journal, self._shelf, self._growing = journal, shelf, threading.Lock()
        self.settings, self._folder = settings, folder
        self.begin(known)

    @property
    def decay(self) -> float:
        """What a choice of a history weighs of the one that came next; 1 while nothing tells."""
        return self.settings.recency_decay if self.live.ordered else 1.0

    def begin(self, known: Known) -> None:
        """Counts all that a journal holds, from a snapshot on where there is one."""
        kept = CountsSnapshot.open(self._folder, self._journal.name, known)
        first = [] if kept is None else kept.item_ids
        codes = codes_of(dict.fromkeys([*first, *self._shelf.place_of]), known.events)
        self._begun, self._ahead = known.number, dict[str, tuple[int, int]]()
        self._dropped = known.dropped
        self._place_C, self._known = np.zeros(0, dtype=np.int64), 0
        scale = known.choices.scale
        sequences, people = sequences_of(known.events, codes, scale)

        def counted(events: pl.DataFrame) -> TransitionCounts:
            some, _ = sequences_of(events, codes, scale, sequences.ordered)
            return count(blocks_of(some), len(codes))

        counts = None
        if kept is not None and kept.ordered == sequences.ordered:
            counts = kept.followed(known.events, counted, len(codes))
        if counts is None:
            counts = count(blocks_of(sequences), len(codes))
        self.live = LiveTransitions(counts, people, codes, self.settings)
        self._grow()

    def save(self, number: int, scale: Scale) -> None:
        """Writes the counts as they are, which are those of the journal up to an entry; nobody may
        tell meanwhile."""
        if self._folder is not None:
            counts = self.live.counts()
            items = list(self.live.codes)[: counts.items]
            kept = CountsSnapshot(counts, items, number, scale, self.live.ordered, self._dropped)
            kept.save(self._folder, self._journal.name)

    def take(self, entries: Iterable[Entry], choices: Choices, own: OwnEvents) -> bool:
        """Counts events that came; `choices` counted them before. own: of users, in the journal as
        it is now. False: the log has times now and
        had none before, so all has to be counted anew."""
        for entry in entries:
            if entry.body.get("item_id") is None or entry.number <= self._begun:
                continue
            if not self.live.ordered and _has_order(entry.body):
                return False
            low, high = self._ahead.get(entry.key, (0, 0))
            if entry.number > low:
                self._count(entry, choices, own, sure=entry.number > high)
        self._grow()
        return True

    def passed(self, number: int) -> None:
        """Says that entries up to this number were told."""
        self._ahead = {user: span for user, span in self._ahead.items() if span[1] > number}

    def pairs(self, user_id: str) -> int:
        """How many pairs a user is counted for."""
        return self.live.pairs(user_id)

    def forget(self, user_id: str) -> int:
        """Takes off all that a user was counted for; returns how many pairs that were."""
        return self.live.erase(user_id)

    def put(self, item_id: str) -> None:
        """Says that an item came to the catalogue, or left it."""
        code = self.live.code(item_id)
        self._grow()
        with self._growing:
            self._place_C[code] = self._shelf.place_of.get(item_id, -1)

    def places(self, code_N: np.ndarray) -> np.ndarray:
        """Places of items by their codes, -1 where the catalogue has none: int64 [N]."""
        if len(code_N) and int(code_N.max()) >= self._known:
            self._grow()
        place_C = self._place_C
        if not len(place_C):
            return np.full(len(code_N), -1)
        return np.where(code_N < 0, -1, place_C[code_N])

    def _grow(self) -> None:
        """Finds the places of codes that are new."""
        with self._growing:
            codes, known = self.live.codes, self._known
            new = list(islice(reversed(codes), len(codes) - known))[::-1]
            if not new:
                return
            total = known + len(new)
            if total > len(self._place_C):
                larger_C = np.full(max(total, 2 * known), -1)
                larger_C[:known] = self._place_C[:known]
                self._place_C = larger_C
            self._place_C[known:total] = self._shelf.places(new)
            self._known = total

    def _count(self, entry: Entry, choices: Choices, own: OwnEvents, sure: bool) -> None:
        event, user_id = event_of(entry.body), entry.key
        assert event.item_id is not None
        says = verdict(event, choices.scale)
        against = choices.is_against(user_id, event.item_id)
        if says in AGAINST or kind_of(event.event).reach > Reach.NO or against or not sure:
            self._read_again(user_id, choices.scale, own)
        elif says == Verdict.YES:
            alone = event.timestamp is None
            moment = entry.at if event.timestamp is None else event.timestamp
            last = self.live.last(user_id)
            if moment > last.time or (moment == last.time and (alone or not last.alone)):
                self.live.append(user_id, event.item_id, moment, alone)
            else:
                self._read_again(user_id, choices.scale, own)

    def _read_again(self, user_id: str, scale: Scale, own: OwnEvents) -> None:
        """The journal may be ahead of what was told: what is read here is not to count twice."""
        self._ahead[user_id] = own.span(user_id)
        baskets, last = _baskets(own.of(user_id), scale)
        self.live.replace(user_id, baskets, last)


def sequences_of(
    events: pl.DataFrame, codes: dict[str, int], scale: Scale, ordered: bool | None = None
) -> tuple[Sequences, LiveSequences]:
    """The choices of a journal's events (serving/known.py), as collaborative/sequences.py has those
    of a table: an event without a time of its own stands alone where it came. ordered: whether
    anything tells what came first; None: as these events say."""
    if ordered is None:
        ordered = bool(events["timed"].any()) or events["position"].count() > 0
    yes = standing(sort_events(events.with_row_index("came")), scale)
    yes = yes.filter(pl.col("user_id").is_not_null())
    alone = ~pl.col("timed") if ordered else pl.lit(value=False)
    moment = pl.col("timestamp") if ordered else pl.lit(0.0)
    place = pl.when(alone).then(pl.col("came") + 1).otherwise(0)
    yes = yes.select("user_id", "item_id", moment=moment, place=place, alone=alone)
    yes = yes.unique(["user_id", "moment", "place", "item_id"], keep="first", maintain_order=True)
    yes = yes.sort("user_id", "moment", "place", maintain_order=True)
    item_E = np.array([codes[one] for one in yes["item_id"].to_list()], dtype=np.int64)
    baskets = yes.select(b=pl.struct("user_id", "moment", "place").rle_id(), u="user_id")
    basket_E = baskets["b"].cast(pl.Int64).to_numpy().copy()
    person_E = yes["user_id"].rle_id().cast(pl.Int64).to_numpy()
    first = np.flatnonzero(np.diff(basket_E, prepend=-1))
    sequences = Sequences(item_E, basket_E, person_E[first], ordered)
    last = yes.group_by("user_id", maintain_order=True).agg(pl.col("moment", "alone").last())
    moments = [Moment(*row) for row in last.select("moment", "alone").iter_rows()]
    return sequences, LiveSequences(sequences, last["user_id"].to_list(), moments)


def _baskets(told: Sequence[Event], scale: Scale) -> tuple[list[list[str]], Moment]:
    """A user's choices by moment, of all their events in order."""
    baskets: list[list[str]] = []
    last = Moment()
    for event, says in zip(told, history_verdicts(told, scale), strict=True):
        if says != Verdict.YES or event.item_id is None:
            continue
        if event.timestamp is None:  # it came before now; what comes next is put behind it
            moment = Moment(time.time(), alone=True)
        else:
            moment = Moment(event.timestamp)
        if baskets and not moment.alone and moment == last:
            baskets[-1].append(event.item_id)
        else:
            baskets.append([event.item_id])
        last = moment
    return baskets, last


def _has_order(body: dict[str, Any]) -> bool:
    return body.get("timestamp") is not None or body.get("position") is not None
