"""A journal in a relational database: what SQLite and PostgreSQL have in common.

Text of a user stands in one place only, `entries.key` and `entries.body`. All else that is kept
about an entry (who owns it, which event_id it had, which request brought it) is a keyed hash, so
that an erasure has one row to overwrite, and indices hold no text that could stay behind. All
numbers of a row keep their size when it is erased, see sqlite.py for why that matters.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pydantic_core import from_json

from m6rec.stores.journal import tables
from m6rec.stores.journal.base import (
    Appended,
    Body,
    Entry,
    EntryText,
    Journal,
    JournalConflict,
    JournalError,
    Kind,
    Line,
    Receipt,
    Told,
    check_key,
    check_lines,
    to_json,
)
from m6rec.stores.journal.writer import MOST_WAITING, GroupWriter, Job

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
CODES: dict[Kind, int] = {"item": 2, "user": 3, "event": 4, "erase_user": 5, "erase_item": 6}
KINDS = {code: kind for kind, code in CODES.items()}
GONE = 9
BLANK = 1 << 62
"""Stands in the numbers of an erased row. Like all numbers there, it takes eight bytes."""
MICROSECONDS, CLAMP, SHIFT = 1_000_000, 1 << 54, 1 << 56
ANSWERS_KEPT = 7 * 24 * 3600.0
"""Seconds that an idempotency key is remembered."""
ASKED_AT_ONCE = 500
THIS_FORMAT = "1"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (name {text} PRIMARY KEY, value {text} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (number {integer} PRIMARY KEY, kind {integer} NOT NULL, "
    "owner {integer} NOT NULL, happened {integer} NOT NULL, at {integer} NOT NULL, "
    "key {text} NOT NULL, body {text} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, kind, happened, number) WHERE kind < 5",
    "CREATE TABLE IF NOT EXISTS catalogue (item_id {text} PRIMARY KEY, number {integer} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS once (event {bytes} PRIMARY KEY, number {integer} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS answers (token {bytes} PRIMARY KEY, digest {bytes} NOT NULL, "
    "stored {integer} NOT NULL, duplicates {integer} NOT NULL, last {integer} NOT NULL, "
    "at {integer} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_age ON answers (at)",
)


class Connection(Protocol):
    """What is asked of a connection. SQL has `?` for each value."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Runs one statement."""

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs one statement for each row."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and nobody else writes meanwhile."""


class SqlJournal(Journal):
    """Statements and their order. A subclass opens connections, and cleans after an erasure.

    failed: what the database's library raises.
    """

    failed: tuple[type[Exception], ...]

    def _begin(self, most_waiting: int = MOST_WAITING) -> None:
        """Called once, when connections can be had: makes the tables, starts the writer."""
        self._writer_connection = self._connect()
        with self._writer_connection.transaction():
            self._create(self._writer_connection)
        meta: dict[str, str] = dict(self._writer_connection.rows("SELECT name, value FROM meta"))
        if meta["format"] != THIS_FORMAT:
            raise JournalError(
                f"{self.where} has format {meta['format']!r}; this version reads {THIS_FORMAT!r}"
            )
        self._salt, self._name = bytes.fromhex(meta["salt"]), str(meta["name"])
        self._writer = GroupWriter(self._write, most_waiting)

    @property
    @abstractmethod
    def where(self) -> str:
        """For messages: where it is, without passwords."""

    @abstractmethod
    def _connect(self) -> Connection:
        """The connection of the writer."""

    @abstractmethod
    def _schema(self) -> list[str]:
        """SCHEMA with this database's types."""

    @abstractmethod
    def _read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Rows, on a connection of the calling thread. Raises JournalError."""

    @abstractmethod
    def _scrub(self) -> None:
        """Removes what the database keeps of rows as they were before the last transaction."""

    @abstractmethod
    def _explain(self, error: Exception) -> JournalError:
        """What a failed write means to a person."""

    def _create(self, connection: Connection) -> None:
        for statement in self._schema():
            connection.rows(statement)
        made = {"format": THIS_FORMAT, "salt": secrets.token_hex(16), "name": secrets.token_hex(8)}
        connection.many(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
            list(made.items()),
        )

    def _write(self, jobs: Sequence[Job]) -> None:
        """Runs jobs in one transaction. A job refuses (JournalError) before it writes anything."""
        done: list[tuple[Job, Any]] = []
        try:
            if jobs and jobs[0].alone:
                done.append((jobs[0], jobs[0].work()))
            else:
                with self._writer_connection.transaction():
                    done += [(job, _outcome(job)) for job in jobs]
        except self.failed as error:
            raise self._explain(error) from error
        for job, outcome in done:
            if isinstance(outcome, JournalError):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _do(self, work: Callable[[], T], size: int, alone: bool = False) -> T:
        return cast(T, self._writer.submit(work, size, alone).result())

    def submit(
        self, kind: Told, bodies: Sequence[Body], *, idempotency: str | None = None
    ) -> Future[Appended]:
        """See Journal."""
        lines = check_lines(kind, bodies)
        request: tuple[bytes, bytes] | None = None
        if idempotency is not None:
            told = "\0".join(line.text for line in lines)
            token = self._hash("token", check_key("idempotency key", idempotency))
            request = token, self._hash("request", f"{kind}\0{told}")
        return self._writer.submit(lambda: self._append(kind, lines, request), max(len(lines), 1))

    def _append(
        self, kind: Told, lines: list[Line], request: tuple[bytes, bytes] | None
    ) -> Appended:
        db = self._writer_connection
        if request is not None and (earlier := self._answered(*request)):
            return earlier
        now = time.time()
        at = int(now * MICROSECONDS)
        fresh, hashes = self._not_seen(lines) if kind == "event" else (lines, [])
        first = self._newest() + 1
        code = CODES[kind]
        rows = [
            (n, code, self._owner(kind, line.key), _moment(line, now), at, line.key, line.text)
            for n, line in enumerate(fresh, first)
        ]
        self._insert(rows)
        last = first + len(fresh) - 1
        if kind == "item":
            newest = {line.key: n for n, line in enumerate(fresh, first)}
            db.many(
                "INSERT INTO catalogue (item_id, number) VALUES (?, ?) "
                "ON CONFLICT (item_id) DO UPDATE SET number = excluded.number",
                sorted(newest.items()),
            )
        known = [(seen, n) for n, seen in enumerate(hashes, first) if seen is not None]
        db.many("INSERT INTO once (event, number) VALUES (?, ?)", known)
        answer = Appended(len(fresh), len(lines) - len(fresh), last)
        if request is not None:
            self._remember(request, answer, at)
        return answer

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        self._writer_connection.many(
            "INSERT INTO entries (number, kind, owner, happened, at, key, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def _answered(self, token: bytes, digest: bytes) -> Appended | None:
        found = self._writer_connection.rows(
            "SELECT digest, stored, duplicates, last FROM answers WHERE token = ?", (token,)
        )
        if not found:
            return None
        earlier, stored, duplicates, last = found[0]
        if bytes(earlier) != digest:
            raise JournalConflict(
                "this idempotency key was used for other bodies; right is a new key for new bodies"
            )
        return Appended(stored, duplicates, last, repeated=True)

    def _remember(self, request: tuple[bytes, bytes], answer: Appended, at: int) -> None:
        db = self._writer_connection
        too_old = at - int(ANSWERS_KEPT * MICROSECONDS)
        db.rows("DELETE FROM answers WHERE at < ?", (too_old,))
        db.rows(
            "INSERT INTO answers (token, digest, stored, duplicates, last, at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*request, answer.stored, answer.duplicates, answer.last, at),
        )

    def _not_seen(self, lines: list[Line]) -> tuple[list[Line], list[bytes | None]]:
        """Events whose event_id is new, each once, and the hashes of their event_ids."""
        hashes = [None if li.event_id is None else self._hash("once", li.event_id) for li in lines]
        asked = list({one for one in hashes if one is not None})
        seen: set[bytes] = set()
        for start in range(0, len(asked), ASKED_AT_ONCE):
            part = asked[start : start + ASKED_AT_ONCE]
            marks = ", ".join("?" * len(part))
            found = self._writer_connection.rows(
                f"SELECT event FROM once WHERE event IN ({marks})", part
            )
            seen.update(bytes(row[0]) for row in found)
        fresh: list[Line] = []
        kept: list[bytes | None] = []
        for line, one in zip(lines, hashes, strict=True):
            if one is None or one not in seen:
                fresh.append(line)
                kept.append(one)
            if one is not None:
                seen.add(one)
        return fresh, kept

    def _newest(self) -> int:
        found = self._writer_connection.rows("SELECT coalesce(max(number), 0) FROM entries")
        return int(found[0][0])

    def _hash(self, what: str, text: str) -> bytes:
        made = hashlib.blake2b(f"{what}\0{text}".encode(), digest_size=16, key=self._salt)
        return made.digest()

    def _owner(self, kind: Told, key: str) -> int:
        """62 bits for an item or a user, always eight bytes in a row."""
        room = "item" if kind == "item" else "user"
        return int.from_bytes(self._hash(room, key)[:8], "big") >> 2 | 1 << 61

    @property
    def name(self) -> str:
        """See Journal."""
        return self._name

    def masked(self, user_id: str) -> str:
        """See Journal."""
        return self._hash("mask", user_id).hex()

    def waiting(self) -> int:
        """See Journal."""
        return self._writer.waiting

    def entries(self, after: int = 0, limit: int = 10_000) -> list[Entry]:
        """See Journal."""
        return [
            Entry(number, kind, key, from_json(text), at)
            for number, kind, key, text, at in self.entry_texts(after, limit)
        ]

    def entry_texts(self, after: int = 0, limit: int = 10_000) -> list[EntryText]:
        """See Journal."""
        found = self._read(
            "SELECT number, kind, key, body, at FROM entries WHERE number > ? AND kind < ? "
            "ORDER BY number LIMIT ?",
            (after, GONE, limit),
        )
        return [
            EntryText(number, KINDS[kind], key, text, at / MICROSECONDS)
            for number, kind, key, text, at in found
        ]

    def last(self) -> int:
        """See Journal."""
        return int(self._read("SELECT coalesce(max(number), 0) FROM entries")[0][0])

    def item(self, item_id: str) -> Body | None:
        """See Journal."""
        found = self._read(
            "SELECT e.body FROM catalogue c JOIN entries e ON e.number = c.number "
            "WHERE c.item_id = ?",
            (check_key("item_id", item_id),),
        )
        return from_json(found[0][0]) if found else None

    def items(self, after: str | None = None, limit: int = 1000) -> list[Body]:
        """See Journal."""
        found = self._read(
            "SELECT e.body FROM catalogue c JOIN entries e ON e.number = c.number "
            "WHERE c.item_id > ? ORDER BY c.item_id LIMIT ?",
            ("" if after is None else check_key("after", after), limit),
        )
        return [from_json(row[0]) for row in found]

    def user(self, user_id: str) -> Body | None:
        """See Journal."""
        found = self._of("user", user_id, "number", 1)
        return found[0] if found else None

    def history(self, user_id: str, limit: int = 100) -> list[Body]:
        """See Journal."""
        return self._of("event", user_id, "happened", limit)[::-1]

    def _of(self, kind: Told, key: str, order: str, limit: int) -> list[Body]:
        """The newest bodies of a user, newest first."""
        found = self._read(
            "SELECT body FROM entries WHERE kind < 5 AND owner = ? AND kind = ? AND key = ? "
            f"ORDER BY {order} DESC, number DESC LIMIT ?",
            (self._owner(kind, check_key("user_id", key)), CODES[kind], key, limit),
        )
        return [from_json(row[0]) for row in found]

    def erase_user(self, user_id: str) -> Receipt:
        """See Journal."""
        return self._erase("erase_user", ("user", "event"), check_key("user_id", user_id))

    def erase_item(self, item_id: str) -> Receipt:
        """See Journal."""
        return self._erase("erase_item", ("item",), check_key("item_id", item_id))

    def _erase(self, kind: Any, told: tuple[Told, ...], key: str) -> Receipt:
        receipt = self._do(lambda: self._erase_rows(kind, told, key), 1)
        self._do(self._scrub, 1, alone=True)
        return receipt

    def _erase_rows(self, kind: Any, told: tuple[Told, ...], key: str) -> Receipt:
        db = self._writer_connection
        owner = self._owner(told[0], key)
        found = db.rows(
            "SELECT number, kind, body FROM entries WHERE kind < 5 AND owner = ? AND key = ?",
            (owner, key),
        )
        counts = Counter(KINDS[code] for _, code, _ in found)
        blank = " " * len(key.encode())
        db.many(
            "UPDATE entries SET kind = ?, owner = ?, happened = ?, at = ?, key = ?, body = ? "
            "WHERE number = ?",
            [
                (GONE, BLANK, BLANK, BLANK, blank, " " * len(body.encode()), number)
                for number, _, body in found
            ],
        )
        if kind == "erase_item":
            db.rows("DELETE FROM catalogue WHERE item_id = ?", (key,))
        ids = [from_json(body).get("event_id") for _, code, body in found if code == 4]
        hashes = [(self._hash("once", one),) for one in ids if one is not None]
        db.many("DELETE FROM once WHERE event = ?", hashes)
        shown = key if kind == "erase_item" else self.masked(key)
        at, number = time.time(), self._newest() + 1
        told_counts = {str(name): counts.get(name, 0) for name in told}
        receipt = Receipt(kind, shown, told_counts, number, at).sealed()
        body = to_json({"entries": told_counts, "hash": receipt.hash})
        moment = int(at * MICROSECONDS)
        self._insert([(number, CODES[receipt.kind], BLANK, BLANK, moment, shown, body)])
        return receipt

    def export(self, folder: str | Path) -> dict[str, Any]:
        """See Journal."""
        return tables.export(self, Path(folder))

    def restore(self, folder: str | Path) -> dict[str, Any]:
        """See Journal."""
        return tables.restore(self, Path(folder))


def _outcome(job: Job) -> Any:
    try:
        return job.work()
    except JournalError as refused:
        return refused


def _moment(line: Line, now: float) -> int:
    """When it happened, in microseconds: moved so that any time takes eight bytes."""
    when = now if line.happened is None else line.happened
    return int(max(-CLAMP, min(CLAMP, when * MICROSECONDS))) + SHIFT
