"""Micro-batching: requests that arrive together are answered together, within a latency budget.

A worker thread takes what waits, at most `most` requests, after at most `wait_ms` since the oldest
came. While it ends a batch, another begins the next. Clients take turns, so nobody's flood delays
the others by more than one batch of theirs. A cancelled request is never computed; an error reaches
the request it belongs to alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import Field

from m6rec.config import Settings
from m6rec.records import M6Error

A = TypeVar("A")
R = TypeVar("R")


class OverloadedError(M6Error):
    """More requests wait than the queue may hold; the caller should try again later."""


class ClosedError(M6Error):
    """The batcher was closed before the request was answered."""


class BatchSettings(Settings):
    """wait_ms: how long a request may wait for company. most: requests in a batch; on a CPU more
    gain little and wait for each other. waiting: how many may wait before new ones are refused.
    workers: batches that are under way at once."""

    wait_ms: float = Field(default=2.0, ge=0)
    most: int = Field(default=4, ge=1)
    waiting: int = Field(default=1024, ge=1)
    workers: int = Field(default=2, ge=1)


@dataclass(eq=False)
class _Job(Generic[A, R]):
    ask: A
    future: Future[R] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)


_Begun = tuple[list[_Job[A, R]], Callable[[], Sequence[R]]]
"""Jobs, and what ends them."""


class Batcher(Generic[A, R]):
    """Calls `begin` with batches of asks, and what it returns, in threads of its own.

    begin: asks → what ends them: a function without arguments that gives answers in the same order.
    `begin` is never called by two threads at once, what it returns runs beside all else. With
    asyncio: `await asyncio.wrap_future(batcher.submit(ask))`.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[A]], Callable[[], Sequence[R]]],
        settings: BatchSettings | None = None,
    ) -> None:
        self._begin, self.settings = begin, settings or BatchSettings()
        self._queues: dict[Hashable, deque[_Job[A, R]]] = {}
        self._count, self._closed = 0, False
        self._changed, self._turn = threading.Condition(), threading.Lock()
        self._workers = [
            threading.Thread(target=self._work, name=f"m6rec-batcher-{n}", daemon=True)
            for n in range(self.settings.workers)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, ask: A, client: Hashable = None) -> Future[R]:
        """The answer to come. client: whose turn it takes.

        Raises OverloadedError where too many wait, ClosedError after `close`.
        """
        job: _Job[A, R] = _Job(ask)
        with self._changed:
            if self._closed:
                raise ClosedError("the batcher is closed")
            if self._count >= self.settings.waiting:
                raise OverloadedError(
                    f"{self._count} requests wait already; at most {self.settings.waiting} may"
                )
            self._queues.setdefault(client, deque()).append(job)
            self._count += 1
            self._changed.notify()
        job.future.add_done_callback(lambda future: self._leave(client, job))
        return job.future

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._count

    def _leave(self, client: Hashable, job: _Job[A, R]) -> None:
        """A request that was cancelled waits no longer, and takes nobody's place."""
        with self._changed:
            queue = self._queues.get(client)
            if queue is None or job not in queue:
                return
            queue.remove(job)
            self._count -= 1
            if not queue:
                del self._queues[client]

    def close(self) -> None:
        """Answers nothing more: what waits fails with ClosedError. Waits for the workers to end."""
        with self._changed:
            self._closed = True
            left = [job for queue in self._queues.values() for job in queue]
            self._queues.clear()
            self._count = 0
            self._changed.notify_all()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ClosedError("the batcher was closed"))
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join()

    def __enter__(self) -> Batcher[A, R]:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _work(self) -> None:
        while self._wait():
            with self._turn:
                jobs = self._take()
                running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
                begun = self._begin_all(running) if running else []
            for some, end in begun:
                self._end(some, end)

    def _wait(self) -> bool:
        """Until a request waits; False after `close`. Nobody's turn: a batch that failed needs it
        to begin again, also when nothing else comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._closed)
            return not self._closed

    def _take(self) -> list[_Job[A, R]]:
        """The next batch; nothing where another worker was first, or after `close`."""
        with self._changed:
            if not self._count:
                return []
            oldest = min(queue[0].came for queue in self._queues.values())
            until = oldest + self.settings.wait_ms / 1000
            while self._count < self.settings.most and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            jobs = [] if self._closed else self._in_turns()
            if self._count:
                self._changed.notify()
            return jobs

    def _in_turns(self) -> list[_Job[A, R]]:
        """One job of each client after the other; who was served last goes to the end."""
        jobs: list[_Job[A, R]] = []
        while self._queues and len(jobs) < self.settings.most:
            client, queue = next(iter(self._queues.items()))
            jobs.append(queue.popleft())
            del self._queues[client]
            if queue:
                self._queues[client] = queue
        self._count -= len(jobs)
        return jobs

    def _begin_all(self, jobs: list[_Job[A, R]]) -> list[_Begun[A, R]]:
        """Together; where that fails one by one, so that an error stays with its request."""
        try:
            return [(jobs, self._begin([job.ask for job in jobs]))]
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return []
            return [begun for job in jobs for begun in self._begin_all([job])]

    def _end(self, jobs: list[_Job[A, R]], end: Callable[[], Sequence[R]]) -> None:
        """Together; where that fails they are begun again, one by one."""
        try:
            answers = end()
            if len(answers) != len(jobs):
                raise RuntimeError(f"{len(answers)} answers to {len(jobs)} requests")
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:
                with self._turn:
                    begun = self._begin_all([job])
                for some, again in begun:
                    self._end(some, again)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)
