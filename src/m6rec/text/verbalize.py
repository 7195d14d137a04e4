"""Tables → segments: the one place where items, events and users become words."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import polars as pl

from m6rec.records import Candidate, Event, Request, Segment, SegmentKind
from m6rec.text import phrases
from m6rec.text.hygiene import READ_AHEAD, clean, clean_markup
from m6rec.text.sandbox import Compiled
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import CHARS_PER_TOKEN

log = logging.getLogger(__name__)

CACHED_TEXTS = 1 << 18


class Rows:
    """A table by id: columns as Python lists, made when a template first asks for one.

    Rows that come later (`put`) stand behind those of the table, and replace them.
    """

    def __init__(self, frame: pl.DataFrame, key: str, limit: int) -> None:
        self._frame, self._key, self._limit = frame, key, limit
        self._row = {name: row for row, name in enumerate(frame[key].cast(pl.String).to_list())}
        self._columns: dict[str, list[object]] = {}
        self._later: list[Mapping[str, object]] = []

    def put(self, name: str, row: Mapping[str, object]) -> None:
        """Adds a row, or replaces it; its number is a new one in either case."""
        self.remove(name)
        self._later.append(row)
        self._row[name] = len(self) + len(self._later) - 1

    def remove(self, name: str) -> None:
        """Forgets a row."""
        place = self._row.pop(name, None)
        if place is not None and place >= len(self):
            self._later[place - len(self)] = {}

    def __len__(self) -> int:
        return self._frame.height

    def names(self) -> list[str]:
        """Ids of all rows."""
        return list(self._row)

    def find(self, name: str | None) -> int | None:
        """Row of an id, None where there is none."""
        return None if name is None else self._row.get(name)

    def places(self, names: Iterable[str | None]) -> list[int]:
        """Rows of many ids, -1 where there is none."""
        row = self._row
        return [-1 if name is None else row.get(name, -1) for name in names]

    def filled(self) -> list[str]:
        """Columns with a value in any row."""
        return [c for c in self._frame.columns if self._frame[c].null_count() < len(self)]

    def values(self, row: int, names: Iterable[str]) -> dict[str, object]:
        """Those of `names` that are columns, cleaned; `row` holds all that have a value."""
        found: dict[str, object] = {}
        later = self._later[row - len(self)] if row >= len(self) else None
        columns = self._frame.columns if later is None else later
        for name in names:
            if name in columns:
                found[name] = self._cell(name, row)
            elif name == "row":
                cells = {c: self._cell(c, row) for c in columns if c != self._key}
                found[name] = {
                    c.replace("_", " "): v for c, v in cells.items() if v is not None and v != ""
                }
        return found

    def _cell(self, name: str, row: int) -> object:
        if row >= len(self):
            return _readable(self._later[row - len(self)].get(name), self._limit)
        if name not in self._columns:
            column = self._frame[name]
            if column.dtype == pl.String:  # so that no long text is ever copied
                column = column.str.slice(0, READ_AHEAD * self._limit)
            self._columns[name] = column.to_list()
        return _readable(self._columns[name][row], self._limit)


def _readable(value: object, limit: int) -> object:
    """A cell as a template sees it: clean strings, numbers, lists of clean strings."""
    if isinstance(value, str):
        return clean_markup(value, limit)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        there = [pair for pair in value.items() if pair[1] is not None]
        return [f"{key}: {_readable(part, limit)}" for key, part in there[:limit]]
    if isinstance(value, (list, tuple)):
        return [_readable(part, limit) for part in value[:limit] if part is not None]
    return value if value is None or isinstance(value, (int, bool)) else str(value)


class Verbalizer:
    """Writes items, events, users and requests with one set of templates.

    items: item_id and any columns, in catalogue order. users: user_id and any columns. Warnings of
    `Templates.check` are logged.
    """

    def __init__(
        self, templates: Templates, items: pl.DataFrame, users: pl.DataFrame | None = None
    ) -> None:
        self.templates = templates
        self._items = Rows(items, "item_id", self._limit("item"))
        self._users = None if users is None else Rows(users, "user_id", self._limit("profile"))
        self._short = lru_cache(CACHED_TEXTS)(self._render_short)
        self._item_text = lru_cache(CACHED_TEXTS)(self._render_item)
        self._event_text = lru_cache(CACHED_TEXTS)(self._render_event)
        for warning in self.check():
            log.warning("%s", warning)

    def check(self, kinds: Sequence[str] | None = None) -> list[str]:
        """What `Templates.check` says about these tables."""
        columns = {"items": self._items.filled()} if len(self._items) else {}
        if self._users is not None:
            columns["users"] = self._users.filled()
        return self.templates.check(columns, kinds)

    def write_by(self, templates: Templates) -> None:
        """Templates of another scale of ratings, for events that are written from now on."""
        self.templates = templates
        self._event_text.cache_clear()

    def item_texts(self) -> list[str]:
        """The text of every item, in catalogue order."""
        return [self._item_text(row) for row in range(len(self._items))]

    def put_item(self, item_id: str, row: Mapping[str, object] | None) -> None:
        """Adds an item to the table, or replaces it; None: forgets it."""
        if row is None:
            self._items.remove(item_id)
        else:
            self._items.put(item_id, row)
        self._event_text.cache_clear()  # the others go by row, and a new row has a new number

    def user_ids(self) -> list[str]:
        """Users of whom anything is known."""
        return [] if self._users is None else self._users.names()

    def put_user(self, user_id: str, row: Mapping[str, object] | None) -> None:
        """The same for a user."""
        if self._users is None:
            empty = pl.DataFrame(schema={"user_id": pl.String})
            self._users = Rows(empty, "user_id", self._limit("profile"))
        if row is None:
            self._users.remove(user_id)
        else:
            self._users.put(user_id, row)

    def item(self, item: str | Candidate) -> Segment:
        """The text of one item: its catalogue row, else its free text, else `unknown_item`."""
        candidate = Candidate(item_id=item) if isinstance(item, str) else item
        row = self._items.find(candidate.item_id)
        if row is not None:
            text = self._item_text(row)
        else:
            text = self._free_text(candidate.text, "item") or self._unknown_item
        return Segment(text, "item", "target")

    def title(self, item_id: str | None) -> str:
        """The title of a catalogue row; "" where there is none."""
        row = self._items.find(item_id)
        return "" if row is None else str(self._items.values(row, ("title",)).get("title", ""))

    def item_rows(self, item_ids: Iterable[str | None]) -> list[int]:
        """Rows of the items' table, -1 for others. What a row says never changes: an item that is
        put again has a new one."""
        return self._items.places(item_ids)

    def event(self, event: Event, now: float | None, age: int) -> Segment:
        """What the user did; `now` (seconds) gives the recency, None leaves it out.

        age: how many events of the history are newer.
        """
        template = self.templates.event(event.event)
        seconds = self._seconds_ago(event.timestamp, now)
        names = template.names
        text = self._event_text(
            event.event,
            event.item_id,
            event.text,
            event.query,
            event.value if "value" in names else None,
            "" if seconds is None or "when" not in names else phrases.ago(seconds),
            seconds if "seconds" in names else None,
            event.timestamp if "timestamp" in names else None,
        )
        return Segment(text, "event", "source", age)

    def profile(self, user_id: str | None) -> Segment | None:
        """What is known about a user; None where that is nothing."""
        row = None if self._users is None else self._users.find(user_id)
        if self._users is None or row is None:
            return None
        template = self.templates.get("profile")
        text = self._render(template, self._users.values(row, template.names), "profile")
        return Segment(text, "profile") if text else None

    def history(self, request: Request, max_history: int) -> list[Segment]:
        """Profile, then the newest `max_history` events, oldest first.

        Recency is counted from the request's timestamp.
        """
        profile = self.profile(request.user_id)
        events = request.history[-max_history:] if max_history > 0 else ()
        ages = range(len(events) - 1, -1, -1)
        return [
            *([] if profile is None else [profile]),
            *(self.event(e, request.timestamp, age) for e, age in zip(events, ages, strict=True)),
        ]

    def query(self, query: str) -> Segment:
        """What the user searches now."""
        values = {"query": self._free_text(query, "query")}
        return Segment(self._render(self.templates.get("query"), values, "query"), "query")

    def context(self, text: str) -> Segment:
        """Where and when the request is made, in free words."""
        values = {"text": self._free_text(text, "context")}
        return Segment(self._render(self.templates.get("context"), values, "context"), "context")

    @property
    def _unknown_item(self) -> str:
        return str(self.templates.word("unknown_item"))

    def _limit(self, kind: SegmentKind) -> int:
        return CHARS_PER_TOKEN * self.templates.budget(kind)

    def _free_text(self, text: str | None, kind: SegmentKind) -> str:
        return clean_markup(text, self._limit(kind)) if text else ""

    def _render(self, template: Compiled, values: Mapping[str, object], kind: SegmentKind) -> str:
        told = {name: value for name, value in values.items() if value is not None}
        return clean(template.render(told), self._limit(kind))

    def _seconds_ago(self, timestamp: float | None, now: float | None) -> float | None:
        if timestamp is None or now is None or not self.templates.word("recency"):
            return None
        seconds = now - timestamp
        return max(seconds, 0.0) if math.isfinite(seconds) else None

    def _render_item(self, row: int) -> str:
        template = self.templates.get("item")
        text = self._render(template, self._items.values(row, template.names), "item")
        return text or self._unknown_item

    def _render_short(self, row: int) -> str:
        template = self.templates.get("item", "short")
        return self._render(template, self._items.values(row, template.names), "item")

    def _render_event(
        self,
        kind: str,
        item_id: str | None,
        text: str | None,
        query: str | None,
        value: float | None,
        when: str,
        seconds: float | None,
        timestamp: float | None,
    ) -> str:
        template = self.templates.event(kind)
        row = self._items.find(item_id)
        values = {} if row is None else self._items.values(row, template.names)
        free = self._free_text(text, "event")
        known = free if row is None else self._short(row)
        values |= {
            "event": kind,
            "verb": self.templates.verb(kind),
            "item": known or self._unknown_item,
            "text": free,
            "query": self._free_text(query, "query"),
            "value": value,
            "when": when,
            "seconds": seconds,
            "timestamp": timestamp,
            "scale": self.templates.word("scale"),
        }
        return self._render(template, values, "event")
