"""A folder of canonical tables as one `Dataset`; see the table of columns in the documentation."""

from __future__ import annotations

import difflib
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from m6rec.data.copies import without_copies
from m6rec.data.delimited import data_hint
from m6rec.data.examine import Examined, examine, readable
from m6rec.data.files import FORMATS, LINE, ROW, find_table, read_batches
from m6rec.data.schema import TABLES, DataError, TableSpec
from m6rec.data.values.ids import same_spelling

__all__ = ["DataError", "Dataset", "load", "load_table", "write_table"]

log = logging.getLogger(__name__)

EMPTY_ITEMS = pl.DataFrame(schema={"item_id": pl.String, "title": pl.String})


@dataclass(frozen=True)
class Dataset:
    """The tables of one folder; a table that is not there is None (items: empty).

    items: item_id, title, any other columns; row order is item order everywhere.
    events: user_id, item_id, event, timestamp, value (the last two null where not known), any
        other columns; sorted by user, timestamp (unknown first), position, row of the file.
    requests: file by split name. dialogs, templates: files.
    rejected: rows left out by `load`, by table; tables without any are not named. copies: exact
    copies of events that `load` dropped. cuts: what else was left out on purpose, in words.
    """

    name: str
    path: Path | None = None
    items: pl.DataFrame = field(default_factory=lambda: EMPTY_ITEMS)
    events: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    reviews: pl.DataFrame | None = None
    queries: pl.DataFrame | None = None
    requests: Mapping[str, Path] = field(default_factory=dict)
    dialogs: Path | None = None
    templates: Path | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    copies: int = 0
    cuts: tuple[str, ...] = ()

    def left_out(self) -> tuple[str, ...]:
        """Every rule that left rows out of the tables, in words for a protocol card."""
        words = [
            f"{table}: {count} unusable rows left out" for table, count in self.rejected.items()
        ]
        if self.copies:
            words.append(f"events: {self.copies} exact copies left out")
        return (*words, *self.cuts)


def load(folder: str | Path, names: Collection[str] = TABLES) -> Dataset:
    """Loads the canonical tables of a folder (Parquet, CSV or JSON Lines); names: which of them.

    Unusable rows and exact copies of events are left out, counted and logged. Raises DataError for
    a folder without tables, and for a table that is empty, lacks a required column or can not be
    read.
    """
    folder = Path(folder)
    files = dataset_files(folder)
    tables, rejected = {}, {}
    for name, path in files.tables.items():
        if name not in names:
            continue
        tables[name], left_out = load_table(path, TABLES[name])
        if left_out:
            rejected[name] = left_out
    tables = same_spelling(tables)
    events, copies = _events(tables.pop("events", None), files)
    return Dataset(
        name=folder.resolve().name,
        path=folder,
        events=events,
        requests=files.requests,
        dialogs=files.dialogs,
        templates=files.templates,
        rejected=rejected,
        copies=copies,
        **tables,  # type: ignore[arg-type]
    )


def _events(events: pl.DataFrame | None, files: DatasetFiles) -> tuple[pl.DataFrame | None, int]:
    """Events in order, each once, and how many copies there were."""
    if events is None:
        return None, 0
    found, copies = without_copies(sort_events(events))
    if copies:
        path = files.tables["events"]
        log.warning(
            "%s: %d of %d events are exact copies; each counts once", path, copies, events.height
        )
    return found, copies


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a folder that mean something to us."""

    tables: dict[str, Path]
    requests: dict[str, Path]
    dialogs: Path | None
    templates: Path | None


def dataset_files(folder: Path) -> DatasetFiles:
    """Finds the files of a data set. Raises DataError where there is nothing to use."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise DataError(f"{folder} is {what}; give the folder that holds items.parquet or the like")
    tables = {name: path for name in TABLES if (path := find_table(folder, name))}
    requests = {
        path.name.split(".")[1]: path
        for path in sorted(folder.glob("requests.*.jsonl"))
        if re.fullmatch(r"requests\.[^.]+\.jsonl", path.name)
    }
    dialogs, templates = folder / "dialogs.jsonl", folder / "templates.toml"
    if not (tables or requests or dialogs.is_file()):
        raise DataError(
            f"{folder}: no table here; right is {', '.join(TABLES)} as "
            f"{', '.join('.' + kind for kind in FORMATS)}, requests.SPLIT.jsonl or dialogs.jsonl "
            "(`m6rec import` makes them from other formats)"
        )
    return DatasetFiles(
        tables,
        requests,
        dialogs if dialogs.is_file() else None,
        templates if templates.is_file() else None,
    )


def load_table(path: Path, spec: TableSpec) -> tuple[pl.DataFrame, int]:
    """One table without its unusable rows, and how many those are."""
    parts: list[pl.DataFrame] = []
    problems: Counter[str] = Counter()
    told: Counter[str] = Counter()
    rows = 0
    for found, broken in examined_batches(path, spec):
        rows += broken
        problems["not a row"] += broken
        if found is None:
            continue
        bad = found.unusable()
        frame = readable(found, spec).drop(ROW, LINE, strict=False)
        parts.append(frame.filter(~bad) if bad.any() else frame)
        rows += found.typed.height
        for rule, mask in found.broken.items():
            if rule.severity == "error":
                problems[f"{rule.column} {rule.problem}"] += int(mask.sum())
            elif rule.told:
                told[f"{rule.column} {rule.problem}"] += int((mask & ~bad).sum())
    table = pl.concat(parts, how="diagonal_relaxed", rechunk=True) if parts else pl.DataFrame()
    del parts
    left_out = rows - table.height
    _report(path, rows, left_out, +problems)
    _report_values(path, +told)
    return _complete(table, spec), left_out


def examined_batches(path: Path, spec: TableSpec) -> Iterator[tuple[Examined | None, int]]:
    """Batches of a table with what is bad in them (None: no row), and the lines that are no rows.

    A required column may be absent from a batch of JSON Lines, but not from all rows of a file.
    """
    seen: set[str] = set()
    columns: dict[str, None] = {}
    for batch in read_batches(path):
        if batch.frame.height == 0 and batch.broken:
            yield None, len(batch.broken)
            continue
        if not columns:
            for one in batch.left_out:
                log.warning("%s: column %r is left out: %s", path, one.column, one.problem)
        columns |= dict.fromkeys(batch.frame.columns)
        if path.suffix != ".jsonl":
            require_columns(path, spec, list(columns))
        yield examine(with_required(batch.frame, spec), spec, seen=seen), len(batch.broken)
    if columns:
        require_columns(path, spec, list(columns))


def with_required(frame: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """The frame with a column of nulls for each required one that it lacks."""
    absent = [name for name in spec.required if name not in frame.columns]
    return frame.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)


def similar(name: str, columns: list[str]) -> str:
    """A question that names the column which was perhaps meant, or nothing."""
    near = difflib.get_close_matches(name, columns, n=1)
    return f"; is it called {near[0]!r} there?" if near else ""


def require_columns(path: Path, spec: TableSpec, columns: list[str]) -> None:
    """Raises DataError for the first required column that is not there."""
    for name in spec.required:
        if name not in columns:
            there = [column for column in columns if column not in (ROW, LINE)]
            columns_there = (", ".join(there) or "none at all") + similar(name, there)
            columns_there += data_hint(tuple(there))
            raise DataError(
                f"{path}: column {name!r} is missing, the columns are "
                f"{columns_there} (table {spec.name!r} needs "
                f"{', '.join(spec.required)}; `m6rec check` looks at every row)"
            )


def _report(path: Path, rows: int, left_out: int, problems: Counter[str]) -> None:
    kinds = ", ".join(f"{kind}: {count}" for kind, count in problems.most_common())
    if not rows:
        raise DataError(f"{path}: the table has no rows; add rows, or remove the file")
    if rows == left_out:
        raise DataError(
            f"{path}: none of its {rows} rows can be used ({kinds}); "
            f"`m6rec check {path.parent}` shows what is right"
        )
    if left_out:
        log.warning(
            "%s: %d of %d rows left out (%s); `m6rec check %s` shows them",
            path,
            left_out,
            rows,
            kinds,
            path.parent,
        )


def _report_values(path: Path, told: Counter[str]) -> None:
    """Values that were lost, or read as something else than the table says, in rows that count."""
    if told:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in told.most_common())
        log.warning("%s: values (%s); `m6rec check %s` shows them", path, kinds, path.parent)


def _complete(table: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """Required columns first, then the rest; events always have a timestamp and a value."""
    first = list(spec.required)
    if spec.name == "events":
        first += ["timestamp", "value"]
    missing = [
        pl.lit(None, dtype=pl.Float64).alias(name) for name in first if name not in table.columns
    ]
    rest = [name for name in table.columns if name not in first]
    return table.with_columns(missing).select(*first, *rest)


def sort_events(events: pl.DataFrame) -> pl.DataFrame:
    """Stable sort by user, timestamp (unknown first), position where there is one, row."""
    keys = ["user_id", "timestamp", *(["position"] if "position" in events.columns else [])]
    return events.sort(keys, maintain_order=True)


def write_table(frame: pl.DataFrame, path: str | Path) -> None:
    """Writes a table as Parquet, CSV or JSON Lines by the ending of `path`, whole or not at all.

    Raises DataError for another ending. Lists become "a|b" in CSV.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.suffix == ".parquet":
        frame.write_parquet(unfinished)
    elif path.suffix == ".csv":
        lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
        text = [pl.col(name).cast(pl.List(pl.String)).list.join("|") for name in lists]
        frame.with_columns(text).write_csv(unfinished)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(unfinished)
    else:
        endings = ", ".join("." + kind for kind in FORMATS)
        raise DataError(f"{path}: no table format {path.suffix!r}; right is one of {endings}")
    unfinished.replace(path)
