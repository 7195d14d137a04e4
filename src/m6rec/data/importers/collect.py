"""Takes pieces, sets bad rows aside, and writes each table as one Parquet file.

Pieces go to disk as they come, so that memory holds one batch; at the end the parts of a table
are streamed into one file. Only the ids of items and users are kept (they must not repeat).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.data.conform import conform
from m6rec.data.examine import Examined, examine, readable
from m6rec.data.files import LINE, ROW, Broken
from m6rec.data.importers.pieces import Notes, Piece
from m6rec.data.importers.rowaccount import RowAccount
from m6rec.data.parquet import scan
from m6rec.data.report import Example, Finding, RejectFile, json_ready, shown
from m6rec.data.rules import Rule
from m6rec.data.schema import TABLES, DataError, TableSpec

Progress = Callable[[str, int], None]
"""Called with a source file's name and the rows of it that were read so far."""
UPDATED = "#updated"
"""Helper column of mergeable pieces: the time of the update, where it is known."""


@dataclass
class Rejects:
    """What was set aside of one source file for one table."""

    file: RejectFile
    reasons: Counter[str] = field(default_factory=Counter)
    first: Example | None = None
    right: str = ""

    def add(self, row: int | None, line: int | None, findings: list[Finding], data: object) -> None:
        """One row that can not be used, with everything that is wrong with it."""
        self.file.write(row, line, findings, data)
        self.reasons.update(f"{f.column} {f.problem}".strip() for f in findings)
        if self.first is None:
            self.first = Example(row, line, shown(data))
            self.right = next((f"; right is {f.right}" for f in findings if f.right), "")


@dataclass
class _Parts:
    """One table as it grows. offered: rows handed over; seen: ids, where they are unique."""

    spec: TableSpec
    folder: Path
    seen: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    offered: int = 0
    written: int = 0
    mergeable: bool = False

    def write(self, frame: pl.DataFrame) -> None:
        if frame.height:
            path = self.folder / f".{self.spec.name}.{len(self.files)}.part"
            frame.write_parquet(path, compression="lz4")
            self.files.append(path)
            self.written += frame.height


class Collection:
    """The tables of one import, written under `folder`."""

    def __init__(self, folder: Path, notes: Notes, progress: Progress) -> None:
        self.folder = folder
        self.notes = notes
        self.progress = progress
        self.read: dict[str, int] = {}
        self.rejects: dict[tuple[str, str], Rejects] = {}
        self.account = RowAccount()
        self._files: dict[str, RejectFile] = {}
        self._tables: dict[str, _Parts] = {}
        self._first: dict[tuple[str, Finding], str] = {}

    def add(self, piece: Piece) -> None:
        """Sets the piece's bad rows aside and keeps the rest."""
        spec = TABLES[piece.table]
        parts = self._tables.setdefault(piece.table, _Parts(spec, self.folder))
        parts.offered += piece.frame.height + len(piece.broken)
        parts.mergeable |= piece.mergeable
        self.account.add(piece)
        for one in piece.left_out:
            self.notes.say(f"{piece.name}: column {one.column!r} is left out: {one.problem}")
        rejects = self._rejects(piece)
        for line in piece.broken:
            rejects.add(line.row, line.line, [_of_line(line)], line.text)
        frame = self._without_wrong(piece, rejects)
        parts.write(self._usable(piece, frame, parts, rejects))
        self.read[piece.name] = max(self.read.get(piece.name, 0), piece.read)
        self.progress(piece.name, piece.read)

    def _rejects(self, piece: Piece) -> Rejects:
        name = f"{piece.name}.{piece.table}" if piece.secondary else piece.name
        if name not in self._files:
            self._files[name] = RejectFile(self.folder, name.replace("/", "-"), str(piece.file))
        return self.rejects.setdefault((name, piece.table), Rejects(self._files[name]))

    def set_aside(self) -> dict[str, tuple[RejectFile, Counter[str]]]:
        """The reject file of each source file that has rejected rows, and why they are there."""
        reasons: dict[str, Counter[str]] = {name: Counter() for name in self._files}
        for (name, _), kind in self.rejects.items():
            reasons[name].update(kind.reasons)
        return {name: (file, reasons[name]) for name, file in self._files.items() if file.rows}

    def _usable(
        self, piece: Piece, frame: pl.DataFrame, parts: _Parts, rejects: Rejects
    ) -> pl.DataFrame:
        absent = [name for name in parts.spec.required if name not in frame.columns]
        frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
        unique = parts.spec.unique
        if piece.secondary and unique is not None:
            frame = self._first_only(piece, frame, parts)
        found = examine(frame, parts.spec, seen=None if piece.mergeable else parts.seen)
        bad = found.unusable()
        if bad.any():
            _reject(found, np.flatnonzero(bad), rejects)
        for rule, rows in found.broken.items():
            if rule.told:
                self._tell(piece, _of_rule(rule), rows & ~bad, found.raw, rule.column)
        kept = readable(found, parts.spec).filter(~bad)
        return kept.select(name for name in kept.columns if name[0] != "#" or name == UPDATED)

    def _without_wrong(self, piece: Piece, rejects: Rejects) -> pl.DataFrame:
        """The rows that can be used; a value that could not be read costs itself, and is told."""
        bad = np.zeros(piece.frame.height, dtype=bool)
        for finding, mask in piece.wrong:
            if finding.severity == "error":
                bad |= mask.to_numpy()
            else:
                values = f"#{finding.column}"
                self._tell(piece, finding, mask.to_numpy(), piece.frame, values)
        for row in np.flatnonzero(bad):
            findings = [finding for finding, mask in piece.wrong if mask[int(row)]]
            _reject_row(piece.frame, int(row), findings, rejects)
        return piece.frame.filter(~bad) if bad.any() else piece.frame

    def _tell(
        self, piece: Piece, finding: Finding, rows: np.ndarray, frame: pl.DataFrame, column: str
    ) -> None:
        """Counts values that were lost or read otherwise, with the first of them."""
        if not rows.any():
            return
        kind = (piece.name, finding)
        if kind not in self._first:
            row = frame.row(int(np.argmax(rows)), named=True)
            where = f"line {row[LINE]}" if row.get(LINE) else f"row {row[ROW]}"
            self._first[kind] = f"{where}: {shown(row.get(column))}"
        words = f"{piece.name}: {finding.column} {finding.problem} (first {self._first[kind]}; "
        self.notes.count(f"{words}right is {finding.right})", int(rows.sum()))

    def _first_only(self, piece: Piece, frame: pl.DataFrame, parts: _Parts) -> pl.DataFrame:
        """Without the rows whose id was taken before; of several here, the first titled counts."""
        unique = parts.spec.unique or ""
        titled = pl.col("title").is_not_null() if "title" in frame.columns else pl.lit(True)
        new = frame.sort(~titled, maintain_order=True).unique(
            unique, keep="first", maintain_order=True
        )
        ids = conform(new.select(unique), parts.spec)[unique]
        new = new.filter(pl.Series([name not in parts.seen for name in ids], dtype=pl.Boolean))
        repeats = frame.height - new.height
        self.notes.count(f"{piece.name}: rows that repeat one of {parts.spec.name}", repeats)
        return new.sort(ROW)

    def finish(self) -> dict[str, int]:
        """Writes TABLE.parquet of every table and gives the rows of each.

        Raises DataError where a table has no usable row, and where a row was lost.
        """
        self.close()
        self.account.settle()
        if not self._tables:
            raise DataError("there is nothing to import")
        rows = {}
        for name, parts in self._tables.items():
            if not parts.written:
                self._nothing_usable(name, parts)
            rows[name] = self._write_whole(parts)
            for path in parts.files:
                path.unlink()
        return rows

    def close(self) -> None:
        """Finishes the reject files."""
        for file in self._files.values():
            file.close()

    def _nothing_usable(self, name: str, parts: _Parts) -> None:
        if not parts.offered:
            files = ", ".join(self.read)
            raise DataError(f"no row for table {name!r} in {files}; is this the right file?")
        aside = [kind for (_, table), kind in self.rejects.items() if table == name and kind.first]
        reasons = sum((kind.reasons for kind in aside), Counter[str]())
        words = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common(5))
        first = aside[0]
        assert first.first is not None
        where = f"line {first.first.line}" if first.first.line else f"row {first.first.row}"
        raise DataError(
            f"table {name!r}: none of {parts.offered} rows can be used ({words}); the first is "
            f"{first.file.source}, {where}: {first.first.value}{first.right}"
        )

    def _write_whole(self, parts: _Parts) -> int:
        path = self.folder / f"{parts.spec.name}.parquet"
        scans = [scan(part) for part in parts.files]
        table = pl.concat(scans, how="diagonal_relaxed") if len(scans) > 1 else scans[0]
        names = _in_order(parts.spec, table.collect_schema().names())
        if not parts.mergeable:
            table.select(names).sink_parquet(path)
            return parts.written
        merged = _merged(table.select(names), parts.spec).collect()
        merged.write_parquet(path)
        updates = parts.written - merged.height
        self.notes.count(f"{parts.spec.name}: updates merged into their row", updates)
        return merged.height


def _merged(table: pl.LazyFrame, spec: TableSpec) -> pl.LazyFrame:
    """One row for each id: of every column the newest value there is."""
    assert spec.unique is not None
    if UPDATED in table.collect_schema().names():
        table = table.sort(UPDATED, maintain_order=True).drop(UPDATED)
    return table.group_by(spec.unique, maintain_order=True).agg(pl.all().drop_nulls().last())


def _in_order(spec: TableSpec, names: list[str]) -> list[str]:
    """Required columns, other canonical ones, then the rest as they came."""
    order = dict.fromkeys((*spec.required, "timestamp", "value", *spec.dtypes()))
    first = [name for name in order if name in names]
    return first + [name for name in names if name not in first]


def _of_line(line: Broken) -> Finding:
    return Finding("", line.problem, "error", line.right)


def _reject(found: Examined, rows: np.ndarray, rejects: Rejects) -> None:
    errors = [(rule, mask) for rule, mask in found.broken.items() if rule.severity == "error"]
    for row in rows:
        findings = [_of_rule(rule) for rule, mask in errors if mask[row]]
        _reject_row(found.raw, int(row), findings, rejects)


def _of_rule(rule: Rule) -> Finding:
    return Finding(rule.column, rule.problem, rule.severity, rule.right)


def _reject_row(frame: pl.DataFrame, row: int, findings: list[Finding], rejects: Rejects) -> None:
    data = frame.row(row, named=True)
    number, line = data.pop(ROW, None), data.pop(LINE, None)
    for name in [name for name in data if data[name] is None and f"#{name}" in data]:
        data[name] = data.pop(f"#{name}")  # as it was written, where it could not be read
    kept = {name: value for name, value in data.items() if value is not None}
    rejects.add(number, line, findings, json_ready(kept))
