"""Looks at one batch of rows: which of them are bad, and why. Shared by `load` and `check`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from m6rec.data.conform import cast
from m6rec.data.rules import (
    INSTEAD_OF_TITLE,
    Rule,
    blank,
    rules_for,
    unit_rule,
    unparsed_rules,
)
from m6rec.data.schema import TIMES, TableSpec
from m6rec.data.values.nothing import nothing
from m6rec.data.values.times import LATEST

TITLE_CHARS = 80
"""Of another column that stands in for an empty title."""


@dataclass(frozen=True)
class Examined:
    """raw and typed: the same rows before and after casting. broken: rule -> bool [rows]."""

    raw: pl.DataFrame
    typed: pl.DataFrame
    broken: dict[Rule, np.ndarray]

    def unusable(self) -> np.ndarray:
        """bool [rows]: true where a rule of severity "error" is broken."""
        bad = np.zeros(self.typed.height, dtype=bool)
        for rule, rows in self.broken.items():
            if rule.severity == "error":
                bad |= rows
        return bad

    def without(self, columns: Iterable[str]) -> Examined:
        """The same rows, without what is said about these columns."""
        left_out = set(columns)
        broken = {rule: bad for rule, bad in self.broken.items() if rule.column not in left_out}
        return replace(self, broken=broken)


def examine(
    raw: pl.DataFrame,
    spec: TableSpec,
    item_ids: pl.Series | None = None,
    seen: set[str] | None = None,
) -> Examined:
    """Casts a batch and applies every rule. Only rules that some row breaks are returned.

    item_ids: the catalogue's ids, where there is a catalogue to compare with.
    seen: usable values of the table's unique column in earlier batches; this batch's are added.
    """
    conformed = cast(raw, spec)
    typed = conformed.frame
    beside = typed.with_columns(_as_written(raw, name) for name in spec.required)
    broken = _apply(rules_for(spec, beside, item_ids), beside)
    broken |= _unparsed(raw, typed, spec)
    for (name, unit), rows in conformed.otherwise.items():
        broken[unit_rule(name, unit)] = rows.fill_null(False).to_numpy()
    found = Examined(raw, typed, broken)
    if spec.unique is not None and seen is not None:
        broken |= _repeated(typed, spec.unique, seen, found.unusable())
    return found


def _apply(rules: tuple[Rule, ...], frame: pl.DataFrame) -> dict[Rule, np.ndarray]:
    if not rules or not frame.height:
        return {}
    masks = frame.select(rule.bad.alias(str(i)) for i, rule in enumerate(rules))
    return {rule: masks[str(i)].to_numpy() for i, rule in enumerate(rules) if masks[str(i)].any()}


def _unparsed(raw: pl.DataFrame, typed: pl.DataFrame, spec: TableSpec) -> dict[Rule, np.ndarray]:
    """Values that were there before the cast and are not after it."""
    rules = tuple(
        rule
        for rule in unparsed_rules(spec, typed.columns)
        if raw.schema[rule.column] != typed.schema[rule.column]
    )
    names = [rule.column for rule in rules]
    return _apply(rules, typed.select(names).with_columns(_as_written(raw, n) for n in names))


def _as_written(raw: pl.DataFrame, name: str) -> pl.Series:
    """`raw:NAME`, text: null where there was no value."""
    column = raw[name]
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        value = pl.when(column.is_not_null()).then(pl.lit("a value"))
        return pl.select(value.alias(f"raw:{name}")).to_series()
    return column.cast(pl.String, strict=False).alias(f"raw:{name}")


def _repeated(
    typed: pl.DataFrame, column: str, seen: set[str], unusable: np.ndarray
) -> dict[Rule, np.ndarray]:
    """Rows whose value a usable row had before. A set does: a catalogue's keys fit in memory."""
    bad = np.zeros(typed.height, dtype=bool)
    for row, value in enumerate(typed[column]):
        if value is not None and not unusable[row]:
            bad[row] = value in seen
            seen.add(value)
    right = "one row for each id; the first row is kept"
    rule = Rule("repeated", "error", column, pl.col(column).is_duplicated(), right)
    return {rule: bad} if bad.any() else {}


def readable(found: Examined, spec: TableSpec) -> pl.DataFrame:
    """The typed rows, as the warnings about them say: numbers that are not finite and times that
    can not be are null, and where a title is empty other columns stand in for it."""
    warned = {(rule.problem, rule.column) for rule in found.broken}
    unsound = {column for _, column in warned} & set(spec.numbers)
    typed = found.typed.with_columns(
        pl.when(_sound(name)).then(pl.col(name)).alias(name)
        for name, dtype in spec.dtypes().items()
        if dtype == pl.Float64() and name in unsound
    )
    if ("empty", "title") not in warned:
        return typed
    others = [name for name in INSTEAD_OF_TITLE if name in typed.columns]
    words = [pl.when(~blank(name)).then(pl.col(name).str.strip_chars()) for name in others]
    instead = pl.coalesce(words).str.slice(0, TITLE_CHARS)
    untitled = nothing(pl.col("title"))
    title = pl.when(untitled).then(pl.coalesce(instead, "title")).otherwise("title")
    return typed.with_columns(title=title)


def _sound(name: str) -> pl.Expr:
    column = pl.col(name)
    return column.is_between(0, LATEST, closed="left") if name in TIMES else column.is_finite()
