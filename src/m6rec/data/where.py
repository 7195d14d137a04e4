"""Which items an answer may hold, as people say it: in Python, on the command line, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from numbers import Real
from typing import Any

from pydantic import Field, field_validator

from m6rec.config import ConfigError, Settings
from m6rec.data.history import as_id
from m6rec.offers import Filter


class Where(Settings):
    """What is not said is not asked.

    categories: one, or several of which one is enough; "Comedy" finds "Action|Comedy". price_min,
    price_max: both ends included. available: leaves out what is available later only, hidden or
    out of stock. hide: ids that are left out.
    """

    categories: tuple[str, ...] | None = None
    price_min: float | None = Field(default=None, allow_inf_nan=False)
    price_max: float | None = Field(default=None, allow_inf_nan=False)
    available: bool = True
    hide: tuple[str, ...] = ()

    @field_validator("categories", "hide", mode="before")
    @classmethod
    def _as_several(cls, value: object) -> object:
        return several(value)

    def to_filter(self) -> Filter:
        """For a shelf or an index, at this moment."""
        now = time.time() if self.available else None
        return Filter(self.categories, self.price_min, self.price_max, now, frozenset(self.hide))


def several(value: object) -> object:
    """One word or id as a list of it, and ids of numbers as tables have them."""
    if isinstance(value, str | Real):
        value = (value,)
    return [as_id(one) for one in value] if isinstance(value, list | tuple) else value


def filter_of(where: Where | Mapping[str, Any] | None) -> Filter:
    """What is asked for. Raises ConfigError naming the key that is wrong and the nearest known."""
    if where is not None and not isinstance(where, Where | Mapping):
        raise ConfigError(f'where = {where!r}: right is a mapping, such as {{"price_max": 20}}')
    if not isinstance(where, Where):
        where = Where.parse(where or {}, "where")
    return where.to_filter()
