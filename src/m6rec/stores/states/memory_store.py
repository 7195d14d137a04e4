"""Segment states in this process's memory: for tests, and for a process that runs alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from m6rec.stores.states.base import StateStore, StoreInfo

OVERHEAD = 150
"""Bytes that Python keeps about one entry besides its value, roughly."""


class MemoryStore(StateStore):
    """A dictionary that forgets what was not asked for longest. limit: bytes, None for no limit."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See StateStore."""
        with self._lock:
            found = [self._values.get(key) for key in keys]
            for key, value in zip(keys, found, strict=True):
                if value is not None:
                    self._values.move_to_end(key)
        return found

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """See StateStore."""
        with self._lock:
            for key, value in entries.items():
                self._forget(key)
                self._values[key] = value
                self._size += len(value) + OVERHEAD
            while self.limit is not None and self._size > self.limit:
                self._forget(next(iter(self._values)))

    def _forget(self, key: bytes) -> None:
        old = self._values.pop(key, None)
        self._size -= 0 if old is None else len(old) + OVERHEAD

    def info(self) -> StoreInfo:
        """See StateStore."""
        with self._lock:
            return StoreInfo("memory", "this process", len(self._values), self._size, self.limit)

    def clear(self) -> None:
        """See StateStore."""
        with self._lock:
            self._values.clear()
            self._size = 0
