"""One import from beginning to end: whole or not at all."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from m6rec.data.files import FORMATS as TABLE_ENDINGS
from m6rec.data.importers.collect import Collection, Progress
from m6rec.data.importers.columnmap import parse_map
from m6rec.data.importers.pieces import Importer, Maps, Notes
from m6rec.data.report import RejectFile
from m6rec.data.schema import TABLES, DataError

Columns = str | Mapping[str, str | Mapping[str, str]]
"""A map for events, or one for each table; see `columnmap`."""


@dataclass(frozen=True)
class Imported:
    """What an import wrote and what it left out.

    rows: rows written, by table. read: rows read, by source file. rejected: rows set aside, by
    source file (FILE.TABLE where one file feeds several tables); reasons: why, and how often;
    rejects: the JSON Lines file in the target that holds them. notes: what else to know.
    """

    format: str
    source: str
    target: str
    rows: Mapping[str, int]
    read: Mapping[str, int]
    rejected: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    rejects: Mapping[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready dictionary."""
        return {**asdict(self), "notes": list(self.notes)}


def run_import(
    name: str,
    importer: Importer,
    source: Path,
    target: Path,
    columns: Columns | None,
    progress: Progress,
    overwrite: bool,
) -> Imported:
    """See `import_data`."""
    maps = _maps(name, importer, columns)
    if not source.exists():
        raise DataError(f"{source}: not there; {name} reads {importer.reads}")
    _require_free(source, target, overwrite)
    notes = Notes()
    with _unfinished(target) as folder:
        collection = Collection(folder, notes, progress)
        with closing(collection), _readable_errors(source):
            for piece in importer.pieces(source, maps, notes):
                collection.add(piece)
            rows = collection.finish()
        if "events" in rows and "items" not in rows:
            notes.say("no items table: put one with item_id and title beside the events")
        _put_in_place(folder, target)
    aside = collection.set_aside()
    return Imported(
        format=name,
        source=str(source),
        target=str(target),
        rows=rows,
        read=collection.read,
        rejected={name: file.rows for name, (file, _) in aside.items()},
        reasons={name: dict(why) for name, (_, why) in aside.items()},
        rejects={name: _path(file, target) for name, (file, _) in aside.items()},
        notes=notes.all(),
    )


def _path(rejects: RejectFile, target: Path) -> str:
    assert rejects.path is not None
    return str(target / rejects.path.name)


def _maps(name: str, importer: Importer, columns: Columns | None) -> Maps:
    if columns is None:
        return {}
    specs = {"events": columns} if isinstance(columns, str) else columns
    maps = {table: parse_map(table, spec) for table, spec in specs.items()}
    for table in maps:
        if table not in importer.takes:
            able = ", ".join(importer.takes) or "none: it knows its columns"
            raise DataError(f"format {name!r} takes no column map of {table}; right is {able}")
    return maps


def _require_free(source: Path, target: Path, overwrite: bool) -> None:
    folder = source if source.is_dir() else source.parent
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file; give a folder for the tables")
    if target.exists() and any(target.iterdir()):
        if folder.resolve() == target.resolve():
            raise DataError(f"{target} holds the source itself; give another folder for the tables")
        if not overwrite:
            raise DataError(
                f"{target} is not empty; give another folder, or ask to overwrite the tables in it"
            )


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target that is gone afterwards, whatever happens."""
    folder = target.parent / f".{target.name}.unfinished"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed import left
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _readable_errors(source: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{source}: can not be imported ({reason})") from error


def _put_in_place(folder: Path, target: Path) -> None:
    """Moves the finished tables to their place; tables of an earlier import go.

    Other files of the target (templates.toml, notes) stay.
    """
    target.mkdir(parents=True, exist_ok=True)
    new = {path.name for path in folder.iterdir()}
    stale = [
        *(target / f"{table}.{ending}" for table in TABLES for ending in TABLE_ENDINGS),
        *target.glob("*.rejects.jsonl"),
        *target.glob("requests.*.jsonl"),
    ]
    for path in folder.iterdir():
        path.replace(target / path.name)
    for path in stale:
        if path.name not in new:
            path.unlink(missing_ok=True)


def require_format(name: str, formats: Mapping[str, Importer]) -> Importer:
    """The importer of a name. Raises DataError with the nearest known one."""
    if name not in formats:
        near = difflib.get_close_matches(name, formats, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"no import format {name!r}; right is {', '.join(formats)}{hint}")
    return formats[name]
