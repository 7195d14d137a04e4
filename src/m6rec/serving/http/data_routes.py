"""Items, users and events: told in bulk, read page by page, erased with a receipt."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from litestar import delete, get, post
from litestar.exceptions import NotFoundException
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter
from pydantic import BaseModel

from m6rec.serving.http.gate import needs
from m6rec.serving.http.paths import CARRIED, id_of
from m6rec.serving.http.problems import Refused, answers
from m6rec.serving.http.schemas import Events, Items, Users, Written
from m6rec.serving.http.shared import The
from m6rec.serving.http.written import PLAIN
from m6rec.stores.journal.base import Body, Told

T = TypeVar("T")
MOST_WARNINGS = 20
"""In one answer."""
WRITES, READS = [needs("write")], [needs("read")]
Token = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="The same key with the same body is kept once, and answered the same.",
        min_length=1,
        max_length=255,
        pattern=PLAIN,
    ),
]
Name = Annotated[
    str,
    PathParameter(
        description="Percent-encoded, a slash as %2F.",
        min_length=1,
        max_length=512,
        pattern=CARRIED,
        schema_extra={"pattern": PLAIN},
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Most rows of a page.")]
Cursor = Annotated[
    str | None,
    QueryParameter(max_length=1000, description="`next` of the page before; none: the first page."),
]


@dataclass(frozen=True)
class Kept:
    """What was kept. duplicates: events that were there already; last: number of the last entry;
    repeated: an earlier request with this idempotency key had kept it; warnings: values that could
    not be read and are missing now (the first of them)."""

    stored: int
    duplicates: int
    last: int
    repeated: bool
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Rows, and the cursor of the next page; none: this was the last one."""

    items: list[dict[str, Any]]
    next: str | None = None


@dataclass(frozen=True)
class History:
    """What a user did, oldest first; each event has the title of its item, where there is one."""

    user_id: str
    events: list[dict[str, Any]]


@dataclass(frozen=True)
class Erased:
    """Proof of an erasure; `hash`, of all above it, stands in the journal as well. counted_pairs:
    how many pairs of a user's choices are no longer counted."""

    kind: str
    key: str
    entries: dict[str, int]
    number: int
    at: float
    hash: str
    counted_pairs: int | None = None


@post("/v1/items", guards=WRITES, responses=answers(409), status_code=200, tags=["data"])
async def add_items(data: JSONBody[Items], service: The, idempotency: Token = None) -> Kept:
    """Adds items, or replaces them. They can be recommended within a second."""
    return await _keep(service, "item", data.items, idempotency)


@post("/v1/users", guards=WRITES, responses=answers(409), status_code=200, tags=["data"])
async def add_users(data: JSONBody[Users], service: The, idempotency: Token = None) -> Kept:
    """Adds users, or replaces what is known of them."""
    return await _keep(service, "user", data.users, idempotency)


@post("/v1/events", guards=WRITES, responses=answers(409), status_code=200, tags=["data"])
async def add_events(data: JSONBody[Events], service: The, idempotency: Token = None) -> Kept:
    """Adds events. The next recommendation knows of them."""
    return await _keep(service, "event", data.events, idempotency)


@get("/v1/items", guards=READS, responses=answers(), tags=["data"])
async def list_items(service: The, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """Items by item_id, page by page."""
    after = None if cursor is None else _after(cursor)
    found = await service.read(lambda: service.journal.items(after, limit + 1))
    more = len(found) > limit
    page = found[:limit]
    return Page(page, _cursor(page[-1]["item_id"]) if more else None)


@get("/v1/items/{item_id:str}", guards=READS, responses=answers(404), tags=["data"])
async def get_item(item_id: Name, service: The) -> dict[str, Any]:
    """An item."""
    return _there(await service.read(lambda: service.journal.item(id_of(item_id))), "item")


@delete(
    "/v1/items/{item_id:str}",
    guards=WRITES,
    responses=answers(404),
    status_code=200,
    tags=["data"],
)
async def erase_item(item_id: Name, service: The) -> Erased:
    """Erases an item. Events that name it stay with their users."""
    _there(await service.read(lambda: service.journal.item(id_of(item_id))), "item")
    receipt = await service.erase_item(id_of(item_id))
    return Erased(**receipt.to_dict())  # type: ignore[arg-type]


@get("/v1/users/{user_id:str}", guards=READS, responses=answers(404), tags=["data"])
async def get_user(user_id: Name, service: The) -> dict[str, Any]:
    """What is known of a user beside their events."""
    return _there(await service.read(lambda: service.journal.user(id_of(user_id))), "user")


@get("/v1/users/{user_id:str}/events", guards=READS, responses=answers(), tags=["data"])
async def get_history(user_id: Name, service: The, limit: Limit = 100) -> History:
    """A user's newest events, oldest first."""
    found = await service.read(lambda: service.journal.history(id_of(user_id), limit))
    shown = service.registry.current.shown
    for event in found:
        about = shown.get(event.get("item_id", ""))
        if about is not None:
            event.setdefault("title", about.title)
    return History(id_of(user_id), found)


@delete(
    "/v1/users/{user_id:str}", guards=WRITES, responses=answers(), status_code=200, tags=["data"]
)
async def erase_user(user_id: Name, service: The) -> Erased:
    """Erases a user and all their events: from the journal and its files, and from memory."""
    receipt, pairs = await service.erase_user(id_of(user_id))
    return Erased(**receipt.to_dict(), counted_pairs=pairs)  # type: ignore[arg-type]


async def _keep(
    service: The, kind: Told, rows: Sequence[BaseModel], idempotency: str | None
) -> Kept:
    bodies = [row.model_dump(exclude_none=True) for row in rows]
    appended = await service.append(kind, bodies, idempotency)
    warnings = [
        f"{kind}s.{place}.{words}"
        for place, row in enumerate(rows)
        if isinstance(row, Written)
        for words in row.lost
    ]
    return Kept(
        appended.stored,
        appended.duplicates,
        appended.last,
        appended.repeated,
        warnings[:MOST_WARNINGS],
    )


def _there(found: Body | None, what: str) -> Body:
    if found is None:
        raise NotFoundException(f"no such {what}")
    return found


def _cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def _after(cursor: str) -> str:
    try:
        found = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = found.decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text or len(text) > 512 or "\0" in text:
        raise Refused(400, "cursor: right is the `next` of the page before")
    return text


ROUTES: list[Callable[..., Any]] = [
    add_items,
    add_users,
    add_events,
    list_items,
    get_item,
    erase_item,
    get_user,
    get_history,
    erase_user,
]
