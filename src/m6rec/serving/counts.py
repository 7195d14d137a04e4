"""What a journal says of behaviour, counted while it grows: choices of items, and cross features.

Counts follow the journal on their own, ahead of vectors, which take time to be made: an event that
was acknowledged is counted before the next answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import final

from m6rec.serving.choices import OwnEvents, event_of
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.counts_snapshot import drop
from m6rec.serving.known import ENTRIES_AT_ONCE, Known
from m6rec.serving.people import People
from m6rec.stores.journal.base import Entry, Journal
from m6rec.tasks.shelf import Shelf
from m6rec.text.feature_state import FeatureState


@final
class Erased:
    """Names of users that are being erased: to look for one takes a hash of everybody."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._names = journal, dict[str, None]()

    def put(self, user_id: str) -> None:
        """Says who is erased, where that is known."""
        self._names[user_id] = None

    def find(self, erased: Entry, users: Iterable[str]) -> str | None:
        """Whom an entry erased, of these; None: nobody of them."""
        salt = erased.body.get("salt")
        for user_id in chain(list(self._names), users):
            if self._journal.masked(user_id, salt) == erased.key:
                self._names[user_id] = None
                return user_id
        return None

    def pop(self, user_id: str) -> None:
        """Forgets the name, after all that held it."""
        self._names.pop(user_id, None)


@final
class LiveCounts:
    """choices: who stands by which item; people: how many, by place; features: for a ranker, where
    there is one; chosen: what people chose next, where retrieval reads it. All hold the journal up
    to entry `number`. shelf: the items that are there. folder: of a snapshot of `chosen`. Safe to
    use from threads."""

    def __init__(
        self,
        journal: Journal,
        known: Known,
        shelf: Shelf,
        features: FeatureState | None,
        chosen: LiveChosen | None = None,
        folder: Path | None = None,
    ) -> None:
        self.chosen, self._folder = chosen, folder
        self.choices = known.choices
        self.features, self.number = features, known.number
        self._journal, self._told = journal, known.number
        self._following = threading.Lock()
        self.people = People(shelf, self.choices.counts)
        self.erased = Erased(journal)

    def tell(self, number: int) -> None:
        """Says that the journal has entries up to this number."""
        self._told = max(self._told, number)

    def keep_up(self) -> None:
        """Counts what it was told of: costs nothing where that is counted already."""
        if self._told > self.number:
            self.catch_up()

    def catch_up(self) -> None:
        """Counts all that the journal holds beyond."""
        with self._following:
            self._follow()

    def save(self) -> None:
        """Writes a snapshot of what people chose next, as of the journal's end."""
        if self.chosen is not None:
            with self._following:
                self._follow()
                self.chosen.save(self.number, self.choices.scale)

    def drop_snapshot(self) -> None:
        """Removes from the disk what a user was counted for who is erased."""
        drop(self._folder)

    def _follow(self) -> None:
        while batch := self._journal.entries(self.number, ENTRIES_AT_ONCE):
            self._count(batch)
            self.number = batch[-1].number
            if self.chosen is not None:
                self.chosen.passed(self.number)

    def _count(self, batch: Sequence[Entry]) -> None:
        events: list[Entry] = []
        for entry in batch:
            if entry.kind == "event":
                events.append(entry)
                self._count_features(entry)
            elif entry.kind == "erase_user":
                self._choose(events)
                events = []
                self._forget(entry)
            elif self.features is not None and entry.kind in ("item", "erase_item"):
                self.features.put_item(entry.key, entry.body if entry.kind == "item" else None)
        self._choose(events)

    def _choose(self, events: Sequence[Entry]) -> None:
        bodies = [entry.body for entry in events]
        own = OwnEvents(self._journal)
        fits = self.choices.take(bodies, own)
        self.people.renew({body["item_id"] for body in bodies if body.get("item_id") is not None})
        if fits and (self.chosen is None or self.chosen.take(events, self.choices, own)):
            return
        known = Known.read(self._journal)
        self.choices = known.choices
        self.people.begin(self.choices.counts)
        if self.chosen is not None:
            self.chosen.begin(known)

    def _forget(self, erased: Entry) -> None:
        """Drops a user who was erased, here or by another server of this journal."""
        self.drop_snapshot()
        features = [] if self.features is None else self.features.users()
        user_id = self.erased.find(erased, {*self.choices.users(), *features})
        if user_id is None:
            return
        self.people.renew(self.choices.forget(user_id))
        if self.chosen is not None:
            self.chosen.forget(user_id)
        if self.features is not None:
            self.features.forget(user_id)

    def _count_features(self, entry: Entry) -> None:
        """An event without a time of its own happened when it came."""
        event = event_of(entry.body)
        if self.features is not None and event.item_id is not None:
            when = entry.at if event.timestamp is None else event.timestamp
            event = replace(event, timestamp=when)
            self.features.update(entry.key, event, entry.body.get("request_id"))
