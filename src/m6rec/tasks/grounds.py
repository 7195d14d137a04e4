"""What a text about an item may build on: the item, the user, and the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import polars as pl

from m6rec.data.passages import Passage
from m6rec.text.aspects import facts
from m6rec.text.hygiene import clean_markup

LONGEST = 4000
"""Characters of a cell that count."""
NO_WORDS = ("item_id", "user_id", "source", "split")


class Grounds:
    """Texts behind a passage: every cell of its item, its user and the items of its history, what
    the user wrote before, and what others praise in the item."""

    def __init__(self, items: pl.DataFrame, users: pl.DataFrame | None) -> None:
        self._items = _Rows(items, "item_id")
        self._users = None if users is None else _Rows(users, "user_id")
        self._of_item = lru_cache(1 << 14)(lambda item: facts(self._items.texts(item)))
        self._of_user = lru_cache(1 << 14)(
            lambda user: facts(() if self._users is None else self._users.texts(user))
        )

    def those_of(self, ids: Sequence[str]) -> list[str]:
        """The ids that the catalogue has; where it has none of them, all of its items."""
        return [item for item in ids if item in self._items] or self._items.ids

    def title(self, item_id: str | None) -> str:
        """An item's title, "" where no row has it."""
        return self._items.cell(item_id, "title")

    def titles(self) -> list[str]:
        """Of every item that has one, in order."""
        return [title for item in self._items.ids if (title := self.title(item))]

    def category(self, item_id: str | None) -> str:
        """The innermost part of an item's category, "" where it has none."""
        return self._items.cell(item_id, "category").split(", ")[-1].split(" > ")[-1].strip()

    def item_text(self, item_id: str | None) -> str:
        """All that the catalogue says of an item."""
        return ". ".join(self._items.texts(item_id))

    def user_text(self, passage: Passage) -> str:
        """All that is known of the user beside the history."""
        told = [] if self._users is None else self._users.texts(passage.user_id)
        return ". ".join([*told, *([passage.profile] if passage.profile else [])])

    def facts(self, passage: Passage) -> frozenset[str]:
        """Stems of all words that a claim may be made of."""
        known = [self._of_item(item) for item in self._items_of(passage)]
        return frozenset().union(facts(_said(passage)), self._of_user(passage.user_id), *known)

    def texts(self, passage: Passage) -> list[str]:
        """The texts themselves."""
        told = [] if self._users is None else self._users.texts(passage.user_id)
        known = [text for item in self._items_of(passage) for text in self._items.texts(item)]
        return list(dict.fromkeys([*known, *told, *_said(passage)]))

    @staticmethod
    def _items_of(passage: Passage) -> list[str | None]:
        return [passage.item_id, *(event.item_id for event in passage.history)]


def _said(passage: Passage) -> list[str]:
    """What the passage itself says."""
    said = [text for e in passage.history for text in (e.text, e.query) if text]
    free = [text for text in (passage.profile, passage.about) if text]
    return [*said, *passage.own, *passage.others, *free]


class _Rows:
    """Cells of a table as texts, by id."""

    def __init__(self, frame: pl.DataFrame, key: str) -> None:
        self._place = {name: row for row, name in enumerate(frame[key].to_list())}
        self._names = [n for n in frame.columns if n not in NO_WORDS]
        self._columns = {name: frame[name].to_list() for name in self._names}

    def __contains__(self, key: str) -> bool:
        return key in self._place

    @property
    def ids(self) -> list[str]:
        """Every row's that has one, in order."""
        return [key for key in self._place if key]

    def cell(self, key: str | None, column: str) -> str:
        place = None if key is None else self._place.get(key)
        if place is None or column not in self._columns:
            return ""
        return _text(self._columns[column][place])

    def texts(self, key: str | None) -> list[str]:
        """What is in the row's cells; nothing where there is no row."""
        return [text for name in self._names if (text := self.cell(key, name))]


def _text(value: object) -> str:
    if value is None or isinstance(value, float):
        return ""
    if isinstance(value, str):
        return clean_markup(value.replace("|", ", "), LONGEST)
    if isinstance(value, Iterable):
        return ", ".join(_text(part) for part in value)
    return str(value)
