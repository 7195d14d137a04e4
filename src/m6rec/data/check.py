"""Looks at every row of a data set and says what is wrong with it, where, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.data.dialogs import dialog_wrongs
from m6rec.data.examine import Examined, examine
from m6rec.data.files import LINE, ROW, Batch, Broken, read_batches
from m6rec.data.published import Line, Wrong, read_lines, unknown_items, wrongs
from m6rec.data.report import Collector, Example, Finding, RejectFile, Report, TableReport, shown
from m6rec.data.rules import Rule
from m6rec.data.schema import TABLES, DataError, TableSpec
from m6rec.data.tables import dataset_files, missing_column

Progress = Callable[[str, int], None]
"""Called with a table's name and the rows looked at so far."""


@dataclass
class _Check:
    """The state of one check: what was found so far, and where rejected rows go."""

    folder: Path
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
    Raises DataError where the folder holds nothing to check.
    """
    files = dataset_files(Path(folder))
    rejects = Path(reject_dir) if reject_dir is not None else None
    state = _Check(Path(folder), rejects, Collector(examples), progress)
    for name, path in files.tables.items():
        _guarded(state, name, path, lambda n=name, p=path: _table(state, p, TABLES[n]))
    for split, path in files.requests.items():
        name = f"requests.{split}"
        _guarded(state, name, path, lambda n=name, p=path: _requests(state, n, p))
    if files.dialogs:
        dialogs = files.dialogs
        _guarded(state, "dialogs", dialogs, lambda: _dialogs(state, dialogs))
    return Report(
        folder=str(folder),
        tables=tuple(state.tables),
        problems=state.collector.problems(),
        rejects=state.rejects,
        unusable=state.unusable,
    )
