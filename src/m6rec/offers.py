"""What may be recommended: filters, and what they ask of an item. Floor 0: imports nothing of ours.

One meaning for Python, the command line, the server and every vector index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

PART = re.compile(r"\s*(?:\||,|\s>\s)\s*")
"""What separates the parts of a category: "Home > Garden", "Action|Comedy", "Action, Comedy"."""
NEVER = 1e18
"""Seconds since 1970 from which on a hidden item, or one that is sold out, may be recommended."""
HIDDEN = ("hidden", "is_hidden")
"""Columns that say that an item is not to be shown."""
IN_STOCK = ("in_stock", "is_available", "stock", "availability")
"""Columns that say whether an item can be had: yes or no, how many, or in words."""
NO = frozenset(
    {"", "0", "false", "no", "n", "none", "off", "outofstock", "soldout", "discontinued"}
    | {"unavailable", "notavailable", "backorder", "backordered"}
)
"""Words for no, in lower case and without marks between them."""
COLUMNS = ("category", "price", "available_from", *HIDDEN, *IN_STOCK)
"""Columns that `Offer.of` looks at."""


@lru_cache(1 << 16)
def parts_of(category: str) -> tuple[str, ...]:
    """The parts of a category.

    >>> parts_of("Home > Garden, Tools"), parts_of("")
    (('Home', 'Garden', 'Tools'), ())
    """
    return tuple(part for part in PART.split(category.strip()) if part)


@dataclass(frozen=True)
class Filter:
    """Which items may be found; what is not said is not asked.

    categories: one of these is among the item's ("Comedy" finds "Action|Comedy"; of one in several
    parts, "Home > Garden", an item has all). least_price, most_price: both ends included; an item
    without a price does not pass. now: available_from is not later, and the item is neither hidden
    nor out of stock; an item that says nothing is available. hide, bought: ids that are left out.
    """

    categories: Collection[str] | None = None
    least_price: float | None = None
    most_price: float | None = None
    now: float | None = None
    hide: Collection[str] = ()
    bought: Collection[str] = ()

    @cached_property
    def wanted(self) -> tuple[frozenset[str], ...]:
        """The parts of each category that is asked for."""
        return tuple(frozenset(parts_of(one)) for one in self.categories or ())

    def has_category(self, category: str | None) -> bool:
        """Whether an item's category is one of those asked for."""
        if self.categories is None:
            return True
        mine = set(parts_of(category)) if category is not None else set()
        return any(one and one <= mine for one in self.wanted)


class Offer(NamedTuple):
    """What of an item a filter asks. available_from: seconds since 1970; None: always."""

    category: str | None = None
    price: float | None = None
    available_from: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, object]) -> Offer:
        """From a row of a catalogue; a list of categories becomes one text."""
        category = row.get("category")
        if isinstance(category, list | tuple):
            category = "|".join(str(one) for one in category)
        said = any(_says(row.get(name)) for name in HIDDEN)
        gone = any(row.get(name) is not None and not _says(row[name]) for name in IN_STOCK)
        start = NEVER if said or gone else _number(row.get("available_from"))
        return cls(None if category is None else str(category), _number(row.get("price")), start)

    def passes(self, where: Filter) -> bool:
        """Whether a filter lets it through; ids are not asked."""
        if not where.has_category(self.category):
            return False
        least, most = where.least_price, where.most_price
        if (least is not None or most is not None) and (
            self.price is None
            or (least is not None and self.price < least)
            or (most is not None and self.price > most)
        ):
            return False
        start = self.available_from
        return start is None or where.now is None or start <= where.now


def _says(value: object) -> bool:
    """Whether a value says yes: True, "true", 7; not None, "no", 0, "out of stock"."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return value > 0
    word = re.sub(r"[\W_]+", "", str(value).rsplit("/", 1)[-1]).lower()
    try:
        return float(str(value)) > 0
    except ValueError:
        return word not in NO


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
