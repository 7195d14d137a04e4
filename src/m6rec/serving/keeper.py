"""Keeps the journal small: looks now and then whether much of it is of no more use."""

from __future__ import annotations

import logging
import threading
from typing import final

from m6rec.records import M6Error
from m6rec.stores.journal.base import Journal
from m6rec.stores.journal.retention import EVERYTHING, Retention

log = logging.getLogger(__name__)

WORTH_IT, KEEPING = 0.5, 0.2
"""The share of the entries that is of no more use, from which on a journal is compacted; the same
where old events are not kept."""
FIRST_LOOK = 60.0
"""Most seconds before the first look: a server may be started more often than it looks."""


@final
class Keeper:
    """A thread that compacts a journal. seconds: between two looks; 0: it never looks. keep: which
    events stay."""

    def __init__(self, journal: Journal, seconds: float, keep: Retention = EVERYTHING) -> None:
        self._journal, self._seconds, self._keep = journal, seconds, keep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="m6rec-keeper", daemon=True)
        if seconds:
            self._thread.start()

    def _run(self) -> None:
        wait = min(self._seconds, FIRST_LOOK)
        while not self._stop.wait(wait):
            wait = self._seconds
            try:
                done = self._journal.compact(KEEPING if self._keep else WORTH_IT, self._keep)
            except M6Error as error:
                log.warning("the journal was not compacted: %s", type(error).__name__)
                continue
            if done is not None:
                told = {"bytes_before": done.before, "bytes_after": done.after}
                log.info("the journal was compacted", extra={"told": told})

    def close(self) -> None:
        """Waits for what is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
