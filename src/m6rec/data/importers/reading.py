"""The files that an importer reads: found by name, plain or gzipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def ending(path: Path) -> str:
    """The ending that tells the format: `.jsonl` of x.jsonl and of x.jsonl.gz."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def find(source: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some files that is there, plain or gzipped; `source` is a folder or one file."""
    for name in names:
        for candidate in (name, f"{name}.gz"):
            if source.is_file() and source.name == candidate:
                return source
            if (source / candidate).is_file():
                return source / candidate
    return None


def files_of(source: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The files of a folder (or the one file) by name, in order; `wanted` sees it without .gz."""
    there = [source] if source.is_file() else sorted(source.iterdir())
    return [path for path in there if path.is_file() and wanted(path.name.removesuffix(".gz"))]
