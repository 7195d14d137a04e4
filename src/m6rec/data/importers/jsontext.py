"""JSON values as the text of a column."""

from __future__ import annotations

import json
import math


def as_text(value: object) -> str | None:
    """3.0 and 3 are the same id; a list of words is joined by "|"; nothing is null."""
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
        return json.dumps(value, ensure_ascii=False) if value else None
    return str(value)


def joined(value: object, separator: str) -> str | None:
    """The words of a list in one text; anything else as `as_text` gives it."""
    if not isinstance(value, list):
        return as_text(value)
    words = [word for part in value if (word := as_text(part)) is not None]
    return separator.join(words) or None


def is_vector(value: object) -> bool:
    """Whether a value is a list of numbers: an embedding, which nobody can read."""
    return (
        isinstance(value, list)
        and len(value) > 3
        and all(isinstance(part, int | float) and not isinstance(part, bool) for part in value)
    )
