"""JSON values as the text of a column."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

PLAIN_KEYS = ("$oid", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$symbol")
UUID_TYPES = ("03", "04")


def as_text(value: object) -> str | None:
    """3.0 and 3 are the same id; a list of words is joined by "|"; nothing is null.

    What MongoDB wraps (`{"$oid": …}`, `{"$numberLong": …}`, `{"$date": …}`, `{"$uuid": …}`) is read
    as the text inside; other objects stay JSON.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, list):
        return joined(value, "|")
    if isinstance(value, dict):
        inner = unwrapped(value)
        if inner is None and value:
            return json.dumps(value, ensure_ascii=False)
        return inner
    return str(value)


def unwrapped(value: Mapping[str, object]) -> str | None:
    """The text inside a value of MongoDB's Extended JSON; None for any other object.

    Source: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
    """
    if len(value) != 1:
        return None
    ((key, inner),) = value.items()
    if key in PLAIN_KEYS and isinstance(inner, str | int | float):
        return as_text(inner)
    if key == "$date":
        return _date(inner)
    if key == "$uuid" and isinstance(inner, str):
        return inner
    if key == "$binary" and isinstance(inner, dict):
        return _uuid(inner)
    return None


def _date(inner: object) -> str | None:
    """ISO 8601; the canonical form has milliseconds."""
    if isinstance(inner, dict):
        inner = unwrapped(inner)
        if inner is None or not inner.lstrip("-").isdecimal():
            return None
        inner = int(inner)
    if isinstance(inner, str):
        return inner
    if isinstance(inner, bool) or not isinstance(inner, int):
        return None
    try:
        return datetime.fromtimestamp(inner / 1000, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return str(inner)


def _uuid(inner: Mapping[str, object]) -> str | None:
    if inner.get("subType") not in UUID_TYPES or not isinstance(inner.get("base64"), str):
        return None
    try:
        return str(uuid.UUID(bytes=base64.b64decode(str(inner["base64"]), validate=True)))
    except (binascii.Error, ValueError):
        return None


def joined(value: object, separator: str) -> str | None:
    """The words of a list in one text; anything else as `as_text` gives it.

    A list that holds objects stays JSON: it is no list of words.
    """
    if not isinstance(value, list):
        return as_text(value)
    if any(isinstance(part, dict) and unwrapped(part) is None for part in value):
        return json.dumps(value, ensure_ascii=False)
    words = [word for part in value if (word := as_text(part)) is not None]
    return separator.join(words) or None


def is_vector(value: object) -> bool:
    """Whether a value is a list of numbers: an embedding, which nobody can read."""
    return (
        isinstance(value, list)
        and len(value) > 3
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value)
    )
