"""Numbers as people write them. What can not be read becomes null."""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

NumberFormat = Literal["comma", "point"]
"""What begins the decimals; the other one, spaces and apostrophes stand between thousands."""
NUMBER_FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)
MONEY = r"\p{Sc}|^\s*[A-Z]{3}\b|\b[A-Z]{3}\s*$"
"""Signs of currencies, and their codes before or behind the number."""
WRITTEN: dict[NumberFormat, str] = {
    "comma": r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$",
    "point": r"^[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$",
}
"""Thousands come in threes, so that a number of the other format is not read as a larger one."""
WRITTEN_AS: dict[NumberFormat, str] = {
    "comma": "a number such as 1.299,50 (formats: comma, point, or none for 1299.5)",
    "point": "a number such as 1,299.50 (formats: comma, point, or none for 1299.5)",
}
"""What is right, by format."""


def plain(column: pl.Expr, dtype: pl.DataType, kind: NumberFormat) -> pl.Expr:
    """Text such as "1.299,00 €" or "$1,299.00" as "1299.00"; columns of numbers as they are."""
    if dtype != pl.String():
        return column
    bare = column.str.replace_all(MONEY, "").str.replace_all(r"[\s'’]", "")
    thousands, decimals = (".", ",") if kind == "comma" else (",", ".")
    number = bare.str.replace_all(thousands, "", literal=True)
    number = number.str.replace(decimals, ".", literal=True)
    return pl.when(bare.str.contains(WRITTEN[kind])).then(number)
