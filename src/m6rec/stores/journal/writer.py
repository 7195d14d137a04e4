"""Group commit: one thread writes, and what waits meanwhile shares its next transaction.

A flush to the disk takes as long for one event as for a thousand, so callers who come at once wait
for one flush together. The queue has an end: what does not fit is refused at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from m6rec.stores.journal.base import JournalBusy, JournalError

MOST_WAITING = 50_000
"""Bodies in the queue; one request may be larger when nothing else waits."""
AT_ONCE = 5_000
"""Bodies of one transaction, roughly: what came first is not kept waiting by what came later."""


@dataclass(frozen=True)
class Job:
    """Something to write. size: bodies. alone: it runs by itself, outside a transaction."""

    work: Callable[[], Any]
    size: int
    future: Future[Any]
    alone: bool = False


class GroupWriter:
    """A queue and its thread. write: runs jobs as one transaction and settles their futures."""

    def __init__(
        self, write: Callable[[Sequence[Job]], None], most_waiting: int = MOST_WAITING
    ) -> None:
        self._write, self._most_waiting = write, most_waiting
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="m6rec-journal", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Bodies in the queue and in the transaction that runs."""
        return self._waiting

    def submit(self, work: Callable[[], Any], size: int, alone: bool = False) -> Future[Any]:
        """Puts work into the queue. Raises JournalBusy where it does not fit."""
        future: Future[Any] = Future()
        with self._changed:
            if not self._open:
                raise JournalError("the journal is closed")
            if self._waiting and self._waiting + size > self._most_waiting:
                raise JournalBusy(
                    f"{self._waiting:,} entries wait to be written; {size:,} more do not fit"
                )
            self._jobs.append(Job(work, size, future, alone))
            self._waiting += size
            self._changed.notify_all()
        return future

    def _run(self) -> None:
        while jobs := self._take():
            size = sum(job.size for job in jobs)
            wanted = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            try:
                self._write(wanted)
            except BaseException as error:
                for job in wanted:
                    if not job.future.done():
                        job.future.set_exception(error)
            with self._changed:
                self._waiting -= size

    def _take(self) -> list[Job]:
        """The jobs of the next transaction, once there are any; none: the journal is closed."""
        with self._changed:
            while not self._jobs and self._open:
                self._changed.wait()
            taken: list[Job] = []
            size = 0
            while self._jobs and (not taken or size + self._jobs[0].size <= AT_ONCE):
                if self._jobs[0].alone and taken:
                    break
                taken.append(self._jobs.popleft())
                size += taken[-1].size
                if taken[-1].alone:
                    break
            return taken

    def close(self) -> None:
        """Writes what waits, and takes nothing more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()
