"""How many people stand by each item, kept as events come: the same count as after a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import polars as pl

from m6rec.data.kinds import Reach, Verdict, kind_of
from m6rec.data.schema import event_kind
from m6rec.data.tables import sort_events
from m6rec.data.verdicts import history_verdicts, scale_of, verdict, verdicts
from m6rec.records import Event
from m6rec.stores.journal.base import Body, Journal

OWN = 100_000
"""Newest events of a user that are looked at where something may have been taken back."""
AGAINST = (Verdict.NO, Verdict.UNDONE)


@final
class OwnEvents:
    """What users did, as a journal has it: of each user read once, for one batch of its entries."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read: dict[str, tuple[list[Event], dict[str, list[Event]], tuple[int, int]]] = {}

    def of(self, user_id: str) -> list[Event]:
        """A user's newest OWN events that are about an item, oldest first."""
        return self._of(user_id)[0]

    def about(self, user_id: str, item_id: str) -> list[Event]:
        """Those about one item."""
        return self._of(user_id)[1].get(item_id, [])

    def span(self, user_id: str) -> tuple[int, int]:
        """Numbers of entries: up to the first all are in it, beyond the second none is."""
        return self._of(user_id)[2]

    def _of(self, user_id: str) -> tuple[list[Event], dict[str, list[Event]], tuple[int, int]]:
        if user_id not in self._read:
            low = self._journal.last()
            bodies = self._journal.history(user_id, OWN)
            events = [event_of(body) for body in bodies if body.get("item_id") is not None]
            about: dict[str, list[Event]] = {}
            for event in events:
                about.setdefault(str(event.item_id), []).append(event)
            self._read[user_id] = events, about, (low, self._journal.last())
        return self._read[user_id]


@final
class Choices:
    """Who said yes to which item and stayed with it (data/verdicts.py).

    counts: people by item, in the order of first choices. scale: of the ratings so far.
    """

    def __init__(self, events: pl.DataFrame) -> None:
        """events: of the journal, columns of the canonical table."""
        self.scale = scale_of(events)
        self.counts: Counter[str] = Counter()
        self._items: dict[str, set[str]] = {}
        events = sort_events(events)
        pairs = events.select("user_id", "item_id")
        said = verdicts(events, self.scale)
        against = pairs.filter(np.isin(said, AGAINST))
        self._against: dict[str, set[str]] = {}
        for user_id, item_id in against.iter_rows():
            self._against.setdefault(user_id, set()).add(item_id)
        one: dict[str, str] = {}
        yes = pairs.filter(said == Verdict.YES).drop_nulls().unique(maintain_order=True)
        for user_id, item_id in yes.iter_rows():
            self._items.setdefault(user_id, set()).add(one.setdefault(item_id, item_id))
            self.counts[item_id] += 1

    def take(self, bodies: Iterable[Body], own: OwnEvents) -> bool:
        """Counts events that came. own: of users, in the journal as it is now.

        The journal may be ahead of what is counted, and the same events may come again: neither
        changes a count. False: a rating is beyond the scale, so all has to be counted anew.
        """
        for body in bodies:
            event, user_id = event_of(body), str(body["user_id"])
            if not self._fits(event):
                return False
            if event.item_id is None:
                continue
            says = verdict(event, self.scale)
            reach, against = kind_of(event.event).reach, self.is_against(user_id, event.item_id)
            if says in AGAINST or reach > Reach.NO or against:
                self._against.setdefault(user_id, set()).add(event.item_id)
                said = history_verdicts(own.about(user_id, event.item_id), self.scale)
                self._set(user_id, event.item_id, Verdict.YES in said)
            elif says == Verdict.YES:
                self._set(user_id, event.item_id, True)
        return True

    def is_against(self, user_id: str, item_id: str) -> bool:
        """Whether a user said anything against an item, or took something back."""
        return item_id in self._against.get(user_id, ())

    def users(self) -> list[str]:
        """Everybody who stands by an item, or said anything against one."""
        return list({*self._items, *self._against})

    def forget(self, user_id: str) -> list[str]:
        """Takes a user's choices out of the counts; returns of which items."""
        items = list(self._items.get(user_id, ()))
        for item_id in items:
            self._set(user_id, item_id, False)
        self._against.pop(user_id, None)
        return items

    def _set(self, user_id: str, item_id: str, stands: bool) -> None:
        mine = self._items.setdefault(user_id, set())
        if stands and item_id not in mine:
            mine.add(item_id)
            self.counts[item_id] += 1
        elif not stands and item_id in mine:
            mine.remove(item_id)
            self.counts[item_id] -= 1
            if not self.counts[item_id]:
                del self.counts[item_id]
        if not mine:
            del self._items[user_id]

    def _fits(self, event: Event) -> bool:
        if event.value is None or not kind_of(event.event).rated:
            return True
        return self.scale.lowest <= event.value <= self.scale.highest


def event_of(body: Mapping[str, Any]) -> Event:
    """An event of the journal."""
    names = ("item_id", "text", "query", "timestamp", "value")
    return Event(event_kind(body["event"]), **{name: body.get(name) for name in names})
