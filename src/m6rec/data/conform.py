"""Casts the columns of a table to their canonical dtypes. What can not be cast becomes null."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from m6rec.data.schema import EVENT_SYNONYMS, SPLIT_SYNONYMS, TIMES, TableSpec
from m6rec.data.values.nothing import something
from m6rec.data.values.numbers import numbers
from m6rec.data.values.times import times

INSIDE = r"(?s)^\{[^\[]*(\[.+\])\}$"
"""A list within the JSON of a struct of it alone: an array of ids stays one, and is no id."""
TOO_LARGE = 2.0**63


@dataclass(frozen=True)
class Conformed:
    """frame: the table in canonical dtypes. otherwise: times that were no seconds and are now,
    bool [rows] by column and what they were (see values/times.py)."""

    frame: pl.DataFrame
    otherwise: dict[tuple[str, str], pl.Series]


def conform(frame: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """Named columns in canonical dtypes, other columns as they are.

    Ids become strings (3.0 and 3 are "3": a missing id turns a column of integers into floats in
    many tools). Times become seconds since 1970, numbers are read as people write them, words
    that mean nothing (NULL, nan, …) become null. Lists of words are joined by "|".
    """
    return cast(frame, spec).frame


def cast(frame: pl.DataFrame, spec: TableSpec) -> Conformed:
    """As `conform`, with what was understood on the way."""
    columns: list[pl.Series] = []
    texts: list[pl.Expr] = []
    otherwise: dict[tuple[str, str], pl.Series] = {}
    for name, dtype in spec.dtypes().items():
        if name not in frame.columns:
            continue
        if dtype == pl.String():
            text = _to_text(name, frame.schema[name])
            texts.append((text if name in spec.prose else something(text)).alias(name))
        elif name in TIMES:
            found = times(frame[name])
            columns.append(found.seconds.alias(name))
            otherwise |= {(name, unit): rows for unit, rows in found.otherwise.items()}
        else:
            columns.append(_as(numbers(frame[name]), dtype).alias(name))
    return Conformed(_with_synonyms(frame.with_columns(*columns, *texts), spec), otherwise)


def _to_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype.is_float():
        whole = column.is_finite() & (column == column.round())
        number = pl.when(whole).then(column).cast(pl.Int64, strict=False)
        return pl.coalesce(number.cast(pl.String), column.cast(pl.String))
    if isinstance(dtype, pl.List) and (name.endswith("_id") or dtype.inner == pl.Struct):
        if dtype.inner is not None and not dtype.inner.is_nested():
            column = column.cast(pl.List(pl.String), strict=False).alias(name)
        return pl.struct(column).struct.json_encode().str.extract(INSIDE)
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String), strict=False).list.join("|", ignore_nulls=True)
    if isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    return column.cast(pl.String, strict=False)


def _as(number: pl.Series, dtype: pl.DataType) -> pl.Series:
    """A position counts: 2.5 is none."""
    if dtype != pl.Int64():
        return number
    whole = (number == number.round()) & (number.abs() < TOO_LARGE)
    return number.set(~whole.fill_null(False), None).cast(pl.Int64, strict=False)


def _with_synonyms(frame: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    if spec.name == "events" and "event" in frame.columns:
        word = pl.col("event").str.strip_chars().str.to_lowercase()
        frame = frame.with_columns(word.replace(EVENT_SYNONYMS).alias("event"))
    if "split" in spec.strings and "split" in frame.columns:
        word = pl.col("split").str.strip_chars().str.to_lowercase()
        frame = frame.with_columns(word.replace(SPLIT_SYNONYMS).alias("split"))
    return frame
