"""Files that are on the disk, and what they hold, when a call returns."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def flush(path: Path) -> None:
    """A file or a folder is on the disk afterwards."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_down(path: Path, text: str) -> None:
    """Writes a text file, and flushes it."""
    path.write_text(text, encoding="utf-8")
    flush(path)


def replace_text(path: Path, text: str) -> None:
    """Puts a text file of the owner's alone in the place of what is there, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.touch(mode=0o600)
    write_down(unfinished, text)
    unfinished.replace(path)
    flush(path.parent)


def sha256_of(path: Path) -> str:
    """The digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
