"""Snapshots of an index: files with hashes, replaced as a whole.

A snapshot is a folder of its own with a manifest that tells the hash of every file; `CURRENT` names
the one that counts, and is replaced when the new one is on the disk. A kill at any point leaves the
old snapshot or the new one; a file that was torn does not pass.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from m6rec.stores.disk import flush, sha256_of, write_down
from m6rec.stores.vectors.base import VectorError

CURRENT, MANIFEST, PREFIX, LOCK = "CURRENT", "manifest.json", "snapshot-", "writing.lock"
THIS_FORMAT = 1


class SnapshotWriter:
    """Files of a new snapshot. Nothing counts before `finish`; others wait until its end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        self._lock.acquire()
        numbers = [int(p.name[len(PREFIX) :]) for p in _snapshots(folder)]
        self.folder = folder
        self.path = folder / f"{PREFIX}{max(numbers, default=0) + 1}"
        self.path.mkdir()

    def array(self, name: str, array: np.ndarray) -> None:
        """Keeps an array."""
        np.save(self.path / f"{name}.npy", array, allow_pickle=False)

    def words(self, name: str, words: list[str]) -> None:
        """Keeps a list of texts."""
        (self.path / f"{name}.json").write_text(json.dumps(words), encoding="utf-8")

    def finish(self, about: Mapping[str, Any]) -> None:
        """Makes this the snapshot that counts, and removes others."""
        hashes = {}
        for file in sorted(self.path.iterdir()):
            hashes[file.name] = sha256_of(file)
            flush(file)
        manifest = {"format": THIS_FORMAT, "files": hashes, **about}
        write_down(self.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        flush(self.path)
        write_down(
            self.folder / f"{CURRENT}.new", f"{self.path.name} {sha256_of(self.path / MANIFEST)}"
        )
        (self.folder / f"{CURRENT}.new").replace(self.folder / CURRENT)
        flush(self.folder)
        for other in _snapshots(self.folder):
            if other != self.path:
                shutil.rmtree(other, ignore_errors=True)
        self._lock.release()

    def give_up(self) -> None:
        """Removes what was written."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


class SnapshotReader:
    """The snapshot that counts. about: its manifest. Raises VectorError where it is not whole."""

    def __init__(self, folder: Path) -> None:
        try:
            name, digest = (folder / CURRENT).read_text("utf-8").split()
            self.path = folder / name
            if sha256_of(self.path / MANIFEST) != digest:
                raise VectorError(f"{self.path / MANIFEST} is not whole; make the index anew")
            self.about: dict[str, Any] = json.loads((self.path / MANIFEST).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise VectorError(f"{folder} holds no snapshot of an index: {error}") from error
        if self.about["format"] != THIS_FORMAT:
            raise VectorError(
                f"{folder} has format {self.about['format']}; this version reads {THIS_FORMAT}"
            )

    def file(self, name: str) -> Path:
        """A file, after its hash was checked."""
        path = self.path / name
        try:
            whole = sha256_of(path) == self.about["files"].get(name)
        except OSError as error:
            raise VectorError(f"{path} can not be read ({error}); make the index anew") from error
        if not whole:
            raise VectorError(f"{path} is not whole: its hash is another; make the index anew")
        return path

    def array(self, name: str) -> np.ndarray:
        """An array."""
        found: np.ndarray = np.load(self.file(f"{name}.npy"), allow_pickle=False)
        return found

    def words(self, name: str) -> list[str]:
        """A list of texts."""
        found: list[str] = json.loads(self.file(f"{name}.json").read_text("utf-8"))
        return found


def _snapshots(folder: Path) -> list[Path]:
    return [p for p in folder.glob(f"{PREFIX}*") if p.name[len(PREFIX) :].isdecimal()]
