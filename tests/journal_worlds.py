"""A PostgreSQL server, a child that writes until it is killed, and other worlds of the journal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from m6rec.stores.journal.base import Journal, JournalError
from m6rec.stores.journal.opening import open_journal


def postgres_binary(name: str) -> str | None:
    """Debian keeps most of them out of the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(places[-1]) if places else shutil.which(name)


class PostgresServer:
    """A real server on a socket of its own; skips the test where there is none installed."""

    def __init__(self) -> None:
        initdb, server = postgres_binary("initdb"), postgres_binary("postgres")
        if initdb is None or server is None:
            pytest.skip("postgresql is not installed (Debian: apt-get install postgresql)")
        self.folder = Path(tempfile.mkdtemp(prefix="m6rec-postgres-"))
        self.url = f"postgresql:///postgres?host={self.folder}&user=postgres"
        who: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            who = {"user": "postgres", "group": "postgres"}
            shutil.chown(self.folder, **who)
        self._how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._how |= {"cwd": self.folder, **who}
        data = str(self.folder / "data")
        words = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([initdb, *words], check=True, **self._how)
        self._words = [server, "-D", data, "-k", str(self.folder), "-c", "listen_addresses="]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(self._words, **self._how)
        wait_for(self.url)

    def stop(self) -> None:
        """At once: connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=20)
            self._process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs, and is gone afterwards."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def wait_for(url: str) -> None:
    """Until the server answers."""
    for _ in range(200):
        try:
            open_journal(url).close()
            return
        except JournalError:
            time.sleep(0.1)
    raise AssertionError("postgres did not start")


def empty(journal: Journal, url: str) -> None:
    """Forgets everything, between tests."""
    import psycopg

    journal.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE meta, entries, catalogue, once, answers, shared")


def event(user: str, item: str, **more: object) -> dict[str, object]:
    """A click."""
    return {"user_id": user, "item_id": item, "event": "click", **more}


def item(one: str, **more: object) -> dict[str, object]:
    """An item."""
    return {"item_id": one, "title": f"title of {one}", **more}
