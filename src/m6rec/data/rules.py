"""What makes a row bad, as polars expressions over a table in canonical dtypes.

An **error** makes a row unusable: `load` leaves it out and `check` writes it to the reject file.
A **warning** is kept and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from m6rec.data.kinds import is_listed
from m6rec.data.nested import PROBLEM as NESTED_PROBLEM
from m6rec.data.nested import is_nested, path_to_id
from m6rec.data.schema import EVENT_KINDS, SPLITS, TIMES, TableSpec
from m6rec.data.values.ids import without_decimals
from m6rec.data.values.nothing import nothing
from m6rec.data.values.numbers import NUMBER
from m6rec.data.values.times import LATEST, NAMES

Severity = Literal["error", "warning"]

LONG_TITLE = 10_000
INSTEAD_OF_TITLE = ("description", "category", "brand")
"""Columns that stand in for an empty title, the first that says anything."""
PATH_EXAMPLES = 20
"""Objects that are looked at for the path to the id in them."""
SECONDS = "seconds since 1970 (UTC) or a time such as 2024-05-01 12:00, or nothing"
LEFT_EMPTY = "; it is read as nothing"


@dataclass(frozen=True)
class Rule:
    """bad: boolean expression, true for a bad row; the other fields say so to a person.

    told: an import says so, too: the value was lost, or read as something else than was said.
    """

    problem: str
    severity: Severity
    column: str
    bad: pl.Expr = field(compare=False)
    right: str
    told: bool = False


def rules_for(
    spec: TableSpec, frame: pl.DataFrame, item_ids: pl.Series | None = None
) -> tuple[Rule, ...]:
    """The rules that the columns of `frame` can break.

    item_ids: ids of the catalogue where there is one, to find rows about other items.
    """
    rules = [*_required(spec, frame.columns), *_numbers(spec, frame.columns)]
    rules += _nested_ids(spec, frame)
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
        yield from _empty(name, bad, right, columns)
        if name.endswith("_id"):
            spaces = pl.col(name).str.contains(r"^\s|\s$").fill_null(False)
            yield Rule("spaces at the ends", "warning", name, spaces, "the id without spaces")


def _nested_ids(spec: TableSpec, frame: pl.DataFrame) -> Iterator[Rule]:
    """Objects and arrays where an id stands: an import can take the id out of them."""
    for name in spec.strings:
        if not name.endswith("_id") or name not in frame.columns:
            continue
        some = frame.lazy().select(name).filter(is_nested(name)).head(PATH_EXAMPLES).collect()[name]
        path = path_to_id(name, name, some)
        right = f"an id in words or digits; `m6rec import columns` takes it out by {name}={path}"
        yield Rule(NESTED_PROBLEM, "error", name, is_nested(name), right)


def _empty(name: str, bad: pl.Expr, right: str, columns: list[str]) -> Iterator[Rule]:
    """A row without a required value, and one where a word stands for none."""
    if f"raw:{name}" not in columns:
        yield Rule("empty", "error", name, bad, right)
        return
    word = bad & ~blank(f"raw:{name}")
    yield Rule("empty", "error", name, bad & blank(f"raw:{name}"), right)
    right = f"{right}; NULL, nan, undefined and the like are none"
    yield Rule("a word for nothing", "error", name, word, right)


def _numbers(spec: TableSpec, columns: list[str]) -> Iterator[Rule]:
    for name in spec.numbers:
        if name not in columns:
            continue
        column = pl.col(name)
        if name in TIMES:
            yield from _times(name)
        elif name != "position":
            bad = (~column.is_finite()).fill_null(False)
            right = "a finite number, or nothing" + LEFT_EMPTY
            yield Rule("not finite", "warning", name, bad, right, told=True)
        if name in ("price", "relevance"):
            bad = (column < 0).fill_null(False)
            yield Rule("negative", "warning", name, bad, "zero or more")


def _times(name: str) -> Iterator[Rule]:
    """Times that can not be: they are read as unknown."""
    column = pl.col(name)
    right = SECONDS + LEFT_EMPTY
    bad = {
        "infinite": column.is_infinite(),
        "before 1970": (column < 0) & column.is_finite(),
        "after the year 9999": (column >= LATEST) & column.is_finite(),
    }
    for problem, rows in bad.items():
        yield Rule(problem, "warning", name, rows.fill_null(False), right, told=True)


def _titles(columns: list[str]) -> Iterator[Rule]:
    others = [name for name in INSTEAD_OF_TITLE if name in columns]
    alone = pl.all_horizontal([blank(name) for name in others]) if others else pl.lit(True)
    # A word for nothing may be a title ("Null"): it goes only where something else can be read.
    untitled = blank("title") | (nothing(pl.col("title")) & ~alone)
    yield Rule(
        "empty, and nothing else to read", "error", "title", untitled & alone, "words to read"
    )
    yield Rule(
        "empty", "warning", "title", untitled & ~alone, "a title; other columns stand in for it"
    )
    yield Rule(
        "very long",
        "warning",
        "title",
        (pl.col("title").str.len_chars() > LONG_TITLE).fill_null(False),
        f"at most {LONG_TITLE:,} characters; only the beginning will be read",
    )


def _events(frame: pl.DataFrame) -> Iterator[Rule]:
    names = frame["event"].unique().drop_nulls() if "event" in frame.columns else ()
    listed = [*EVENT_KINDS, *(name for name in names if is_listed(name))]
    unknown = ~pl.col("event").is_in(listed) & ~blank("event")
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
    # Loading gives ids one spelling ("101.0" is "101"), which is seen in all tables together.
    bare = item_ids.to_frame("id").select(without_decimals(pl.col("id")))["id"].implode()
    there = pl.col("item_id").is_in(item_ids.implode())
    there = there | without_decimals(pl.col("item_id")).is_in(bare)
    unknown = ~there & ~blank("item_id")
    for instead in ("text", "query"):
        unknown = unknown & blank(instead) if instead in columns else unknown
    right = "an item_id of the items table; without one nothing is known about the item"
    return Rule("not in the items table", "warning", "item_id", unknown.fill_null(False), right)


def unparsed_rules(spec: TableSpec, columns: list[str]) -> tuple[Rule, ...]:
    """Rules over the raw value beside the cast one (`raw:NAME`, text): what could not be read."""
    rules = []
    for name, dtype in spec.dtypes().items():
        if name in columns and dtype != pl.String():
            bad = ~nothing(pl.col(f"raw:{name}")) & pl.col(name).is_null()
            time = name in TIMES
            problem = "not a time" if time else "not a number"
            right = SECONDS + LEFT_EMPTY if time else NUMBER
            rules.append(Rule(problem, "warning", name, bad, right, told=True))
    return tuple(rules)


def unit_rule(name: str, unit: str) -> Rule:
    """Times that count something else than seconds, and were read as such."""
    right = f"seconds since 1970; they are read as {NAMES[unit]}"
    return Rule(f"{NAMES[unit]}, not seconds", "warning", name, pl.lit(True), right, told=True)
