"""A copy of an embedded journal's file, made while others write, and put back.

A snapshot has everything that the journal has: idempotency keys, numbers, times. Put back, it is a
journal of its own that says which one it continues, for the two may go apart.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from m6rec.stores.disk import flush, sha256_of, write_down
from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.schema import BEFORE, THIS_FORMAT
from m6rec.stores.journal.tables import MANIFEST, check_new

FILE, LOCK = "journal.sqlite", "journal.lock"
SNAPSHOT = "snapshot"
"""What the manifest says that the folder is."""


def snapshot(file: Path, folder: Path) -> dict[str, Any]:
    """Copies a journal's file as it is at one moment; returns the manifest. Raises JournalError."""
    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        meta, last = _copied(file, made / FILE)
        flush(made / FILE)
        manifest = {
            "format": THIS_FORMAT,
            "kind": SNAPSHOT,
            "last": last,
            "journal": meta["name"],
            "sha256": sha256_of(made / FILE),
            "bytes": (made / FILE).stat().st_size,
        }
        write_down(made / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        made.replace(folder)
        flush(folder.parent)
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"{folder} can not be written: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


def _copied(file: Path, copy: Path) -> tuple[dict[str, str], int]:
    """All pages at once: a writer does not wait for a reader, and a copy in steps would begin anew
    whenever somebody wrote (sqlite.org/backup.html)."""
    source, target = sqlite3.connect(file), sqlite3.connect(copy)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()
        meta = dict(target.execute("SELECT name, value FROM meta").fetchall())
        (last,) = target.execute("SELECT coalesce(max(number), 0) FROM entries").fetchone()
    finally:
        source.close()
        target.close()
    return meta, int(last)


def is_snapshot(folder: Path) -> bool:
    """Whether a folder holds a snapshot, and no export."""
    try:
        return bool(json.loads((folder / MANIFEST).read_text("utf-8")).get("kind") == SNAPSHOT)
    except (OSError, ValueError, AttributeError):
        return False


def put_back(snapshot_folder: Path, folder: Path) -> dict[str, Any]:
    """Makes a snapshot the journal of a folder that holds none; returns the manifest.

    Raises JournalError where the folder holds one, or the snapshot is not whole.
    """
    try:
        manifest: dict[str, Any] = json.loads((snapshot_folder / MANIFEST).read_text("utf-8"))
        if manifest["kind"] != SNAPSHOT or sha256_of(snapshot_folder / FILE) != manifest["sha256"]:
            raise JournalError(f"{snapshot_folder / FILE} is not the file that the manifest names")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=0):
            if (folder / FILE).exists() and _holds(folder / FILE):
                raise JournalError(f"{folder} holds a journal; right is a folder without one")
            _place(snapshot_folder / FILE, folder)
    except Timeout:
        raise JournalError(f"{folder}: another process has this journal open") from None
    except (OSError, ValueError, KeyError, TypeError, sqlite3.Error) as error:
        raise JournalError(f"{snapshot_folder} can not be put back: {error}") from error
    return manifest


def _holds(file: Path) -> bool:
    db = sqlite3.connect(file)
    try:
        return bool(db.execute("SELECT count(*) FROM entries").fetchone()[0])
    finally:
        db.close()


def _place(file: Path, folder: Path) -> None:
    fresh = folder / f".{FILE}.unfinished"
    shutil.copyfile(file, fresh)
    fresh.chmod(0o600)
    db = sqlite3.connect(fresh)
    try:
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        before = json.dumps([*json.loads(meta.get(BEFORE, "[]")), meta["name"]])
        made = {"name": secrets.token_hex(8), BEFORE: before}
        db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", made.items())
        db.commit()
    finally:
        db.close()
    flush(fresh)
    for left in (f"{FILE}-wal", f"{FILE}-shm"):
        (folder / left).unlink(missing_ok=True)
    fresh.replace(folder / FILE)
    flush(folder)
