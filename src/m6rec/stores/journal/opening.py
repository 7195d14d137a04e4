"""A journal by its address: a folder, postgresql://…, or "memory"."""

from __future__ import annotations

from pathlib import Path

from m6rec.stores.journal.base import Journal, JournalError
from m6rec.stores.journal.postgres import PostgresJournal
from m6rec.stores.journal.sqlite import SqliteJournal

POSTGRES = ("postgresql://", "postgres://")


def open_journal(where: str | Path) -> Journal:
    """A journal, made where there is none.

    where: a folder (SQLite), the address of a PostgreSQL database, or "memory".
    Raises JournalError where it can not be opened.
    """
    if where == "memory":
        return SqliteJournal()
    if isinstance(where, str) and where.startswith(POSTGRES):
        return PostgresJournal(where)
    if isinstance(where, str) and "://" in where:
        scheme = where.partition("://")[0]
        raise JournalError(f"{scheme}://…: right is a folder, postgresql://HOST/NAME, or memory")
    return SqliteJournal(where)
