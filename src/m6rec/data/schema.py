"""The canonical tables: their columns, the kinds of events, and the words that mean the same."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from m6rec.records import M6Error


class DataError(M6Error):
    """Data that can not be used as it stands: the message names the table and what is right."""


@dataclass(frozen=True)
class TableSpec:
    """One canonical table. Columns that are not named here are kept as they are.

    required: columns that must be there; numbers and strings: the dtype a named column is cast
    to; prose: strings that are read as they stand, for "Null" may be a title and "nan" a search;
    unique: the column whose values may occur once only.
    """

    name: str
    required: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    unique: str | None = None

    def dtypes(self) -> dict[str, pl.DataType]:
        """Canonical dtype by column name. `position` counts, everything else measures."""
        counts = {"position": pl.Int64()}
        numbers = {name: counts.get(name, pl.Float64()) for name in self.numbers}
        return {**{name: pl.String() for name in self.strings}, **numbers}


TABLES = {
    table.name: table
    for table in (
        TableSpec(
            "items",
            required=("item_id", "title"),
            numbers=("price", "available_from"),
            strings=("item_id", "title", "category", "description", "brand"),
            prose=("title",),
            unique="item_id",
        ),
        TableSpec(
            "events",
            required=("user_id", "item_id", "event"),
            numbers=("timestamp", "value", "position", "price"),
            strings=("user_id", "item_id", "event", "text", "query", "request_id", "split"),
            prose=("text", "query"),
        ),
        TableSpec("users", required=("user_id",), strings=("user_id",), unique="user_id"),
        TableSpec(
            "reviews",
            required=("user_id", "item_id"),
            numbers=("rating", "timestamp"),
            strings=("user_id", "item_id", "text", "feature", "explanation", "split"),
            prose=("text", "feature", "explanation"),
        ),
        TableSpec(
            "queries",
            required=("query", "item_id"),
            numbers=("relevance", "timestamp"),
            strings=("query", "item_id", "user_id", "split"),
            prose=("query",),
        ),
    )
}

TIMES = ("timestamp", "available_from")
"""Columns of seconds since 1970."""

EVENT_KINDS = (
    "impression",
    "click",
    "cart",
    "purchase",
    "rating",
    "like",
    "dislike",
    "skip",
    "return",
    "remove_from_cart",
    "search",
)
"""Kinds that every template knows. Others are kept, and count as something the user did."""

EVENT_SYNONYMS = {
    "history_click": "click",
    "impression_no_click": "impression",
    "view": "click",
    "add_to_cart": "cart",
    "addtocart": "cart",
    "buy": "purchase",
    "transaction": "purchase",
    "thumbs_down": "dislike",
    "thumbsdown": "dislike",
    "skipped": "skip",
    "refund": "return",
    "refunded": "return",
    "returned": "return",
    "removefromcart": "remove_from_cart",
    "removed_from_cart": "remove_from_cart",
}
"""Applied at load (case and spaces at the ends do not matter)."""


def event_kind(name: str) -> str:
    """The kind of event that a name means, wherever it comes from: tables, histories, the journal.

    >>> event_kind(" View "), event_kind("Impression"), event_kind("shared")
    ('click', 'impression', 'shared')
    """
    word = name.strip().lower()
    return EVENT_SYNONYMS.get(word, word)


SPLIT_SYNONYMS = {"training": "train", "dev": "valid", "val": "valid", "validation": "valid"}
SPLITS = ("train", "valid", "test")
