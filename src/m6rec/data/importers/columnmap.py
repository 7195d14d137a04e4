"""Column maps: which column of a foreign file is which canonical one.

`user_id=visitor,item_id=sku,event='click',timestamp=ts:ms,*` reads visitor, sku and ts (a time in
milliseconds), puts the constant `click` into every row, and keeps all other columns as they are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from m6rec.data.batches import LINE, ROW
from m6rec.data.conform import cast
from m6rec.data.delimited import data_hint
from m6rec.data.nested import PROBLEM, is_nested, path_to_id
from m6rec.data.report import Finding
from m6rec.data.rules import PATH_EXAMPLES
from m6rec.data.schema import TABLES, TIMES, DataError
from m6rec.data.values.nothing import nothing
from m6rec.data.values.numbers import NUMBER_FORMATS, WRITTEN_AS, NumberFormat, numbers
from m6rec.data.values.times import NAMES, TIME_FORMATS, Times, example, times

EXAMPLE = "user_id=visitor,item_id=sku,event='click',timestamp=ts:ms"

Wrong = tuple[tuple[Finding, pl.Series], ...]


@dataclass(frozen=True)
class Column:
    """Where a canonical column comes from: a column of the file, or the same words in all rows.

    time: one of TIME_FORMATS, or a format of strptime.
    """

    source: str | None = None
    constant: str | None = None
    time: str | None = None
    number: NumberFormat | None = None


@dataclass(frozen=True)
class ColumnMap:
    """columns: by canonical name. file: the file of a folder to read; rest: keep other columns.

    header: whether the first line has the names; else columns are called 1, 2, 3 …
    """

    table: str
    columns: Mapping[str, Column]
    file: str | None = None
    rest: bool = False
    header: bool = True

    def ids(self) -> list[str]:
        """Columns of the file in which a list of ids means one row for each."""
        column = self.columns.get("item_id")
        return [column.source] if column is not None and column.source else []

    def sources(self) -> dict[str, str]:
        """Canonical name by column of the file (the last one where several share it)."""
        return {column.source: name for name, column in self.columns.items() if column.source}

    def over(self, defaults: ColumnMap) -> ColumnMap:
        """This map, with `defaults` for what it does not name."""
        merged = {**defaults.columns, **self.columns}
        return replace(self, columns=merged, rest=self.rest or defaults.rest)

    def require_complete(self) -> None:
        """Raises DataError where a required column of the table is not mapped."""
        for name in TABLES[self.table].required:
            if name not in self.columns and not self.rest:
                raise DataError(
                    f"column map of {self.table}: {name!r} is not in it (it has "
                    f"{', '.join(self.columns) or 'nothing'}); right is {name}=COLUMN or "
                    f"{name}='WORDS', as in {EXAMPLE}"
                )

    def require_sources(self, file: Path, there: list[str]) -> None:
        """Raises DataError for a mapped column that the file does not have."""
        for name, column in self.columns.items():
            if column.source is not None and column.source not in there:
                small = {name.lower(): name for name in there}
                near = difflib.get_close_matches(column.source.lower(), small, n=1)
                hint = f"; is it {small[near[0]]!r}?" if near else ""
                names = tuple(name for name in there if name not in (ROW, LINE))
                shown = ", ".join(names)
                raise DataError(
                    f"{file}: there is no column {column.source!r} (for {name} of {self.table}), "
                    f"the columns are {shown or 'none at all'}{hint}"
                    f"{data_hint(names) if self.header else ''}"
                )

    def apply(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Wrong]:
        """The canonical columns of a batch, and which times in it can not be read.

        Columns of the map that the batch lacks are left out (JSON Lines may lack them at times).
        """
        chosen: list[pl.Expr | pl.Series] = [
            pl.col(name) for name in (ROW, LINE) if name in frame.columns
        ]
        wrong: Wrong = ()
        for name, column in self.columns.items():
            if column.constant is not None:
                chosen.append(pl.lit(column.constant).alias(name))
            elif column.source in frame.columns:
                values, found = _read(name, frame[column.source], column)
                if found:
                    chosen.append(pl.col(column.source).alias(f"#{name}"))  # for the rejects
                wrong += found
                chosen.append(values.alias(name))
        if self.rest:
            taken = {*self.sources(), *self.columns, ROW, LINE}
            chosen += [pl.col(name) for name in frame.columns if name not in taken]
        return frame.select(chosen), wrong

    def unused(self, columns: list[str]) -> list[str]:
        """The columns of a file that end up in no column of the table."""
        if self.rest:
            return []
        sources = self.sources()
        return [name for name in columns if name not in sources and name not in (ROW, LINE)]


def _read(name: str, values: pl.Series, column: Column) -> tuple[pl.Series, Wrong]:
    """A column as its map says, and the rows whose time or number could not be read so."""
    if column.time is not None:
        found = times(values, column.time)
        read, problem = found.seconds, "not a time"
        right = f"{example(column.time)} (formats: {', '.join(TIME_FORMATS)}, or %d.%m.%Y)"
        more = other_units(name, column.time, found)
    elif column.number is not None:
        read, problem, more = numbers(values, column.number), "not a number", ()
        right = WRITTEN_AS[column.number]
    else:
        return values, _nested(name, values, column)
    text = values.cast(pl.String, strict=False).to_frame("raw")
    there = text.select((~nothing(pl.col("raw"))).alias("there"))["there"]
    bad = there & read.is_null()
    lost: Wrong = ((Finding(name, problem, "warning", right), bad),) if bad.any() else ()
    return read, lost + more


def _nested(name: str, values: pl.Series, column: Column) -> Wrong:
    """Ids that are objects: what is right is the path to the id in them."""
    if not name.endswith("_id") or values.dtype not in (pl.String, pl.Struct, pl.List):
        return ()
    text = cast(values.to_frame(name), TABLES["events"]).frame.select(name)
    bad = text.select(is_nested(name)).to_series()
    if not bad.any():
        return ()
    path = path_to_id(name, column.source or name, text[name].filter(bad).head(PATH_EXAMPLES))
    return ((Finding(name, PROBLEM, "error", f"the path to the id: {name}={path}"), bad),)


def other_units(name: str, kind: str, found: Times) -> Wrong:
    """Times that counted something else than was said, and were read as what they count."""
    said = NAMES.get(kind, kind)
    return tuple(
        (
            Finding(name, f"{NAMES[unit]}, not {said}", "warning", f"read as {NAMES[unit]}"),
            rows.fill_null(False),
        )
        for unit, rows in found.otherwise.items()
    )


def parse_map(table: str, spec: str | Mapping[str, str]) -> ColumnMap:
    """A map from `TARGET=SOURCE,…` or {target: source}. Raises DataError for what it can't read.

    SOURCE is a column, a column and the format of a time (`ts:ms`; s, ms, us, ns, iso, or one of
    strptime, `'ts:%b %d, %Y'`; quotes protect commas) or of a number (`preis:comma`; comma or
    point, which begins the decimals), or a constant in single quotes.
    A column within an object is a path: `items.item_id`, one row for each where items is a list.
    `from=FILE` names the file of the folder, `*` keeps all other columns, `header=none` says that
    the file has no names of columns: they are called 1, 2, 3 …
    """
    if table not in TABLES:
        near = difflib.get_close_matches(table, TABLES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"column map: there is no table {table!r}; right is {', '.join(TABLES)}{hint}"
        )
    pairs = _pairs(table, spec) if isinstance(spec, str) else dict(spec)
    file = pairs.pop("from", None)
    rest = pairs.pop("*", None) is not None
    header = pairs.get("header") != "none"
    if not header:
        del pairs["header"]
    numbers = TABLES[table].numbers
    columns = {name: _column(name, source, name in numbers) for name, source in pairs.items()}
    return ColumnMap(table, columns, file, rest, header)


def _pairs(table: str, spec: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in re.findall(r"(?:[^,']|'[^']*'?)+", spec):
        target, sign, source = part.strip().partition("=")
        target, source = target.strip(), source.strip()
        if target == "*" and not sign:
            source = "*"
        elif not (target and sign and source) or source.count("'") == 1:
            raise DataError(
                f"column map of {table}: {part.strip()!r} is not TARGET=SOURCE; right is {EXAMPLE}"
            )
        if target in pairs:
            raise DataError(f"column map of {table}: {target!r} is mapped twice; keep one of them")
        pairs[target] = source
    return pairs


def _column(name: str, source: str, is_number: bool) -> Column:
    column, _, form = source.strip("'").partition(":")
    if name in TIMES and column and "%" in form:
        return Column(column, time=_sound_format(name, form))
    if len(source) > 1 and source[0] == source[-1] == "'":
        return Column(constant=source[1:-1])
    column, _, ending = source.rpartition(":")
    if name not in TIMES:
        for written in NUMBER_FORMATS:
            if is_number and column and ending.lower() == written:
                return Column(column, number=written)
        return Column(source)
    for kind in TIME_FORMATS:
        if column and ending.lower() == kind:
            return Column(column, time=kind)
    return Column(source, time="s")


def _sound_format(name: str, form: str) -> str:
    """Raises DataError for a format that reads no time back that it wrote."""
    moment = datetime(2024, 5, 1, 13, 45, 59, tzinfo=UTC)
    try:
        written = moment.strftime(form)
        read = times(pl.Series([written]), form).seconds[0]
    except (ValueError, pl.exceptions.PolarsError):
        read = None
    if read is None or abs(read - moment.timestamp()) > 86_400:
        raise DataError(
            f"column map: {form!r} reads no time for {name}; right is a format of strptime, such "
            "as %d.%m.%Y %H:%M (with a year, a month and a day)"
        )
    return form
