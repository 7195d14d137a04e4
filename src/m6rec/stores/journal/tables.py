"""A journal as canonical tables: items, users and events as JSON Lines, who was erased, and a
manifest.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from m6rec.stores.disk import sha256_of, write_down
from m6rec.stores.journal.base import Body, Journal, JournalError, Told, to_json
from m6rec.stores.journal.origin import Erasure, Seed
from m6rec.stores.journal.seeding import Part, fill

FILES: dict[Told, str] = {"item": "items.jsonl", "user": "users.jsonl", "event": "events.jsonl"}
ERASURES = "erasures.jsonl"
MANIFEST = "manifest.json"
THIS_FORMAT = 2
READ_FORMATS = (1, 2)
"""Format 1 has no erasures, and does not name the journal."""
AT_ONCE = 5_000


def export(journal: Journal, folder: Path) -> dict[str, Any]:
    """Writes the folder, whole or not at all. Raises JournalError where it holds anything."""
    check_new(folder)
    last = journal.last()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tables = {
            file: _write(made / file, map(to_json, _bodies(journal, kind, last)))
            for kind, file in FILES.items()
        }
        tables[ERASURES] = _write(made / ERASURES, (one.to_json() for one in journal.erasures()))
        manifest = {
            "format": THIS_FORMAT,
            "last": last,
            "journal": journal.name,
            "before": list(journal.before()),
            "tables": tables,
        }
        write_down(made / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        made.replace(folder)
    except OSError as error:
        raise JournalError(f"{folder} can not be written: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


def check_new(folder: Path) -> None:
    """Raises JournalError where a folder holds anything."""
    if folder.exists() and any(folder.iterdir()):
        raise JournalError(f"{folder} holds something already; right is a new folder")


def restore(journal: Journal, folder: Path, later: Iterable[Erasure] = ()) -> dict[str, Any]:
    """Reads the folder after its hashes were checked; stopped half-way, it goes on. later: erasures
    that the folder may not know of. Raises JournalError."""
    manifest = manifest_of(folder)
    tables = manifest["tables"]
    name = manifest.get("journal", folder.name)
    total = sum(int(tables[file]["rows"]) for file in FILES.values())
    digest = hashlib.sha256(to_json(tables).encode()).hexdigest()
    seed = Seed(f"an export of journal {name} up to entry {manifest['last']}", digest, total)
    now = journal.seed()
    if journal.last() and (now is None or now.whole or now.digest != digest):
        raise JournalError("right is an empty journal: restore does not mix with what is there")
    own = erasures_of(folder) if ERASURES in tables else []
    before = (
        *manifest.get("before", ()),
        *([manifest["journal"]] if "journal" in manifest else ()),
    )
    fill(journal, seed, _parts(folder), before, own, list(later))
    return manifest


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of an export whose files are whole. Raises JournalError."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        if manifest["format"] not in READ_FORMATS:
            raise JournalError(
                f"{folder} has format {manifest['format']!r}; this version reads "
                f"{' and '.join(map(str, READ_FORMATS))}"
            )
        for file, told in dict(manifest["tables"]).items():
            if file not in (*FILES.values(), ERASURES):
                raise JournalError(f"{folder / MANIFEST} names {file!r}, which no export has")
            int(told["rows"])
            if sha256_of(folder / file) != told["sha256"]:
                raise JournalError(f"{folder / file} is not the file that the manifest tells of")
        int(manifest["last"])
        missing = set(FILES.values()) - set(manifest["tables"])
        if missing:
            raise JournalError(f"{folder / MANIFEST} does not name {sorted(missing)[0]}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(f"{folder} is no export of a journal: {error}") from error
    return manifest


def erasures_of(folder: Path) -> list[Erasure]:
    """Who was erased, as an export says. Raises M6Error."""
    return read_erasures(folder / ERASURES)


def read_erasures(path: Path) -> list[Erasure]:
    """Erasures of a file, one a line. Raises JournalError where it can not be read, M6Error that
    names a line that is none."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"{path} can not be read: {error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    return [Erasure.from_json(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]


def _parts(folder: Path) -> Iterator[Part]:
    for kind, file in FILES.items():
        part: list[Body] = []
        with (folder / file).open(encoding="utf-8") as lines:
            for line in lines:
                part.append(json.loads(line))
                if len(part) == AT_ONCE:
                    yield kind, part
                    part = []
        if part:
            yield kind, part


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


def _write(path: Path, texts: Iterable[str]) -> dict[str, Any]:
    rows = 0
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for text in texts:
            line = text.encode() + b"\n"
            digest.update(line)
            out.write(line)
            rows += 1
        out.flush()
        os.fsync(out.fileno())
    return {"rows": rows, "sha256": digest.hexdigest()}
