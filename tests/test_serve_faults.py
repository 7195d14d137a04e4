"""Parts that fail while a real server runs: a declared 503, nothing lost, and all is well again."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import httpx

from m6rec.stores.states.redis_store import RedisStore
from serve_worlds import Running, ids, log_lines, running, served, until, write_world
from stores_worlds import redis_server

ASKED = {"history": ["clicked: red shoe"], "k": 5}
RAW = (
    b"\x00\xff\x16\x03\x01\x02\x00garbage\r\n\r\n",
    b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{}",
    b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Much: y\r\n" * 5000 + b"\r\n",
    b"GET /v1/items?limit=%00&cursor=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 23\r\n\r\n{"items": [{"a":"\xd3."}]}',
    b"PROPFIND /v1/items HTTP/9.9\r\n\r\n",
)


def refused(answer: httpx.Response) -> None:
    """A declared 503."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 6 MiB in memory."""
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("a small disk can be mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_refuses_what_it_can_not_keep_and_goes_on(tmp_path: Path) -> None:
    place = write_world(tmp_path / "world")
    with (
        small_disk(tmp_path / "disk") as disk,
        running(place, ["--state", str(disk / "state")]) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        kept, words = list[str](), "much to say " * 200
        for n in range(200):
            items = [
                {"item_id": f"n{n}-{i}", "title": f"{n} {i}", "description": words}
                for i in range(8)
            ]
            answer = client.post("/v1/items", json={"items": items})
            if answer.status_code != 200:
                refused(answer)
                break
            kept += [item["item_id"] for item in items]
        else:
            raise AssertionError("the disk was never full")
        assert len(ids(client.post("/v1/recommend", json=ASKED))) == 5
        refused(client.post("/v1/items", json={"items": items}))
        ballast.unlink()
        until(lambda: client.post("/v1/items", json={"items": items}).status_code == 200)
        kept += [item["item_id"] for item in items]
        held, cursor = list[str](), dict[str, str]()
        while True:
            page = client.get("/v1/items", params={"limit": 1000, **cursor}).json()
            held += [item["item_id"] for item in page["items"] if item["item_id"] in set(kept)]
            if page.get("next") is None:
                break
            cursor = {"cursor": page["next"]}
        assert held == sorted(kept)
        assert server.stop() == 0
        assert not [
            line for line in log_lines(server.logs()) if line["message"].startswith("a bug")
        ]


def test_a_disk_that_can_not_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    place = write_world(tmp_path / "world")
    with small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        server = Running(place, ["--state", str(disk / "state")])
        assert server.process.wait(timeout=90) != 0
        said = server.logs()
    assert "Traceback" not in said and "read-only" in said.lower().replace("readonly", "read-only")
    server.close()


@pytest.fixture(scope="module")
def with_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("redis")
    with ExitStack() as redis:
        url = redis.enter_context(redis_server(folder))
        with running(write_world(folder / "world"), ["--cache", url]) as server:
            redis.close()  # it is gone as soon as the server is ready
            yield server, folder


def test_a_redis_that_is_gone_is_done_without_and_used_again(
    with_redis: tuple[Running, Path],
) -> None:
    server, folder = with_redis
    with httpx.Client(base_url=server.url, timeout=30) as client:
        asked = {"history": ["clicked: a word that was never read"], "k": 5}
        first = ids(client.post("/v1/recommend", json=asked))
        assert len(first) == 5
        event = {"user_id": "a", "event": "click", "item_id": "red-hat"}
        assert client.post("/v1/events", json={"events": [event]}).status_code == 200
        assert "m6rec_cache_there 0.0" in client.get("/metrics").text
        with redis_server(folder):
            assert ids(client.post("/v1/recommend", json=asked)) == first
            assert "m6rec_cache_there 1.0" in client.get("/metrics").text


def test_who_reads_no_answer_holds_up_nobody(with_redis: tuple[Running, Path]) -> None:
    server, _ = with_redis
    with ExitStack() as lazy, httpx.Client(base_url=server.url, timeout=30) as client:
        for _ in range(30):
            one = lazy.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            one.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        for _ in range(5):
            assert len(ids(client.post("/v1/recommend", json=ASKED))) == 5


@pytest.mark.parametrize("sent", RAW, ids=range(len(RAW)))
def test_what_is_no_http_is_refused_and_others_are_answered(
    with_redis: tuple[Running, Path], sent: bytes
) -> None:
    server, _ = with_redis
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(sent)
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:100]
    assert httpx.get(f"{server.url}/health/ready", timeout=30).status_code == 200


class Gone:
    """A Qdrant client whose server went away."""

    def __getattr__(self, name: str) -> Any:
        def gone(*_: object, **__: object) -> Never:
            raise ConnectionError("connection refused")

        return gone


def test_a_qdrant_that_is_gone_is_a_503_and_nothing_counts_twice(tmp_path: Path) -> None:
    place = replace(write_world(tmp_path), index=":memory:", text_only=True)
    with served(place) as (client, service):
        model: Any = service.registry.current
        first = ids(client.post("/v1/recommend", json=ASKED))
        chosen = model.chosen["red-hat"]
        there, model.index._client = model.index._client, Gone()
        refused(client.post("/v1/recommend", json=ASKED))
        item = {"item_id": "late", "title": "red shoe boot"}
        events = [{"user_id": "a", "event": "click", "item_id": "red-hat"}]
        assert client.post("/v1/items", json={"items": [item]}).status_code == 200
        assert client.post("/v1/events", json={"events": events}).status_code == 200
        assert "m6rec_index_size" in client.get("/metrics").text

        for _ in range(3):
            with pytest.raises(Exception, match="refused"):
                model.catch_up()
        model.index._client = there
        until(lambda: model.number == service.journal.last())
        assert model.chosen["red-hat"] == chosen + 1
        found = ids(client.post("/v1/recommend", json={**ASKED, "k": 16}))
        assert "late" in found and set(first) <= set(found)


def test_a_cache_of_redis_is_sized_without_a_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server(tmp_path) as url, RedisStore(url) as store:
        monkeypatch.setattr(RedisStore, "_scan", None)
        before, _ = store.size()
        store.put({b"a" * 16: b"1", b"b" * 16: b"2"})
        entries, size = store.size()
        assert entries == before + 2 and size > 0


def test_a_journal_that_does_not_answer_is_a_503_in_time(tmp_path: Path) -> None:
    with served(write_world(tmp_path), answer_seconds=0.3) as (client, service):
        go = threading.Event()
        with pytest.MonkeyPatch.context() as frozen:
            frozen.setattr(service.journal, "item", lambda _: go.wait(20))
            refused(client.get("/v1/items/red-hat"))
            frozen.setattr(service.journal, "_append", lambda *_: go.wait(20))
            item = {"item_id": "late", "title": "late"}
            answer = client.post("/v1/items", json={"items": [item]})
            refused(answer)
            assert "Idempotency-Key" in answer.json()["detail"]
            frozen.setattr("m6rec.serving.service.READY_SECONDS", 0.3)
            frozen.setattr(service.journal, "last", lambda: go.wait(20))
            ready = client.get("/health/ready")
            assert ready.status_code == 503 and "journal" in ready.json()["status"]
            assert client.get("/health/live").status_code == 200
            go.set()
