"""The shared journal: PostgreSQL, for several servers that write and read one journal.

Writers take turns by an advisory lock for the length of a transaction, so numbers are in the order
in which transactions are seen, and a reader who asks for what came after a number misses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar, cast

from m6rec.stores.extras import need
from m6rec.stores.journal.base import Compacted, JournalError
from m6rec.stores.journal.compacting import BESIDE, DEAD, ROWS_AT_ONCE, waste
from m6rec.stores.journal.retention import EVERYTHING, Retention
from m6rec.stores.journal.schema import DROPPED, SCHEMA, Connection, Rows, newest, set_meta
from m6rec.stores.journal.sql import SqlJournal
from m6rec.stores.journal.writer import MOST_WAITING

T = TypeVar("T")
TYPES = {"text": 'TEXT COLLATE "C"', "integer": "BIGINT", "bytes": "BYTEA"}
TURN = 0x6D36_7265_63
"""Key of the advisory lock: "m6rec"."""
CONNECT_SECONDS = 10
TIMES = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""How long a session may wait, work, or hold the turn to write and say nothing: a process that was
frozen, or a machine that is gone, gives its turn back."""
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""The same from this side (libpq)."""


class PostgresConnection:
    """One connection, made again where it was lost; it waits for its turn to write."""

    def __init__(self, url: str) -> None:
        self._psycopg = need("psycopg", "a journal in PostgreSQL")
        self._url = url
        self.db: Any = None
        self._connected()

    def _connected(self) -> Any:
        if self.db is None or self.db.closed:
            self.db = self._psycopg.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_SECONDS, **KEEPALIVE
            )
            for name, value in TIMES.items():
                self.db.execute(f"SET {name} = '{value}'")
        return self.db

    def without_end(self, sql: str) -> None:
        """Runs a statement that may take as long as it needs."""
        db = self._connected()
        db.execute("SET statement_timeout = 0")
        try:
            db.execute(sql)
        finally:
            if not db.closed:
                db.execute(f"SET statement_timeout = '{TIMES['statement_timeout']}'")

    def _again(self, work: Callable[[], T]) -> T:
        """Once more on a fresh connection where this one was lost: nothing was written yet."""
        try:
            return work()
        except self._psycopg.OperationalError:
            if self.db is not None and not self.db.closed:
                raise
            return work()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See Connection."""
        cursor = self._connected().execute(sql.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """The same for what only reads, tried again where the connection was lost."""
        return self._again(lambda: self.rows(sql, values))

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See Connection."""
        with self.db.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Connection."""
        with ExitStack() as begun:
            begun.enter_context(self._again(self._begun))
            yield

    def _begun(self) -> AbstractContextManager[Any]:
        """A transaction that has its turn; whoever gets it ends it."""
        with ExitStack() as begun:
            begun.enter_context(self._connected().transaction())
            self.db.execute("SELECT pg_advisory_xact_lock(%s)", (TURN,))
            return begun.pop_all()


class PostgresJournal(SqlJournal):
    """A journal in a PostgreSQL database. url: postgresql://…

    Raises JournalError where the server does not answer.
    """

    def __init__(self, url: str, most_waiting: int = MOST_WAITING) -> None:
        psycopg = need("psycopg", "a journal in PostgreSQL")
        self.failed = (psycopg.Error, OSError)
        self._url = url
        self._readers = threading.local()
        self._opened: list[PostgresConnection] = []
        try:
            self._begin(most_waiting)
        except self.failed as error:
            self._give_back()
            raise JournalError(f"{self.where} can not be opened: {_first(error)}") from None

    @property
    def where(self) -> str:
        """See SqlJournal."""
        scheme, _, rest = self._url.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"

    def _create(self, connection: Connection) -> None:
        """See SqlJournal. Bringing up an older journal's tables takes as long as it needs."""
        connection.rows("SET LOCAL statement_timeout = 0")
        super()._create(connection)

    def _connect(self) -> PostgresConnection:
        connection = PostgresConnection(self._url)
        self._opened.append(connection)
        return connection

    def _schema(self) -> list[str]:
        return [statement.format(**TYPES) for statement in SCHEMA]

    def _read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        try:
            found: PostgresConnection | None = getattr(self._readers, "connection", None)
            if found is None:
                found = self._readers.connection = self._connect()
            return found.read(sql, values)
        except self.failed as error:
            raise JournalError(f"{self.where} can not be read: {_first(error)}") from error

    def _scrub(self) -> None:
        """Old versions of rows go; the server's own log and backups keep what they are told to."""
        cast(PostgresConnection, self._writer_connection).without_end("VACUUM entries")

    def compact(self, least: float = 0.0, keep: Retention = EVERYTHING) -> Compacted | None:
        """See Journal. The server reuses the room; it gives none back to the disk."""
        if waste(self._read, keep) < least:
            return None
        before, after = self._size(), 0
        old = keep.old(self._read(keep.edge))
        while self._do(partial(self._remove, after, old), 1):
            after += ROWS_AT_ONCE
        self._do(self._scrub, 1, alone=True)
        return Compacted(before, self._size())

    def _remove(self, after: int, old: str) -> bool:
        """Rows of no more use among some numbers; whether there are higher ones."""
        db, until = self._writer_connection, after + ROWS_AT_ONCE
        some = "entries e WHERE e.number > ? AND e.number <= ? AND"
        dropped = db.rows(f"SELECT count(*) FROM {some} {old}", (after, until))[0][0]
        db.rows(f"DELETE FROM {some} ({DEAD} OR {old})", (after, until))
        if dropped:
            before = db.rows("SELECT value FROM meta WHERE name = ?", (DROPPED,))
            set_meta(db, DROPPED, str(dropped + (int(before[0][0]) if before else 0)))
        more = newest(db) > until
        if not more:
            db.rows(
                "INSERT INTO meta (name, value) SELECT ?, CAST(max(number) - count(*) "
                "FILTER (WHERE kind < 5) AS TEXT) FROM entries "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (BESIDE,),
            )
        return more

    def _size(self) -> int:
        return int(self._read("SELECT pg_total_relation_size('entries')")[0][0])

    def _explain(self, error: Exception) -> JournalError:
        return JournalError(
            f"{self.where}: {_first(error)}; it is not known to be kept. Try again with the same "
            "idempotency key"
        )

    def _give_back(self) -> None:
        for connection in self._opened:
            connection.db.close()

    def close(self) -> None:
        """See Journal."""
        self._writer.close()
        self._give_back()


def _first(error: BaseException) -> str:
    """The first line of what a server says."""
    return str(error).strip().partition("\n")[0]
