"""What a state folder knows of its journal (which one it is, who was erased there), and how an
empty journal is filled from the tables of a data folder.

The journal itself says what it was filled from (stores/journal/origin.py). The folder's own marks
guard against a journal that is lost or older than the folder: beside another journal nothing
starts, and who was erased is erased in an older copy, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from m6rec.data.tables import Dataset, dataset_files
from m6rec.stores.disk import replace_text, sha256_of
from m6rec.stores.journal.base import Journal, JournalError, Told
from m6rec.stores.journal.origin import Erasure, Seed
from m6rec.stores.journal.seeding import Part, fill
from m6rec.stores.journal.tables import AT_ONCE, read_erasures

log = logging.getLogger(__name__)

JOURNAL, ERASURES = "journal.json", "erasures.jsonl"
OLD_MARK = "taken-in"
"""File of earlier versions: the data folder's tables are in some journal."""
KINDS: dict[str, Told] = {"items": "item", "users": "user", "events": "event"}


@final
class StateFolder:
    """The files JOURNAL (name of the journal) and ERASURES of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._keeping = folder, threading.Lock()

    def name(self) -> str | None:
        """Name of the journal that the folder was used with; None: of none. Raises JournalError."""
        path = self._folder / JOURNAL
        if not path.exists():
            return None
        try:
            return str(json.loads(path.read_text("utf-8"))["name"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JournalError(f"{path} can not be read ({error}); delete it to go on") from error

    def check(self, journal: Journal) -> None:
        """Raises JournalError where the folder belongs to another journal than this one."""
        known, path = self.name(), self._folder / JOURNAL
        if known is not None and known != journal.name and known not in journal.before():
            raise JournalError(
                f"{self._folder} was used with journal {known}, and this is journal "
                f"{journal.name} ({journal.last():,} entries): right is that journal, or one that "
                f"was restored from it (m6rec journal restore). To begin with this one all the "
                f"same, delete {path}"
            )
        if known is None and (self._folder / OLD_MARK).exists() and not journal.last():
            raise JournalError(
                f"{self._folder / OLD_MARK} says that tables were taken into a journal, and "
                f"journal {journal.name} is empty: right is that journal, or one that was "
                "restored from it (m6rec journal restore). To fill this one from the tables, "
                "delete that file"
            )
        if known is None and journal.last():
            told = {"journal": journal.name, "entries": journal.last()}
            log.info("the journal is not empty: tables are not taken in", extra={"told": told})

    def erasures(self) -> list[Erasure]:
        """Who was erased, as far as the folder knows. Raises M6Error where that can not be read."""
        path = self._folder / ERASURES
        return read_erasures(path) if path.exists() else []

    def keep(self, journal: Journal) -> None:
        """Makes a journal the folder's own: each knows all erasures of the other afterwards.

        Raises JournalError where the folder can not be written.
        """
        try:
            with self._keeping:
                self._keep(journal)
        except OSError as error:
            raise JournalError(f"{self._folder} can not be written: {error.strerror}") from error

    def _keep(self, journal: Journal) -> None:
        known = self.erasures()
        gone = journal.honour(known)
        if gone:
            log.warning("%d entries of users who were erased before are erased again", gone)
        there = {one.hash for one in known}
        fresh = [one for one in journal.erasures() if one.hash not in there]
        if fresh:
            lines = [one.to_json() + "\n" for one in (*known, *fresh)]
            replace_text(self._folder / ERASURES, "".join(lines))
        if self.name() != journal.name:
            replace_text(self._folder / JOURNAL, json.dumps({"name": journal.name}) + "\n")
        (self._folder / OLD_MARK).unlink(missing_ok=True)


def take_in(journal: Journal, base: Dataset, erased: Sequence[Erasure]) -> None:
    """Fills an empty journal from the tables of a data folder; stopped half-way, it goes on.

    Rows of users who were erased after them are left out. Raises JournalError.
    """
    total = sum(table.height for _, table in _tables(base))
    if base.path is None or not total:
        now = journal.seed()
        if now is not None:
            raise JournalError(
                f"the journal was filled half-way ({now.done:,} of {now.total:,} rows) from "
                f"{now.source}, and {base.name} has no tables: right is the same source"
            )
        return
    log.info("taking in %d rows", total)
    seed = Seed(f"the tables of {base.name}", _digest(base.path), total)
    fill(journal, seed, _parts(base), later=erased)


def _digest(folder: Path) -> str:
    files = dataset_files(folder).tables
    told = [f"{name} {sha256_of(files[name])}" for name in KINDS if name in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _tables(base: Dataset) -> list[tuple[Told, pl.DataFrame]]:
    found = [(kind, getattr(base, name)) for name, kind in KINDS.items()]
    return [(kind, table) for kind, table in found if table is not None]


def _parts(base: Dataset) -> Iterator[Part]:
    for kind, table in _tables(base):
        for start in range(0, table.height, AT_ONCE):
            yield kind, list(_bodies(table[start : start + AT_ONCE]))


def _bodies(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in table.iter_rows(named=True):
        yield {name: _plain(value) for name, value in row.items() if _is_told(value)}


def _is_told(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
