"""What keeps a journal small and sound: old events that go, snapshots, checks, bounds of a row."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal_worlds import PostgresServer, empty, event, item, postgres_server
from m6rec.records import M6Error
from m6rec.stores.journal import base
from m6rec.stores.journal.base import BodyError, Journal, JournalError
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.retention import DAY, Retention
from m6rec.stores.journal.snapshots import is_snapshot, put_back
from m6rec.stores.journal.sqlite import FILE, SqliteJournal


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "postgres":
        url = request.getfixturevalue("server").url
        made = open_journal(url)
        yield made
        empty(made, url)
        return
    with open_journal(tmp_path / "journal") as made:
        yield made


def test_the_newest_events_are_kept_and_numbers_go_on(journal: Journal) -> None:
    journal.append("item", [item("a")])
    journal.append("event", [event("u", str(n), event_id=str(n)) for n in range(10)])
    journal.append("user", [{"user_id": "u"}])
    assert journal.compact(0.9, Retention(events=4)) is None, "it is not worth it"
    assert journal.compact(keep=Retention(events=4)) is not None
    assert [one["item_id"] for one in journal.history("u")] == ["6", "7", "8", "9"]
    assert journal.item("a") is not None and journal.user("u") is not None
    assert journal.dropped() == 6 and journal.last() == 12
    assert journal.append("event", [event("u", "2", event_id="2")]).duplicates == 1
    assert journal.append("event", [event("u", "new")]).last == 13
    assert journal.compact(keep=Retention(events=4)) is not None
    assert journal.dropped() == 7
    assert journal.compact(0.01, Retention(events=9)) is None, "nothing is of no more use"


def test_events_of_some_days_are_kept_by_when_they_happened(journal: Journal) -> None:
    now = time.time()
    old = [event("u", str(n), timestamp=now - n * DAY) for n in range(1, 9)]
    journal.append("event", old)
    journal.compact(keep=Retention(days=5))
    found = [int(one["item_id"]) for one in journal.history("u")]
    assert found == [8, 4, 3, 2, 1], "the last entry stays, for numbers go on from it"
    assert journal.append("event", [event("u", "new")]).last == 9


def test_a_word_of_retention_is_events_or_days() -> None:
    assert Retention.parse("") == Retention() and not Retention()
    assert Retention.parse("1000") == Retention(events=1000)
    assert Retention.parse("365d") == Retention(days=365)
    for wrong in ("a year", "-1", "1.5", "10w"):
        with pytest.raises(M6Error, match="right is 1000000"):
            Retention.parse(wrong)


def test_a_snapshot_is_whole_while_others_write_and_is_put_back(tmp_path: Path) -> None:
    stop, told = threading.Event(), list[str]()
    with open_journal(tmp_path / "journal") as journal:
        journal.append("event", [event("bulk", str(n)) for n in range(3000)])
        journal.append("event", [event("u", "a")], idempotency="k")

        def write() -> None:
            while not stop.is_set():
                journal.append("event", [event("w", str(len(told)))])
                told.append("")

        writer = threading.Thread(target=write)
        writer.start()
        manifest = journal.snapshot(tmp_path / "copy")
        stop.set()
        writer.join()
        with pytest.raises(JournalError, match="holds something already"):
            journal.snapshot(tmp_path / "copy")
        assert is_snapshot(tmp_path / "copy") and manifest["journal"] == journal.name
        name = journal.name
    put_back(tmp_path / "copy", tmp_path / "back")
    with open_journal(tmp_path / "back") as back:
        assert back.last() == manifest["last"] and back.check() == []
        assert back.name != name and back.before() == (name,)
        assert len(back.history("bulk", 5000)) == 3000
        assert back.append("event", [event("u", "a")], idempotency="k").repeated
        with pytest.raises(JournalError, match="another process"):
            put_back(tmp_path / "copy", tmp_path / "back")
    with pytest.raises(JournalError, match="holds a journal"):
        put_back(tmp_path / "copy", tmp_path / "back")
    with (tmp_path / "copy" / FILE).open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    with pytest.raises(JournalError, match="is not the file"):
        put_back(tmp_path / "copy", tmp_path / "third")


def test_a_snapshot_of_postgres_is_an_export(server: PostgresServer, tmp_path: Path) -> None:
    journal = open_journal(server.url)
    journal.append("item", [item("a")])
    journal.snapshot(tmp_path / "copy")
    assert not is_snapshot(tmp_path / "copy")
    with open_journal("memory") as other:
        other.restore(tmp_path / "copy")
        assert other.items() == [item("a")]
    empty(journal, server.url)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({f"field {n}": n for n in range(300)}, "301 fields, right is at most 256"),
        ({"x" * 200: 1}, "a field has 200 characters, right is at most 128"),
        ({"text": "ü" * 140_000}, "bytes, right is at most 262,144"),
    ],
)
def test_a_body_beyond_its_bounds_is_refused_and_named(body: dict[str, object], said: str) -> None:
    with SqliteJournal() as journal:
        with pytest.raises(BodyError, match=f"item 1: .*{said}"):
            journal.append("item", [item("a"), {"item_id": "b", **body}])
        assert journal.last() == 0


def test_a_check_names_what_is_wrong_and_how_it_goes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert journal.check() == []
    with monkeypatch.context() as earlier:  # a version that had no bounds
        earlier.setattr(base, "MOST_FIELDS", 1000)
        journal.append("item", [item("wide", **{f"f{n}": n for n in range(300)}), item("b")])
    (problem,) = journal.check()
    assert "302 fields" in problem and "erase --data DATA --item wide" in problem
    journal.erase_item("wide")
    assert journal.check() == []


def test_a_damaged_catalogue_is_found(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append("item", [item("a"), item("b")])
        journal.append("event", [event("u v", "a", event_id="1"), event("u v", "a", event_id="2")])
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE entries SET kind = 9 WHERE key = 'a'")
        db.execute("UPDATE entries SET body = '{' WHERE key = 'b'")
        db.execute("UPDATE entries SET body = '{' WHERE number = 3")
        db.execute("UPDATE entries SET body = '[]' WHERE number = 4")
    db.close()
    with open_journal(tmp_path) as journal:
        lost, broken, words, other = journal.check()
        assert "item 'a' has no entry" in lost and "no JSON" in broken
        assert "no JSON" in words and "--user 'u v'" in words and "does not name it" in other
        for item_id in ("a", "b"):
            journal.erase_item(item_id)
        assert journal.erase_user("u v").entries == {"user": 0, "event": 2}
        assert journal.check() == [], "what a check says to do mends it"


def test_files_of_an_export_say_whose_they_are(tmp_path: Path) -> None:
    with open_journal("memory") as journal:
        journal.append("item", [item("a")])
        journal.export(tmp_path / "out")
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert manifest["journal"] == journal.name
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0, "it has the key of the hashes"


@pytest.mark.parametrize("missing", ["last", "rows"])
def test_a_manifest_that_lacks_something_is_refused(tmp_path: Path, missing: str) -> None:
    with open_journal("memory") as journal:
        journal.append("item", [item("a")])
        journal.export(tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    del {"last": manifest, "rows": manifest["tables"]["items.jsonl"]}[missing][missing]
    path.write_text(json.dumps(manifest))
    with open_journal("memory") as fresh:
        with pytest.raises(JournalError, match=f"no export of a journal: '{missing}'"):
            fresh.restore(tmp_path / "out")
        assert fresh.last() == 0
