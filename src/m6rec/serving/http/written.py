"""Values of bodies as people and tools write them, read by the module that reads tables.

What can be read is read, a number that can not be is missing and told, and where reading it would
be a guess (a time that is none in seconds) the answer says what would be right.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo

from m6rec.data.jsontext import unwrapped
from m6rec.data.nested import NESTED, PROBLEM, path_to_id
from m6rec.data.values.ids import id_text
from m6rec.data.values.nothing import is_nothing
from m6rec.data.values.numbers import NUMBER, number
from m6rec.data.values.times import LATEST, wrong_seconds

PLAIN = r"^[^\x00-\x1f\x7f]+$"


def _id(value: object, about: ValidationInfo) -> object:
    """101 and 101.0 are "101", as in tables; an id that came wrapped as MongoDB does it is what is
    inside; an object or array is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return id_text(value)
    if isinstance(value, dict) and (inner := unwrapped(value)) is not None:
        return inner
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if isinstance(value, dict | list) or NESTED.match(text):
        name = str(about.field_name)
        raise ValueError(f"{PROBLEM}; right is the id in it ({path_to_id(name, name, [text])})")
    return value


def _somebody(value: str) -> str:
    if is_nothing(value):
        raise ValueError(f"{value!r} stands for nothing; right is an id")
    return value


def _seconds(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no time; right is seconds since 1970 (UTC), or nothing")
    if isinstance(value, str | float | int):
        wrong = wrong_seconds(value)
        if wrong is not None:
            raise ValueError(wrong)
    return value


Id = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=PLAIN), BeforeValidator(_id)
]
"""Of whatever may be asked for."""
OwnId = Annotated[Id, AfterValidator(_somebody)]
"""Of what is kept: a word for nothing (NULL, undefined) is nobody's."""
Seconds = Annotated[
    float,
    Field(ge=0, lt=LATEST, allow_inf_nan=False, description="Seconds since 1970 (UTC)."),
    BeforeValidator(_seconds),
]


def numbers_of(body: object, names: tuple[str, ...]) -> tuple[object, tuple[str, ...]]:
    """A body with its numbers read as they are written ("$12.99"), and what could not be."""
    if not isinstance(body, Mapping) or not any(isinstance(body.get(n), str) for n in names):
        return body, ()
    read: dict[str, Any] = dict(body)
    lost = []
    for name in names:
        text = read.get(name)
        if isinstance(text, str):
            read[name] = number(text)
            if read[name] is None and not is_nothing(text):
                lost.append(f"{name}: {text[:80]!r} is not a number; right is {NUMBER}")
    return read, tuple(lost)
