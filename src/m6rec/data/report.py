"""What `check` found: problems with examples, rejected rows, and the exit code they mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from m6rec.data.rules import Severity

SHOWN_CHARACTERS = 80
CLEAN, PROBLEMS, UNUSABLE = 0, 1, 2


@dataclass(frozen=True)
class Example:
    """Where a problem shows: data row from 1, line of a text file, the value as text."""

    row: int | None
    line: int | None
    value: str


@dataclass(frozen=True)
class Problem:
    """One kind of problem in one column of one table, how often, and its first examples."""

    table: str
    column: str
    problem: str
    severity: Severity
    right: str
    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class TableReport:
    """rows: data rows in the file; rejected: those that `load` leaves out."""

    name: str
    file: str
    rows: int
    rejected: int


@dataclass(frozen=True)
class Report:
    """The outcome of a check. unusable: some file can not be used at all, so `load` refuses it."""

    folder: str
    tables: tuple[TableReport, ...]
    problems: tuple[Problem, ...]
    rejects: Mapping[str, str]
    unusable: bool = False

    @property
    def errors(self) -> int:
        """Problems found that make rows or tables unusable."""
        return sum(problem.count for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> int:
        return sum(problem.count for problem in self.problems if problem.severity == "warning")

    @property
    def exit_code(self) -> int:
        """0: no error (there may be warnings), 1: bad rows, 2: a file that can not be used."""
        if self.unusable:
            return UNUSABLE
        return PROBLEMS if self.errors else CLEAN

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready dictionary with the totals and the exit code."""
        body: dict[str, object] = asdict(self)
        totals = {"errors": self.errors, "warnings": self.warnings, "exit_code": self.exit_code}
        return {**body, "rejects": dict(self.rejects), **totals}


@dataclass(frozen=True)
class Finding:
    """One problem of one row, before it is counted."""

    column: str
    problem: str
    severity: Severity
    right: str


@dataclass
class Collector:
    """Counts findings by kind and keeps the first `limit` examples of each."""

    limit: int
    counts: dict[tuple[str, Finding], int] = field(default_factory=dict)
    examples: dict[tuple[str, Finding], list[Example]] = field(default_factory=dict)

    def add(self, table: str, finding: Finding, count: int, examples: list[Example]) -> None:
        """Counts `count` more findings of one kind; examples beyond the limit are dropped."""
        key = (table, finding)
        self.counts[key] = self.counts.get(key, 0) + count
        kept = self.examples.setdefault(key, [])
        kept += examples[: self.limit - len(kept)]

    def wanted(self, table: str, finding: Finding) -> int:
        """How many more examples of this kind are of use."""
        return self.limit - len(self.examples.get((table, finding), ()))

    def problems(self) -> tuple[Problem, ...]:
        """All kinds: errors before warnings, by table, the most frequent first."""
        found = [
            Problem(
                table,
                kind.column,
                kind.problem,
                kind.severity,
                kind.right,
                count,
                tuple(self.examples[table, kind]),
            )
            for (table, kind), count in self.counts.items()
        ]
        return tuple(sorted(found, key=lambda p: (p.severity, p.table, -p.count, p.column)))


class RejectFile:
    """JSON Lines with the rejected rows of one table; the file appears with its first row.

    seen: rows looked at, counted by the caller; rows: those rejected.
    """

    def __init__(self, folder: Path | None, table: str, source: str) -> None:
        self.path = folder / f"{table}.rejects.jsonl" if folder else None
        self.source = source
        self.rows = 0
        self.seen = 0
        self._file: TextIO | None = None
        if self.path:
            self.path.unlink(missing_ok=True)  # an earlier run's rejects would mislead

    def write(
        self, row: int | None, line: int | None, findings: list[Finding], data: object
    ) -> None:
        """One rejected row with everything that is wrong with it."""
        self.rows += 1
        if self.path is None:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        problems = [{"column": f.column, "problem": f.problem, "right": f.right} for f in findings]
        record = {"file": self.source, "row": row, "line": line, "problems": problems, "data": data}
        self._file.write(json.dumps(json_ready(record), ensure_ascii=False, default=str) + "\n")

    def close(self) -> None:
        """Finishes the file, where there is one."""
        if self._file is not None:
            self._file.close()


def json_ready(value: object) -> object:
    """NaN and infinities as words, for JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: json_ready(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def shown(value: object) -> str:
    """A value for a person: short, and visible where it is empty."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[: SHOWN_CHARACTERS - 1]}… ({len(text):,} characters)"
