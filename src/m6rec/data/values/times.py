"""Times as seconds since 1970 (UTC), whatever they were written as. What can not be read is null.

A number says by its size what it counts: of seconds, milliseconds, microseconds, nanoseconds and
dates such as 20240501 at most one gives a year between 1990 and 2100. Where that is not what was
said, it is read so and told. Smaller numbers (a counter, the first days of 1970) stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import polars as pl

from m6rec.data.values.nothing import something

Unit = Literal["s", "ms", "us", "ns"]
TimeFormat = Literal["s", "ms", "us", "ns", "iso"]
TIME_FORMATS: tuple[TimeFormat, ...] = get_args(TimeFormat)
UNITS: dict[Unit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
NAMES: dict[str, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "date": "dates such as 20240501",
}
FIRST_USUAL, LAST_USUAL = 631_152_000.0, 4_102_444_800.0
"""1990 and 2100, in seconds."""
LATEST = 253_402_300_800.0
"""The year 10000: some tools write 9999-12-31 for "never"."""
FIRST_DATE = 19_000_101
DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates without separators, by their length."""

ISO = (
    r"^\s*(?P<year>\d{4})(?:[-/.]?(?P<month>\d\d)(?:[-/.]?(?P<day>\d\d))?)?"
    r"(?:(?:[Tt]|\s+)(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?)?"
    r"\s*(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?(?: [A-Z]+)?)?)?\s*$"
)
"""Also as Go prints a time: "2020-01-01 01:01:01.5 +0000 UTC". Without a zone: UTC."""

EXAMPLES: dict[str, str] = {
    "s": "seconds since 1970, such as 1714564800, or a time such as 2024-05-01 12:00",
    "ms": "milliseconds since 1970, such as 1714564800000",
    "us": "microseconds since 1970, such as 1714564800000000",
    "ns": "nanoseconds since 1970, such as 1714564800000000000",
    "iso": "a time such as 2024-05-01T12:00:00Z",
}
"""What is right, by format."""


def example(kind: str) -> str:
    """What is right for a format, which may be one of strptime such as %d.%m.%Y."""
    return EXAMPLES.get(kind, f"a time written as {kind}")


@dataclass(frozen=True)
class Times:
    """seconds: Float64 [N]. otherwise: what was read as something else than was said, bool [N] by
    what it was (keys of NAMES)."""

    seconds: pl.Series
    otherwise: dict[str, pl.Series] = field(default_factory=dict)


def times(column: pl.Series, kind: str = "s") -> Times:
    """A column of numbers, text or dates. kind: what its numbers count, `iso`, or a format of
    strptime (any text with a %)."""
    if column.dtype in (pl.Date, pl.Datetime):
        return Times(column.cast(pl.Datetime("us")).dt.timestamp("us") / 1e6)
    if column.dtype != pl.String():
        if column.dtype.is_numeric() or column.dtype == pl.Null:
            return _of_numbers(column.cast(pl.Float64, strict=False).fill_nan(None), kind)
        return Times(pl.Series(column.name, [None] * len(column), dtype=pl.Float64))
    frame = column.alias("text").to_frame()
    text = frame.select(something(pl.col("text").str.strip_chars()))["text"]
    if "%" in kind:
        return Times(_formatted(text, kind).alias(column.name))
    if kind == "iso":
        written = _written(text)
        rest = text.cast(pl.Float64, strict=False).set(written.is_not_null(), None)
        found = _of_numbers(rest, kind)
        clear = found.seconds.is_between(FIRST_USUAL, LAST_USUAL)
        counted = found.seconds.set(~clear, None)
        return _with(written, Times(counted, found.otherwise), column.name)
    counted = text.cast(pl.Float64, strict=False)
    words = text.set(counted.is_not_null(), None)
    found = _of_numbers(counted, kind)
    if words.null_count() == len(words):
        return found
    return _with(_written(words), found, column.name)


def _written(text: pl.Series) -> pl.Series:
    return text.to_frame("t").select(iso_seconds(pl.col("t")).alias("t"))["t"]


def _with(written: pl.Series, found: Times, name: str) -> Times:
    both = written.to_frame("w").with_columns(n=found.seconds).select(pl.coalesce("w", "n"))["w"]
    return Times(both.alias(name), found.otherwise)


def _of_numbers(number: pl.Series, kind: str) -> Times:
    """Float64 numbers by their size, and what was said of them."""
    said: Unit = kind if kind in UNITS else "s"
    column = pl.col("n")
    # Nanoseconds have more digits than a float: what it has of them beyond microseconds is noise.
    counts: dict[str, pl.Expr] = {unit: (column / UNITS[unit]).round(6) for unit in UNITS}
    as_said = counts[said]
    counts["date"] = pl.col("date")
    others = [unit for unit in counts if unit != said]
    frame = number.to_frame("n").with_columns(date=_dates(number)).select(
        as_said.alias("said"),
        *(counts[unit].alias(unit) for unit in others),
        *((~_usual(as_said) & _usual(counts[u])).fill_null(False).alias(f"is {u}")
          for u in others),
    )  # fmt: skip
    seconds = frame.select(
        pl.coalesce(*(pl.when(f"is {unit}").then(unit) for unit in others), "said").alias("n")
    )["n"]
    otherwise: dict[str, pl.Series] = {
        unit: frame[f"is {unit}"]
        for unit in others
        if frame[f"is {unit}"].any() and (unit, kind) != ("date", "iso")
    }
    return Times(seconds.alias(number.name), otherwise)


def _usual(seconds: pl.Expr) -> pl.Expr:
    return seconds.is_between(FIRST_USUAL, LAST_USUAL)


def _dates(number: pl.Series) -> pl.Series:
    """Seconds of numbers that are dates without separators, such as 20240501; null for others.

    Null for all where some number is neither that nor a time of a usual year: a counter may pass by
    what looks like a date.
    """
    whole = (number == number.round()) & number.is_between(0, 10.0 ** max(DIGITS))
    text = number.set(~whole.fill_null(False), None).cast(pl.Int64).cast(pl.String)
    forms = (
        pl.when(pl.col("t").str.len_bytes() == digits)
        .then(pl.col("t"))
        .str.to_datetime(form, time_unit="us", strict=False)
        for digits, form in DIGITS.items()
    )
    frame = text.to_frame("t").select(d=pl.coalesce(*forms).dt.timestamp("us") / 1e6)
    units = [_usual(pl.col("n") / size) for size in UNITS.values()]
    explained = pl.any_horizontal(pl.col("n").is_null(), _usual(pl.col("d")), *units)
    usual = frame.with_columns(n=number).select(explained.fill_null(False).all()).item()
    return frame["d"] if usual else frame["d"].clear(len(number))


def _formatted(text: pl.Series, form: str) -> pl.Series:
    found = text.str.to_datetime(form, time_unit="us", strict=False)
    return found.dt.timestamp("us") / 1e6


def iso_seconds(column: pl.Expr) -> pl.Expr:
    """ISO 8601 text, basic or extended, with or without clock, fraction and zone."""
    parts = column.str.extract_groups(ISO).struct

    def part(name: str, otherwise: str) -> pl.Expr:
        return parts.field(name).fill_null(otherwise)

    moment = pl.concat_str(
        parts.field("year"),
        *(part(name, "01") for name in ("month", "day")),
        *(part(name, "00") for name in ("hour", "minute", "second")),
    )
    whole = moment.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False)
    fraction = parts.field("fraction").str.replace(",", ".").cast(pl.Float64, strict=False)
    offset = (
        parts.field("hours").cast(pl.Float64, strict=False) * 3600
        + part("minutes", "0").cast(pl.Float64, strict=False) * 60
    )
    east = pl.when(parts.field("sign") == "-").then(-offset).otherwise(offset)
    return whole.dt.timestamp("us") / 1e6 + fraction.fill_null(0.0) - east.fill_null(0.0)


def known(time: pl.Expr) -> pl.Expr:
    """The time, null where it is before 1970: "0001-01-01" is how some tools write "never"."""
    return pl.when(time >= 0).then(time)


def wrong_seconds(value: str | float) -> str | None:
    """Why a value is no time in seconds since 1970, and which value would be right; None: it is."""
    is_text = isinstance(value, str)
    if not isinstance(value, str) and (
        FIRST_USUAL <= value <= LAST_USUAL or 0 <= value < FIRST_DATE
    ):
        return None  # as nearly every time is
    found = times(pl.Series([value], dtype=pl.String if is_text else pl.Float64))
    seconds: float | None = found.seconds[0]
    usual = "right is seconds since 1970 (UTC), such as 1714564800, or nothing"
    if seconds is None or not math.isfinite(seconds):
        return f"{value!r} is no time; {usual}"
    if found.otherwise:
        return f"{value!r} looks like {NAMES[next(iter(found.otherwise))]}; right is {seconds:.15g}"
    if not 0 <= seconds < LATEST:
        when = "before 1970" if seconds < 0 else "after the year 9999"
        return f"{value!r} is {when}; {usual}"
    if is_text:
        return f"{value!r} is a text; right is {seconds:.15g}, seconds since 1970 (UTC)"
    return None
