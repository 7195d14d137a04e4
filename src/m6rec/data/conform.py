"""Casts the columns of a table to their canonical dtypes. What can not be cast becomes null."""

from __future__ import annotations

import polars as pl

from m6rec.data.schema import EVENT_SYNONYMS, SPLIT_SYNONYMS, TableSpec


def conform(frame: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """Named columns in canonical dtypes, other columns as they are.

    Ids become strings (3.0 and 3 are "3": a missing id turns a column of integers into floats in
    many tools). Times of a date type become seconds since 1970. Lists of words are joined by "|".
    """
    casts = []
    for name, dtype in spec.dtypes().items():
        if name not in frame.columns:
            continue
        is_text = dtype == pl.String()
        cast = _to_text if is_text else _to_number
        casts.append(cast(name, frame.schema[name]).cast(dtype, strict=False).alias(name))
    return _with_synonyms(frame.with_columns(casts), spec)


def _to_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype.is_float():
        whole = column.is_finite() & (column == column.round())
        number = pl.when(whole).then(column).cast(pl.Int64, strict=False)
        return pl.coalesce(number.cast(pl.String), column.cast(pl.String))
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String), strict=False).list.join("|", ignore_nulls=True)
    if isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    return column.cast(pl.String, strict=False)


def _to_number(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.String():
        return column.str.strip_chars().cast(pl.Float64, strict=False)
    if dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.timestamp("us") / 1e6
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64, strict=False)
    return pl.lit(None, dtype=pl.Float64)


def _with_synonyms(frame: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    if spec.name == "events" and "event" in frame.columns:
        word = pl.col("event").str.strip_chars().str.to_lowercase()
        frame = frame.with_columns(word.replace(EVENT_SYNONYMS).alias("event"))
    if "split" in spec.strings and "split" in frame.columns:
        word = pl.col("split").str.strip_chars().str.to_lowercase()
        frame = frame.with_columns(word.replace(SPLIT_SYNONYMS).alias("split"))
    return frame
