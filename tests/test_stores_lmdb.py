"""The folder of states: room, crashes, damage, many processes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from m6rec.stores.states import lmdb_store
from m6rec.stores.states.base import StoreError
from m6rec.stores.states.codec import HEAD
from m6rec.stores.states.lmdb_store import GENERATIONS, LEAST_LIMIT, LmdbStore
from stores_worlds import WIDTH, fill, held, run_apart

LIMIT = LEAST_LIMIT
MANY = 20_000
"""More made-up segments than LIMIT has room for."""
BATCH = 200


def transactions(store: LmdbStore) -> int:
    """Number of the last write transaction of a folder."""
    return int(store._env._env.info()["last_txnid"])


def file_of(folder: Path) -> Path:
    return folder / "data.mdb"


def flood(store: LmdbStore, start: int = 0, stop: int = MANY) -> None:
    for first in range(start, stop, BATCH):
        fill(store, range(first, first + BATCH))


def test_the_file_stays_within_its_limit_and_the_newest_stay(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, LIMIT) as store:
        flood(store)
        there = held(store, range(MANY))
        assert store.info().size <= LIMIT
        assert file_of(tmp_path).stat().st_size <= LIMIT
        assert min(there) > MANY // 2
        assert set(range(MANY - 2000, MANY)) <= there
        # five full generations and a part of one, by what a generation may hold
        assert 0.45 * LIMIT < store.info().size


def test_what_is_read_stays_and_what_is_not_read_goes(tmp_path: Path) -> None:
    used, unused = range(500), range(500, 1000)
    with LmdbStore(tmp_path, LIMIT) as store:
        fill(store, used)
        fill(store, unused)
        for first in range(1000, MANY, BATCH):
            fill(store, range(first, first + BATCH))
            assert held(store, used) == set(used)
        assert held(store, unused) == set()


def test_a_put_is_one_transaction_and_reads_write_nothing(tmp_path: Path) -> None:
    with LmdbStore(tmp_path) as store:
        before = transactions(store)
        fill(store, range(1101))
        assert transactions(store) == before + 1
        for _ in range(20):
            held(store, range(1500))
        assert transactions(store) == before + 1


def test_second_chances_are_written_together_even_if_nothing_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_store, "AGAIN_AT_ONCE", 100)
    with LmdbStore(tmp_path, LIMIT) as store:
        turn = 0
        while store._env.read(store._newest) < GENERATIONS - 1:
            fill(store, range(turn, turn + BATCH))
            turn += BATCH
        before = transactions(store)
        for number in range(0, 90):
            held(store, [number])
        assert transactions(store) == before
        held(store, range(200))
        assert transactions(store) == before + 1
        assert not store._again


def test_a_full_map_makes_room_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lmdb_store, "FILLED", 1.2)  # the map is full before the generations are
    emptied: list[int] = []
    drop = LmdbStore._drop_oldest

    def counted(self: LmdbStore, txn: object) -> None:
        emptied.append(1)
        drop(self, txn)

    monkeypatch.setattr(LmdbStore, "_drop_oldest", counted)
    with LmdbStore(tmp_path, LIMIT) as store:
        flood(store)
        assert emptied
        assert set(range(MANY - BATCH, MANY)) <= held(store, range(MANY))
        assert file_of(tmp_path).stat().st_size <= LIMIT + max(1 << 20, LIMIT // 16)
    assert not caplog.records


def test_a_value_larger_than_the_cache_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with LmdbStore(tmp_path, LIMIT) as store:
        fill(store, range(10))
        store.put({b"k" * 16: bytes(2 * LIMIT), b"s" * 16: b"small"})
        assert store.get([b"k" * 16, b"s" * 16]) == [None, b"small"]
        assert "has no room" in caplog.text
        fill(store, range(10))
        assert held(store, range(10)) == set(range(10))


GROWN = """
import sys
from m6rec.stores.states.lmdb_store import LmdbStore
from stores_worlds import fill
with LmdbStore(sys.argv[1], 64 << 20) as store:
    for first in range(0, 40000, 2000):
        fill(store, range(first, first + 2000))
"""


def test_a_map_that_another_process_has_grown_is_taken_on(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, LIMIT) as store:
        fill(store, range(10))
        run_apart(GROWN, str(tmp_path))
        assert file_of(tmp_path).stat().st_size > LIMIT
        assert held(store, range(0, 40_000, 7)) == set(range(0, 40_000, 7))
        fill(store, [50_000])
        assert held(store, [50_000]) == {50_000}


def test_a_smaller_limit_makes_the_values_fewer_again(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, 4 * LIMIT) as store:
        flood(store)
        assert store.info().size > LIMIT
    with LmdbStore(tmp_path, LIMIT) as store:
        flood(store)
        assert store.info().size <= LIMIT


KILLED = """
import os, random, signal, sys, time
from m6rec.stores.states.lmdb_store import LmdbStore
from stores_worlds import fill, held
folder, rounds = sys.argv[1], int(sys.argv[2])
chance = random.Random(0)
written = 0
for turn in range(rounds):
    child = os.fork()
    if child == 0:
        with LmdbStore(folder, 4 << 20) as store:
            first = 0
            while True:
                fill(store, [(first * 50 + n) % 12000 for n in range(50)])
                held(store, range(0, 12000, 41))
                first += 1
    time.sleep(chance.uniform(0.005, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check = os.fork()  # a process of its own: what it sees comes from the file alone
    if check == 0:
        with LmdbStore(folder, 4 << 20) as store:
            there = held(store, range(12000))
            assert len(store._env._env.readers().splitlines()) <= 2, store._env._env.readers()
        os._exit(0 if there or turn < 3 else 1)
    assert os.waitpid(check, 0)[1] == 0, turn
print("whole")
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_right_states_only(tmp_path: Path) -> None:
    assert run_apart(KILLED, str(tmp_path), "25") == "whole\n"


CROWD = """
import os, sys
from m6rec.stores.states.lmdb_store import LmdbStore
from stores_worlds import fill, held
folder, children = sys.argv[1], []
for who in range(5):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with LmdbStore(folder, 16 << 20) as store:
                for turn in range(40):
                    if who < 2:
                        first = who * 10000 + turn * 200
                        fill(store, range(first, first + 200))
                        assert held(store, range(first, first + 200)) == set(
                            range(first, first + 200)
                        )
                    else:
                        held(store, range(0, 18000, 13))
            code = 0
        finally:
            os._exit(code)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
with LmdbStore(folder, 16 << 20) as store:
    print(len(held(store, range(20000))) > 1000)
"""


def test_several_processes_read_and_write_at_once(tmp_path: Path) -> None:
    assert run_apart(CROWD, str(tmp_path)) == "True\n"


READER = """
import os, signal, sys
from m6rec.stores.states.lmdb_store import LmdbStore
store = LmdbStore(sys.argv[1], 4 << 20)
child = os.fork()
if child == 0:
    store._env._after_fork()
    reading = store._env._env.begin()
    reading.get(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
"""


def test_a_reader_that_died_holds_no_pages(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, LIMIT) as store:
        fill(store, range(100))
        run_apart(READER, str(tmp_path))
        assert len(store._env._env.readers().splitlines()) == 2  # a header and the dead one
        assert store._env.clear_stale_readers() == 1
        run_apart(READER, str(tmp_path))
        flood(store)  # it would run out of room if the dead reader's pages were kept
        assert set(range(MANY - BATCH, MANY)) <= held(store, range(MANY))
    run_apart(READER, str(tmp_path))
    with LmdbStore(tmp_path, LIMIT) as store:  # opening clears as well
        assert store.info().more["readers"] == 0


FORKED = """
import os, sys
from m6rec.stores.states.lmdb_store import LmdbStore
from stores_worlds import fill, held
store = LmdbStore(sys.argv[1])
fill(store, range(10))
children = []
for who in range(1, 4):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert held(store, range(10)) == set(range(10))
            for turn in range(20):
                fill(store, [100 * who + turn])
            store.close()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
for turn in range(20):
    fill(store, [turn])
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 3
wanted = {*range(20), *(100 * who + turn for who in range(1, 4) for turn in range(20))}
assert held(store, range(1000)) == wanted
print("whole")
"""


def test_a_store_that_was_opened_before_a_fork_works_on_both_sides(tmp_path: Path) -> None:
    assert run_apart(FORKED, str(tmp_path)) == "whole\n"


def test_two_stores_of_one_process_share_a_folder(tmp_path: Path) -> None:
    one, other = LmdbStore(tmp_path), LmdbStore(f"{tmp_path}/../{tmp_path.name}")
    fill(one, range(5))
    assert held(other, range(6)) == set(range(5))
    one.close()
    fill(other, [7])
    assert held(other, range(8)) == {0, 1, 2, 3, 4, 7}
    other.close()
    with LmdbStore(tmp_path) as again:
        assert held(again, range(8)) == {0, 1, 2, 3, 4, 7}


def test_flipped_bytes_in_the_file_are_missing_states_never_wrong_ones(tmp_path: Path) -> None:
    with LmdbStore(tmp_path, LIMIT) as store:
        flood(store, 0, 4000)
        assert held(store, range(4000)) == set(range(4000))
    raw = bytearray(file_of(tmp_path).read_bytes())
    rng = np.random.default_rng(0)
    heads = [found.start() for found in re.finditer(re.escape(HEAD.pack(1, 1, 1, WIDTH)), raw)]
    for head in rng.choice(heads, 400, replace=False):  # some of them are old copies of a page
        raw[int(head) + int(rng.integers(HEAD.size + 2 * WIDTH))] ^= 1 << int(rng.integers(8))
    file_of(tmp_path).write_bytes(raw)
    with LmdbStore(tmp_path, LIMIT) as store:
        there = held(store, range(4000))
        assert 3500 < len(there) < 4000
        lost = sorted(set(range(4000)) - there)
        fill(store, lost)  # what was damaged is replaced
        assert held(store, range(4000)) == set(range(4000))


def test_a_file_that_was_cut_off_serves_no_wrong_state_and_ends_no_process(tmp_path: Path) -> None:
    code = (
        "import sys, logging\n"
        "from m6rec.stores.states.lmdb_store import LmdbStore\n"
        "from m6rec.stores.states.base import StoreError\n"
        "from stores_worlds import fill, held\n"
        "logging.disable()\n"
        "try:\n"
        "    with LmdbStore(sys.argv[1]) as store:\n"
        "        held(store, range(4000)); fill(store, range(10)); held(store, range(4000))\n"
        "except StoreError as error:\n"
        "    assert 'delete' in str(error)\n"
        "print('whole')\n"
    )
    with LmdbStore(tmp_path, LIMIT) as store:
        flood(store, 0, 4000)
    whole = file_of(tmp_path).read_bytes()
    for share in (0.3, 0.7, 0.95):
        file_of(tmp_path).write_bytes(whole[: int(len(whole) * share)])
        assert run_apart(code, str(tmp_path)) == "whole\n"


def test_something_else_in_the_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    file_of(tmp_path).write_bytes(b"not a cache" * 1000)
    with pytest.raises(StoreError, match="can not be opened as a segment cache"):
        LmdbStore(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="can not be opened"):
        LmdbStore(tmp_path / "file")
    with pytest.raises(StoreError, match="too small"):
        LmdbStore(tmp_path / "new", 1000)


def test_a_folder_of_another_format_is_an_error_that_says_so(tmp_path: Path) -> None:
    with LmdbStore(tmp_path) as store:
        meta = store._env.dbs[lmdb_store.META]
        store._env.write(lambda txn: txn.put(lmdb_store.FORMAT, b"9", db=meta))
    with pytest.raises(StoreError, match="format b'9'; this version reads b'1'"):
        LmdbStore(tmp_path)


def test_a_folder_without_permission_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, **how: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)  # a mode would not stop root
    with pytest.raises(StoreError, match=r"can not be opened .* Permission denied"):
        LmdbStore(tmp_path / "cache")
