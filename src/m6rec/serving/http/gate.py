"""Before and after every request: keys, rates, sizes, times, a line in the log, a figure, a trace.

It stands around the whole app, so that a request that is refused costs next to nothing. What is
logged are routes, statuses and times: no path with ids, no query, no body, no address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, final

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from m6rec.serving.http.paths import read_path
from m6rec.serving.http.problems import MEDIA_TYPE, Refused
from m6rec.serving.keys import ApiKeyError, Key

if TYPE_CHECKING:
    from m6rec.serving.service import Service
    from m6rec.serving.traces import Traces

log = logging.getLogger("m6rec.requests")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'",
}
OPEN = ("/health/live", "/health/ready")


def needs(scope: str) -> Any:
    """A guard: the request's key has to have a scope; without keys everybody has all."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        service: Service = connection.app.state.service
        if not service.keys.needed:
            return
        key: Key | None = connection.scope["state"].get("key")
        if key is None:
            raise Refused(
                401,
                "give an API key: Authorization: Bearer KEY (m6rec keys add makes one)",
                {"WWW-Authenticate": "Bearer"},
            )
        if not key.may(scope):
            raise Refused(403, f"this key lacks the scope {scope!r}")

    return guard


@final
class Gate:
    """The gate of one service. Without keys only this machine is answered, under its own names.

    under_way: requests that are not answered yet; handled: those of them whose body is here;
    reading: bytes of bodies that are held.
    """

    def __init__(self, app: ASGIApp, service: Service, traces: Traces | None = None) -> None:
        self.app, self.service, self.traces = app, service, traces
        self.under_way = self.handled = self.reading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        begin, seen = time.perf_counter(), _Seen(secrets.token_hex(8))
        scope["state"] = {"request_id": seen.id}
        headers = _headers(scope)
        out = seen.sending(send)
        self.under_way += 1
        span = contextlib.nullcontext() if self.traces is None else self.traces.request(headers)
        with span as told:
            try:
                problem = self._refuse(scope, headers)
                if problem is None:
                    await self._handle(scope, receive, out, headers)
                else:
                    await _send_problem(out, *problem)
            finally:
                self.under_way -= 1
                self.handled -= scope["state"].get("placed", False)
                self.reading -= scope["state"].get("read", 0)
                seconds = time.perf_counter() - begin
                route = _route(scope)
                self.service.metrics.request(route, seen.status, seconds)
                if self.traces is not None:
                    stages = scope["state"].get("seconds", {})
                    self.traces.close(told, f"{scope['method']} {route}", seen.status, stages)
                _log(scope, route, seen, seconds)

    async def _handle(
        self, scope: HTTPScope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        told = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if not (told and scope["method"] == "POST") and scope["path"] not in OPEN:
            try:
                self._take_place(scope)
            except Refused as full:
                await _send_problem(send, full.status_code, str(full.detail), full.headers or {})
                return
        await self.app(scope, self._within_limits(scope, receive, headers), send)

    def _refuse(
        self, scope: HTTPScope, headers: Mapping[str, str]
    ) -> tuple[int, str, dict[str, str]] | None:
        service, path = self.service, scope["path"]
        if path in OPEN:
            return None
        key = None
        if service.keys.needed:
            token = headers.get("authorization", "")
            kind, _, secret = token.partition(" ")
            try:
                key = service.keys.find(secret.strip()) if kind.lower() == "bearer" else None
            except ApiKeyError as error:
                log.error("%s", error)
                return 503, "the server's file of API keys can not be read", {"Retry-After": "60"}
            scope["state"]["key"] = key
            if token and key is None:
                return 401, "this API key is not known", {"WWW-Authenticate": "Bearer"}
        else:
            host = headers.get("host", "localhost")
            name = host if host.endswith("]") else host.rsplit(":", 1)[0]
            if name not in LOOPBACK:
                return 421, "without API keys only localhost is answered", {}
        client = key.id if key is not None else (scope.get("client") or ("", 0))[0]
        scope["state"]["client"] = client
        if wait := service.limit.take(client):
            service.metrics.refused("rate")
            return 429, "too many requests", {"Retry-After": str(max(1, round(wait)))}
        if headers.get("content-encoding", "identity") != "identity":
            service.metrics.refused("encoding")
            return 415, "bodies are read as they are: send this one without Content-Encoding", {}
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return 400, "Content-Length: right is a number of bytes", {}
        if int(length) > service.settings.most_body:
            service.metrics.refused("size")
            return 413, f"a body has at most {service.settings.most_body} bytes", {}
        wrong = read_path(scope)
        return None if wrong is None else (400, wrong, {})

    def _take_place(self, scope: HTTPScope) -> None:
        """A request whose body is here is answered now, or refused. It gives its place back when
        it ends; one that only sends its body takes nobody's."""
        if self.handled >= self.service.settings.under_way:
            self.service.metrics.refused("overload")
            raise Refused(503, "too many requests are under way", {"Retry-After": "1"})
        scope["state"]["placed"] = True
        self.handled += 1

    def _within_limits(
        self, scope: HTTPScope, receive: Receive, headers: Mapping[str, str]
    ) -> Receive:
        """Reads a body that is neither too large nor too slow."""
        settings, state = self.service.settings, scope["state"]
        until = time.monotonic() + settings.body_seconds
        state["read"], whole = 0, False

        async def limited() -> Any:
            nonlocal whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                self.service.metrics.refused("slow")
                raise Refused(
                    408, f"the body did not come in {settings.body_seconds:.0f} s"
                ) from None
            except Exception as error:  # the connection's: chunks that are none, or it broke off
                raise Refused(400, "the body could not be read") from error
            if message["type"] == "http.disconnect":
                raise Refused(400, "the body ended too early")
            if message["type"] == "http.request":
                self._read(state, len(message.get("body", b"")))
                whole = not message.get("more_body", False)
                if whole and not state.get("placed"):
                    self._take_place(scope)
            return message

        return limited

    def _read(self, state: dict[str, Any], size: int) -> None:
        settings = self.service.settings
        state["read"] += size
        self.reading += size
        if state["read"] > settings.most_body:
            self.service.metrics.refused("size")
            raise Refused(413, f"a body has at most {settings.most_body} bytes")
        if self.reading > settings.reading:
            self.service.metrics.refused("overload")
            raise Refused(503, "too much is being read", {"Retry-After": "1"})


class _Seen:
    """What is known of an answer when it is over."""

    def __init__(self, request_id: str) -> None:
        self.id, self.status = request_id, 499

    def sending(self, send: Send) -> Send:
        """Adds headers that every answer has."""

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                there = {name.lower() for name, _ in message.get("headers", [])}
                added = {
                    **SECURITY,
                    b"x-request-id": self.id.encode(),
                    b"cache-control": b"no-store",
                }
                more = [(n, v) for n, v in added.items() if n not in there]
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        return out


async def _send_problem(send: Send, status: int, detail: str, more: Mapping[str, str]) -> None:
    told = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body = json.dumps({"type": "about:blank", **told}).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in more.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in scope["headers"]}


def _route(scope: HTTPScope) -> str:
    """The route as it is written in the description, which names nobody."""
    template = scope.get("path_template")
    return str(template) if template else "none"


def _log(scope: HTTPScope, route: str, seen: _Seen, seconds: float) -> None:
    state: dict[str, Any] = scope["state"]
    key = state.get("key")
    log.info(
        "request",
        extra={
            "told": {
                "request_id": seen.id,
                "method": scope["method"],
                "route": route,
                "status": seen.status,
                "ms": round(1000 * seconds, 2),
                "key": None if key is None else key.id,
                "variant": state.get("variant"),
            }
        },
    )
