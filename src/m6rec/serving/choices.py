"""How many people stand by each item, kept as events come: the same count as after a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import polars as pl

from m6rec.data.kinds import Reach, Verdict, kind_of
from m6rec.data.schema import event_kind
from m6rec.data.tables import sort_events
from m6rec.data.verdicts import history_verdicts, scale_of, verdict, verdicts
from m6rec.records import Event
from m6rec.stores.journal.base import Body

OWN = 100_000
"""Newest events of a user that are looked at where something may have been taken back."""
AGAINST = (Verdict.NO, Verdict.UNDONE)


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
        self._against = set(against.iter_rows())
        one: dict[str, str] = {}
        yes = pairs.filter(said == Verdict.YES).drop_nulls().unique(maintain_order=True)
        for user_id, item_id in yes.iter_rows():
            self._items.setdefault(user_id, set()).add(one.setdefault(item_id, item_id))
            self.counts[item_id] += 1

    def take(self, bodies: Iterable[Body], own: Callable[[str, int], Sequence[Body]]) -> bool:
        """Counts events that came. own: a user's newest events in the journal, oldest first.

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
            pair = (user_id, event.item_id)
            if says in AGAINST or kind_of(event.event).reach > Reach.NO or pair in self._against:
                self._against.add(pair)
                self._set(pair, self._stands(pair, own))
            elif says == Verdict.YES:
                self._set(pair, True)
        return True

    def is_against(self, user_id: str, item_id: str) -> bool:
        """Whether a user said anything against an item, or took something back."""
        return (user_id, item_id) in self._against

    def users(self) -> list[str]:
        """Everybody who stands by an item, or said anything against one."""
        return list({*self._items, *(user_id for user_id, _ in self._against)})

    def forget(self, user_id: str) -> list[str]:
        """Takes a user's choices out of the counts; returns of which items."""
        items = list(self._items.get(user_id, ()))
        for item_id in items:
            self._set((user_id, item_id), False)
        self._against = {pair for pair in self._against if pair[0] != user_id}
        return items

    def _stands(self, pair: tuple[str, str], own: Callable[[str, int], Sequence[Body]]) -> bool:
        told = [event_of(body) for body in own(pair[0], OWN) if body.get("item_id") == pair[1]]
        return Verdict.YES in history_verdicts(told, self.scale)

    def _set(self, pair: tuple[str, str], stands: bool) -> None:
        user_id, item_id = pair
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
