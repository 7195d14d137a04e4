"""A journal as canonical tables: items, users and events as JSON Lines, and a manifest.

The folder is a data set as any other (`m6rec check FOLDER` reads it). Of items and users the newest
bodies are written; an event without a timestamp gets the time at which it came.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m6rec.stores.disk import sha256_of, write_down
from m6rec.stores.journal.base import Body, Journal, JournalError, Told, to_json

FILES: dict[Told, str] = {"item": "items.jsonl", "user": "users.jsonl", "event": "events.jsonl"}
MANIFEST = "manifest.json"
THIS_FORMAT = 1
AT_ONCE = 5_000


def export(journal: Journal, folder: Path) -> dict[str, Any]:
    """Writes the folder, whole or not at all. Raises JournalError where it holds anything."""
    if folder.exists() and any(folder.iterdir()):
        raise JournalError(f"{folder} holds something already; right is a new folder")
    last = journal.last()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tables = {
            file: _write(made / file, _bodies(journal, kind, last)) for kind, file in FILES.items()
        }
        manifest = {"format": THIS_FORMAT, "last": last, "tables": tables}
        write_down(made / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        made.chmod(0o755)
        made.replace(folder)
    except OSError as error:
        raise JournalError(f"{folder} can not be written: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


def restore(journal: Journal, folder: Path) -> dict[str, Any]:
    """Reads the folder after its hashes were checked. Raises JournalError."""
    if journal.last():
        raise JournalError("right is an empty journal: restore does not mix with what is there")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        tables = dict(manifest["tables"])
        for file in FILES.values():
            if sha256_of(folder / file) != tables[file]["sha256"]:
                raise JournalError(f"{folder / file} is not the file that the manifest tells of")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(f"{folder} is no export of a journal: {error}") from error
    for kind, file in FILES.items():
        part: list[Body] = []
        with (folder / file).open(encoding="utf-8") as lines:
            for line in lines:
                part.append(json.loads(line))
                if len(part) == AT_ONCE:
                    journal.append(kind, part)
                    part = []
        if part:
            journal.append(kind, part)
    return manifest


def _bodies(journal: Journal, kind: Told, last: int) -> Iterator[Body]:
    if kind == "item":
        page = journal.items(limit=AT_ONCE)
        while page:
            yield from page
            page = journal.items(page[-1]["item_id"], AT_ONCE)
    elif kind == "user":
        newest = {entry.key: entry.body for entry in _entries(journal, last) if entry.kind == kind}
        yield from (newest[key] for key in sorted(newest))
    else:
        yield from _events(journal, last)


def _events(journal: Journal, last: int) -> Iterator[Body]:
    """Events with a time each. Repeats that came at once get one a microsecond later each, for
    with the same time they would be copies."""
    at = 0.0
    came: Counter[str] = Counter()
    for entry in _entries(journal, last):
        if entry.kind != "event":
            continue
        body = _without_none(entry.body)
        if "timestamp" not in body:
            if entry.at != at:
                at, came = entry.at, Counter()
            text = to_json(body)
            body = {"timestamp": round(at + came[text] * 1e-6, 6), **body}
            came[text] += 1
        yield body


def _without_none(body: Body) -> Body:
    return {key: value for key, value in body.items() if value is not None or key != "timestamp"}


def _entries(journal: Journal, last: int) -> Iterator[Any]:
    after = 0
    while page := journal.entries(after, AT_ONCE):
        for entry in page:
            if entry.number > last:
                return
            yield entry
        after = page[-1].number


def _write(path: Path, bodies: Iterator[Body]) -> dict[str, Any]:
    rows = 0
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for body in bodies:
            line = to_json(body).encode() + b"\n"
            digest.update(line)
            out.write(line)
            rows += 1
        out.flush()
        os.fsync(out.fileno())
    return {"rows": rows, "sha256": digest.hexdigest()}
