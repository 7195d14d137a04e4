"""Ids that were numbers once: "101.0" of one file meets "101" of another.

A missing value turns a column of integers into floats in many tools, and what they write into text
files is "101.0". Whether it is one of those or a word of its own (a version "1.0" beside "1.1") is
seen in all ids of a kind together, in every table of a data set.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from m6rec.data.schema import TABLES

WHOLE = r"^(-?\d+)\.0+$"
"""A whole number with decimals."""
DOTTED = r"^-?\d+\.(?:\d*[1-9]\d*|\d+\.[\d.]*)$"
"""A number that is not whole, or a version of three parts: then dots mean something."""


def id_text(value: str | float) -> str:
    """An id as JSON has it, as text: 101 and 101.0 are "101"."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else str(value)


def without_decimals(column: pl.Expr) -> pl.Expr:
    """ "101.0" as "101"; other ids as they are."""
    return column.str.replace(WHOLE, "${1}")


def same_spelling(tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables of a data set (by name) with one spelling for each id of items and of users."""
    found = dict(tables)
    for column in ("item_id", "user_id"):
        having = [name for name, table in found.items() if column in table.columns]
        if having and _are_numbers({name: found[name][column] for name in having}):
            for name in having:
                found[name] = found[name].with_columns(without_decimals(pl.col(column)))
    return found


def _are_numbers(columns: Mapping[str, pl.Series]) -> bool:
    """Whether "101.0" is a number among these ids, and dropping its decimals merges no two rows."""
    if not any(column.str.ends_with(".0").any() for column in columns.values()):
        return False
    for name, column in columns.items():
        ids = column.unique()
        if ids.str.contains(DOTTED).any():
            return False
        if TABLES[name].unique == column.name:
            bare = ids.to_frame().select(without_decimals(pl.col(column.name)))
            if bare.n_unique() != len(ids):
                return False
    return True
