"""User-item cross features: how the user, the item and the two together fared until now.

Everything is counted over strictly earlier events, so no feature sees what came later or at the
same moment. Legend: R requests, N candidates of all requests in order, E events.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from m6rec.text.agreement import Agreement, OwnJudgements, agreement, worths
from m6rec.text.feature_table import Counts, FeatureTable, rates
from m6rec.text.feature_words import FeatureWords
from m6rec.text.judgements import Judgements
from m6rec.text.own_history import Catalogue, Questions, codes_of, count_histories
from m6rec.text.past import PartSums, Past, YesNo, read
from m6rec.text.tally import Codes, Sums
from m6rec.text.templates import Templates

__all__ = ["CrossFeatures", "YesNo"]

log = logging.getLogger(__name__)


class CrossFeatures:
    """Cross features against one log and one catalogue.

    events: user_id, item_id, event, timestamp, value and maybe request_id, in any order; None where
    there is no log. Events of unknown time are left out, since nobody can say what they follow.
    For requests without a time, or of a user without earlier events in the log, the user's side
    is counted over the request's own history; without a time nothing is said about everybody.
    """

    def __init__(
        self, events: pl.DataFrame | None, items: pl.DataFrame, rule: YesNo, templates: Templates
    ) -> None:
        timed = in_time(events) if events is not None else None
        self.rule, self.words = rule, FeatureWords(templates)
        self._recent = int(templates.option("recent"))
        others = None if timed is None else timed["item_id"]
        self._catalogue = Catalogue.read(items, templates.option("cross"), others)
        self._users = Codes([] if timed is None else timed["user_id"])
        self._judged: _JudgedLog | None = None
        self._log = None if timed is None else self._read_log(timed)

    def table(self, pool: pl.DataFrame, rows: pl.DataFrame) -> FeatureTable:
        """Features of every candidate of every request.

        pool, rows: as in `Requests` (the events of histories; user_id, timestamp, start, stop and
        the lists item_ids and texts).
        """
        asked = Questions.of(rows)
        added = read(pool, self.rule)
        own = (pool, rows, self._catalogue, added, self._recent)
        if self._log is None:
            return rates(count_histories(asked, *own, skip=np.zeros(len(asked), dtype=bool)))
        user = self._users.of(rows["user_id"])[asked.request]
        item = self._catalogue.items.of(asked.ids)
        covered = self._log.knows(user, self._log.place(asked.now))
        counts = _over_log(
            self._log, user, item, asked.now, count_histories(asked, *own, skip=covered)
        )
        codes = partial(codes_of, self._catalogue.items)
        histories = OwnJudgements.read(pool, rows, added, self.rule, codes)
        people = self._agreement(asked, user, item, covered, histories)
        return rates(replace(counts, agreement=people))

    def sentences(self, pool: pl.DataFrame, rows: pl.DataFrame) -> list[list[str]]:
        """The features of every candidate in words."""
        return self.words.sentences(self.table(pool, rows))

    def _read_log(self, timed: pl.DataFrame) -> Past:
        user = self._users.of(timed["user_id"])
        item = self._catalogue.items.of(timed["item_id"])
        added = read(timed, self.rule)
        past = Past(user, item, timed["timestamp"].to_numpy(), added, self._catalogue.columns)
        self._judged = _JudgedLog(past, worths(timed, self.rule, added), self._users.names)
        return past

    def _agreement(
        self,
        asked: Questions,
        user: np.ndarray,
        item: np.ndarray,
        covered: np.ndarray,
        own: OwnJudgements,
    ) -> Agreement:
        """At each request's moment; a request without one has nothing of everybody."""
        found = Agreement.unknown(len(asked))
        if self._log is None or self._judged is None:
            return found
        place = self._log.place(asked.now)
        for request, part in asked.in_order():
            held = self._judged.until(int(place[part.start]))
            code = int(user[part.start]) if covered[part.start] else -1
            judged = held.of_user(code) if code >= 0 else own.of(request)
            found.put(part, agreement(held, judged, code, item[part]))
        return found


class _JudgedLog:
    """The judgements of a log up to a place; going on costs what lies between."""

    def __init__(self, past: Past, worth: np.ndarray, names: pl.Series) -> None:
        self._events = pl.DataFrame(
            {
                "user": past.user,
                "item": past.item,
                "judged": past.added.judged,
                "worth": worth,
                "tells": past.added.acted > 0,
                "time": past.time,
            }
        )
        self._names, self._held, self._place = names, Judgements(), len(past) + 1

    def until(self, place: int) -> Judgements:
        """Those of the first `place` events."""
        if place < self._place:
            self._held, self._place = Judgements(), place
            self._held.begin(self._events[:place], self._names)
        for row in self._events[self._place : place].iter_rows():
            user, item, judged, worth, tells, time = row
            self._held.add(user, self._names[user], item, (judged, worth), tells, time)
        self._place = place
        return self._held


def in_time(events: pl.DataFrame) -> pl.DataFrame:
    """Events with a user, an item and a time, in order of time; others are left out and logged."""
    wanted = ["user_id", "item_id", "event", "timestamp", "value", "request_id"]
    kept = (
        events.select(name for name in wanted if name in events.columns)
        .with_columns(pl.col("timestamp").cast(pl.Float64))
        .filter(
            pl.col("timestamp").is_finite(),
            pl.col("user_id").is_not_null(),
            pl.col("item_id").is_not_null(),
        )
        .sort("timestamp", maintain_order=True)
    )
    if kept.height < events.height:
        log.info(
            "cross features: %d of %d events have no time or no item and are not counted",
            events.height - kept.height,
            events.height,
        )
    return kept


def _over_log(
    past: Past, user: np.ndarray, item: np.ndarray, now: np.ndarray, own: Counts
) -> Counts:
    """What the log says before each moment, and the histories of users it does not know yet."""
    place = past.place(now)
    covered = past.knows(user, place)
    count, last = past.of_pair(user, item, place)
    parts = {
        column: PartSums.choose(
            covered, past.of_parts(column, user, item, place), own.parts[column]
        )
        for column in own.parts
    }
    return replace(
        own,
        known=~np.isnan(now),
        everybody=past.everybody(place),
        item=past.of_item(item, place),
        percentile=past.percentile(item, place),
        user=Sums.choose(covered, past.of_user(user, place), own.user),
        own=np.where(covered, count, own.own),
        own_seconds=np.where(covered, now - last, own.own_seconds),
        parts=parts,
    )
