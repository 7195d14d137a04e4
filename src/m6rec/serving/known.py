"""What a journal says of items, users and events, read once when a model is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import polars as pl
from pydantic_core import from_json

from m6rec.data.kinds import Verdict, kind_of
from m6rec.data.schema import EVENT_SYNONYMS, TABLES
from m6rec.data.tables import Dataset, sort_events
from m6rec.offers import Offer
from m6rec.records import Event
from m6rec.serving.choices import Choices, event_of
from m6rec.stores.journal.base import Body, EntryText, Journal
from m6rec.stores.journal.erasing import Erased
from m6rec.stores.journal.origin import Erasure
from m6rec.text.templates import Templates

HISTORY = 200
"""Newest events of a user that are looked at; what was seen or bought before may be offered."""
AT_ONCE = 10_000
OTHERS = 64
"""Columns of items or users that no template names."""
ENTRIES_AT_ONCE = 2000
"""Entries that are read at once by who follows a journal."""
NOTHING: Mapping[str, Collection[str]] = {}
EVENT_COLUMNS = {
    name: dtype for name, dtype in TABLES["events"].dtypes().items() if name != "split"
}
KNOWN_COLUMNS = {**EVENT_COLUMNS, "timed": pl.Boolean(), "number": pl.Int64()}


class Shown(NamedTuple):
    """What of an item is asked at every answer."""

    title: str
    category: str | None
    price: float | None
    available_from: float | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Shown:
        """From its body."""
        return cls(body["title"], *Offer.of(body))

    @property
    def offer(self) -> Offer:
        """What of it a filter asks."""
        return Offer(self.category, self.price, self.available_from)


@dataclass
class Known:
    """Newest bodies, who chose which items, and the number of the last entry read.

    events: in the order they came, columns EVENT_COLUMNS, `number` of the entry, and `timed`,
    whether an event has a time of its own; the others have that when they came. last_erasure:
    number of the last entry that erased a user, 0: none did. dropped: events that the journal left
    out as too old before.
    """

    number: int = 0
    items: dict[str, Body] = field(default_factory=dict)
    users: dict[str, Body] = field(default_factory=dict)
    events: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=KNOWN_COLUMNS))
    erased: Erased = field(default_factory=lambda: Erased(()))
    last_erasure: int = 0
    dropped: int = 0
    choices: Choices = field(default_factory=lambda: Choices(pl.DataFrame(schema=EVENT_COLUMNS)))

    @classmethod
    def read(cls, journal: Journal) -> Known:
        """All that a journal holds."""
        known, begun = cls(dropped=journal.dropped()), journal.last()
        erased: list[tuple[int, Erasure]] = []
        parts = [known.events]
        while batch := journal.entry_texts(known.number, AT_ONCE):
            parts.append(_event_table([entry for entry in batch if entry.kind == "event"]))
            for number, kind, key, text, _ in batch:
                if kind == "item":
                    known.items[key] = from_json(text)
                elif kind == "user":
                    known.users[key] = from_json(text)
                elif kind == "erase_item":
                    known.items.pop(key, None)
                elif kind == "erase_user":
                    known.last_erasure = number
                    if number > begun:  # while this is read: earlier rows may be in the table
                        erased.append((number, Erasure.read(key, text, journal.salt)))
            known.number = batch[-1].number
        known.events = pl.concat(parts)
        known.erased = Erased(journal.erasures())
        for number, erasure in erased:
            known._leave_out(number, Erased([erasure]))
        known.choices = Choices(known.events)
        return known

    def _leave_out(self, number: int, erased: Erased) -> None:
        """Drops what was read of a user before entry `number` erased it."""
        gone = erased.among(self.events["user_id"])
        earlier = pl.col("user_id").is_in(gone) & (pl.col("number") < number)
        self.events = self.events.filter(~earlier)
        for user_id in erased.among(list(self.users)):
            del self.users[user_id]

    @property
    def chosen(self) -> Counter[str]:
        """How many people stand by each item."""
        return self.choices.counts

    def dataset(self, base: Dataset, named: Mapping[str, Collection[str]] = NOTHING) -> Dataset:
        """As canonical tables; reviews, queries and dialogues are those of a data folder. named:
        columns that templates name, by table.

        Rows of users that were erased are left out of these as well.
        """
        return replace(
            base,
            items=frame_of(list(self.items.values()), "items", named.get("items", ())),
            users=frame_of(list(self.users.values()), "users", named.get("users", ()))
            if self.users
            else None,
            events=None
            if self.events.is_empty()
            else sort_events(self.events.drop("timed", "number")),
            reviews=_without(base.reviews, self.erased),
            queries=_without(base.queries, self.erased),
        )


def without_users(data: Dataset, user_ids: Collection[str]) -> Dataset:
    """The tables without what some users are and did."""
    tables = {name: getattr(data, name) for name in ("users", "events", "reviews", "queries")}
    names = list(user_ids)
    left = {
        name: table.filter(~pl.col("user_id").is_in(names) | pl.col("user_id").is_null())
        for name, table in tables.items()
        if table is not None and "user_id" in table.columns
    }
    return replace(data, **left)


def _without(table: pl.DataFrame | None, erased: Erased) -> pl.DataFrame | None:
    if table is None or not erased or "user_id" not in table.columns:
        return table
    gone = erased.among(table["user_id"])
    return table.filter(~pl.col("user_id").is_in(gone) | pl.col("user_id").is_null())


def _event_table(entries: Sequence[EntryText]) -> pl.DataFrame:
    """Events as a table, columns EVENT_COLUMNS; without a time of their own: when they came.

    Bodies one by one would be five times as slow, and a log's worth of them in memory.
    """
    texts = pl.Series([entry.text for entry in entries], dtype=pl.String())
    try:
        table = texts.str.json_decode(pl.Struct(EVENT_COLUMNS)).struct.unnest()
    except pl.exceptions.ComputeError:  # one field of another type: that value alone is lost
        bodies = [from_json(entry.text) for entry in entries]
        columns = {name: [body.get(name) for body in bodies] for name in EVENT_COLUMNS}
        table = pl.DataFrame(columns, schema=EVENT_COLUMNS, strict=False)
    came = pl.Series([entry.at for entry in entries], dtype=pl.Float64())
    number = pl.Series([entry.number for entry in entries], dtype=pl.Int64())
    kind = pl.col("event").str.strip_chars().str.to_lowercase().replace(EVENT_SYNONYMS)
    timed = pl.col("timestamp").is_not_null()
    return table.with_columns(
        pl.col("timestamp").fill_null(came), event=kind, timed=timed, number=number
    )


def acts(own: Sequence[Body]) -> tuple[Event, ...]:
    """What a user did, and not only saw, of bodies in the journal."""
    events = (event_of(body) for body in own)
    return tuple(event for event in events if kind_of(event.event).verdict != Verdict.SHOWN)


def newest_users(events: pl.DataFrame, most: int) -> list[str]:
    """Who did something last, the last one first; so many at most."""
    return events["user_id"].reverse().unique(maintain_order=True).head(most).to_list()


def frame_of(rows: Sequence[Body], table: str, named: Collection[str] = ()) -> pl.DataFrame:
    """Bodies as a table; a column of several types becomes text.

    Columns are those of the schema, those that templates name (named), and the OTHERS that most
    rows have: a row with names of its own makes no columns for all.
    """
    spec = TABLES[table]
    dtypes = spec.dtypes()
    filled = Counter(name for row in rows for name in row)
    own = [name for name in filled if name in named or name in dtypes]
    known = set(own)
    others = [name for name, _ in filled.most_common() if name not in known][:OTHERS]
    kept = known.union(others)
    names = dict.fromkeys([*spec.required, *(name for name in filled if name in kept)])
    series = []
    for name in names:
        values = [row.get(name) for row in rows]
        dtype = dtypes.get(name) or _dtype(values)
        if dtype == pl.String():
            values = [None if v is None else v if isinstance(v, str) else _words(v) for v in values]
        series.append(pl.Series(name, values, dtype=dtype))
    return pl.DataFrame(series)


def named_columns(templates: Iterable[Templates]) -> dict[str, set[str]]:
    """Columns that any of some templates names, by table."""
    found: dict[str, set[str]] = {"items": set(), "users": set()}
    for one in templates:
        for table, names in found.items():
            names |= one.columns(table)
    return found


def _dtype(values: Sequence[Any]) -> pl.DataType:
    types = {type(value) for value in values if value is not None}
    if types and types <= {int, float}:
        return pl.Float64()
    return pl.Boolean() if types == {bool} else pl.String()


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
