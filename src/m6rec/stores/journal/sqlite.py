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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.sql import SCHEMA, Rows, SqlJournal
from m6rec.stores.journal.writer import MOST_WAITING

FILE, LOCK = "journal.sqlite", "journal.lock"
TYPES = {"text": "TEXT", "integer": "INTEGER", "bytes": "BLOB"}
CACHE_KIB, WAIT_MS = 65_536, 5_000
PATIENCE = 10.0
"""Seconds that an erasure waits for readers who still see the rows as they were."""


class SqliteConnection:
    """One connection; calls of several threads wait for each other."""

    def __init__(self, file: str) -> None:
        self.lock = threading.RLock()
        self.db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)

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
        self._opening = threading.Lock()
        self._lock: FileLock | None = None
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(self._folder / LOCK, timeout=0)
                self._lock.acquire()
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
        connection = self._open(str(self._folder / FILE))
        connection.rows("PRAGMA secure_delete = ON")
        connection.rows("PRAGMA journal_mode = WAL")
        connection.rows("PRAGMA synchronous = FULL")
        return connection

    def _open(self, file: str) -> SqliteConnection:
        connection = SqliteConnection(file)
        with self._opening:
            self._opened.append(connection)
        connection.rows(f"PRAGMA busy_timeout = {WAIT_MS}")
        connection.rows(f"PRAGMA cache_size = -{CACHE_KIB}")
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
            found = self._readers.connection = self._open(str(self._folder / FILE))
            found.rows("PRAGMA query_only = ON")
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
