"""What writes, over the catalogue and the users as they are now: for the lane of what writes alone.

Taking in a catalogue costs as much as reading it, so it is done at most for a tenth of the time.
Users who were erased are gone from the tables at once, and from what was opened over them before
the next thing is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, final

from m6rec.data.tables import Dataset
from m6rec.recommender import M6Rec
from m6rec.serving.known import frame_of, without_users
from m6rec.stores.journal.base import Journal

NAMING = ("users", "events", "reviews", "queries")
"""Tables that name users."""


@final
class Writer:
    """`face` over what the journal holds. named: columns that templates name, by table. `ready` is
    for one thread; the rest for any."""

    def __init__(self, face: M6Rec, journal: Journal, named: Mapping[str, Collection[str]]) -> None:
        self._face, self._journal, self._named = face, journal, named
        self._lock = threading.Lock()
        self._items_changed, self._users_left, self._renewed_until = False, False, 0.0

    @property
    def dataset(self) -> Dataset:
        """The tables that it was opened with, and what came since."""
        assert self._face.dataset is not None
        return self._face.dataset

    def items_changed(self) -> None:
        """Says that the catalogue is another one now."""
        self._items_changed = True

    def users(self) -> set[str]:
        """Who is named in the tables."""
        found: set[str] = set()
        for name in NAMING:
            table = getattr(self.dataset, name)
            if table is not None and "user_id" in table.columns:
                found.update(table["user_id"].drop_nulls().unique().to_list())
        return found

    def forget(self, user_ids: list[str]) -> None:
        """Takes users out of the tables."""
        with self._lock:
            self._face.dataset = without_users(self.dataset, user_ids)
            self._users_left = True

    def ready(self) -> M6Rec:
        """What writes, ready for the next thing."""
        renewed = self._items_changed and time.monotonic() >= self._renewed_until
        started = time.monotonic()
        items = None
        if renewed:
            self._items_changed = False
            items = frame_of(list(self._bodies()), "items", self._named["items"])
        if items is not None or self._users_left:
            with self._lock:
                self._users_left = False
                data = self.dataset
                self._face.use(data if items is None else replace(data, items=items))
        if renewed:
            now = time.monotonic()
            self._renewed_until = now + 9 * (now - started)
        return self._face

    def _bodies(self) -> Iterator[dict[str, Any]]:
        last: str | None = None
        while page := self._journal.items(last):
            yield from page
            last = page[-1]["item_id"]
