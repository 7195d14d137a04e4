"""Segment states in a folder (LMDB): the embedded default, shared by all processes of a machine.

Room is made by generations. Values go to the newest of six; when it holds its share, the oldest
is emptied as a whole and becomes the newest. What is read in the oldest gets a second chance: it
is copied to the newest with the next put. So reads write nothing, room is made without touching
single values (LMDB gives whole trees back in a moment, but single deletions leave half-empty
pages), and what is used within five sixths of a turn stays: FIFO with lazy promotion, as good
as LRU on real traces (Yang et al., "FIFO can be better than LRU", doi 10.1145/3593856.3595887).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from m6rec.stores.states.base import StateStore, StoreError, StoreInfo
from m6rec.stores.states.lmdb_environment import open_environment

log = logging.getLogger(__name__)
GIB = 1 << 30
DEFAULT_LIMIT, LEAST_LIMIT = 4 * GIB, 4 << 20
GENERATIONS = 6
FILLED = 0.6
"""Share of the limit that values may take. The rest is for copies: LMDB writes pages anew, at worst
a whole generation in a transaction, and takes the old ones back two transactions later, or when
the last reader that sees them has gone."""
CROWDED = 0.62
"""Share of the file from which on it is values that fill it, and not copies that readers see."""
AGAIN_AT_ONCE = 1024
"""Second chances that are written on their own when no put comes by."""
READER_PAUSE = 0.02
"""Seconds; a read of a request takes a few milliseconds."""
META, NEWEST, FORMAT = "meta", b"newest", b"format"
THIS_FORMAT = b"1"


class LmdbStore(StateStore):
    """A folder of states. limit: bytes of the file at most (used by this process's puts)."""

    def __init__(self, folder: str | Path, limit: int = DEFAULT_LIMIT) -> None:
        if limit < LEAST_LIMIT:
            raise StoreError(f"a limit of {limit} bytes is too small: right is {LEAST_LIMIT:,} up")
        self.limit = limit
        self._share = int(limit * FILLED) // GENERATIONS
        self._names = [f"generation{slot}" for slot in range(GENERATIONS)]
        self._env = open_environment(Path(folder), limit, [META, *self._names])
        self._broken = (self._env.lmdb.Error, StoreError)
        self._full = self._env.lmdb.MapFullError
        self._again: deque[tuple[bytes, bytes]] = deque()
        self._warned = False
        self._check_format()

    def _check_format(self) -> None:
        def look(txn: Any) -> bytes | None:
            found: bytes | None = txn.get(FORMAT, db=self._env.dbs[META])
            return found

        try:
            found = self._env.read(look)
            if found is None:
                self._env.write(lambda txn: txn.put(FORMAT, THIS_FORMAT, db=self._env.dbs[META]))
        except self._broken as error:
            raise StoreError(f"{self._env.path} is damaged ({error}); delete it") from None
        if found not in (None, THIS_FORMAT):
            raise StoreError(
                f"{self._env.path} has format {found!r}; this version reads {THIS_FORMAT!r}. "
                "Delete it, it fills again"
            )

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See StateStore."""
        try:
            found = self._env.read(lambda txn: self._look_up(txn, keys))
        except self._broken as error:
            self._warn("read", error)
            return [None] * len(keys)
        if len(self._again) >= AGAIN_AT_ONCE:
            self.put({})
        return found

    def _look_up(self, txn: Any, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(keys)
        missing: Sequence[int] = range(len(keys))
        newest = self._newest(txn)
        for turn in range(newest, max(newest - GENERATIONS, -1), -1):
            db = self._db(turn)
            asked = keys if len(missing) == len(keys) else [keys[i] for i in missing]
            values = list(map(txn.get, asked, repeat(None), repeat(db)))
            for i, value in zip(missing, values, strict=True):
                found[i] = value
            if turn == newest - GENERATIONS + 1:
                self._again.extend((k, v) for k, v in zip(asked, values, strict=True) if v)
            missing = [i for i, value in zip(missing, values, strict=True) if value is None]
            if not missing:
                break
        return found

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """See StateStore."""
        again = dict(self._drain())
        try:
            for part in _parts({**again, **entries}, self._share // 4):
                self._put(part)
        except self._broken as error:
            self._warn("write", error)

    def _drain(self) -> Iterator[tuple[bytes, bytes]]:
        """Second chances that wait; other threads may add some meanwhile."""
        while self._again:
            yield self._again.popleft()

    def _put(self, part: dict[bytes, bytes]) -> None:
        """One transaction; where there is no room, once readers or the oldest values have gone."""
        if _size(part) > self._share:
            self._warn("write", f"a value of {_size(part)} bytes has no room in {self.limit}")
            return
        for make_room in (self._wait_for_readers, self._make_room, self._wait_for_readers):
            try:
                self._env.write(lambda txn: self._store(txn, part))
                return
            except self._full:
                make_room()
        self._env.write(lambda txn: self._store(txn, part))

    def _wait_for_readers(self) -> None:
        """Pages that a running reader still sees are free a moment later, a dead one's at once."""
        if not self._env.clear_stale_readers():
            time.sleep(READER_PAUSE)

    def _store(self, txn: Any, part: dict[bytes, bytes]) -> None:
        newest = self._newest(txn)
        if self._bytes(txn, newest) + _size(part) > self._share and self._count(txn, newest):
            newest += 1
            txn.drop(self._db(newest), delete=False)
            txn.put(NEWEST, newest.to_bytes(8, "little"), db=self._env.dbs[META])
        txn.cursor(self._db(newest)).putmulti(list(part.items()))

    def _make_room(self) -> None:
        """Empties the oldest generation that holds anything, where values fill the file."""
        try:
            self._env.write(self._drop_oldest)
        except self._full:  # giving pages back takes a few pages as well
            self._env.grow(self.limit + max(1 << 20, self.limit // 16))
            self._env.write(self._drop_oldest)

    def _drop_oldest(self, txn: Any) -> None:
        newest, map_size = self._newest(txn), self._env.map_size
        if sum(self._bytes(txn, turn) for turn in range(GENERATIONS)) < CROWDED * map_size:
            return
        for turn in range(max(newest - GENERATIONS + 1, 0), newest + 1):
            if self._count(txn, turn):
                txn.drop(self._db(turn), delete=False)
                return

    def _newest(self, txn: Any) -> int:
        """Number of the newest generation, from 0 on."""
        return int.from_bytes(txn.get(NEWEST, b"", self._env.dbs[META]), "little")

    def _db(self, turn: int) -> Any:
        return self._env.dbs[self._names[turn % GENERATIONS]]

    def _count(self, txn: Any, turn: int) -> int:
        return int(txn.stat(self._db(turn))["entries"])

    def _bytes(self, txn: Any, turn: int) -> int:
        found = txn.stat(self._db(turn))
        pages = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
        return int(pages * found["psize"])

    def info(self) -> StoreInfo:
        """See StateStore."""

        def look(txn: Any) -> list[tuple[int, int]]:
            turns = range(GENERATIONS)
            return [(self._count(txn, turn), self._bytes(txn, turn)) for turn in turns]

        try:
            held = self._env.read(look)
        except self._broken as error:
            raise StoreError(f"{self._env.path} can not be read: {error}; delete it") from None
        entries, size = (sum(column) for column in zip(*held, strict=True))
        more = {"generations": [count for count, _ in held], **self._env.facts()}
        return StoreInfo("lmdb", str(self._env.path), entries, size, self.limit, more)

    def clear(self) -> None:
        """See StateStore. The file keeps its size and is filled again from the beginning."""

        def forget(txn: Any) -> None:
            for turn in range(GENERATIONS):
                txn.drop(self._db(turn), delete=False)
            txn.delete(NEWEST, db=self._env.dbs[META])

        self._again.clear()
        try:
            self._env.write(forget)
        except self._broken as error:
            raise StoreError(f"{self._env.path} can not be cleared: {error}; delete it") from None

    def close(self) -> None:
        """See StateStore; second chances that wait are written."""
        if self._again:
            self.put({})
        del self._env

    def _warn(self, what: str, why: object) -> None:
        """Once: a cache that fails costs time, not answers."""
        if not self._warned:
            log.warning(
                "segment cache %s: can not %s (%s); going on without. A damaged one: delete it",
                self._env.path,
                what,
                why,
            )
            self._warned = True


def _size(entries: Mapping[bytes, bytes]) -> int:
    """Bytes that entries take in a file, roughly: random keys leave pages two thirds full."""
    return sum(len(key) + len(value) + 8 for key, value in entries.items()) * 3 // 2


def _parts(entries: dict[bytes, bytes], most: int) -> Iterator[dict[bytes, bytes]]:
    """Entries in parts of about `most` bytes: a request is one part, unless it is huge."""
    part: dict[bytes, bytes] = {}
    size = 0
    for key, value in entries.items():
        one = _size({key: value})
        if part and size + one > most:
            yield part
            part, size = {}, 0
        part[key] = value
        size += one
    if part:
        yield part
