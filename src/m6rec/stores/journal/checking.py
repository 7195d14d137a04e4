"""What is wrong in a journal, in words for who keeps it, and with what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Protocol

from pydantic_core import from_json

from m6rec.stores.journal.base import OWNER, EntryText, Journal, beyond
from m6rec.stores.journal.schema import Rows

MOST = 20
"""Problems that are named; the rest are counted."""


class Read(Protocol):
    """Rows of a statement."""

    def __call__(self, sql: str) -> Rows: ...


def problems(journal: Journal, read: Read) -> list[str]:
    """Every problem, the first MOST of them one by one."""
    found = list(_all(journal, read))
    more = len(found) - MOST
    return [*found[:MOST], f"and {more:,} more"] if more > 0 else found


def _all(journal: Journal, read: Read) -> Iterator[str]:
    seed = journal.seed()
    if seed is not None and not seed.whole:
        yield (
            f"{seed.done:,} of {seed.total:,} rows of {seed.source} were taken in: start the "
            "server, or restore, once more from there"
        )
    lost = read(
        "SELECT c.item_id FROM catalogue c LEFT JOIN entries e ON e.number = c.number "
        "AND e.kind = 2 WHERE e.number IS NULL ORDER BY c.item_id"
    )
    for (item_id,) in lost:
        yield f"item {item_id!r} has no entry: {_erase('item', item_id)}"
    after = 0
    while page := journal.entry_texts(after):
        for entry in page:
            if (wrong := _wrong(entry)) is not None:
                yield f"entry {entry.number} ({entry.kind} of {entry.key!r}): {wrong}"
        after = page[-1].number


def _wrong(entry: EntryText) -> str | None:
    if entry.kind not in OWNER:
        return None
    what = "item" if entry.kind == "item" else "user"
    remedy = _erase(what, entry.key)
    try:
        body = from_json(entry.text)
    except ValueError as error:
        return f"its body is no JSON ({error}): {remedy}"
    if not isinstance(body, dict) or body.get(f"{what}_id") != entry.key:
        return f"its body does not name it: {remedy}"
    problem = beyond(body, entry.text)
    return None if problem is None else f"{problem}: {remedy}"


def _erase(what: str, key: str) -> str:
    return f"m6rec journal erase --data DATA --{what} {shlex.quote(key)}"
