"""What makes a row bad, as polars expressions over a table in canonical dtypes.

An **error** makes a row unusable: `load` leaves it out and `check` writes it to the reject file.
A **warning** is kept and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from m6rec.data.schema import EVENT_KINDS, SPLITS, TableSpec

Severity = Literal["error", "warning"]

LONG_TITLE = 10_000
INSTEAD_OF_TITLE = ("description", "category", "brand")
"""Columns that stand in for an empty title, the first that says anything."""
NUMBER = "a number such as 1299.5, or nothing; import reads 1.299,50 € by price=COLUMN:comma"
MILLISECONDS = 1e11
"""Seconds above this lie after the year 5138; clocks in milliseconds are above it since 1973."""


@dataclass(frozen=True)
class Rule:
    """bad: boolean expression, true for a bad row; the other fields say so to a person."""

    problem: str
    severity: Severity
    column: str
    bad: pl.Expr = field(compare=False)
    right: str


def rules_for(
    spec: TableSpec, frame: pl.DataFrame, item_ids: pl.Series | None = None
) -> tuple[Rule, ...]:
    """The rules that the columns of `frame` can break.

    item_ids: ids of the catalogue where there is one, to find rows about other items.
    """
    rules = [*_required(spec, frame.columns), *_numbers(spec, frame.columns)]
    if spec.name == "items":
        rules += _titles(frame.columns)
    if spec.name == "events":
        rules += _events(frame)
    if "item_id" in frame.columns and spec.name != "items" and item_ids is not None:
        rules.append(_known_items(item_ids, frame.columns if spec.name == "events" else []))
    return tuple(rules)


def blank(column: str) -> pl.Expr:
    """True for null, empty and white space."""
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars().str.len_bytes() == 0)


def _required(spec: TableSpec, columns: list[str]) -> Iterator[Rule]:
    for name in spec.required:
        if name == "title":
            continue
        bad = blank(name)
        right = "a value in every row"
        if spec.name == "events" and name == "item_id":
            for instead in ("text", "query"):
                bad = bad & blank(instead) if instead in columns else bad
            right = "the item's id (a search may have a query, an event a text instead)"
        yield Rule("empty", "error", name, bad, right)
        if name.endswith("_id"):
            spaces = pl.col(name).str.contains(r"^\s|\s$").fill_null(False)
            yield Rule("spaces at the ends", "warning", name, spaces, "the id without spaces")


def _numbers(spec: TableSpec, columns: list[str]) -> Iterator[Rule]:
    for name in spec.numbers:
        if name not in columns:
            continue
        column = pl.col(name)
        if name in ("timestamp", "available_from"):
            yield from _times(name)
        elif name != "position":
            bad = (~column.is_finite()).fill_null(False)
            right = "a finite number, or nothing; it is read as nothing"
            yield Rule("not finite", "warning", name, bad, right)
        if name in ("price", "relevance"):
            bad = (column < 0).fill_null(False)
            yield Rule("negative", "warning", name, bad, "zero or more")


def _times(name: str) -> Iterator[Rule]:
    column = pl.col(name)
    right = "seconds since 1970 (UTC), or nothing where the time is not known"
    yield Rule("NaN", "error", name, column.is_nan().fill_null(False), right)
    yield Rule("infinite", "error", name, column.is_infinite().fill_null(False), right)
    negative = (column < 0) & column.is_finite()
    yield Rule("negative", "error", name, negative.fill_null(False), right)
    late = (column > MILLISECONDS) & column.is_finite()
    right = "seconds since 1970; this looks like milliseconds, divide by 1000"
    yield Rule("too late", "error", name, late.fill_null(False), right)


def _titles(columns: list[str]) -> Iterator[Rule]:
    others = [name for name in INSTEAD_OF_TITLE if name in columns]
    nothing = pl.all_horizontal([blank(name) for name in others]) if others else pl.lit(True)
    untitled = blank("title")
    yield Rule(
        "empty, and nothing else to read", "error", "title", untitled & nothing, "words to read"
    )
    yield Rule(
        "empty", "warning", "title", untitled & ~nothing, "a title; other columns stand in for it"
    )
    yield Rule(
        "very long",
        "warning",
        "title",
        (pl.col("title").str.len_chars() > LONG_TITLE).fill_null(False),
        f"at most {LONG_TITLE:,} characters; only the beginning will be read",
    )


def _events(frame: pl.DataFrame) -> Iterator[Rule]:
    unknown = ~pl.col("event").is_in(EVENT_KINDS) & ~blank("event")
    right = f"one of {', '.join(EVENT_KINDS)}; other kinds count as something the user did"
    yield Rule("unknown kind", "warning", "event", unknown.fill_null(False), right)
    if "value" in frame.columns:
        missing = (pl.col("event") == "rating") & pl.col("value").is_null()
        right = "the rating; without it the event says only that there was one"
        yield Rule("rating without a value", "warning", "value", missing.fill_null(False), right)
    yield _request_of_impression(frame)
    if "split" in frame.columns:
        other = (~pl.col("split").is_in(SPLITS)).fill_null(False)
        right = f"one of {', '.join(SPLITS)}; the event is in no part"
        yield Rule("unknown split", "warning", "split", other, right)


def _request_of_impression(frame: pl.DataFrame) -> Rule:
    lacking = blank("request_id") if "request_id" in frame.columns else pl.lit(True)
    bad = (pl.col("event") == "impression").fill_null(False) & lacking
    right = "the id of the page or request it was shown in, as its click has; else it counts as no"
    return Rule("impression without a request", "warning", "request_id", bad, right)


def _known_items(item_ids: pl.Series, columns: list[str]) -> Rule:
    unknown = ~pl.col("item_id").is_in(item_ids.implode()) & ~blank("item_id")
    for instead in ("text", "query"):
        unknown = unknown & blank(instead) if instead in columns else unknown
    right = "an item_id of the items table; without one nothing is known about the item"
    return Rule("not in the items table", "warning", "item_id", unknown.fill_null(False), right)


def unparsed_rules(spec: TableSpec, columns: list[str]) -> tuple[Rule, ...]:
    """Rules over the raw value beside the cast one (`raw:NAME`): what did not become a number."""
    rules = []
    for name, dtype in spec.dtypes().items():
        if name in columns and dtype != pl.String():
            bad = pl.col(f"raw:{name}").is_not_null() & pl.col(name).is_null()
            right = NUMBER if name != "timestamp" else "seconds since 1970 as a number"
            rules.append(Rule("not a number", "error", name, bad, right))
    return tuple(rules)
