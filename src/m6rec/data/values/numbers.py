"""Numbers as people write them. What can not be read becomes null."""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

from m6rec.data.values.nothing import something

NumberFormat = Literal["comma", "point"]
"""What begins the decimals; the other one, spaces and apostrophes stand between thousands."""
NUMBER_FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)
CODE = r"[A-Z]{3}|US|CA|AU|kr|Kr|zł|Kč|Ft|Rs|R|Lei|lei|лв|руб|р"
MONEY = rf"\p{{Sc}}|^\s*(?:{CODE})(?:\.|\b)|\b(?:{CODE})\.?\s*$"
"""Signs of currencies, and their codes before or behind the number."""
LEAST = r"(?i)^(?:from|starting at|ab|à partir de|desde|vanaf)\s+"
"""Words before the least of several prices."""
WRITTEN: dict[NumberFormat, str] = {
    "comma": r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$",
    "point": r"^[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$",
}
"""Thousands come in threes, so that a number of the other format is not read as a larger one."""
WRITTEN_AS: dict[NumberFormat, str] = {
    "comma": "a number such as 1.299,50 (formats: comma, point, or none for the usual forms)",
    "point": "a number such as 1,299.50 (formats: comma, point, or none for the usual forms)",
}
"""What is right, by format."""
NUMBER = "a number such as 12.99, $1,299.00 or 1.299,00 €, or nothing; it is read as nothing"


def numbers(column: pl.Series, kind: NumberFormat | None = None) -> pl.Series:
    """Float64 of a column of any type. kind: what begins the decimals; None: as they show it.

    "1,299" and "1.299" can be either: the other values given decide (a table is read in batches, of
    100,000 rows of text), and where those do not, the point begins the decimals. Nothing (NULL,
    nan, a dash, …) is null.
    """
    name, dtype = column.name, column.dtype
    if dtype != pl.String():
        if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
            return column.cast(pl.Float64, strict=False).fill_nan(None)
        return pl.Series(name, [None] * len(column), dtype=pl.Float64)
    frame = column.alias("text").to_frame().select(text=something(pl.col("text").str.strip_chars()))
    plain = pl.col("text").cast(pl.Float64, strict=False).fill_nan(None)
    frame = frame.with_columns(plain=plain)
    if kind is None and frame["plain"].null_count() == frame["text"].null_count():
        return frame["plain"].alias(name)
    bare = (
        pl.col("text")
        .str.replace(LEAST, "")
        .str.replace_all(MONEY, "")
        .str.replace_all(r"[\s'’]", "")
    )
    frame = frame.with_columns(bare=bare.str.replace("−", "-", literal=True))
    if kind is not None:
        return frame.select(_read(kind))["bare"].alias(name)
    first = _kind(frame["bare"])
    other: NumberFormat = "comma" if first == "point" else "point"
    ways = [_read(first), _read(other), pl.col("plain")]
    if first == "point":
        ways.insert(0, pl.col("plain"))
    return frame.select(pl.coalesce(ways).alias("read"))["read"].alias(name)


def _kind(bare: pl.Series) -> NumberFormat:
    """How a column writes its decimals: as some number in it can not be read the other way."""
    comma, point = (bare.str.contains(WRITTEN[kind]).fill_null(False) for kind in NUMBER_FORMATS)
    return "comma" if (comma & ~point).any() and not (point & ~comma).any() else "point"


def _read(kind: NumberFormat) -> pl.Expr:
    thousands, decimals = (".", ",") if kind == "comma" else (",", ".")
    bare = pl.col("bare")
    number = bare.str.replace_all(thousands, "", literal=True)
    number = number.str.replace(decimals, ".", literal=True).cast(pl.Float64, strict=False)
    return pl.when(bare.str.contains(WRITTEN[kind])).then(number).alias("bare")


def number(text: str) -> float | None:
    """One text as a number; see `numbers`."""
    found: float | None = numbers(pl.Series([text]))[0]
    return found
