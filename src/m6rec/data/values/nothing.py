"""Words that stand where there is no value: NULL, nan, N/A, \\N, undefined, (not set), a dash."""

from __future__ import annotations

import re

import polars as pl

WORDS = (
    "nan",
    "null",
    "none",
    "na",
    "n/a",
    "n.a.",
    "<na>",
    "#n/a",
    "nat",
    r"\n",
    "undefined",
    "(not set)",
    "(null)",
    "(none)",
    "-",
    "--",
    "–",
    "—",
    "−",
    "nil",
    "-nan",
    "<null>",
    "<none>",
    "<nil>",
    "[null]",
    "(blank)",
    "(empty)",
    "(not provided)",
    "not set",
    "not provided",
    "not available",
    "#null!",
    "#ref!",
    "#value!",
    "#name?",
    "#div/0!",
    "#num!",
    "#n/a n/a",
    "1.#qnan",
    "-1.#ind",
    "[]",
    "{}",
    "00000000-0000-0000-0000-000000000000",
)
"""In any case. Spark and Hive write \\N, pandas <NA> and NaT, Google Analytics (not set), Go <nil>,
spreadsheets #REF! and the like; the last is the id of a device that hides its own."""
PATTERN = rf"(?i)^\s*(?:{'|'.join(map(re.escape, WORDS))})?\s*$".replace(r"\-", "-")
"""Also of an empty value."""


def is_nothing(text: str) -> bool:
    """Whether a text is empty or one of WORDS."""
    return re.search(PATTERN, text) is not None


def nothing(column: pl.Expr) -> pl.Expr:
    """True where a text column is null, empty or one of WORDS."""
    return column.is_null() | column.str.contains(PATTERN)


def something(column: pl.Expr) -> pl.Expr:
    """The texts of a column, null where they say that there is none."""
    return pl.when(~nothing(column)).then(column)
