"""Histories that people write by hand: plain strings, mappings or events."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real

from m6rec.data.kinds import is_listed, kind_of
from m6rec.data.lines import is_unicode
from m6rec.data.schema import EVENT_KINDS, event_kind
from m6rec.data.values.numbers import number as number_of
from m6rec.data.values.times import wrong_seconds
from m6rec.records import Event, M6Error

VERBS = {
    "clicked": "click",
    "clicked on": "click",
    "viewed": "click",
    "bought": "purchase",
    "purchased": "purchase",
    "ordered": "purchase",
    "added to cart": "cart",
    "put in the cart": "cart",
    "liked": "like",
    "loved": "like",
    "disliked": "dislike",
    "hated": "dislike",
    "thumbs down": "dislike",
    "skipped": "skip",
    "returned": "return",
    "sent back": "return",
    "refunded": "return",
    "removed from cart": "remove_from_cart",
    "removed from the cart": "remove_from_cart",
    "took out of the cart": "remove_from_cart",
    "searched": "search",
    "searched for": "search",
}
"""What a string may begin with, and the kind of event that it says."""
SAID = re.compile(
    rf"\s*({'|'.join(sorted(VERBS, key=len, reverse=True))})\s*[:\s]\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
RATED = re.compile(
    r"\s*(?:rated|rating:?)\s+(\d+(?:[.,]\d+)?)(?:\s*(?:/|of|out of)\s*(\d+)|\s*(%))?"
    r"(?:\s*stars?)?\s*:?\s+(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
FIELDS = tuple(field.name for field in fields(Event))
QUOTES = ("''", '""', "“”", "‘’", "«»")


class HistoryError(M6Error):
    """An entry of a history that is no event."""


def parse_history(
    entries: Sequence[str | Event | Mapping[str, object]], scale: float = 5.0
) -> tuple[Event, ...]:
    """Events from strings such as "clicked: trail running shoes", mappings, or events.

    A string that begins with no known verb is passed on as it is, as an event of kind "context".
    scale: the highest rating that the templates know; "rated 8/10: …" is put on it. Raises
    HistoryError naming the entry (from 1) and what would be right.
    """
    if isinstance(entries, str | Mapping):
        raise HistoryError(f"a history is a list of entries; right is [{entries!r}]")
    if not isinstance(entries, Iterable):
        raise HistoryError(f"a history is {entries!r}; right is a list of entries, such as []")
    return tuple(
        _usable(_event(entry, number, scale), number)
        for number, entry in enumerate(entries, start=1)
    )


def _usable(event: Event, number: int) -> Event:
    """An event whose time can be, whose value is finite, and whose words are Unicode."""
    wrong = None
    if event.timestamp is not None and (why := wrong_seconds(event.timestamp)):
        wrong = f"timestamp: {why}"
    elif event.value is not None and not math.isfinite(event.value):
        wrong = f"value is {event.value!r}; right is a finite number, or nothing"
    elif not event.event:
        wrong = "'event' is empty; right is its kind, such as 'click'"
    else:
        for name in ("event", "item_id", "text", "query"):
            words = getattr(event, name)
            if isinstance(words, str) and not words.isascii() and not is_unicode(words):
                wrong = f"{name} is {words!r}, which has half a character; right is whole Unicode"
    if wrong is not None:
        raise HistoryError(f"history entry {number}: {wrong}")
    return event


def _event(entry: str | Event | Mapping[str, object], number: int, scale: float) -> Event:
    if isinstance(entry, Event):
        kind, named = event_kind(entry.event), as_id(entry.item_id)
        if kind == entry.event and named is entry.item_id:
            return entry
        return replace(entry, event=kind, item_id=None if named is None else str(named))
    if isinstance(entry, str):
        if not entry.strip():
            raise HistoryError(f"history entry {number} is empty; right is what was done, or none")
        return _from_text(entry, scale)
    if isinstance(entry, Mapping):
        return _from_mapping(entry, number)
    raise HistoryError(
        f"history entry {number} is {type(entry).__name__}; right is text such as "
        "'clicked: trail running shoes', an Event, or a mapping with its fields"
    )


def _from_text(text: str, scale: float) -> Event:
    if rated := RATED.fullmatch(text):
        value = float(rated[1].replace(",", "."))
        highest = 100.0 if rated[3] else float(rated[2] or 0)
        return Event(
            "rating", text=_unquoted(rated[4]), value=value * scale / highest if highest else value
        )
    if said := SAID.fullmatch(text):
        kind = VERBS[said[1].lower()]
        if kind == "search":
            return Event(kind, query=_unquoted(said[2]))
        return Event(kind, text=said[2].strip())
    name, _, words = text.partition(":")
    kind = event_kind(name)
    # As tables call it: "view: …", "not interested: …", "1 star: …".
    if words.strip() and (kind in EVENT_KINDS or is_listed(name)):
        if kind == "search":
            return Event(kind, query=_unquoted(words))
        named = kind_of(name).value
        return Event(kind if named is None else "rating", text=_unquoted(words), value=named)
    return Event("context", text=text)


def _unquoted(text: str) -> str:
    text = text.strip()
    inside = len(text) > 2 and text[0] + text[-1] in QUOTES
    return text[1:-1].strip() if inside else text


def as_id(value: object) -> object:
    """An id as tables have it: 101 and 101.0 are "101"; what is no number is left as it is."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Real) and float(value).is_integer() and not isinstance(value, bool):
        return str(int(float(value)))
    return value


def _from_mapping(entry: Mapping[str, object], number: int) -> Event:
    entry = {**entry, "item_id": as_id(entry.get("item_id"))}
    for key in entry:
        if key not in FIELDS:
            near = difflib.get_close_matches(str(key), FIELDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FIELDS)}"
            raise HistoryError(f"history entry {number}: unknown key {key!r}; {hint}")
    if not isinstance(entry.get("event"), str):
        raise HistoryError(
            f"history entry {number}: 'event' is missing; right is its kind, such as 'click'"
        )
    kept = {**entry, "event": event_kind(str(entry["event"]))}
    if isinstance(written := kept.get("value"), str):
        kept["value"] = written if (read := number_of(written)) is None else read
    if isinstance(kept.get("timestamp"), str):
        raise HistoryError(
            f"history entry {number}: timestamp: {wrong_seconds(str(kept['timestamp']))}"
        )
    for name in FIELDS:
        value = kept.get(name)
        right = (int, float) if name in ("timestamp", "value") else str
        if value is not None and (isinstance(value, bool) or not isinstance(value, right)):
            word = "text" if right is str else "a number"
            raise HistoryError(f"history entry {number}: {name} is {value!r}; right is {word}")
    return Event(**kept)  # type: ignore[arg-type]
