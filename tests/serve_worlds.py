"""A server over the tiny shop, in this process or in one of its own, for tests of serving."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from litestar.testing import TestClient

import tiny
from m6rec.serving.http.app import build_app
from m6rec.serving.service import Service, ServiceSettings
from m6rec.serving.starting import Place, open_service
from m6rec.serving.traces import Traces

BASE = "http://localhost.local"


def write_world(folder: Path, users: int = 24) -> Place:
    """A backbone, a shop of 15 items, and a folder of models."""
    models = folder / "models"
    models.mkdir(parents=True)
    tiny.write_backbone(models / "tiny")
    shop = tiny.write_shop(folder / "shop", users)
    return Place(shop, str(models / "tiny"), models=models)


@contextmanager
def served(
    place: Place, traces: Traces | None = None, **settings: Any
) -> Iterator[tuple[TestClient[Any], Service]]:
    """A client of the app in this process, and its service."""
    service = open_service(place, ServiceSettings.parse(settings, "settings"))
    try:
        with TestClient(
            build_app(service, traces),  # type: ignore[arg-type]
            base_url=BASE,
            raise_server_exceptions=False,
        ) as client:
            client.headers["host"] = "localhost"
            yield client, service
    finally:
        service.close()
        service.journal.close()


def ids(answer: httpx.Response) -> list[str]:
    """Ids of an answer's items, best first."""
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def until(check: Any, seconds: float = 10.0) -> float:
    """Waits until something holds; returns how long that took."""
    begin = time.perf_counter()
    while not check():
        assert time.perf_counter() - begin < seconds, "it never came to hold"
        time.sleep(0.005)
    return time.perf_counter() - begin


class Running:
    """`m6rec serve` in a process of its own."""

    def __init__(self, place: Place, words: Sequence[str] = (), scheme: str = "http") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        assert place.models is not None
        command = [sys.executable, "-c", "from m6rec.cli.app import main; main()", "serve"]
        command += ["--data", str(place.data), "--model", place.model]
        command += ["--models", str(place.models), "--port", str(self.port), *words]
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - see close
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait(self, verify: Any = True) -> None:
        """Until it is ready."""

        def ready() -> bool:
            assert self.process.poll() is None, self.logs()
            try:
                return httpx.get(self.url + "/health/ready", verify=verify).status_code == 200
            except httpx.TransportError:
                return False

        until(ready, 90)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)

    def logs(self) -> str:
        """All that it logged; ends it."""
        self.process.kill()
        self.process.wait()
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        """Ends it, and its log."""
        self.process.kill()
        self.process.wait()
        self._log.close()


@contextmanager
def running(place: Place, words: Sequence[str] = (), **more: Any) -> Iterator[Running]:
    """The same, ready, and killed in the end."""
    server = Running(place, words, **more)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def log_lines(text: str) -> list[dict[str, Any]]:
    """Lines of a log that are JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
