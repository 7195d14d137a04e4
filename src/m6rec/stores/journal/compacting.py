"""What of a journal is of no more use (erased rows, older bodies of items and users), and a copy
of a SQLite file without it.

The copy is made beside the file while others write; only its last part, what came meanwhile, is
written while they wait. Erased rows never get into it, so nothing has to be overwritten there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from m6rec.stores.disk import flush
from m6rec.stores.journal.base import JournalBusy
from m6rec.stores.journal.retention import EVERYTHING, Retention
from m6rec.stores.journal.schema import DROPPED, GONE, Rows

ROWS_AT_ONCE = 20_000
DEAD = (
    f"(e.kind = {GONE} OR (e.kind = 2 AND EXISTS (SELECT 1 FROM catalogue c "
    "WHERE c.item_id = e.key AND c.number > e.number)) OR (e.kind = 3 AND EXISTS (SELECT 1 FROM "
    "entries n WHERE n.kind < 5 AND n.owner = e.owner AND n.kind = 3 AND n.key = e.key "
    "AND n.number > e.number)))"
)
"""Whether an entry `e` is of no more use."""
COLUMNS = "number, kind, owner, happened, at, key, body"
BESIDE = "beside"
"""Name in `meta` of how many numbers were of nothing that is in use, at the last compaction."""
WAIT_MS = 5_000
CLOCK = 60_000_000
"""Microseconds by which a clock may have been put back while a copy was made."""


def waste(read: Callable[[str], Rows], keep: Retention = EVERYTHING) -> float:
    """The share of the entries that is of no more use; reads an index, not the entries."""
    beside = read(f"SELECT value FROM meta WHERE name = '{BESIDE}'")
    found = int(read("SELECT coalesce(max(number), 0) FROM entries")[0][0])
    found -= int(beside[0][0]) if beside else 0
    if not found:
        return 0.0
    counts: dict[int, int] = dict(
        read("SELECT kind, count(*) FROM entries WHERE kind < 5 GROUP BY kind")
    )
    items = read("SELECT count(*) FROM catalogue")[0][0]
    users = read("SELECT count(DISTINCT owner) FROM entries WHERE kind < 5 AND kind = 3")[0][0]
    old = read(f"SELECT count(*) FROM entries e WHERE e.kind < 5 AND {keep.old(read(keep.edge))}")
    useful = counts.get(4, 0) - old[0][0] + items + users
    return max(0.0, 1 - float(useful) / float(found))


class Copy:
    """A copy of a journal's file. schema: statements that make its tables, then its indices. old:
    whether an entry `e` is too old, in SQL.

    `bulk` while others write; then `finish` while nobody does, and the copy is whole, on the disk.
    """

    def __init__(self, file: Path, fresh: Path, schema: Sequence[str], old: str) -> None:
        self._fresh, self._old = fresh, old
        fresh.unlink(missing_ok=True)
        self._indices = [one for one in schema if one.startswith("CREATE INDEX")]
        with sqlite3.connect(fresh) as made:
            for statement in schema:
                if statement not in self._indices:
                    made.execute(statement)
        made.close()
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._do(f"PRAGMA busy_timeout = {WAIT_MS}")
        self._do("ATTACH ? AS fresh", [str(fresh)])
        for setting in ("journal_mode = OFF", "synchronous = OFF"):  # `finish` flushes it once
            self._do(f"PRAGMA fresh.{setting}")
        self._last = self._number("SELECT coalesce(max(number), 0) FROM main.entries")
        self._once = self._number("SELECT coalesce(max(rowid), 0) FROM main.once")
        self._dropped = self._number(
            f"SELECT count(*) FROM main.entries e WHERE e.number <= ? AND {old}", [self._last]
        )
        self._began = int(time.time() * 1_000_000)

    def bulk(self) -> None:
        """All that is there, some rows at a time, so that nobody waits for long."""
        self._rows("entries", self._last)
        for table in ("catalogue", "answers", "shared"):
            self._rows(table, self._number(f"SELECT coalesce(max(rowid), 0) FROM main.{table}"))
        self._rows("once", self._once)
        for statement in self._indices:
            self._do(statement.replace("INDEX IF NOT EXISTS ", "INDEX IF NOT EXISTS fresh."))

    def finish(self) -> None:
        """What came meanwhile. Raises JournalBusy where something was erased meanwhile."""
        erased = "SELECT count(*) FROM main.entries WHERE number > ? AND kind IN (5, 6)"
        if self._number(erased, [self._last]):
            raise JournalBusy("something was erased while the journal was being compacted")
        self._rows("entries", None)
        self._do(
            "INSERT OR REPLACE INTO fresh.catalogue (item_id, number) SELECT key, max(number) "
            "FROM main.entries WHERE number > ? AND kind = 2 GROUP BY key",
            [self._last],
        )
        self._do(
            "INSERT OR IGNORE INTO fresh.once (event, number) "
            "SELECT event, number FROM main.once WHERE rowid > ?",
            [self._once],
        )
        self._do(
            "INSERT OR IGNORE INTO fresh.answers SELECT * FROM main.answers WHERE at >= ?",
            [self._began - CLOCK],
        )
        self._do("INSERT OR IGNORE INTO fresh.shared SELECT * FROM main.shared")
        self._do("INSERT INTO fresh.meta SELECT * FROM main.meta WHERE name != ?", [BESIDE])
        self._do(
            "INSERT OR REPLACE INTO fresh.meta SELECT ?, CAST(? + coalesce((SELECT CAST(value AS "
            "INTEGER) FROM main.meta WHERE name = ?), 0) AS TEXT)",
            [DROPPED, self._dropped, DROPPED],
        )
        self._do(
            "INSERT INTO fresh.meta SELECT ?, CAST(coalesce(max(number) - sum(kind < 5), 0) "
            "AS TEXT) FROM fresh.entries",
            [BESIDE],
        )
        self.close()
        flush(self._fresh)

    def close(self) -> None:
        """Lets go of both files."""
        self._db.close()

    def _rows(self, table: str, last: int | None) -> None:
        """Rows of a table up to one, or, of entries, what came since (None)."""
        if table == "entries":
            into = f"fresh.entries ({COLUMNS}) SELECT {COLUMNS} FROM main.entries e"
            old = self._old if last is not None else "(1 = 0)"
            place, which = "e.number", f" AND NOT {DEAD} AND NOT {old}"
        else:
            into, place, which = f"fresh.{table} SELECT * FROM main.{table} e", "e.rowid", ""
        start = 0 if last is not None else self._last
        stop = last if last is not None else 1 << 62
        while start < stop:
            end = min(stop, start + ROWS_AT_ONCE) if last is not None else stop
            self._do(
                f"INSERT OR REPLACE INTO {into} WHERE {place} > ? AND {place} <= ?{which}",
                [start, end],
            )
            start = end

    def _do(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._db.execute(sql, values).fetchall()

    def _number(self, sql: str, values: Sequence[Any] = ()) -> int:
        return int(self._do(sql, values)[0][0])
