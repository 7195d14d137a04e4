"""What went wrong, as problem details (RFC 9457) that name the field."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from m6rec.records import M6Error
from m6rec.serving.batching import ClosedError, OverloadedError
from m6rec.serving.registry import RegistryError
from m6rec.serving.service import LateError
from m6rec.stores.journal.base import BodyError, JournalBusy, JournalConflict, JournalError
from m6rec.stores.states.base import StoreError
from m6rec.stores.vectors.base import VectorError
from m6rec.tasks.folder import NotTunedError

log = logging.getLogger(__name__)

MISSING = re.compile(r"Missing required (\w+) parameter '([^']+)'")
"""How Litestar says that a parameter is not there: without a list of fields."""
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 1
"""Seconds that a client should wait after a 503."""
STATUS: tuple[tuple[type[M6Error], int], ...] = (
    (BodyError, 400),
    (JournalConflict, 409),
    (NotTunedError, 409),
    (JournalBusy, 503),
    (JournalError, 503),
    (OverloadedError, 503),
    (ClosedError, 503),
    (LateError, 503),
    (VectorError, 503),
    (StoreError, 503),
    (RegistryError, 404),
    (M6Error, 400),
)
"""The first that fits; what is none of these is a bug."""


@dataclass(frozen=True)
class Field:
    """A field that is wrong: where it is in the request, and what would be right."""

    field: str
    detail: str


@dataclass(frozen=True)
class Problem:
    """Problem details. type: names the kind of problem; errors: fields that are wrong."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str = ""
    errors: Sequence[Field] = ()


class Refused(HTTPException):
    """A request that is refused with a status, a word for people, and headers."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail=detail, status_code=status, headers=headers)


def answers(*statuses: int) -> Mapping[int, ResponseSpec]:
    """Problems that a route may answer with, for its OpenAPI description."""
    common = (400, 401, 403, 408, 413, 415, 421, 429, 503)
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=HTTPStatus(status).phrase,
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({*common, *statuses})
    }


def response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """A problem as an answer."""
    told = {name: value for name, value in asdict(problem).items() if value not in ("", ())}
    more = dict(headers or {})
    if problem.status == 503:
        more.setdefault("Retry-After", str(RETRY_AFTER))
    return Response(told, status_code=problem.status, media_type=MEDIA_TYPE, headers=more)


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Errors of routing, of validation and of the gate."""
    status = error.status_code
    fields: list[Field] = []
    detail = str(error.detail)
    if isinstance(error, ValidationException):
        detail, fields = "the request does not fit the description of this route", _fields(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, type(error).__name__, error.detail)
        detail = "something went wrong here"
    phrase = HTTPStatus(status).phrase
    return response(Problem(phrase, status, detail, errors=tuple(fields)), error.headers)


def on_m6error(request: Request[Any, Any, Any], error: M6Error) -> Response[Any]:
    """Errors that say to a person what would be right."""
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    if status == 503:
        log.warning("answered with 503: %s", type(error).__name__)
    phrase = HTTPStatus(status).phrase
    return response(Problem(phrase, status, error.at_server, f"m6rec:{_kind(error)}"))


def on_deep(request: Request[Any, Any, Any], error: RecursionError) -> Response[Any]:
    """A body of thousands of brackets."""
    return response(Problem("Bad Request", 400, "the body is nested too deeply"))


def on_bytes(request: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[Any]:
    """A body with bytes that are no text."""
    return response(Problem("Bad Request", 400, "the body is not UTF-8"))


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Everything else: the log has the trace, the client has no part of it."""
    log.error("a bug: %s", type(error).__name__, exc_info=error)
    return response(Problem("Internal Server Error", 500, "something went wrong here"))


def _fields(error: ValidationException) -> list[Field]:
    if missing := MISSING.match(str(error.detail)):
        return [Field(missing[2], f"is missing: a {missing[1]} parameter that this route needs")]
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        Field(str(one.get("key", "body")), str(one.get("message", "")))
        for one in extra
        if isinstance(one, dict)
    ]


def _kind(error: M6Error) -> str:
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")
