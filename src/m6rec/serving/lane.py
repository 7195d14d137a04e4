"""One thread for what takes long: clients take turns, and none of them fills the queue."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, cast, final

from m6rec.serving.batching import Batcher, BatchSettings, OverloadedError

T = TypeVar("T")


@final
class Lane:
    """most: pieces of work that may be there, the one under way included; of one client half of
    them, so that another finds room. Safe to use from threads."""

    def __init__(self, most: int) -> None:
        self._most, self._each = most, max(1, most // 2)
        self._lock = threading.Lock()
        self._of: Counter[str] = Counter()
        one = BatchSettings(wait_ms=0, most=1, waiting=most + 1, workers=1)
        self._batcher: Batcher[Callable[[], Any], Any] = Batcher(_begin, one)

    @property
    def waiting(self) -> int:
        """Pieces of work that are there, the one under way included."""
        with self._lock:
            return self._of.total()

    def submit(self, work: Callable[[], T], client: str) -> Future[T]:
        """The result to come. Raises OverloadedError where there is no room for the client."""
        with self._lock:
            if self._of.total() >= self._most:
                raise OverloadedError(f"{self._most} requests wait to be written; try again later")
            if self._of[client] >= self._each:
                raise OverloadedError(
                    f"{self._each} requests of this client wait to be written; try again later"
                )
            self._of[client] += 1
        try:
            future = self._batcher.submit(work, client)
        except BaseException:
            self._leave(client)
            raise
        future.add_done_callback(lambda _: self._leave(client))
        return cast("Future[T]", future)

    def _leave(self, client: str) -> None:
        with self._lock:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]

    def close(self) -> None:
        """What waits fails; waits for what is under way."""
        self._batcher.close()


def _begin(works: Sequence[Callable[[], Any]]) -> Callable[[], list[Any]]:
    return lambda: [work() for work in works]
