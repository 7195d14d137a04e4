"""Which vector is whose, and which pass a filter: the bookkeeping of an index in memory.

An id holds a slot, a row of every array. A slot that becomes free is given to the next new id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m6rec.offers import Filter
from m6rec.stores.vectors.base import Attributes, VectorError
from m6rec.stores.vectors.snapshot import SnapshotReader, SnapshotWriter

NO_CATEGORY = -1
ALWAYS = -np.inf
LEAST_ROOM = 1024
COLUMNS = ("alive", "category", "price", "available")


@dataclass
class Columns:
    """Arrays with a row for each slot. price NaN: none. available ALWAYS: not said."""

    alive: np.ndarray
    category: np.ndarray
    price: np.ndarray
    available: np.ndarray

    @classmethod
    def empty(cls, room: int) -> Columns:
        """Rows that nobody holds."""
        return cls(
            np.zeros(room, dtype=bool),
            np.full(room, NO_CATEGORY, dtype=np.int32),
            np.full(room, np.nan),
            np.full(room, ALWAYS),
        )


class Slots:
    """Ids and attributes by slot. size: slots that are or were held; the arrays may be longer.

    reuse: whether a slot that is free is given to the next new id.
    """

    def __init__(self, reuse: bool = True) -> None:
        self.reuse = reuse
        self.ids: list[str] = []
        self.slot_of: dict[str, int] = {}
        self.categories: dict[str, int] = {}
        self.columns = Columns.empty(LEAST_ROOM)
        self.free: list[int] = []
        self.latest = ALWAYS
        """No item becomes available later: from then on `now` asks nothing."""

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def size(self) -> int:
        """Rows that may be alive."""
        return len(self.ids)

    @property
    def room(self) -> int:
        """Rows of the arrays."""
        return len(self.columns.alive)

    def take(self, ids: Sequence[str], attributes: Sequence[Attributes] | None) -> np.ndarray:
        """Slots for ids, which are all different: int64 [N].

        Raises VectorError where attributes do not fit; nothing is changed then.
        """
        described = self._describe(len(ids), attributes)
        found = [self.slot_of.get(one, -1) for one in ids]
        for n, one in enumerate(ids):
            if found[n] < 0:
                found[n] = self._new_slot(one)
        slots_N = np.array(found, dtype=np.int64)
        self._grow(self.size)
        self.columns.alive[slots_N] = True
        category_N, price_N, available_N = described
        self.columns.category[slots_N] = category_N
        self.columns.price[slots_N] = price_N
        self.columns.available[slots_N] = available_N
        self.latest = max(self.latest, float(available_N.max(initial=ALWAYS)))
        return slots_N

    def _new_slot(self, one: str) -> int:
        if self.free:
            slot = self.free.pop()
            self.ids[slot] = one
        else:
            slot = len(self.ids)
            self.ids.append(one)
        self.slot_of[one] = slot
        return slot

    def _grow(self, rows: int) -> None:
        if rows <= self.room:
            return
        larger, old = Columns.empty(max(rows, 2 * self.room)), self.columns
        n = len(old.alive)
        for name in COLUMNS:
            getattr(larger, name)[:n] = getattr(old, name)
        self.columns = larger

    def _describe(
        self, count: int, attributes: Sequence[Attributes] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        told: Sequence[Attributes] = [{}] * count if attributes is None else attributes
        price_N = np.array([_number(one, "price", np.nan) for one in told])
        available_N = np.array([_number(one, "available_from", ALWAYS) for one in told])
        category_N = np.array([self._code(one.get("category")) for one in told], dtype=np.int32)
        return category_N, price_N, available_N

    def _code(self, category: Any) -> int:
        if category is None:
            return NO_CATEGORY
        if not isinstance(category, str):
            raise VectorError(f"category: right is a text, not {category!r}")
        return self.categories.setdefault(category, len(self.categories))

    def give_back(self, ids: Sequence[str]) -> np.ndarray:
        """The slots of ids that were held, int64; they are free now."""
        slots = [slot for one in ids if (slot := self.slot_of.pop(one, None)) is not None]
        slots_N = np.array(slots, dtype=np.int64)
        self.columns.alive[slots_N] = False
        for slot in slots:
            self.ids[slot] = ""
        if self.reuse:
            self.free += slots
        return slots_N

    def of(self, ids: Collection[str]) -> np.ndarray:
        """Slots of those ids that are held: int64."""
        held = self.slot_of
        return np.array([held[one] for one in ids if one in held], dtype=np.int64)

    def passing(self, where: Filter) -> np.ndarray | None:
        """bool [size], ids that are left out not counted; None: all that are alive pass."""
        n, columns = self.size, self.columns
        parts: list[np.ndarray] = []
        if where.categories is not None:
            fitting = [where.has_category(category) for category in self.categories]
            wanted = np.array([*fitting, False])
            parts.append(wanted[columns.category[:n]])  # the last row is for NO_CATEGORY
        if where.least_price is not None:
            parts.append(columns.price[:n] >= where.least_price)
        if where.most_price is not None:
            parts.append(columns.price[:n] <= where.most_price)
        if where.now is not None and where.now < self.latest:
            parts.append(columns.available[:n] <= where.now)
        if not parts:
            return None
        passes = columns.alive[:n].copy()
        for part in parts:
            passes &= part
        return passes

    def alive(self) -> np.ndarray:
        """bool [size], a copy."""
        return self.columns.alive[: self.size].copy()

    def save(self, writer: SnapshotWriter) -> None:
        """Writes itself into a snapshot."""
        writer.words("ids", self.ids)
        writer.words("categories", list(self.categories))
        for name in COLUMNS:
            writer.array(name, getattr(self.columns, name)[: self.size])

    @classmethod
    def restored(cls, reader: SnapshotReader) -> Slots:
        """From a snapshot."""
        ids = reader.words("ids")
        made = cls()
        made.ids = ids
        made.columns = Columns(**{name: reader.array(name) for name in COLUMNS})
        made.categories = {name: code for code, name in enumerate(reader.words("categories"))}
        alive = made.columns.alive.tolist()
        made.slot_of = {one: slot for slot, one in enumerate(ids) if alive[slot]}
        made.free = [slot for slot, there in enumerate(alive) if not there]
        made.latest = float(made.columns.available.max(initial=ALWAYS))
        return made


def left_out(where: Filter) -> set[str]:
    """Ids that a filter leaves out by name."""
    return {*where.hide, *where.bought}


def newest(ids: Sequence[str]) -> list[int]:
    """Rows to keep of ids that may stand there twice: the last of each, in order."""
    return sorted({one: n for n, one in enumerate(ids)}.values())


def chosen_attributes(
    ids: Sequence[str], attributes: Sequence[Attributes] | None, kept: Sequence[int]
) -> list[Attributes] | None:
    """Attributes of the rows to keep. Raises VectorError where there is not one for each id."""
    if attributes is None:
        return None
    if len(attributes) != len(ids):
        raise VectorError(f"{len(attributes)} attributes for {len(ids)} ids")
    return [attributes[n] for n in kept]


def _number(one: Attributes, name: str, missing: float) -> float:
    value = one.get(name)
    if value is None:
        return float(missing)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise VectorError(f"{name}: right is a number, not {value!r}")
    return float(value)
