"""Running a server: swaps, variants, figures, traces, too much work, TLS, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

import httpx
from litestar.testing import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tiny
from m6rec.model.checkpoint import save_backbone
from m6rec.serving import working
from m6rec.serving.registry import settle
from m6rec.serving.service import Service
from m6rec.serving.starting import Place
from m6rec.serving.traces import Traces
from serve_worlds import Running, ids, log_lines, running, served, until, write_world

Served = tuple[TestClient[Any], Service]
ASKED = {"history": ["clicked: red shoe"], "k": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = write_world(tmp_path_factory.mktemp("operation"))
    assert place.models is not None
    save_backbone(*tiny.backbone(seed=1), place.models / "other")
    return place


@pytest.fixture(scope="module")
def shop(place: Place) -> Iterator[Served]:
    with served(place) as found:
        body = {"name": "second", "model": "other"}
        assert found[0].post("/v1/admin/models", json=body).json()["current"] == "second"
        yield found


def rounded(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """Items and scores; a batch may change the last digits."""
    return [(item["item_id"], round(item["score"], 3)) for item in answer["items"]]


def test_swaps_under_load_fail_no_request_and_mix_no_models(shop: Served) -> None:
    client, service = shop
    of_each = {}
    for name in ("first", "second"):
        answer = client.post("/v1/recommend", json={**ASKED, "variant": name}).json()
        assert answer["variant"] == name
        of_each[name] = rounded(answer)
    assert of_each["first"] != of_each["second"]
    stop, wrong, seen = threading.Event(), list[Any](), set[str]()

    def load() -> None:
        while not stop.is_set():
            answer = client.post("/v1/recommend", json=ASKED)
            told = answer.json()
            seen.add(told.get("variant", ""))
            if answer.status_code != 200 or rounded(told) != of_each[told["variant"]]:
                wrong.append(told)

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load) for _ in range(3)]
        swaps = service.registry.swaps
        for _ in range(20):
            assert client.post("/v1/admin/models/rollback").status_code == 200
            time.sleep(0.02)
        stop.set()
        for one in loads:
            one.result()
    assert service.registry.swaps == swaps + 20
    assert wrong == [] and seen == {"first", "second"}


def test_a_third_model_retires_the_oldest(shop: Served) -> None:
    client, service = shop
    current = service.registry.current.name
    body = {"name": "third", "model": "tiny", "activate": False}
    told = client.post("/v1/admin/models", json=body).json()
    assert told["current"] == current and len(told["models"]) == 3
    assert client.post("/v1/admin/models", json=body).status_code == 404, "the name is taken"
    body = {"name": "fourth", "model": "tiny"}
    oldest = weakref.ref(next(m for m in service.registry.models() if m.name == "third"))
    settle()  # as in a server's own process: the collector passes over what is there now
    try:
        told = client.post("/v1/admin/models", json=body).json()
        until(lambda: oldest() is None)
    finally:
        gc.unfreeze()
    assert (told["current"], told["previous"]) == ("fourth", current)
    assert {model["name"] for model in told["models"]} == {"fourth", current}
    assert ids(client.post("/v1/recommend", json=ASKED))


def test_a_model_that_waits_knows_of_new_items_too(shop: Served) -> None:
    client, service = shop
    item = {"item_id": "fresh", "title": "green lamp hat", "category": "fresh"}
    assert client.post("/v1/items", json={"items": [item]}).status_code == 200
    asked = {**ASKED, "where": {"categories": ["fresh"]}}
    for model in service.registry.models():
        named = {**asked, "variant": model.name}
        until(lambda named=named: ids(client.post("/v1/recommend", json=named)))


def test_an_experiment_keeps_each_user_on_one_variant_and_says_which(shop: Served) -> None:
    client, service = shop
    names = [model.name for model in service.registry.models()]
    shares = dict(zip(names, (0.3, 0.7), strict=True))
    assert client.post("/v1/admin/experiment", json={"shares": shares}).status_code == 200

    def variant(user: int) -> str:
        asked = {"user_id": f"user {user}", "k": 1}
        return str(client.post("/v1/recommend", json=asked).json()["variant"])

    found = [variant(user) for user in range(60)]
    assert found == [variant(user) for user in range(60)]
    assert 6 <= found.count(names[0]) <= 32
    text = client.get("/metrics").text
    assert all(f'm6rec_answers_total{{variant="{name}"}}' in text for name in names)
    for wrong in ({"nobody": 1.0}, {names[0]: 0.5}):
        body = {"shares": wrong}
        assert client.post("/v1/admin/experiment", json=body).status_code == 404
    assert client.post("/v1/admin/experiment", json={"shares": {}}).json()["shares"] == {}
    assert client.post("/v1/recommend", json={**ASKED, "variant": "nobody"}).status_code == 404


def about_shoe(number: int) -> dict[str, Any]:
    """A request that brings a text of its own."""
    return {"history": [f"clicked: shoe number {number}", "clicked: red shoe"], "k": 5}


def test_memory_of_texts_is_bounded_and_answers_stay_the_same(
    shop: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service = shop
    model = service.registry.current
    monkeypatch.setattr(working, "MOST_TEXTS", 30)

    def told(number: int) -> list[str]:
        return ids(client.post("/v1/recommend", json=about_shoe(number)))

    first = [told(number) for number in range(20)]
    sizes = set()
    for number in range(100):
        client.post("/v1/embeddings", json={"model": "m6rec", "input": [f"text {number}"]})
        told(1000 + number)
        sizes.add(model.texts())
    assert max(sizes) <= 30 + 2 < 200
    assert [told(number) for number in range(20)] == first


def test_memory_of_texts_is_bounded_where_something_is_always_under_way(
    shop: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service = shop
    model = service.registry.current
    monkeypatch.setattr(working, "MOST_TEXTS", 30)
    monkeypatch.setattr(working, "FAR_TOO_MANY", 60)
    ended, sizes = threading.Event(), set[int]()

    def work() -> None:
        while not ended.is_set():
            with model.working():
                ended.wait(0.01)

    def told(number: int) -> int:
        sizes.add(model.texts())
        return client.post("/v1/recommend", json=about_shoe(number)).status_code

    with ThreadPoolExecutor(4) as busy, ThreadPoolExecutor(4) as clients:
        for _ in range(4):  # hardly ever all of them at once between two pieces of work
            busy.submit(work)
        try:
            assert set(clients.map(told, range(200))) == {200}
        finally:
            ended.set()
    assert 30 < max(sizes) <= 60 + 4 * 2 < 200


def test_metrics_tell_times_sizes_and_what_waits(shop: Served) -> None:
    client, service = shop
    client.post("/v1/recommend", json={**ASKED, "explain": True})
    text = client.get("/metrics").text
    current = service.registry.current
    for line in (
        'm6rec_request_seconds_count{route="/v1/recommend",status="200"}',
        f'm6rec_stage_seconds_count{{stage="retrieve",variant="{current.name}"}}',
        f'm6rec_stage_seconds_count{{stage="explain",variant="{current.name}"}}',
        f'm6rec_index_size{{variant="{current.name}"}} {len(current.index)}.0',
        f'm6rec_queue_depth{{variant="{current.name}"}} 0.0',
        f"m6rec_journal_last {service.journal.last()}.0",
        f'm6rec_cache_hits{{variant="{current.name}"}}',
    ):
        assert line in text, line


def test_what_is_too_much_or_too_slow_is_refused_for_now(place: Place, tmp_path: Path) -> None:
    with served(write_world(tmp_path), lane=1, writing_seconds=0.3) as (client, service):
        begun, go = threading.Event(), threading.Event()

        def block(_: object) -> None:
            begun.set()
            go.wait(10)

        async def busy() -> None:
            with pytest.raises(Exception, match="no answer within"):
                await service.slow(block, "")

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(lambda: asyncio.run(busy()))
            assert begun.wait(10)
            refused = client.post("/v1/embeddings", json={"input": "red shoe"})
            first.result()
            go.set()
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        assert refused.json()["type"] == "m6rec:overloaded"
        assert client.post("/v1/recommend", json=ASKED).status_code == 200


def test_a_journal_that_can_not_be_written_is_a_503(tmp_path: Path) -> None:
    with served(write_world(tmp_path)) as (client, service):
        service.journal.close()
        event = {"user_id": "a", "event": "click", "item_id": "red-hat"}
        answer = client.post("/v1/events", json={"events": [event]})
        assert answer.status_code == 503 and answer.headers["retry-after"]


def test_a_request_is_a_span_and_each_step_is_one_within(tmp_path: Path) -> None:
    spans = InMemorySpanExporter()
    with served(write_world(tmp_path), Traces(exporter=spans)) as (client, _):
        caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        client.post("/v1/recommend", json=ASKED, headers={"traceparent": caller})
        found = {span.name: span for span in spans.get_finished_spans()}
    request = found["POST /v1/recommend"]
    assert request.context is not None and request.parent is not None
    assert f"{request.context.trace_id:032x}" == caller[3:35]
    for step in ("encode", "retrieve"):
        parent = found[step].parent
        assert parent is not None and parent.span_id == request.context.span_id
    assert "red shoe" not in json.dumps([span.to_json() for span in found.values()])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    words = ["--set", "body_seconds=1"]
    with running(write_world(tmp_path_factory.mktemp("running")), words) as found:
        yield found


def half_a_request(port: int, body: bytes) -> socket.socket:
    """A connection over which a request was begun."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    head = "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
    client.sendall(body[:5])
    return client


def test_a_client_that_sends_too_slowly_is_not_waited_for(server: Running) -> None:
    with half_a_request(server.port, b'{"k": 3}') as client:
        begin = time.monotonic()
        answer = client.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408") and time.monotonic() - begin < 8


def idle(port: int, request: bytes) -> socket.socket:
    """A connection that stays open: after an answer, or, without a request, before the first."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    if request:
        client.sendall(request)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    return client


def test_stopping_answers_what_is_under_way_and_exits_with_0(tmp_path: Path) -> None:
    with running(write_world(tmp_path)) as server, contextlib.ExitStack() as browser:
        for request in (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b""):
            browser.enter_context(idle(server.port, request))
        body = json.dumps(ASKED).encode()
        with half_a_request(server.port, body) as client:
            time.sleep(0.3)
            server.process.terminate()
            time.sleep(1.0)
            assert server.process.poll() is None
            client.sendall(body[5:])
            answer = b""
            while more := client.recv(65536):
                answer += more
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        assert server.process.wait(timeout=30) == 0
        lines = log_lines(server.logs())
    messages = [line["message"] for line in lines]
    assert messages.index("ready") < messages.index("draining") < messages.index("stopped")
    assert {line["level"] for line in lines} == {"info"}


def test_who_never_ends_a_request_is_cut_off_when_the_server_stops(tmp_path: Path) -> None:
    words = ["--set", "drain_seconds=0.5"]
    with running(write_world(tmp_path), words) as server:
        with half_a_request(server.port, json.dumps(ASKED).encode()):
            time.sleep(0.3)
            server.process.terminate()
            assert server.process.wait(timeout=30) == 0
        lines = log_lines(server.logs())
    (cut,) = [line for line in lines if line["level"] != "info"]
    assert (cut["message"], cut["under_way"]) == ("answers were cut off", 1)
    assert lines[-1]["message"] == "stopped"


def test_tls_is_a_flag(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    words = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    server = Running(write_world(tmp_path / "world"), words, scheme="https")
    try:
        trusted = ssl.create_default_context(cafile=str(certificate))
        server.wait(verify=trusted)
        answer = httpx.post(f"{server.url}/v1/recommend", json=ASKED, verify=trusted, timeout=20)
        assert len(ids(answer)) == 5
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/health/live")
    finally:
        server.close()
