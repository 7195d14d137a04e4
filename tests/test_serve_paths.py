"""Ids in paths, over a real server: every id that may be kept can be read and erased."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import httpx

from serve_worlds import Running, running, write_world

ODD = (
    "a/b",
    "/",
    "a/",
    "/a",
    "a/events",
    "a//b",
    "..",
    ".",
    "../../etc/passwd",
    "%",
    "%2F",
    "a%20b",
    "a b",
    " a ",
    "a?b#c",
    "a;b=c&d+e",
    "ü 寿司 🎿",
    "events",
    "x" * 512,
    "/" * 512,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(write_world(tmp_path_factory.mktemp("paths"))) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as found:
        yield found


def ask(server: Running, method: str, path: str) -> tuple[int, str]:
    """Sends a path as it stands here: clients resolve dots. The status and the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as one:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        one.sendall(head.encode("latin-1"))
        answer = b""
        while more := one.recv(65536):
            answer += more
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def named(one: str) -> str:
    """Percent-encoded, dots too."""
    return quote(one, safe="").replace(".", "%2E")


@pytest.mark.parametrize("one", ODD, ids=range(len(ODD)))
def test_every_id_can_be_read_and_erased(server: Running, client: httpx.Client, one: str) -> None:
    item, user = {"item_id": one, "title": "an odd one"}, {"user_id": one, "city": "Ulm"}
    event = {"user_id": one, "event": "search", "query": "hat"}
    for table, body in (("items", item), ("users", user), ("events", event)):
        assert client.post(f"/v1/{table}", json={table: [body]}).status_code == 200
    path = named(one)
    for table, body in (("items", item), ("users", user)):
        status, text = ask(server, "GET", f"/v1/{table}/{path}")
        assert status == 200 and httpx.Response(200, text=text).json() == body
    status, text = ask(server, "GET", f"/v1/users/{path}/events")
    told = httpx.Response(status, text=text).json()
    assert told["user_id"] == one and [e["query"] for e in told["events"]] == ["hat"]
    for table in ("items", "users"):
        assert ask(server, "DELETE", f"/v1/{table}/{path}")[0] == 200
        assert ask(server, "GET", f"/v1/{table}/{path}")[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/v1/items/", "/v1/users//events", "/v1/items/%ff", "/v1/items/a%00b", "/v1/users/a%1Fb"],
)
def test_what_is_no_id_is_refused(server: Running, path: str) -> None:
    status, text = ask(server, "GET", path)
    assert status == 400 and "path: " in text
