"""What an importer hands over: pieces of tables under canonical names, and notes on the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from m6rec.data.batches import Broken, LeftOut
from m6rec.data.importers.columnmap import ColumnMap
from m6rec.data.report import Finding

Maps = Mapping[str, ColumnMap]
"""The column map of each table, as the user gave it; empty where none was given."""


@dataclass(frozen=True)
class Piece:
    """Some rows of one table, in the order of the file they come from.

    frame: canonical columns (any dtype that `conform` casts) with ROW and, for text, LINE.
        Columns whose name begins with # are not written; they show in the rejects.
    read: rows of `file` read so far. broken: lines that are no rows at all.
    wrong: rows with a value that can not be read (bool series of frame's height each).
    secondary: the file is read for another table first, so that most rows repeat an id; repeats
        are counted, not rejected. mergeable: rows of one id are updates, the newest value counts.
    folder: tells files of the same name in several folders apart. left_out: columns of the file
        that can not be read. noted: rows that are in no table on purpose; a note counts them.
    """

    table: str
    file: Path
    frame: pl.DataFrame
    read: int
    broken: tuple[Broken, ...] = ()
    wrong: tuple[tuple[Finding, pl.Series], ...] = ()
    secondary: bool = False
    mergeable: bool = False
    folder: str = ""
    left_out: tuple[LeftOut, ...] = ()
    noted: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What reports call the file."""
        return f"{self.folder}/{self.file.name}" if self.folder else self.file.name


@dataclass
class Notes:
    """What a person should know about an import that is no rejected row."""

    counts: Counter[str] = field(default_factory=Counter)
    said: dict[str, None] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """One sentence, kept once."""
        self.said[text] = None

    def count(self, text: str, times: int = 1) -> None:
        """Counts `times` more of what `text` names."""
        if times:
            self.counts[text] += times

    def unused(self, file: Path, columns: list[str]) -> None:
        """Names columns of a file that no table takes."""
        if columns:
            self.say(f"{file.name}: not used: {', '.join(sorted(columns))}")

    def all(self) -> tuple[str, ...]:
        """Sentences first, then counts."""
        return (*self.said, *(f"{text}: {count:,}" for text, count in self.counts.items()))


@dataclass(frozen=True)
class Importer:
    """One foreign format. help: one line for a list of formats; reads: the files it looks for.

    takes: the tables whose columns the user may map; empty where the format knows them all.
    """

    help: str
    reads: str
    pieces: Callable[[Path, Maps, Notes], Iterator[Piece]]
    takes: tuple[str, ...] = ()
