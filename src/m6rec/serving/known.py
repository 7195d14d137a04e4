"""What a journal says of items, users and events, read once when a model is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import polars as pl

from m6rec.data.labels import SHOWN
from m6rec.data.schema import TABLES
from m6rec.data.tables import Dataset, sort_events
from m6rec.records import Event
from m6rec.stores.journal.base import Body, Journal
from m6rec.stores.vectors.base import Filter

SHOWN_ONLY = "impression"
HISTORY = 200
"""Newest events of a user that are looked at: what is read, seen and bought is among them."""
AT_ONCE = 10_000
EVENT_COLUMNS = TABLES["events"].dtypes() | {"user_id": pl.String(), "item_id": pl.String()}


class Shown(NamedTuple):
    """What of an item is asked at every answer."""

    title: str
    category: str | None
    price: float | None
    available_from: float | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Shown:
        """From its body."""
        title, category = body["title"], body.get("category")
        return cls(title, category, body.get("price"), body.get("available_from"))

    def passes(self, where: Filter) -> bool:
        """Whether a filter lets it through; ids are not asked."""
        if where.categories is not None and self.category not in where.categories:
            return False
        least, most = where.least_price, where.most_price
        priced = least is not None or most is not None
        if priced and (
            self.price is None
            or (least is not None and self.price < least)
            or (most is not None and self.price > most)
        ):
            return False
        start = self.available_from
        return start is None or where.now is None or start <= where.now


@dataclass
class Known:
    """Newest bodies, how often items were chosen, and the number of the last entry read."""

    number: int = 0
    items: dict[str, Body] = field(default_factory=dict)
    users: dict[str, Body] = field(default_factory=dict)
    chosen: Counter[str] = field(default_factory=Counter)
    events: list[Body] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, journal: Journal) -> Known:
        """All that a journal holds."""
        known = cls()
        while batch := journal.entries(known.number, AT_ONCE):
            for _, kind, key, body, at in batch:
                if kind == "event":
                    known.events.append({"timestamp": at, **body})
                    if is_choice(body):
                        known.chosen[body["item_id"]] += 1
                elif kind == "item":
                    known.items[key] = body
                elif kind == "user":
                    known.users[key] = body
                elif kind == "erase_item":
                    known.items.pop(key, None)
                else:
                    known.erased.add(key)
            known.number = batch[-1].number
        return known

    def dataset(self, base: Dataset, journal: Journal) -> Dataset:
        """As canonical tables; reviews, queries and dialogues are those of a data folder.

        Rows of users that were erased are left out of these as well.
        """
        events = None
        if self.events:
            columns: dict[str, list[Any]] = {
                name: [body.get(name) for body in self.events]
                for name in EVENT_COLUMNS
                if name != "split"
            }
            schema = {name: EVENT_COLUMNS[name] for name in columns}
            events = sort_events(pl.DataFrame(columns, schema=schema, strict=False))
        return replace(
            base,
            items=frame_of(list(self.items.values()), "items"),
            users=frame_of(list(self.users.values()), "users") if self.users else None,
            events=events,
            reviews=self._without_erased(base.reviews, journal),
            queries=self._without_erased(base.queries, journal),
        )

    def _without_erased(self, table: pl.DataFrame | None, journal: Journal) -> pl.DataFrame | None:
        if table is None or not self.erased or "user_id" not in table.columns:
            return table
        users = table["user_id"].drop_nulls().unique().to_list()
        gone = [user for user in users if journal.masked(user) in self.erased]
        return table.filter(~pl.col("user_id").is_in(gone) | pl.col("user_id").is_null())


def acts(own: Sequence[Body]) -> tuple[Event, ...]:
    """What a user did, and not only saw, of bodies in the journal."""
    return tuple(event_of(body) for body in own if body["event"] != SHOWN_ONLY)


def newest_users(events: Sequence[Body], most: int) -> list[str]:
    """Who did something last, the last one first; so many at most."""
    return list(islice(dict.fromkeys(body["user_id"] for body in reversed(events)), most))


def is_choice(body: Mapping[str, Any]) -> bool:
    """Whether an event says that an item was chosen, and not only shown."""
    return body.get("item_id") is not None and body["event"] not in SHOWN


def frame_of(rows: Sequence[Body], table: str) -> pl.DataFrame:
    """Bodies as a table; a column of several types becomes text."""
    spec = TABLES[table]
    dtypes = spec.dtypes()
    names = dict.fromkeys([*spec.required, *(name for row in rows for name in row)])
    series = []
    for name in names:
        values = [row.get(name) for row in rows]
        dtype = dtypes.get(name) or _dtype(values)
        if dtype == pl.String():
            values = [None if v is None else v if isinstance(v, str) else _words(v) for v in values]
        series.append(pl.Series(name, values, dtype=dtype))
    return pl.DataFrame(series)


def _dtype(values: Sequence[Any]) -> pl.DataType:
    types = {type(value) for value in values if value is not None}
    if types and types <= {int, float}:
        return pl.Float64()
    return pl.Boolean() if types == {bool} else pl.String()


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def event_of(body: Mapping[str, Any]) -> Event:
    """An event of the journal."""
    names = ("item_id", "text", "query", "timestamp", "value")
    return Event(body["event"], **{name: body.get(name) for name in names})
