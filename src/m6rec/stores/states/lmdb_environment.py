"""One LMDB folder, open once in a process, whoever uses it: threads, forks, a map that grows.

What LMDB asks of its users (lmdb.tech/doc, lmdb.readthedocs.io) is kept here: a file is open once
in a process, an environment does not cross a fork, the map changes its size while no transaction
runs, and the slots of readers that died are given back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from m6rec.stores.extras import need
from m6rec.stores.states.base import StoreError

T = TypeVar("T")
Work = Callable[[Any], T]
"""What is done with a transaction."""

MAX_READERS = 1024
ATTEMPTS = 4
_OPEN: WeakValueDictionary[Path, LmdbEnvironment] = WeakValueDictionary()
_OPENING = threading.Lock()


def open_environment(folder: Path, map_size: int, names: Sequence[str]) -> LmdbEnvironment:
    """The environment of a folder (created if missing), shared within the process.

    names: its databases. map_size: bytes of the file at most; a larger one that is there stays.
    Raises StoreError where the folder can not be made or holds something else.
    """
    path = folder.expanduser().resolve()
    with _OPENING:
        found = _OPEN.get(path)
        if found is None:
            found = LmdbEnvironment(path, map_size, names)
            _OPEN[path] = found
    found.grow(map_size)
    return found


class LmdbEnvironment:
    """Short transactions on one folder. dbs: handles by name, for the transactions' calls."""

    def __init__(self, path: Path, map_size: int, names: Sequence[str]) -> None:
        self.lmdb = need("lmdb", "a cache in a folder")
        self.path, self.names = path, tuple(names)
        self._map_size = map_size
        self._env: Any = None
        self._open()

    def _open(self) -> None:
        """Opens, also in a forked child: there the parent's environment is let go untouched."""
        if self._env is not None:
            self._env.close()  # py-lmdb leaves what belongs to the parent alone
        self._lock = threading.Lock()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Not metasync: a power cut may undo the last put, and damages nothing.
            self._env = self.lmdb.open(
                str(self.path),
                map_size=self._map_size,
                max_dbs=len(self.names),
                max_readers=MAX_READERS,
                metasync=False,
                readahead=False,
            )
            self._pad()
            self.dbs = {name: self._env.open_db(name.encode()) for name in self.names}
        except (OSError, self.lmdb.Error) as error:
            raise StoreError(
                f"{self.path} can not be opened as a segment cache: {error}; a cache can always "
                "be deleted, it fills again"
            ) from None
        self._env.reader_check()
        self._pid = os.getpid()

    def _pad(self) -> None:
        """A file that was cut off reads as zeros at its end, not as a fault of the machine."""
        file = self.path / "data.mdb"
        pages = self._env.info()["last_pgno"] + 1
        needed = pages * self._env.stat()["psize"]
        if file.stat().st_size < needed and hasattr(os, "posix_fallocate"):
            with file.open("r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, needed)

    def read(self, work: Work[T]) -> T:
        """Runs `work` in a read transaction. Raises lmdb.Error where the file is damaged."""
        return self._run(work, write=False)

    def write(self, work: Work[T]) -> T:
        """Runs `work` in a write transaction: all of it is kept, or nothing.

        Raises lmdb.MapFullError where there is no room.
        """
        return self._run(work, write=True)

    def _run(self, work: Work[T], write: bool) -> T:
        self._after_fork()
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    with self._env.begin(write=write) as transaction:
                        return work(transaction)
                except self.lmdb.MapResizedError:  # another process has grown the map
                    self._env.set_mapsize(0)
                except self.lmdb.ReadersFullError:
                    if not self._env.reader_check():
                        raise
            with self._env.begin(write=write) as transaction:
                return work(transaction)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._open()

    def clear_stale_readers(self) -> int:
        """Gives back slots of readers that died, so that pages they held can be used again."""
        self._after_fork()
        with self._lock:
            return int(self._env.reader_check())

    def grow(self, map_size: int) -> None:
        """Makes room for at least `map_size` bytes."""
        self._after_fork()
        with self._lock:
            if map_size > self._env.info()["map_size"]:
                self._env.set_mapsize(map_size)
                self._map_size = map_size

    @property
    def map_size(self) -> int:
        """Bytes of the file at most; may be asked for within a transaction."""
        return int(self._env.info()["map_size"])

    def facts(self) -> dict[str, int]:
        """map_size, page_size (bytes), readers and file_size (bytes on disk)."""
        self._after_fork()
        with self._lock:
            info, page = self._env.info(), self._env.stat()["psize"]
            return {
                "map_size": info["map_size"],
                "page_size": page,
                "readers": sum(1 for line in self._env.readers().splitlines()[1:] if line.strip()),
                "file_size": (self.path / "data.mdb").stat().st_blocks * 512,
            }

    def __del__(self) -> None:
        if getattr(self, "_env", None) is not None:
            self._env.close()
