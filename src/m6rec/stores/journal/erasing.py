"""Erasures in a journal's tables: rows that are overwritten, receipts, and erasures that were made
elsewhere (in the journal that this one continues) and count here, too.

Each runs within a transaction of the writer.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic_core import from_json

from m6rec.stores.journal.base import Line, Receipt, Told, said, to_json
from m6rec.stores.journal.moments import MICROSECONDS, moment
from m6rec.stores.journal.origin import Erasure
from m6rec.stores.journal.schema import (
    BLANK,
    CODES,
    GONE,
    KINDS,
    Connection,
    Hashes,
    Rows,
    insert,
    newest,
)

Erasing = Literal["erase_user", "erase_item"]


def erase(
    db: Connection, hashes: Hashes, kind: Erasing, told: tuple[Told, ...], key: str
) -> Receipt:
    """Overwrites all rows of a user or an item, and writes down that it was done."""
    owner = hashes.owner(told[0], key)
    found = db.rows(
        "SELECT number, kind, body FROM entries WHERE kind < 5 AND owner = ? AND key = ?",
        (owner, key),
    )
    counts = _overwrite(db, hashes, key, found)
    if kind == "erase_item":
        db.rows("DELETE FROM catalogue WHERE item_id = ?", (key,))
    shown = key if kind == "erase_item" else hashes.masked(key)
    at, number = time.time(), newest(db) + 1
    told_counts = {str(name): counts.get(name, 0) for name in told}
    receipt = Receipt(kind, shown, told_counts, number, at).sealed()
    _write_down(db, kind, number, shown, {"entries": told_counts, "hash": receipt.hash}, at)
    return receipt


def erasures(rows: Rows, salt: str) -> list[Erasure]:
    """Erasures of users, of rows key, body, at. salt: of the journal."""
    return [Erasure.read(key, text, salt, at / MICROSECONDS) for key, text, at in rows]


def take_over(db: Connection, salt: str, made: Iterable[Erasure]) -> None:
    """Writes down erasures that were made elsewhere."""
    now, first = time.time(), newest(db) + 1
    for number, one in enumerate(made, first):
        body: dict[str, Any] = {"entries": dict(one.entries), "hash": one.hash, "at": one.at}
        if one.salt != salt:
            body["salt"] = one.salt
        _write_down(db, "erase_user", number, one.key, body, now)


def honour(db: Connection, hashes: Hashes, made: Sequence[Erasure]) -> int:
    """Erases what users did before they were erased elsewhere; returns how many rows that were.

    A profile has no time of its own, and goes.
    """
    erased = Erased(made)
    users = db.rows("SELECT DISTINCT key FROM entries WHERE kind IN (3, 4)")
    gone = 0
    for (user_id,) in users:
        until = erased.until(user_id)
        if until is None:
            continue
        found = db.rows(
            "SELECT number, kind, body FROM entries WHERE kind < 5 AND owner = ? AND key = ? "
            "AND (kind = 3 OR happened <= ?)",
            (hashes.owner("user", user_id), user_id, moment(until)),
        )
        gone += sum(_overwrite(db, hashes, user_id, found).values())
    take_over(db, hashes.salt, made)
    return gone


class Erased:
    """Who was erased, and when, by erasures of any journals."""

    def __init__(self, made: Iterable[Erasure]) -> None:
        self._at: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for one in made:
            at = self._at[one.salt]
            at[one.key] = max(one.at, at.get(one.key, one.at))
        self._hashes = {salt: Hashes(salt) for salt in self._at}

    def __bool__(self) -> bool:
        return bool(self._at)

    def until(self, user_id: str) -> float | None:
        """When a user was erased for the last time; None: never."""
        found = [
            at
            for salt, hashes in self._hashes.items()
            if (at := self._at[salt].get(hashes.masked(user_id))) is not None
        ]
        return max(found, default=None)

    def among(self, user_ids: Iterable[str | None]) -> list[str]:
        """Who of some users was erased."""
        if not self:
            return []
        asked = dict.fromkeys(one for one in user_ids if one is not None)
        return [one for one in asked if self.until(one) is not None]

    def covers(self, kind: Told, line: Line) -> bool:
        """Whether a row is of a user who was erased after it; one without a time is."""
        if kind == "item":
            return False
        until = self.until(line.key)
        return until is not None and (line.happened is None or line.happened <= until)


def _overwrite(db: Connection, hashes: Hashes, key: str, found: Rows) -> Counter[str]:
    """Blanks rows number, kind, body of a key where they stand; how many, by kind."""
    blank = " " * len(key.encode())
    db.many(
        "UPDATE entries SET kind = ?, owner = ?, happened = ?, at = ?, key = ?, body = ? "
        "WHERE number = ?",
        [
            (GONE, BLANK, BLANK, BLANK, blank, " " * len(body.encode()), number)
            for number, _, body in found
        ],
    )
    ids = [_event_id(body) for _, code, body in found if code == CODES["event"]]
    known = [(hashes.of("once", one),) for one in ids]
    db.many("DELETE FROM once WHERE event = ?", known)
    return Counter(KINDS[code] for _, code, _ in found)


def _event_id(text: str) -> str:
    """As the event was known by when it came; of a damaged body its own is lost."""
    try:
        body = from_json(text)
    except ValueError:
        body = None
    own = body.get("event_id") if isinstance(body, dict) else None
    return own if isinstance(own, str) else said(text)


def _write_down(
    db: Connection, kind: Erasing, number: int, key: str, body: dict[str, Any], at: float
) -> None:
    row = (number, CODES[kind], BLANK, BLANK, int(at * MICROSECONDS), key, to_json(body))
    insert(db, [row])
