"""What is in the journal is the truth: what it was filled from, up to where, and who was erased."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from journal_worlds import PostgresServer, empty, event, item, postgres_server
from m6rec.stores.journal.base import Journal, JournalConflict, JournalError
from m6rec.stores.journal.erasing import Erased
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.origin import Seed
from m6rec.stores.journal.schema import THIS_FORMAT
from m6rec.stores.journal.seeding import Part, fill
from m6rec.stores.journal.sqlite import FILE
from m6rec.stores.journal.tables import ERASURES, erasures_of

PARTS: list[Part] = [
    ("item", [item("a"), item("b")]),
    ("user", [{"user_id": "u"}, {"user_id": "v"}]),
    ("event", [event("u", "a"), event("v", "b", timestamp=5), event("u", "b", timestamp=7)]),
]
SEED = Seed("the tables of shop", "0123", 7)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "journal")
        return
    url = request.getfixturevalue("server").url
    yield url
    empty(open_journal(url), url)


def bodies(journal: Journal) -> list[Any]:
    return [entry.body for entry in journal.entries()]


def told() -> list[Any]:
    return [body for _, part in PARTS for body in part]


def test_an_empty_journal_is_filled_once_and_says_from_what(where: str) -> None:
    with open_journal(where) as journal:
        assert journal.seed() is None
        done = fill(journal, SEED, PARTS)
        assert done.whole and (done.source, done.done) == (SEED.source, 7)
        assert bodies(journal) == told()
    with open_journal(where) as again:
        assert again.seed() == done
        assert fill(again, SEED, PARTS) == done
        assert bodies(again) == told()
        with pytest.raises(JournalError, match="filled from the tables of shop, and not from x"):
            fill(again, Seed("x", "other", 7), PARTS)


def test_a_journal_that_holds_anything_is_not_filled(where: str) -> None:
    with open_journal(where) as journal:
        journal.append("event", [event("u", "a")])
        with pytest.raises(JournalConflict, match="only an empty journal"):
            fill(journal, SEED, PARTS)
        assert len(bodies(journal)) == 1


def test_what_was_stopped_half_way_goes_on_and_doubles_nothing(where: str) -> None:
    def stopped() -> Iterator[Part]:
        yield from PARTS[:2]
        raise KeyboardInterrupt

    with open_journal(where) as journal, pytest.raises(KeyboardInterrupt):
        fill(journal, SEED, stopped())
    with open_journal(where) as journal:
        half = journal.seed()
        assert half is not None and (half.done, half.whole) == (4, False)
        with pytest.raises(JournalError, match=r"half-way \(4 of 7 rows\) from the tables of shop"):
            fill(journal, Seed("other tables", "4567", 7), PARTS)
        fill(journal, SEED, PARTS)
        assert bodies(journal) == told(), "events without a time or an id are there once, too"


def test_several_processes_fill_one_journal_together(server: PostgresServer) -> None:
    parts: list[Part] = [("event", [event("u", f"{n}-{i}") for i in range(3)]) for n in range(30)]
    seed = Seed("many events", "89", 90)
    journals = [open_journal(server.url) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda journal: fill(journal, seed, parts), journals))
    assert all(one.whole for one in done)
    found = [entry.body["item_id"] for entry in journals[0].entries()]
    assert found == [f"{n}-{i}" for n in range(30) for i in range(3)]
    for journal in journals[1:]:
        journal.close()
    empty(journals[0], server.url)


def test_who_was_erased_is_not_seeded_again(where: str) -> None:
    with open_journal("memory") as old:
        old.append("event", [event("u", "a")])
        old.erase_user("u")
        (erasure,) = old.erasures()
    with open_journal(where) as journal:
        late = event("u", "b", timestamp=erasure.at + 60)
        fill(journal, Seed("x", "9", 8), [*PARTS, ("event", [late])], later=[erasure])
        assert journal.user("u") is None and journal.user("v") is not None
        assert journal.history("u") == [late], "what a user did who came back later counts"
        assert journal.erasures() == [erasure]
        assert Erased(journal.erasures()).among(["u", "v"]) == ["u"]


def test_an_export_takes_erasures_along_and_a_restore_honours_later_ones(
    where: str, tmp_path: Path
) -> None:
    with open_journal("memory") as old:
        old.append("user", [{"user_id": "gone"}, {"user_id": "back"}, {"user_id": "stays"}])
        old.append("event", [event(one, "a") for one in ("gone", "back", "stays")])
        old.erase_user("back")
        old.append("user", [{"user_id": "back", "again": True}])
        old.append("event", [event("back", "b", timestamp=1)])
        old.export(tmp_path / "early")
        old.erase_user("gone")
        manifest = old.export(tmp_path / "late")
        name, made = old.name, old.erasures()
    assert [one.key for one in erasures_of(tmp_path / "late")] == [one.key for one in made]
    assert manifest["journal"] == name and manifest["tables"][ERASURES]["rows"] == 2
    with open_journal(where) as journal:
        journal.restore(tmp_path / "early", erasures_of(tmp_path / "late"))
        assert journal.before() == (name,)
        assert journal.user("gone") is None and journal.history("gone") == []
        assert journal.user("back") == {"user_id": "back", "again": True}
        assert [one["item_id"] for one in journal.history("back")] == ["b"]
        assert len(journal.history("stays")) == 1
        assert sorted(one.hash for one in journal.erasures()) == sorted(one.hash for one in made)
        journal.export(tmp_path / "again")
        assert len(erasures_of(tmp_path / "again")) == 2


def test_a_restore_that_was_stopped_goes_on(where: str, tmp_path: Path) -> None:
    with open_journal("memory") as old:
        fill(old, SEED, PARTS)
        old.export(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "broken")
    with open_journal(where) as journal:
        grow, calls = journal.grow_seed, list[Any]()

        def failing(*words: Any) -> Seed:
            calls.append(words)
            if len(calls) == 3:
                raise JournalError("the disk is full")
            return grow(*words)

        journal.grow_seed = failing  # type: ignore[method-assign]
        with pytest.raises(JournalError, match="full"):
            journal.restore(tmp_path / "out")
    with open_journal(where) as journal:
        journal.restore(tmp_path / "out")
        assert len(journal.entries()) == 7
        with pytest.raises(JournalError, match="empty journal"):
            journal.restore(tmp_path / "out")


def test_an_older_copy_learns_who_was_erased(where: str) -> None:
    with open_journal(where) as journal:
        journal.append("user", [{"user_id": "u"}])
        journal.append("event", [event("u", "a", event_id="1"), event("v", "a")])
        with open_journal("memory") as other:
            other.append("event", [event("u", "a")])
            other.erase_user("u")
            made = other.erasures()
        assert journal.honour(made) == 2
        assert journal.honour(made) == 0, "it knows of them now"
        assert journal.user("u") is None and journal.history("u") == []
        assert len(journal.history("v")) == 1 and journal.erasures() == made
        (entry,) = [one for one in journal.entries() if one.kind == "erase_user"]
        assert journal.masked("u", entry.body["salt"]) == entry.key


def test_a_journal_of_format_1_opens_and_becomes_one_of_this_format(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append("event", [event("u", "a", event_id="1"), event("v", "a")])
        journal.erase_user("v")
        name = journal.name
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE meta SET value = '1' WHERE name = 'format'")
        db.execute("DROP INDEX by_erasure")
    db.close()
    with open_journal(tmp_path) as journal:
        assert journal.name == name and journal.seed() is None
        assert len(journal.history("u")) == 1 and len(journal.erasures()) == 1
    with sqlite3.connect(tmp_path / FILE) as db:
        found = db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
        indices = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    assert found == (THIS_FORMAT,) and "by_erasure" in indices


def test_an_export_of_format_1_is_restored(tmp_path: Path) -> None:
    with open_journal("memory") as old:
        fill(old, SEED, PARTS)
        old.export(tmp_path / "out")
    text = (tmp_path / "out" / "manifest.json").read_text()
    manifest = json.loads(text)
    del manifest["tables"][ERASURES], manifest["journal"], manifest["before"]
    manifest["format"] = 1
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "out" / ERASURES).unlink()
    with open_journal("memory") as journal:
        journal.restore(tmp_path / "out")
        assert len(journal.entries()) == 7 and journal.before() == ()


def test_a_line_that_is_no_erasure_is_named(tmp_path: Path) -> None:
    (tmp_path / ERASURES).write_text('{"key": "x"}\n')
    with pytest.raises(Exception, match=r"erasures\.jsonl, line 1 is no erasure"):
        erasures_of(tmp_path)
