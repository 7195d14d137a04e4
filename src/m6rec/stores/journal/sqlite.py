"""The embedded journal: SQLite in a folder (or in memory), one process at a time.

WAL mode with synchronous=FULL: a transaction is on the disk when it is committed
(sqlite.org/pragma.html#pragma_synchronous). Erased rows are overwritten where they stand, with
values of the same size: SQLite then writes over the old cell (btreeOverwriteCell in btree.c) and
moves none, while a deletion lets pages be merged, which leaves copies of neighbouring cells in
free space. So rows only ever come at the end, and go by being overwritten. The write-ahead log is
then written back and cut to nothing.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from m6rec.stores.disk import flush
from m6rec.stores.journal import snapshots
from m6rec.stores.journal.base import Compacted, JournalBusy, JournalError
from m6rec.stores.journal.compacting import Copy, waste
from m6rec.stores.journal.retention import EVERYTHING, Retention
from m6rec.stores.journal.schema import SCHEMA, Rows
from m6rec.stores.journal.snapshots import FILE, LOCK
from m6rec.stores.journal.sql import SqlJournal
from m6rec.stores.journal.writer import MOST_WAITING

FRESH = "journal.compacting"
WAL, SHARED = f"{FILE}-wal", f"{FILE}-shm"
WRITES = ("secure_delete = ON", "journal_mode = WAL", "synchronous = FULL")
READS = ("query_only = ON",)
TYPES = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB"}
CACHE_KIB, WAIT_MS = 65_536, 5_000
PATIENCE = 10.0
"""Seconds that an erasure waits for readers who still see the rows as they were."""


class SqliteConnection:
    """One connection; calls of several threads wait for each other."""

    def __init__(self, file: str, pragmas: Sequence[str] = ()) -> None:
        self.lock = threading.RLock()
        self._file, self._pragmas = file, pragmas
        self.db = self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        for pragma in (f"busy_timeout = {WAIT_MS}", f"cache_size = -{CACHE_KIB}", *self._pragmas):
            db.execute(f"PRAGMA {pragma}").fetchall()
        return db

    def reopen(self) -> None:
        """Another file has the name now. Whoever calls holds the lock."""
        self.db = self._connected()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See Connection."""
        with self.lock:
            return self.db.execute(sql, values).fetchall()

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Connection."""
        self.db.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Connection."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise


class SqliteJournal(SqlJournal):
    """A journal in a folder (created if missing); None: in memory, gone with the process.

    Raises JournalError where another process holds the folder, it can not be written, or it holds
    something else.
    """

    failed = (sqlite3.Error, OSError)

    def __init__(self, folder: str | Path | None = None, most_waiting: int = MOST_WAITING) -> None:
        self._folder = None if folder is None else Path(folder).expanduser().resolve()
        self._readers = threading.local()
        self._opened: list[SqliteConnection] = []
        self._opening, self._compacting = threading.Lock(), threading.Lock()
        self._lock: FileLock | None = None
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(self._folder / LOCK, timeout=0)
                self._lock.acquire()
                (self._folder / FRESH).unlink(missing_ok=True)
            self._begin(most_waiting)
            if self._folder is not None:
                self._scrub()
        except Timeout:
            raise JournalError(
                f"{self.where}: another process has this journal open; one process writes a "
                "folder, and PostgreSQL is for several"
            ) from None
        except self.failed as error:
            self._give_back()
            raise self._explain(error) from error
        except JournalError:
            self._give_back()
            raise

    @property
    def where(self) -> str:
        """See SqlJournal."""
        return "the journal in memory" if self._folder is None else str(self._folder)

    def _connect(self) -> SqliteConnection:
        if self._folder is None:
            return self._open(":memory:")
        return self._open(str(self._folder / FILE), WRITES)

    def _open(self, file: str, pragmas: Sequence[str] = ()) -> SqliteConnection:
        with self._opening:
            connection = SqliteConnection(file, pragmas)
            self._opened.append(connection)
        return connection

    def _schema(self) -> list[str]:
        return [statement.format(**TYPES) for statement in SCHEMA]

    def _read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        try:
            return self._reader().rows(sql, values)
        except sqlite3.Error as error:
            raise JournalError(f"{self.where} can not be read: {error}") from error

    def _reader(self) -> SqliteConnection:
        if self._folder is None:
            return self._opened[0]
        found: SqliteConnection | None = getattr(self._readers, "connection", None)
        if found is None:
            found = self._readers.connection = self._open(str(self._folder / FILE), READS)
        return found

    def _scrub(self) -> None:
        """Writes the log back and cuts it, once no reader needs it."""
        if self._folder is None:
            return
        until = time.monotonic() + PATIENCE
        while True:
            busy, *_ = self._writer_connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
            if not busy:
                return
            if time.monotonic() > until:
                raise JournalError(
                    f"{self.where}: erased, but a reader still holds the write-ahead log; it is "
                    "cleared when the same is erased again, or when the journal is opened"
                )

    def snapshot(self, folder: str | Path) -> dict[str, Any]:
        """See Journal."""
        if self._folder is None:
            return super().snapshot(folder)
        if not self._compacting.acquire(blocking=False):
            raise JournalBusy(f"{self.where} is being compacted or copied already")
        try:
            return snapshots.snapshot(self._folder / FILE, Path(folder))
        finally:
            self._compacting.release()

    def check(self) -> list[str]:
        """See Journal."""
        found = [str(row[0]) for row in self._read("PRAGMA integrity_check")]
        damage = [f"the file is damaged: {one}" for one in found if one != "ok"]
        return [*damage, *super().check()]

    def compact(self, least: float = 0.0, keep: Retention = EVERYTHING) -> Compacted | None:
        """See Journal."""
        if self._folder is None or waste(self._read, keep) < least:
            return None
        if not self._compacting.acquire(blocking=False):
            raise JournalBusy(f"{self.where} is being compacted or copied already")
        file, fresh = self._folder / FILE, self._folder / FRESH
        copy: Copy | None = None
        try:
            before = file.stat().st_size
            copy = Copy(file, fresh, self._schema(), keep.old(self._read(keep.edge)))
            copy.bulk()
            done = copy.finish

            def swap() -> None:
                done()
                self._take_over(fresh, file)

            self._do(swap, 1, alone=True)
            return Compacted(before, file.stat().st_size)
        except self.failed as error:
            raise self._explain(error) from error
        finally:
            if copy is not None:
                copy.close()
            fresh.unlink(missing_ok=True)
            self._compacting.release()

    def _take_over(self, fresh: Path, file: Path) -> None:
        """Puts a copy in the file's place, while no connection is open: a log that was left over
        would be read into the copy."""
        self._scrub()
        with ExitStack() as locks:
            locks.enter_context(self._opening)
            for connection in self._opened:
                locks.enter_context(connection.lock)
            try:
                for connection in self._opened:
                    connection.db.close()
                log = file.with_name(WAL)
                if log.exists() and log.stat().st_size:
                    raise JournalBusy("the write-ahead log is in use")
                log.unlink(missing_ok=True)
                file.with_name(SHARED).unlink(missing_ok=True)
                fresh.replace(file)
                flush(file.parent)
            finally:
                for connection in self._opened:
                    connection.reopen()

    def _explain(self, error: Exception) -> JournalError:
        text = str(error)
        if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
            why = "the disk is full; nothing of this was kept. Make room, then try again"
        elif "readonly" in text or isinstance(error, PermissionError):
            why = f"the folder can not be written ({text}); nothing of this was kept"
        elif "not a database" in text or "malformed" in text:
            why = f"the file {FILE} is damaged or is no journal ({text}); restore an export"
        else:
            why = f"{text}; nothing of this was kept"
        return JournalError(f"{self.where}: {why}")

    def _give_back(self) -> None:
        with self._opening:
            for connection in self._opened:
                connection.db.close()
            self._opened.clear()
        if self._lock is not None:
            self._lock.release()

    def close(self) -> None:
        """See Journal."""
        self._writer.close()
        self._give_back()
