"""Times of other formats as seconds since 1970 (UTC). What can not be read becomes null."""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

TimeFormat = Literal["s", "ms", "us", "iso"]
TIME_FORMATS: tuple[TimeFormat, ...] = get_args(TimeFormat)
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}

ISO = (
    r"^\s*(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<clock>\d\d:\d\d)(?::(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?)?"
    r"\s*(?:Z|UTC|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)(?: [A-Z]+)?)?\s*$"
)
"""Also as Go prints a time: "2020-01-01 01:01:01.5 +0000 UTC". Without a zone: UTC."""


def seconds(column: pl.Expr, dtype: pl.DataType, kind: TimeFormat) -> pl.Expr:
    """Float64 seconds of a column of numbers, text or dates."""
    if dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.timestamp("us") / 1e6
    if dtype == pl.String():
        return iso_seconds(column) if kind == "iso" else _number(column) / UNITS[kind]
    number = column.cast(pl.Float64, strict=False)
    return number / UNITS.get(kind, 1.0)


def _number(column: pl.Expr) -> pl.Expr:
    return column.str.strip_chars().cast(pl.Float64, strict=False)


def iso_seconds(column: pl.Expr) -> pl.Expr:
    """ISO 8601 text, with or without clock, fraction and zone."""
    parts = column.str.extract_groups(ISO).struct
    moment = pl.concat_str(
        parts.field("date"),
        pl.lit(" "),
        parts.field("clock").fill_null("00:00"),
        pl.lit(":"),
        parts.field("second").fill_null("00"),
    )
    whole = moment.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    fraction = parts.field("fraction").str.replace(",", ".").cast(pl.Float64, strict=False)
    offset = (
        parts.field("hours").cast(pl.Float64, strict=False) * 3600
        + parts.field("minutes").cast(pl.Float64, strict=False) * 60
    )
    east = pl.when(parts.field("sign") == "-").then(-offset).otherwise(offset)
    return whole.dt.timestamp("us") / 1e6 + fraction.fill_null(0.0) - east.fill_null(0.0)


def known(time: pl.Expr) -> pl.Expr:
    """The time, null where it is before 1970: "0001-01-01" is how some tools write "never"."""
    return pl.when(time >= 0).then(time)


EXAMPLES: dict[TimeFormat, str] = {
    "s": "seconds since 1970, such as 1714564800",
    "ms": "milliseconds since 1970, such as 1714564800000",
    "us": "microseconds since 1970, such as 1714564800000000",
    "iso": "a time such as 2024-05-01T12:00:00Z",
}
"""What is right, by format."""
