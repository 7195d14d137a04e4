"""Tables of a journal, what stands in a row, and what a database connection has to do.

Text of a user stands in one place only, `entries.key` and `entries.body`. All else that is kept
about an entry (who owns it, which event_id it had, which request brought it) is a keyed hash, so
that an erasure has one row to overwrite, and indices hold no text that could stay behind. All
numbers of a row keep their size when it is erased, see sqlite.py for why that matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from m6rec.stores.journal.base import Kind, Line, Told
from m6rec.stores.journal.moments import moment

Rows = list[tuple[Any, ...]]
CODES: dict[Kind, int] = {"item": 2, "user": 3, "event": 4, "erase_user": 5, "erase_item": 6}
KINDS = {code: kind for kind, code in CODES.items()}
GONE = 9
BLANK = 1 << 62
"""Stands in the numbers of an erased row. Like all numbers there, it takes eight bytes."""
THIS_FORMAT = "2"
OLDER_FORMATS = ("1",)
"""Formats that are brought up to this one when a journal is opened: each one's tables are those of
SCHEMA without what is made here where it is missing."""
SEED, BEFORE, DROPPED = "seed", "before", "dropped"
"""Names in `meta`: what the journal was seeded with; names of the journals that it continues; how
many events were left out as too old."""
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (name {text} PRIMARY KEY, value {text} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (number {integer} PRIMARY KEY, kind {integer} NOT NULL, "
    "owner {integer} NOT NULL, happened {integer} NOT NULL, at {integer} NOT NULL, "
    "key {text} NOT NULL, body {text} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_owner ON entries (owner, kind, happened, number) WHERE kind < 5",
    "CREATE INDEX IF NOT EXISTS by_erasure ON entries (number) WHERE kind = 5",
    "CREATE TABLE IF NOT EXISTS catalogue (item_id {text} PRIMARY KEY, number {integer} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shared (name {text} PRIMARY KEY, value {bytes} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS once (event {bytes} PRIMARY KEY, number {integer} NOT NULL)",
    "CREATE TABLE IF NOT EXISTS answers (token {bytes} PRIMARY KEY, digest {bytes} NOT NULL, "
    "stored {integer} NOT NULL, duplicates {integer} NOT NULL, last {integer} NOT NULL, "
    "at {integer} NOT NULL)",
    "CREATE INDEX IF NOT EXISTS by_age ON answers (at)",
)
"""Statements with this database's types to be filled in."""


class Connection(Protocol):
    """What is asked of a connection. SQL has `?` for each value."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Runs one statement."""

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs one statement for each row."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and nobody else writes meanwhile."""


class Hashes:
    """Keyed hashes of one journal. salt: in hex."""

    def __init__(self, salt: str) -> None:
        self.salt = salt
        self._key = bytes.fromhex(salt)

    def of(self, what: str, text: str) -> bytes:
        """16 bytes; what: keeps texts of one use from meeting those of another."""
        made = hashlib.blake2b(f"{what}\0{text}".encode(), digest_size=16, key=self._key)
        return made.digest()

    def owner(self, kind: Told, key: str) -> int:
        """62 bits for an item or a user, always eight bytes in a row."""
        room = "item" if kind == "item" else "user"
        return int.from_bytes(self.of(room, key)[:8], "big") >> 2 | 1 << 61

    def masked(self, user_id: str) -> str:
        """See Journal.masked."""
        return self.of("mask", user_id).hex()


def newest(db: Connection) -> int:
    """Number of the last entry; 0: there is none."""
    return int(db.rows("SELECT coalesce(max(number), 0) FROM entries")[0][0])


def insert(db: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Writes entries."""
    db.many(
        "INSERT INTO entries (number, kind, owner, happened, at, key, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def set_meta(db: Connection, name: str, value: str) -> None:
    """Writes a value of `meta`, or replaces it."""
    db.rows(
        "INSERT INTO meta (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def happened(line: Line, now: float) -> int:
    """When it happened, in microseconds: moved so that any time takes eight bytes."""
    return moment(now if line.happened is None else line.happened)
