"""A journal in a relational database: what SQLite and PostgreSQL have in common. Its tables and
rows: schema.py; erasures: erasing.py."""

from __future__ import annotations

import json
import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic_core import from_json

from m6rec.stores.journal import checking, erasing, tables
from m6rec.stores.journal.base import (
    Appended,
    Body,
    Entry,
    EntryText,
    Journal,
    JournalConflict,
    JournalError,
    Line,
    Receipt,
    Told,
    check_key,
    check_lines,
)
from m6rec.stores.journal.moments import MICROSECONDS
from m6rec.stores.journal.origin import Erasure, Seed
from m6rec.stores.journal.schema import (
    BEFORE,
    CODES,
    DROPPED,
    GONE,
    KINDS,
    OLDER_FORMATS,
    SEED,
    THIS_FORMAT,
    Connection,
    Hashes,
    Rows,
    happened,
    insert,
    newest,
    set_meta,
)
from m6rec.stores.journal.writer import MOST_WAITING, GroupWriter, Job

T = TypeVar("T")
ANSWERS_KEPT = 7 * 24 * 3600.0
"""Seconds that an idempotency key is remembered."""
ALWAYS_KEPT = 100_000
"""Entries whose idempotency keys are remembered however late the clock says that it is."""
SET_BACK = 24 * 3600.0
"""Most seconds by which a clock that is put back is not believed, when events are put in order."""
ASKED_AT_ONCE = 500
META = "SELECT value FROM meta WHERE name = ?"
SHARED = "SELECT value FROM shared WHERE name = ?"
ERASURES = "SELECT key, body, at FROM entries WHERE kind = 5"


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
        if meta["format"] in OLDER_FORMATS:  # its tables were completed just now
            with self._writer_connection.transaction():
                set_meta(self._writer_connection, "format", THIS_FORMAT)
        elif meta["format"] != THIS_FORMAT:
            raise JournalError(
                f"{self.where} has format {meta['format']!r}; this version reads {THIS_FORMAT!r}"
            )
        self._latest: float | None = None
        self._hashes, self._name = Hashes(meta["salt"]), str(meta["name"])
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
            token = self._hashes.of("token", check_key("idempotency key", idempotency))
            request = token, self._hashes.of("request", f"{kind}\0{told}")
        return self._writer.submit(lambda: self._append(kind, lines, request), max(len(lines), 1))

    def _append(
        self, kind: Told, lines: list[Line], request: tuple[bytes, bytes] | None
    ) -> Appended:
        db = self._writer_connection
        if request is not None and (earlier := self._answered(*request)):
            return earlier
        clock = time.time()
        now, at = self._in_order(clock), int(clock * MICROSECONDS)
        fresh, hashes = self._not_seen(lines) if kind == "event" else (lines, [])
        first = newest(db) + 1
        code = CODES[kind]
        owner = self._hashes.owner
        rows = [
            (n, code, owner(kind, line.key), happened(line, now), at, line.key, line.text)
            for n, line in enumerate(fresh, first)
        ]
        insert(db, rows)
        last = first + len(fresh) - 1
        if kind == "item":
            numbers = {line.key: n for n, line in enumerate(fresh, first)}
            db.many(
                "INSERT INTO catalogue (item_id, number) VALUES (?, ?) "
                "ON CONFLICT (item_id) DO UPDATE SET number = excluded.number",
                sorted(numbers.items()),
            )
        known = [(seen, n) for n, seen in enumerate(hashes, first) if seen is not None]
        db.many("INSERT INTO once (event, number) VALUES (?, ?)", known)
        answer = Appended(len(fresh), len(lines) - len(fresh), last)
        if request is not None:
            self._remember(request, answer, at)
        return answer

    def _in_order(self, clock: float) -> float:
        """When an event happened that does not say: not before the last one that came."""
        if self._latest is None:
            found = self._writer_connection.rows(
                "SELECT at FROM entries WHERE kind <= 6 ORDER BY number DESC LIMIT 1"
            )
            self._latest = found[0][0] / MICROSECONDS if found else clock
        ahead = self._latest - clock
        self._latest = clock if ahead > SET_BACK else max(clock, self._latest)
        return self._latest

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
        long_ago = answer.last - ALWAYS_KEPT
        db.rows("DELETE FROM answers WHERE at < ? AND last < ?", (too_old, long_ago))
        db.rows(
            "INSERT INTO answers (token, digest, stored, duplicates, last, at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*request, answer.stored, answer.duplicates, answer.last, at),
        )

    def _not_seen(self, lines: list[Line]) -> tuple[list[Line], list[bytes | None]]:
        """Events whose event_id is new, each once, and the hashes of their event_ids."""
        hashes = [
            None if li.event_id is None else self._hashes.of("once", li.event_id) for li in lines
        ]
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

    @property
    def name(self) -> str:
        """See Journal."""
        return self._name

    @property
    def salt(self) -> str:
        """See Journal."""
        return self._hashes.salt

    def masked(self, user_id: str, salt: str | None = None) -> str:
        """See Journal."""
        return (self._hashes if salt is None else Hashes(salt)).masked(user_id)

    def seed(self) -> Seed | None:
        """See Journal."""
        return _seed(self._read(META, (SEED,)))

    def before(self) -> tuple[str, ...]:
        """See Journal."""
        return _names(self._read(META, (BEFORE,)))

    def dropped(self) -> int:
        """See Journal."""
        found = self._read(META, (DROPPED,))
        return int(found[0][0]) if found else 0

    def shared(self, name: str) -> bytes | None:
        """See Journal."""
        found = self._read(SHARED, (name,))
        return bytes(found[0][0]) if found else None

    def share(self, name: str, value: bytes) -> bytes:
        """See Journal."""

        def put() -> bytes:
            db = self._writer_connection
            db.rows(
                "INSERT INTO shared (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                (name, value),
            )
            return bytes(db.rows(SHARED, (name,))[0][0])

        return self._do(put, 1)

    def snapshot(self, folder: str | Path) -> dict[str, Any]:
        """See Journal."""
        return tables.export(self, Path(folder))

    def check(self) -> list[str]:
        """See Journal."""
        return checking.problems(self, self._read)

    def erasures(self) -> list[Erasure]:
        """See Journal."""
        found = self._read(f"{ERASURES} ORDER BY number")
        return erasing.erasures(found, self.salt)

    def begin_seed(
        self,
        seed: Seed,
        before: Sequence[str] = (),
        own: Sequence[Erasure] = (),
        later: Sequence[Erasure] = (),
    ) -> Seed:
        """See Journal."""

        def begin() -> Seed:
            db = self._writer_connection
            if newest(db) or _seed(db.rows(META, (SEED,))):
                raise JournalConflict(f"{self.where} is not empty: only an empty journal is seeded")
            erasing.take_over(db, self.salt, own)
            made = replace(seed, done=0, at=time.time(), own=newest(db))
            known = {one.hash for one in own}
            erasing.take_over(db, self.salt, [one for one in later if one.hash not in known])
            set_meta(db, SEED, made.to_json())
            set_meta(db, BEFORE, json.dumps(list(before)))
            return made

        return self._do(begin, 1)

    def grow_seed(self, seed: Seed, kind: Told, bodies: Sequence[Body]) -> Seed:
        """See Journal."""
        lines = check_lines(kind, bodies)

        def grow() -> Seed:
            db = self._writer_connection
            if _seed(db.rows(META, (SEED,))) != seed:
                raise JournalConflict(f"{self.where} was seeded further by somebody else")
            found = db.rows(f"{ERASURES} AND number > ?", (seed.own,))
            erased = erasing.Erased(erasing.erasures(found, self.salt))
            kept = [line for line in lines if not erased.covers(kind, line)] if erased else lines
            self._append(kind, kept, None)
            grown = replace(seed, done=seed.done + len(lines))
            set_meta(db, SEED, grown.to_json())
            return grown

        return self._do(grow, max(len(lines), 1))

    def honour(self, made: Sequence[Erasure]) -> int:
        """See Journal."""
        known = {one.hash for one in self.erasures()}
        fresh = [one for one in made if one.hash not in known]
        if not fresh:
            return 0
        db, hashes = self._writer_connection, self._hashes
        gone = self._do(lambda: erasing.honour(db, hashes, fresh), 1)
        self._do(self._scrub, 1, alone=True)
        return gone

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
            (self._hashes.owner(kind, check_key("user_id", key)), CODES[kind], key, limit),
        )
        return [from_json(row[0]) for row in found]

    def erase_user(self, user_id: str) -> Receipt:
        """See Journal."""
        return self._erase("erase_user", ("user", "event"), check_key("user_id", user_id))

    def erase_item(self, item_id: str) -> Receipt:
        """See Journal."""
        return self._erase("erase_item", ("item",), check_key("item_id", item_id))

    def _erase(self, kind: Any, told: tuple[Told, ...], key: str) -> Receipt:
        db, hashes = self._writer_connection, self._hashes
        receipt = self._do(lambda: erasing.erase(db, hashes, kind, told, key), 1)
        self._do(self._scrub, 1, alone=True)
        return receipt

    def export(self, folder: str | Path) -> dict[str, Any]:
        """See Journal."""
        return tables.export(self, Path(folder))

    def restore(self, folder: str | Path, later: Sequence[Erasure] = ()) -> dict[str, Any]:
        """See Journal."""
        return tables.restore(self, Path(folder), later)


def _outcome(job: Job) -> Any:
    try:
        return job.work()
    except JournalError as refused:
        return refused


def _seed(found: Rows) -> Seed | None:
    return Seed.from_json(found[0][0]) if found else None


def _names(found: Rows) -> tuple[str, ...]:
    return tuple(json.loads(found[0][0])) if found else ()
