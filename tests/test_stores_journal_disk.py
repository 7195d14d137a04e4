"""What a journal on a disk lives through: kills, full and closed disks; erasures to the byte."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_worlds import event, item
from m6rec.stores.journal.base import JournalBusy, JournalError
from m6rec.stores.journal.compacting import Copy
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.sqlite import FILE, LOCK, SqliteJournal
from stores_worlds import run_apart

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import journal_kills

FULL = """
import resource, sys
from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.opening import open_journal

journal = open_journal(sys.argv[1])
journal.append("item", [{"item_id": "first"}])
size = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, size[1]))
kept = 0
for n in range(1000):
    try:
        journal.append("item", [{"item_id": f"{n}-{i}", "text": "x" * 900} for i in range(10)])
    except JournalError as error:
        assert "nothing of this was kept" in str(error), error
        break
    kept += 10
else:
    raise AssertionError("the disk was never full")
assert len(journal.items(limit=100_000)) == kept + 1
resource.setrlimit(resource.RLIMIT_FSIZE, size)
journal.append("item", [{"item_id": "after"}])
journal.close()
with open_journal(sys.argv[1]) as again:
    assert len(again.items(limit=100_000)) == kept + 2, "half of something was kept"
print(kept)
"""

CLOSED = """
import os, sys
from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.opening import open_journal

os.seteuid(65534 if os.geteuid() == 0 else os.geteuid())
try:
    open_journal(sys.argv[1])
except JournalError as error:
    print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="m6rec-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_no_kill_loses_doubles_or_halves_what_was_acknowledged(tmp_path: Path) -> None:
    done = journal_kills.kills(tmp_path, 4)
    assert set(done["wrong"].values()) == {0}, done
    assert done["acknowledged_events"] > 0
    assert done["slowest_start_s"] < 30


def test_the_check_after_a_kill_sees_what_is_missing(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        journal.append("event", [event("u", "x", event_id="0-0-0-0")])
        journal.append("item", [item("lost")])
        index = journal_kills.LocalIndex(journal_kills.DIM, exact_below=None)
        index.put(["odd"], journal_kills.vector("odd")[None])
        index.save(tmp_path / "index", journal.last(), journal.name)
    wrong = journal_kills.check(tmp_path, {"0-0-0"})
    assert wrong == {
        "lost": 4,
        "twice": 0,
        "half": 1,
        "not in the index": 1,
        "only in the index": 1,
    }


def test_a_full_disk_keeps_nothing_by_halves_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    assert int(run_apart(FULL, str(tmp_path / "journal"))) > 10


def test_a_folder_that_can_not_be_written_says_so(open_folder: Path) -> None:
    folder = open_folder / "journal"
    open_journal(folder).close()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    said = run_apart(CLOSED, str(folder))
    assert "can not be written" in said and str(folder) in said
    open_folder.chmod(0o555)
    assert "can not be written" in run_apart(CLOSED, str(open_folder / "new"))


def test_a_second_process_is_told_that_the_journal_is_open(tmp_path: Path) -> None:
    with open_journal(tmp_path), pytest.raises(JournalError, match="another process has this"):
        open_journal(tmp_path)
    open_journal(tmp_path).close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else, and long enough to be looked at" * 100)
    with pytest.raises(JournalError, match="damaged or is no journal"):
        open_journal(tmp_path)
    (tmp_path / "other").mkdir()
    open_journal(tmp_path / "other").close()
    with sqlite3.connect(tmp_path / "other" / FILE) as db:
        db.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    db.close()
    with pytest.raises(JournalError, match="format '99'"):
        open_journal(tmp_path / "other")


def test_entries_are_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    with SqliteJournal(tmp_path) as journal:
        db = journal._writer_connection
        assert db.rows("PRAGMA synchronous") == [(2,)], "2 is FULL"
        assert db.rows("PRAGMA journal_mode") == [("wal",)]
        journal.append("item", [item("a")])
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in (FILE, f"{FILE}-wal"):
            shutil.copy(tmp_path / name, copy)
    with open_journal(copy) as found:
        assert found.item("a") == item("a")


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def test_an_erasure_leaves_no_byte_in_any_file(tmp_path: Path) -> None:
    secret = [f"secret-{n:03d}".encode() for n in range(80)]
    with open_journal(tmp_path) as journal:
        for n in range(80):
            mine = event("evelyn@example.org", f"secret-{n:03d}", query="secret-words " * (n % 40))
            others = [event(f"user{n}-{i}", "common", event_id=f"{n}-{i}") for i in range(20)]
            journal.append("event", [*others[:10], mine, *others[10:]], idempotency=f"key {n}")
            journal.append(
                "user", [{"user_id": "evelyn@example.org", "about": "secret-words " * n}]
            )
        journal.history("evelyn@example.org")
        assert b"evelyn" in bytes_of(tmp_path)
        journal.erase_user("user7-3")
        journal.erase_user("evelyn@example.org")
        left = bytes_of(tmp_path)
        assert b"evelyn" not in left and b"secret" not in left
        assert not any(one in left for one in secret)
        assert b'user7-3"' not in left and b"user8-3" in left
        assert len(journal.history("user8-3")) == 1
        journal.append("event", [event("someone", "else")])
    assert b"evelyn" not in bytes_of(tmp_path)


def test_a_compacted_journal_is_smaller_and_holds_no_byte_of_what_was_erased(
    tmp_path: Path,
) -> None:
    with open_journal(tmp_path) as journal:
        for n in range(40):
            rows = [event(f"user{n}-{i}", "thing", query="much to say " * 20) for i in range(50)]
            journal.append("event", rows)
        for n in range(10, 30):
            journal.erase_user(f"user{n}-0")
        journal.append("item", [item("a", text="old words")])
        journal.append("item", [item("a", text="new words")])
        before = (tmp_path / FILE).stat().st_size
        done = journal.compact()
        assert done is not None and done.before == before and done.after < before
        left = bytes_of(tmp_path)
        assert b"user29-0" not in left and b"old words" not in left
        assert b"user29-1" in left and b"new words" in left
        assert len(journal.history("user35-3")) == 1
        journal.append("event", [event("late", "thing")])
        journal.erase_user("late")
        assert b"late" not in bytes_of(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, FILE]
    with open_journal(tmp_path) as journal:
        assert journal.item("a") == item("a", text="new words")


def test_others_write_and_read_while_a_journal_is_compacted(tmp_path: Path) -> None:
    stop, kept, seen = threading.Event(), list[list[str]](), list[int]()

    def write(thread: int) -> list[str]:
        told: list[str] = []
        while not stop.is_set():
            one = f"{thread}-{len(told)}"
            journal.append("event", [event(f"w{thread}", one, event_id=one)], idempotency=one)
            journal.append("item", [item(f"i{thread}", turn=len(told))])
            told.append(one)
        return told

    def read() -> None:
        while not stop.is_set():
            seen.append(len(journal.entries(0, 100_000)))
            journal.history("w0", 10)

    with open_journal(tmp_path) as journal, ThreadPoolExecutor(4) as pool:
        journal.append("event", [event("bulk", f"b{n}") for n in range(2000)])
        writers = [pool.submit(write, thread) for thread in range(3)]
        reader = pool.submit(read)
        done = [journal.compact() for _ in range(5)]
        stop.set()
        kept = [one.result() for one in writers]
        reader.result()
        assert all(one is not None for one in done) and min(seen) >= 2000
        for thread, told in enumerate(kept):
            found = journal.history(f"w{thread}", 100_000)
            assert [one["item_id"] for one in found] == told and told
            assert journal.item(f"i{thread}") == item(f"i{thread}", turn=len(told) - 1)
            again = journal.append("event", [event(f"w{thread}", told[0], event_id=told[0])])
            assert again.duplicates == 1
        assert len(journal.history("bulk", 5000)) == 2000


def test_what_is_erased_while_a_journal_is_compacted_is_not_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_journal(tmp_path) as journal:
        journal.append("event", [event("evelyn", "thing"), event("other", "thing")])
        bulk = Copy.bulk

        def slow(copy: Copy) -> None:
            bulk(copy)
            journal.erase_user("evelyn")

        monkeypatch.setattr(Copy, "bulk", slow)
        with pytest.raises(JournalBusy, match="erased while"):
            journal.compact()
        assert b"evelyn" not in bytes_of(tmp_path)
        assert journal.history("evelyn") == [] and len(journal.history("other")) == 1
        monkeypatch.undo()
        assert journal.compact() is not None
        assert b"evelyn" not in bytes_of(tmp_path) and len(journal.history("other")) == 1


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event", "user", "erase", "reopen", "compact"]),
        st.integers(0, 3),
        st.integers(0, 90),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_any_order_of_writing_and_erasing_leaves_what_was_not_erased(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        kept: dict[str, list[str]] = {}
        gone: set[bytes] = set()
        journal = open_journal(folder)
        for n, (what, who, length) in enumerate(steps):
            user = f"person{who}"
            if what == "event":
                word = f"word{n:04d}" + "y" * (length * 50)
                journal.append("event", [event(user, word, timestamp=n)])
                kept.setdefault(user, []).append(word)
            elif what == "user":
                journal.append("user", [{"user_id": user, "note": f"note{n:04d}" + "z" * length}])
            elif what == "erase":
                counts = journal.erase_user(user).entries
                words = kept.pop(user, [])
                assert counts["event"] == len(words)
                gone |= {word[:8].encode() for word in words}
                left = bytes_of(folder)
                assert not [one for one in gone if one in left]
                assert journal.user(user) is None
            elif what == "compact":
                journal.compact()
                assert not [one for one in gone if one in bytes_of(folder)]
            else:
                journal.close()
                journal = open_journal(folder)
        for user in (f"person{who}" for who in range(4)):
            assert [e["item_id"] for e in journal.history(user, 99)] == kept.get(user, [])
        numbers = [e.number for e in journal.entries()]
        assert numbers == sorted(set(numbers))
        journal.close()
