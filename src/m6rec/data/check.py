"""Looks at every row of a data set and says what is wrong with it, where, and what is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.data.copies import Census
from m6rec.data.delimited import data_hint
from m6rec.data.dialogs import dialog_wrongs
from m6rec.data.examine import Examined, examine, readable
from m6rec.data.files import LINE, ROW, Broken, LeftOut, read_batches
from m6rec.data.published import Line, Wrong, read_lines, unknown_items, wrongs
from m6rec.data.report import Collector, Example, Finding, RejectFile, Report, TableReport, shown
from m6rec.data.rules import Rule
from m6rec.data.schema import SPLITS, TABLES, DataError, TableSpec
from m6rec.data.tables import DatasetFiles, dataset_files, similar, with_required

REJECT_BLOCK = 10_000
LINES_BETWEEN_PROGRESS = 1_000

Progress = Callable[[str, int], None]
"""Called with a table's name and the rows looked at so far."""


@dataclass
class _Check:
    """The state of one check: what was found so far, and where rejected rows go.

    item_ids: the usable ids of the items table; None where that table can not tell.
    """

    reject_dir: Path | None
    collector: Collector
    progress: Progress
    tables: list[TableReport] = field(default_factory=list)
    rejects: dict[str, str] = field(default_factory=dict)
    item_ids: pl.Series | None = None
    unusable: bool = False


def check(
    folder: str | Path,
    reject_dir: str | Path | None = None,
    *,
    examples: int = 5,
    progress: Progress = lambda table, rows: None,
) -> Report:
    """Checks every table, request and dialogue of a folder, batch by batch.

    reject_dir: unusable rows go to TABLE.rejects.jsonl there, each with its problems.
    examples: how many rows of each kind of problem the report names.
    Raises DataError where the folder holds nothing to check, or rejected rows can not be written.
    """
    files = dataset_files(Path(folder))
    rejects = Path(reject_dir) if reject_dir is not None else None
    state = _Check(rejects, Collector(examples), progress)
    if "items" not in files.tables:
        state.item_ids = pl.Series([], dtype=pl.String)
    try:
        _all_files(state, files)
    except OSError as error:  # reading turns its own into DataError: this one is about writing
        raise DataError(
            f"{reject_dir}: rejected rows can not be written ({error.strerror}); "
            "give a folder that you may write to"
        ) from error
    return Report(
        folder=str(folder),
        tables=tuple(state.tables),
        problems=state.collector.problems(),
        rejects=state.rejects,
        unusable=state.unusable,
    )


def _all_files(state: _Check, files: DatasetFiles) -> None:
    for name, path in files.tables.items():
        _guarded(state, name, path, partial(_table, state, path, TABLES[name]))
    for split, path in files.requests.items():
        name = f"requests.{split}"
        _guarded(state, name, path, partial(_requests, state, split, path))
    if files.dialogs:
        _guarded(state, "dialogs", files.dialogs, partial(_dialogs, state, files.dialogs))


def _guarded(state: _Check, name: str, path: Path, work: Callable[[], None]) -> None:
    """Does the work on one file; a file that can not be read is a problem like the others."""
    try:
        work()
    except DataError as error:
        problem, _, right = str(error).removeprefix(f"{path}: ").rpartition("; ")
        _whole_table(state, name, "", problem or right, right, "")


def _whole_table(
    state: _Check, name: str, column: str, problem: str, right: str, value: str
) -> None:
    """A problem that makes all of a table unusable."""
    state.unusable = True
    examples = [Example(None, None, value)] if value else []
    state.collector.add(name, Finding(column, problem, "error", right), 1, examples)


@contextmanager
def _counted(state: _Check, name: str, path: Path) -> Iterator[RejectFile]:
    """Where the bad rows of one file go; its counts are part of the report, come what may."""
    rejects = RejectFile(state.reject_dir, name, path.name)
    try:
        yield rejects
    finally:
        rejects.close()
        state.tables.append(TableReport(name, path.name, rejects.seen, rejects.rows))
        if rejects.path is not None and rejects.rows:
            state.rejects[name] = str(rejects.path)


def _table(state: _Check, path: Path, spec: TableSpec) -> None:
    lacking = set(spec.required)
    there: list[str] = []
    seen: set[str] = set()
    known = None if spec.name == "items" else state.item_ids
    ids: list[pl.Series] = []
    census = Census()
    with _counted(state, spec.name, path) as rejects:
        for batch in read_batches(path):
            there += [name for name in batch.frame.columns if name not in (*there, ROW, LINE)]
            lacking -= set(there)
            found = examine(with_required(batch.frame, spec), spec, known, seen)
            if path.suffix != ".jsonl":  # JSON Lines has no columns: a later row may have the key
                found = found.without(lacking)
            _note(state, spec.name, found)
            _note_broken(state, spec.name, batch.broken, rejects)
            if not rejects.seen:
                _note_left_out(state, spec.name, batch.left_out)
            _reject(found, rejects)
            rejects.seen += batch.frame.height + len(batch.broken)
            if spec.name == "events" and "user_id" not in lacking:
                usable = readable(found, spec).filter(~found.unusable())
                census.add(usable)
            if spec.name == "items":
                ids.append(found.typed["item_id"].filter(~found.unusable()))
            state.progress(spec.name, rejects.seen)
        for finding, count, examples in census.findings(state.collector.limit):
            state.collector.add(spec.name, finding, count, examples)
        _judge_table(state, spec, sorted(lacking, key=spec.required.index), there, rejects)
    if spec.name == "items" and "item_id" not in lacking:
        state.item_ids = pl.concat(ids)


def _judge_table(
    state: _Check, spec: TableSpec, lacking: list[str], there: list[str], rejects: RejectFile
) -> None:
    """What is wrong with a table as a whole: what `load` refuses."""
    for name in lacking if rejects.seen else ():
        right = f"table {spec.name!r} needs {', '.join(spec.required)}"
        columns = f"the columns are {', '.join(there) or 'none at all'}{similar(name, there)}"
        columns += data_hint(tuple(there))
        _whole_table(state, spec.name, name, "missing column", right, columns)
    _judge_rows(state, spec.name, rejects)


def _judge_rows(state: _Check, name: str, rejects: RejectFile) -> None:
    if not rejects.seen:
        _whole_table(state, name, "", "no rows", "add rows, or remove the file", "")
    elif rejects.seen == rejects.rows:
        _whole_table(state, name, "", "no row can be used", "see the other problems", "")


def _finding(rule: Rule) -> Finding:
    return Finding(rule.column, rule.problem, rule.severity, rule.right)


def _note(state: _Check, table: str, found: Examined) -> None:
    """Counts what is bad in a batch and keeps the first rows of each kind."""
    for rule, bad in found.broken.items():
        finding = _finding(rule)
        first = np.flatnonzero(bad)[: state.collector.wanted(table, finding)]
        examples = [
            Example(row[ROW], row.get(LINE), shown(row.get(rule.column)))
            for row in found.raw[first].rows(named=True)
        ]
        state.collector.add(table, finding, int(bad.sum()), examples)


def _note_broken(state: _Check, table: str, broken: Iterable[Broken], rejects: RejectFile) -> None:
    for line in broken:
        finding = Finding("", line.problem, "error", line.right)
        example = Example(line.row, line.line, shown(line.text))
        state.collector.add(table, finding, 1, [example])
        rejects.write(line.row, line.line, [finding], line.text)


def _note_left_out(state: _Check, table: str, columns: Iterable[LeftOut]) -> None:
    for one in columns:
        right = f"{one.right}; the table is read without the column"
        finding = Finding(one.column, one.problem, "warning", right)
        state.collector.add(table, finding, 1, [Example(None, None, f"the column {one.column}")])


def _reject(found: Examined, rejects: RejectFile) -> None:
    """Writes each unusable row with everything that is wrong with it, as it is in the file."""
    unusable = np.flatnonzero(found.unusable())
    for first in range(0, len(unusable), REJECT_BLOCK):
        block = unusable[first : first + REJECT_BLOCK]
        for index, data in zip(block, found.raw[block].iter_rows(named=True), strict=True):
            findings = [_finding(rule) for rule, bad in found.broken.items() if bad[index]]
            rejects.write(data.pop(ROW), data.pop(LINE, None), findings, data)


def _requests(state: _Check, split: str, path: Path) -> None:
    name = f"requests.{split}"
    if split not in SPLITS:
        right = f"requests.SPLIT.jsonl with SPLIT one of {', '.join(SPLITS)}; no split reads it"
        finding = Finding("", "unknown split", "warning", right)
        state.collector.add(name, finding, 1, [Example(None, None, path.name)])
    known = None if state.item_ids is None else set(state.item_ids)

    def wrong(request: Line) -> Iterator[Wrong]:
        yield from wrongs(request)
        if known is not None:
            yield from unknown_items(request, known)

    _lines(state, name, path, wrong)


def _dialogs(state: _Check, path: Path) -> None:
    seen: set[str] = set()
    _lines(state, "dialogs", path, lambda dialog: dialog_wrongs(dialog, seen))


def _exact(wrong: Wrong) -> Finding:
    return Finding(wrong.column, wrong.problem, wrong.severity, wrong.right)


def _kind(wrong: Wrong) -> Finding:
    """The same for all positions of a list: "history[2].event" counts as "history[].event"."""
    return replace(_exact(wrong), column=re.sub(r"\[\d+\]", "[]", wrong.column))


def _lines(state: _Check, name: str, path: Path, wrong: Callable[[Line], Iterator[Wrong]]) -> None:
    """A file of JSON objects that are no table: every line is judged by `wrong`."""
    with _counted(state, name, path) as rejects:
        for line, value in read_lines(path):
            rejects.seen += 1
            if isinstance(value, Broken):
                _note_broken(state, name, [value], rejects)
                continue
            found = list(wrong(value))
            for each in found:
                where = f"{each.column}: " * ("[" in each.column)
                example = Example(rejects.seen, line, where + shown(each.value))
                state.collector.add(name, _kind(each), 1, [example])
            if any(each.severity == "error" for each in found):
                rejects.write(rejects.seen, line, [_exact(each) for each in found], value)
            if rejects.seen % LINES_BETWEEN_PROGRESS == 0:
                state.progress(name, rejects.seen)
        state.progress(name, rejects.seen)
        _judge_rows(state, name, rejects)
