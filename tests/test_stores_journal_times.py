"""Nothing waits without end in a shared journal: frozen writers, restarted and frozen databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from journal_worlds import PostgresServer, empty, event, postgres_server
from m6rec.stores.journal import postgres
from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.opening import open_journal

FROZEN = """
import sys, time
from m6rec.stores.journal.opening import open_journal

journal = open_journal(sys.argv[1])
with journal._writer_connection.transaction():
    print("it is my turn", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


def test_a_frozen_process_that_has_the_turn_does_not_keep_it(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"lock_timeout": "500ms", "idle_in_transaction_session_timeout": "2s"}
    monkeypatch.setattr(postgres, "TIMES", {**postgres.TIMES, **quick})
    code = f"from m6rec.stores.journal import postgres\npostgres.TIMES.update({quick!r})\n{FROZEN}"
    command = [sys.executable, "-c", code, server.url]
    frozen = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ})
    try:
        assert frozen.stdout is not None
        with open_journal(server.url) as journal:
            assert frozen.stdout.readline() == b"it is my turn\n"
            frozen.send_signal(signal.SIGSTOP)
            with pytest.raises(JournalError, match="lock timeout"):
                journal.append("event", [event("u", "a")], idempotency="1")
            for _ in range(20):  # its session ends on the server
                try:
                    done = journal.append("event", [event("u", "a")], idempotency="1")
                    break
                except JournalError:
                    continue
            assert done.stored == 1 and len(journal.history("u")) == 1
    finally:
        frozen.kill()
        frozen.wait()
        assert frozen.stdout is not None
        frozen.stdout.close()
    empty(open_journal(server.url), server.url)


def test_a_database_that_was_restarted_costs_no_error(server: PostgresServer) -> None:
    journal = open_journal(server.url)
    journal.append("event", [event("u", "a")])
    journal.history("u")
    server.stop()
    server.start()
    assert journal.append("event", [event("u", "b")]).stored == 1
    server.stop()
    server.start()
    assert [one["item_id"] for one in journal.history("u")] == ["a", "b"]
    empty(journal, server.url)


def test_every_session_has_its_times(server: PostgresServer) -> None:
    with open_journal(server.url) as journal:
        journal.history("u")
        for connection in journal._opened:  # type: ignore[attr-defined]
            shown: Any = {
                name: connection.rows(f"SHOW {name}")[0][0]
                for name in ("lock_timeout", "statement_timeout")
            }
            assert shown == {"lock_timeout": "5s", "statement_timeout": "30s"}
        journal.append("event", [event("u", "a")])
        journal.erase_user("u")
        assert journal._opened[0].rows("SHOW statement_timeout")[0][0] == "30s"  # type: ignore[attr-defined]
