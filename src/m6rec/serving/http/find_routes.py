"""Finding things by what a person types: items by their titles, users by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

from litestar import get
from litestar.params import QueryParameter

from m6rec.serving.http.gate import needs
from m6rec.serving.http.problems import answers
from m6rec.serving.http.shared import The
from m6rec.serving.http.written import PLAIN
from m6rec.serving.known import Shown
from m6rec.serving.live import LiveModel
from m6rec.stores.journal.base import Journal

READS = [needs("read")]
NEWEST = 10_000
"""Entries of the journal that are looked through for users: it has no index of their names."""
Words = Annotated[str, QueryParameter(max_length=200, pattern=PLAIN)]
Limit = Annotated[int, QueryParameter(ge=1, le=100)]


@dataclass(frozen=True)
class FoundItem:
    """An item whose title has the words."""

    item_id: str
    title: str
    category: str | None = None
    price: float | None = None


@dataclass(frozen=True)
class FoundItems:
    """Titles that begin with the first word come before others."""

    items: list[FoundItem]


@dataclass(frozen=True)
class FoundUser:
    """A user who did something lately, or who has just this id."""

    user_id: str


@dataclass(frozen=True)
class FoundUsers:
    """Those who were here last come first."""

    users: list[FoundUser]


@get("/v1/find/items", guards=READS, responses=answers(), tags=["find"])
async def find_items(service: The, text: Words, limit: Limit = 10) -> FoundItems:
    """The item with this id, then items whose titles have all of the words, or parts of them."""
    model = service.registry.current
    return FoundItems(await service.read(lambda: list(islice(_titled(model, text), limit))))


@get("/v1/find/users", guards=READS, responses=answers(), tags=["find"])
async def find_users(
    service: The,
    text: Annotated[str | None, QueryParameter(max_length=200, pattern=PLAIN)] = None,
    limit: Limit = 10,
) -> FoundUsers:
    """The user with this id, then users of the newest 10,000 entries with it in their ids."""
    found = await service.read(lambda: list(islice(_active(service.journal, text or ""), limit)))
    return FoundUsers([FoundUser(user_id) for user_id in found])


def _titled(model: LiveModel, query: str) -> Iterator[FoundItem]:
    words = query.casefold().split()
    if not words:
        return
    exact = model.shown.get(query)
    if exact is not None:
        yield _found(query, exact)
    later = []
    for item_id, shown in list(model.shown.items()):
        title = shown.title.casefold()
        if item_id != query and all(word in title for word in words):
            if title.startswith(words[0]):
                yield _found(item_id, shown)
            else:
                later.append((item_id, shown))
    yield from (_found(item_id, shown) for item_id, shown in later)


def _found(item_id: str, shown: Shown) -> FoundItem:
    return FoundItem(item_id, shown.title, shown.category, shown.price)


def _active(journal: Journal, query: str) -> Iterator[str]:
    wanted = query.casefold()
    seen = set()
    if query and (journal.user(query) is not None or journal.history(query, 1)):
        seen.add(query)
        yield query
    newest = journal.entries(max(0, journal.last() - NEWEST), NEWEST)
    for entry in reversed(newest):
        told = entry.kind in ("event", "user") and entry.key not in seen
        if told and wanted in entry.key.casefold():
            seen.add(entry.key)
            yield entry.key


ROUTES: list[Callable[..., Any]] = [find_items, find_users]
