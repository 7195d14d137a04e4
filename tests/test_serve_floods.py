"""Nothing that one client holds stops the others: connections, bodies, requests, rows."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import httpx

from m6rec.serving.http.gate import Gate
from serve_worlds import Running, ids, running, served, write_world

ASKED = {"history": ["clicked: red shoe"], "k": 5}
IDLE = 600
"""More than were accepted when connections were limited, and not requests."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    words = ["--set", "idle_seconds=3", "--set", "under_way=4", "--set", "body_seconds=60"]
    with running(write_world(tmp_path_factory.mktemp("floods")), words) as found:
        yield found


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for connections in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * IDLE)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def opened(server: Running, sent: bytes = b"") -> socket.socket:
    """A connection on which no more comes."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(sent)
    return client


def test_connections_that_are_only_open_keep_nobody_out(server: Running, many_files: None) -> None:
    with ExitStack() as held:
        for _ in range(IDLE):
            held.enter_context(opened(server))
        assert httpx.get(f"{server.url}/health/ready", timeout=20).status_code == 200
        answer = httpx.post(f"{server.url}/v1/recommend", json=ASKED, timeout=20)
        assert len(ids(answer)) == 5


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health/live HT", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_a_connection_on_which_nothing_comes_is_closed(server: Running, sent: bytes) -> None:
    with opened(server, sent) as client:
        answer = b"".join(iter(partial(client.recv, 65536), b""))  # up to the end
    assert answer.startswith(b"HTTP/1.1 200") == sent.endswith(b"\r\n\r\n")


def test_bodies_that_do_not_end_take_nobody_s_place(server: Running) -> None:
    head = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with ExitStack() as held:
        for _ in range(40):  # ten times what may be under way
            held.enter_context(opened(server, head + b"Content-Length: 50\r\n\r\n{"))
        time.sleep(0.5)
        answer = httpx.post(f"{server.url}/v1/recommend", json=ASKED, timeout=20)
        assert len(ids(answer)) == 5


async def ask(gate: Gate, body: bytes = b"", path: str = "/v1/items") -> int:
    """The status of one request, straight at the gate."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST" if body else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-length", str(len(body)).encode()), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await gate(scope, receive, send)  # type: ignore[arg-type]
    except Exception as error:  # where the app would answer
        return int(getattr(error, "status_code", 500))
    return int(sent[0]["status"])


def test_more_than_may_be_under_way_is_refused_and_health_is_not(tmp_path: Path) -> None:
    with served(write_world(tmp_path), under_way=2, reading=2000) as (_, service):
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["method"] == "POST":
                await receive()
            if not scope["path"].startswith("/health"):
                await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def story() -> None:
            gate = Gate(app, service)  # type: ignore[arg-type]
            first = [asyncio.create_task(ask(gate)), asyncio.create_task(ask(gate, b"x" * 900))]
            await asyncio.sleep(0.05)
            assert (gate.under_way, gate.handled, gate.reading) == (2, 2, 900)
            assert await ask(gate) == 503
            assert await ask(gate, b"x") == 503
            assert await ask(gate, path="/health/live") == 200
            go.set()
            assert [await one for one in first] == [200, 200]
            assert (gate.under_way, gate.handled, gate.reading) == (0, 0, 0)
            go.clear()
            late = asyncio.create_task(ask(gate, b"x" * 1500))
            await asyncio.sleep(0.05)
            assert await ask(gate, b"x" * 1500) == 503, "bodies are bounded all together"
            go.set()
            assert await late == 200

        asyncio.run(story())


def test_an_item_of_very_many_fields_is_refused(tmp_path: Path) -> None:
    with served(write_world(tmp_path)) as (client, service):
        last = service.journal.last()
        wide = {"item_id": "wide", "title": "wide", **{f"field {n}": n for n in range(300)}}
        answer = client.post("/v1/items", json={"items": [wide]})
        assert answer.status_code == 400
        assert "302 fields, right is at most 256" in answer.json()["detail"]
        assert service.journal.last() == last
