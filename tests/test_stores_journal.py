"""Every journal keeps the same promises: SQLite in a folder, in memory, and PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from journal_worlds import PostgresServer, empty, event, item, postgres_server
from m6rec.stores.journal import sql
from m6rec.stores.journal.base import Journal, JournalBusy, JournalConflict, JournalError
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.sqlite import SqliteJournal


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    if request.param == "postgres":
        url = request.getfixturevalue("server").url
        made = open_journal(url)
        yield made
        empty(made, url)
        return
    with open_journal("memory" if request.param == "memory" else tmp_path / "journal") as made:
        yield made


def test_entries_come_back_in_the_order_they_came(journal: Journal) -> None:
    done = journal.append("item", [item("a", price=3.5), item("b")])
    assert (done.stored, done.duplicates, done.last, done.repeated) == (2, 0, 2, False)
    journal.append("user", [{"user_id": "u", "city": "Zürich 🚲"}])
    journal.append("event", [event("u", "a", timestamp=5)])
    found = journal.entries()
    assert [(e.number, e.kind, e.key) for e in found] == [
        (1, "item", "a"),
        (2, "item", "b"),
        (3, "user", "u"),
        (4, "event", "u"),
    ]
    assert found[2].body == {"user_id": "u", "city": "Zürich 🚲"}
    assert found[0].at <= found[3].at
    assert [e.number for e in journal.entries(after=1, limit=2)] == [2, 3]
    assert journal.last() == 4


def test_the_newest_body_of_a_key_is_given(journal: Journal) -> None:
    journal.append("item", [item("a", price=1), item("b"), item("a", price=2)])
    journal.append("user", [{"user_id": "u", "n": 1}])
    journal.append("user", [{"user_id": "u", "n": 2}])
    assert journal.item("a") == item("a", price=2)
    assert journal.user("u") == {"user_id": "u", "n": 2}
    assert journal.item("u") is None and journal.user("a") is None


def test_items_are_paged_by_their_ids(journal: Journal) -> None:
    ids = ["b", "B", "a", "é", "10", "9", "ab"]
    journal.append("item", [item(one) for one in ids])
    seen: list[str] = []
    page = journal.items(limit=3)
    while page:
        seen += [one["item_id"] for one in page]
        page = journal.items(seen[-1], limit=3)
    assert seen == sorted(ids)


def test_a_history_is_ordered_by_when_things_happened(journal: Journal) -> None:
    journal.append("event", [event("u", "late", timestamp=30.5), event("v", "other")])
    journal.append("event", [event("u", "early", timestamp=-10), event("u", "mid", timestamp=20)])
    assert [e["item_id"] for e in journal.history("u", 10)] == ["early", "mid", "late"]
    assert [e["item_id"] for e in journal.history("u", 2)] == ["mid", "late"]
    journal.append("event", [event("u", "now")])
    assert [e["item_id"] for e in journal.history("u", 2)] == ["late", "now"]
    assert journal.history("nobody", 5) == []


def test_the_same_event_id_is_kept_once(journal: Journal) -> None:
    first = [event("u", "a", event_id="1"), event("u", "b", event_id="2")]
    journal.append("event", first)
    again = [event("u", "x", event_id="2"), *[event("u", "c", event_id="3")] * 2, event("u", "d")]
    done = journal.append("event", again)
    assert (done.stored, done.duplicates) == (2, 2)
    assert [e["item_id"] for e in journal.history("u", 10)] == ["a", "b", "c", "d"]


def test_an_idempotency_key_keeps_nothing_twice(journal: Journal) -> None:
    first = journal.append("event", [event("u", "a"), event("u", "b")], idempotency="k")
    again = journal.append("event", [event("u", "a"), event("u", "b")], idempotency="k")
    assert again.repeated and not first.repeated
    assert (again.stored, again.last) == (first.stored, first.last) == (2, 2)
    with pytest.raises(JournalConflict, match="used for other bodies"):
        journal.append("event", [event("u", "a")], idempotency="k")
    with pytest.raises(JournalConflict):
        journal.append("user", [event("u", "a"), event("u", "b")], idempotency="k")
    assert journal.last() == 2


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("event", {"item_id": "a"}, "event 1: user_id: right is a text"),
        ("item", {"item_id": 7}, "item 1: item_id: right is a text"),
        ("item", {"item_id": ""}, "not empty"),
        ("item", {"item_id": "x" * 513}, "513 characters"),
        ("item", {"item_id": "a\0b"}, "no text"),
        ("item", {"item_id": "a", "title": "\ud800"}, "no text"),
        ("item", {"item_id": "a", "price": float("nan")}, "is not JSON"),
        ("event", {"user_id": "u", "timestamp": "noon"}, "seconds since 1970"),
        ("event", {"user_id": "u", "timestamp": True}, "seconds since 1970"),
        ("event", {"user_id": "u", "event_id": 5}, "event_id"),
        ("review", {"user_id": "u"}, "right is item, user, event"),
        ("event", ["u"], "an object with fields"),
    ],
)
def test_a_wrong_body_is_named_and_nothing_is_kept(kind: str, body: object, said: str) -> None:
    good = {"item_id": "a", "user_id": "u"}
    with SqliteJournal() as journal:
        with pytest.raises(JournalError, match=said):
            journal.append(kind, [good, body])  # type: ignore[arg-type, list-item]
        assert journal.last() == 0


def test_odd_text_and_numbers_come_back_to_the_letter(journal: Journal) -> None:
    odd = {"item_id": "%s ?'\";--", "title": "\0\t\u2028 ' % ? {x}", "n": [1e300, -0.5, 2**70]}
    journal.append("item", [odd])
    assert journal.item("%s ?'\";--") == odd
    journal.append("event", [event("u", "a", timestamp=1e300), event("u", "b", timestamp=-1e300)])
    assert [e["item_id"] for e in journal.history("u", 2)] == ["b", "a"]


def test_threads_append_at_once_and_every_entry_is_there_once(journal: Journal) -> None:
    def work(n: int) -> None:
        for i in range(20):
            journal.append("event", [event(f"u{n}", f"{n}-{i}-{j}") for j in range(3)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = journal.entries()
    assert [e.number for e in found] == list(range(1, 481))
    assert len({e.body["item_id"] for e in found}) == 480
    order = [e["item_id"] for e in journal.history("u3", 60)]
    assert order == [f"3-{i}-{j}" for i in range(20) for j in range(3)]
    assert journal.waiting() == 0


def test_an_erased_user_is_gone_and_the_receipt_stands_in_the_journal(journal: Journal) -> None:
    journal.append("user", [{"user_id": "evelyn", "mail": "evelyn@x.org"}, {"user_id": "bob"}])
    journal.append(
        "event",
        [event("evelyn", "a", event_id="e1"), event("bob", "b"), event("evelyn", "c", timestamp=9)],
    )
    receipt = journal.erase_user("evelyn")
    assert receipt.entries == {"user": 1, "event": 2}
    assert journal.user("evelyn") is None and journal.history("evelyn", 9) == []
    assert journal.history("bob", 9) == [event("bob", "b")]
    told = journal.entries()
    assert [(e.kind, e.number) for e in told] == [("user", 2), ("event", 4), ("erase_user", 6)]
    assert told[-1].key == journal.masked("evelyn") == receipt.key
    assert told[-1].body == {"entries": dict(receipt.entries), "hash": receipt.hash}
    assert receipt.sealed().hash == receipt.hash
    assert "evelyn" not in json.dumps([e.body for e in told]) + json.dumps(receipt.to_dict())
    journal.append(
        "event", [event("evelyn", "a", event_id="e1"), event("evelyn", "c", timestamp=9)]
    )
    assert len(journal.history("evelyn", 9)) == 2, "who comes back begins anew"


def test_erasing_an_unknown_user_is_a_receipt_of_nothing(journal: Journal) -> None:
    assert journal.erase_user("nobody").entries == {"user": 0, "event": 0}


def test_an_erased_item_is_gone_and_its_events_stay(journal: Journal) -> None:
    journal.append("item", [item("a"), item("b"), item("a", price=2)])
    journal.append("event", [event("u", "a")])
    receipt = journal.erase_item("a")
    assert (receipt.key, receipt.entries) == ("a", {"item": 2})
    assert journal.item("a") is None
    assert journal.items() == [item("b")]
    assert journal.history("u", 1) == [event("u", "a")]
    assert [(e.kind, e.key) for e in journal.entries()][-1] == ("erase_item", "a")
    journal.append("item", [item("a", price=3)])
    assert journal.item("a") == item("a", price=3)


def test_compacting_removes_what_is_of_no_more_use_and_nothing_else(journal: Journal) -> None:
    for n in range(5):
        journal.append("item", [item("a", turn=n), item(f"b{n}")])
        journal.append("user", [{"user_id": "u", "turn": n}, {"user_id": f"v{n}"}])
        journal.append("event", [event(f"v{n % 2}", "a", event_id=f"e{n}")], idempotency=f"k{n}")
    journal.erase_user("v0")
    journal.erase_item("b1")
    told = journal.entries()
    done = journal.compact()
    again = journal.entries()
    if done is not None:  # in memory there is nothing to win
        newest = {(e.kind, e.key): e.number for e in told}
        alive = [
            e for e in told if e.kind not in ("item", "user") or newest[e.kind, e.key] == e.number
        ]
        assert again == alive and len(alive) < len(told)
        assert journal.compact(least=0.01) is None
    assert journal.last() == told[-1].number
    assert journal.item("a") == item("a", turn=4) and journal.user("u") == {
        "user_id": "u",
        "turn": 4,
    }
    assert journal.item("b1") is None and journal.history("v0") == []
    assert [one["event_id"] for one in journal.history("v1")] == ["e1", "e3"]
    assert journal.append("event", [event("v1", "a", event_id="e1")]).duplicates == 1
    assert journal.append("event", [event("v1", "a", event_id="e0")]).stored == 1
    assert journal.append("event", [event("v1", "a", event_id="e3")], idempotency="k3").repeated
    assert journal.append("item", [item("z")]).last == told[-1].number + 2


def test_an_export_is_restored_whole(journal: Journal, tmp_path: Path) -> None:
    journal.append("item", [item("b"), item("a", price=1), item("a", price=2)])
    journal.append("user", [{"user_id": "u"}, {"user_id": "gone"}])
    journal.append("event", [event("u", "a", timestamp=3), event("gone", "a"), event("u", "b")])
    journal.erase_user("gone")
    manifest = journal.export(tmp_path / "out")
    rows = {file: told["rows"] for file, told in manifest["tables"].items()}
    assert rows == {"items.jsonl": 2, "users.jsonl": 1, "events.jsonl": 2, "erasures.jsonl": 1}
    with open_journal(tmp_path / "other") as other:
        other.restore(tmp_path / "out")
        assert other.items() == journal.items()
        assert other.user("u") == journal.user("u")
        assert [e["item_id"] for e in other.history("u", 9)] == ["a", "b"]
        again = other.export(tmp_path / "again")
        assert again["tables"] == manifest["tables"]
        with pytest.raises(JournalError, match="empty journal"):
            other.restore(tmp_path / "out")
        with pytest.raises(JournalError, match="holds something already"):
            other.export(tmp_path / "out")
    (tmp_path / "out" / "users.jsonl").write_text("{}\n")
    with open_journal("memory") as third:
        with pytest.raises(JournalError, match=r"users\.jsonl is not the file"):
            third.restore(tmp_path / "out")
        assert third.last() == 0


def test_more_than_may_wait_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteJournal(most_waiting=10) as journal:
        hold, running = threading.Event(), threading.Event()
        create = journal._append

        def slow(*words: object) -> object:
            running.set()
            hold.wait(10)
            return create(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(journal, "_append", slow)
        first = journal.submit("event", [event("u", "a")] * 4)
        running.wait(10)
        second = journal.submit("event", [event("u", "b")] * 6)
        with pytest.raises(JournalBusy, match="10 entries wait"):
            journal.submit("event", [event("u", "c")])
        assert journal.waiting() == 10
        hold.set()
        assert first.result(10).stored == 4
        assert second.result(10).last == 10
        assert journal.append("event", [event("u", "c")] * 50).stored == 50


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append("item", [item("a")])


def test_two_processes_write_one_postgres_journal_in_one_order(server: PostgresServer) -> None:
    one, other = open_journal(server.url), open_journal(server.url)
    assert one.name == other.name
    assert one.masked("u") == other.masked("u")

    def work(journal: Journal) -> None:
        for i in range(20):
            journal.append("event", [event("u", str(i))])

    threads = [threading.Thread(target=work, args=(journal,)) for journal in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.number for e in one.entries()] == list(range(1, 41))
    assert one.entries() == other.entries()
    one.close()
    empty(other, server.url)


def test_a_postgres_that_went_and_came_back_is_used_again(server: PostgresServer) -> None:
    journal = open_journal(server.url)
    journal.append("event", [event("u", "a")], idempotency="1")
    server.stop()
    try:
        with pytest.raises(JournalError, match="not known to be kept"):
            journal.append("event", [event("u", "b")], idempotency="2")
        with pytest.raises(JournalError, match="can not be read"):
            journal.history("u", 9)
        with pytest.raises(JournalError, match="not known to be kept"):
            journal.append("event", [event("u", "b")], idempotency="2")
    finally:
        server.start()
    assert journal.append("event", [event("u", "b")], idempotency="2").stored == 1
    assert journal.append("event", [event("u", "a")], idempotency="1").repeated
    assert [e["item_id"] for e in journal.history("u", 9)] == ["a", "b"]
    empty(journal, server.url)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(JournalError, match="right is a folder, postgresql"):
        open_journal("mysql://user:secret@host/db")
    with pytest.raises(JournalError, match="can not be opened") as told:
        open_journal("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(told.value)


def test_a_clock_that_is_put_back_changes_no_order(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_700_000_000.0]
    monkeypatch.setattr(sql, "time", SimpleNamespace(time=lambda: clock[0]))
    journal.append("event", [event("u", "first")])
    clock[0] -= 3600
    journal.append("event", [event("u", "second")])
    journal.append("event", [event("u", "third")])
    assert [one["item_id"] for one in journal.history("u")] == ["first", "second", "third"]
    clock[0] += 3601
    journal.append("event", [event("u", "fourth")])
    assert [one["item_id"] for one in journal.history("u", 1)] == ["fourth"]


def test_a_clock_that_runs_ahead_and_back_forgets_no_idempotency_key(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_700_000_000.0]
    monkeypatch.setattr(sql, "time", SimpleNamespace(time=lambda: clock[0]))
    journal.append("event", [event("u", "a")], idempotency="k")
    clock[0] += 8 * 24 * 3600
    journal.append("event", [event("u", "b")], idempotency="other")
    clock[0] -= 8 * 24 * 3600
    assert journal.append("event", [event("u", "a")], idempotency="k").repeated
    monkeypatch.setattr(sql, "ALWAYS_KEPT", 0)
    clock[0] += 8 * 24 * 3600
    journal.append("event", [event("u", "c")], idempotency="third")
    assert not journal.append("event", [event("u", "a")], idempotency="k").repeated
