"""A journal by its address: a folder, postgresql://…, or "memory"."""

from __future__ import annotations

from pathlib import Path

from m6rec.stores.journal import Journal, JournalError
from m6rec.stores.journal_sqlite import SqliteJournal


def open_journal(where: str | Path) -> Journal:
    """A journal, made where there is none.

    where: a folder (SQLite), the address of a PostgreSQL database, or "memory".
    Raises JournalError where it can not be opened.
    """
    if where == "memory":
        return SqliteJournal()
    if isinstance(where, str) and "://" in where:
        raise JournalError(f"{where}: right is a folder or memory")
    return SqliteJournal(where)
