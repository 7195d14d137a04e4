"""Micro-batching: requests that arrive together are answered together, within a latency budget.

One worker thread takes what waits, at most `most` requests, after at most `wait_ms` since the
oldest came. Clients take turns, so nobody's flood delays the others by more than one batch of
theirs. A cancelled request is never computed; an error reaches the request it belongs to alone.
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
    """wait_ms: how long a request may wait for company. most: requests in a batch. waiting: how
    many may wait before new ones are refused."""

    wait_ms: float = Field(default=2.0, ge=0)
    most: int = Field(default=16, ge=1)
    waiting: int = Field(default=1024, ge=1)


@dataclass(eq=False)
class _Job(Generic[A, R]):
    ask: A
    future: Future[R] = field(default_factory=Future)
    came: float = field(default_factory=time.monotonic)


class Batcher(Generic[A, R]):
    """Calls `answer` with batches of asks, in a thread of its own.

    answer: asks → answers in the same order; it is never called by two threads. With asyncio:
    `await asyncio.wrap_future(batcher.submit(ask))`.
    """

    def __init__(
        self, answer: Callable[[Sequence[A]], Sequence[R]], settings: BatchSettings | None = None
    ) -> None:
        self._answer, self.settings = answer, settings or BatchSettings()
        self._queues: dict[Hashable, deque[_Job[A, R]]] = {}
        self._count, self._closed = 0, False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="m6rec-batcher", daemon=True)
        self._worker.start()

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
        """Answers nothing more: what waits fails with ClosedError. Waits for the worker to end."""
        with self._changed:
            self._closed = True
            left = [job for queue in self._queues.values() for job in queue]
            self._queues.clear()
            self._count = 0
            self._changed.notify()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ClosedError("the batcher was closed"))
        if threading.current_thread() is not self._worker:
            self._worker.join()

    def __enter__(self) -> Batcher[A, R]:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if running:
                self._answer_all(running)

    def _take(self) -> list[_Job[A, R]] | None:
        """The next batch; None after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._closed)
            if self._closed:
                return None
            oldest = min(queue[0].came for queue in self._queues.values())
            until = oldest + self.settings.wait_ms / 1000
            while self._count < self.settings.most and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            return None if self._closed else self._in_turns()

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

    def _answer_all(self, jobs: list[_Job[A, R]]) -> None:
        """Together; where that fails one by one, so that an error stays with its request."""
        try:
            answers = self._answer([job.ask for job in jobs])
            if len(answers) != len(jobs):
                raise RuntimeError(f"{len(answers)} answers to {len(jobs)} requests")
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:
                self._answer_all([job])
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(answer)
