"""A browser, and servers for it: the real one over the built-in shop, and one of files alone."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from m6rec.data.shop import generate_shop

CONSOLE = Path(__file__).resolve().parents[1] / "src" / "m6rec" / "serving" / "console"
PATIENCE = 60_000
"""Milliseconds that a page may take for anything: the machine may be busy."""
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium; skips where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield found
        found.close()


@dataclass(frozen=True)
class Server:
    """`m6rec serve` on this machine. state: where it keeps keys and the journal."""

    url: str
    state: Path


@contextmanager
def shop_server(folder: Path) -> Iterator[Server]:
    """The real server over the smallest built-in shop, ready."""
    generate_shop(folder / "shop", size="tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = folder / "state"
    command = [sys.executable, "-c", "from m6rec.cli.app import main; main()", "serve"]
    command += ["--data", str(folder / "shop"), "--state", str(state), "--port", str(port)]
    command += ["--set", "answer_seconds=60"]
    log = folder / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            command,
            stdout=told,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health/ready", process, log)
            yield Server(f"http://127.0.0.1:{port}/", state)
        finally:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until an address answers."""
    until = time.monotonic() + 300
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text("utf-8")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)


@contextmanager
def file_server() -> Iterator[str]:
    """The console's files alone, for tests of its modules."""
    handler = functools.partial(_Quiet, directory=str(CONSOLE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *words: object) -> None:
        """Nothing is printed."""
