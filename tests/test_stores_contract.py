"""What every store of states keeps to, and what is Redis' own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from m6rec.stores.states import redis_store
from m6rec.stores.states.base import StateStore, StoreError
from m6rec.stores.states.lmdb_store import LmdbStore
from m6rec.stores.states.memory_store import OVERHEAD, MemoryStore
from m6rec.stores.states.redis_store import RedisStore
from stores_worlds import fill, held, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(params=["memory", "lmdb", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    made: StateStore
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "lmdb":
        made = LmdbStore(tmp_path / "cache")
    else:
        made = RedisStore(request.getfixturevalue("server"))
        made.clear()
    with made:
        yield made


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_values_come_back_in_the_order_of_the_keys(store: StateStore) -> None:
    store.put({key(n): bytes([n]) * n for n in range(1, 9)})
    assert store.get([key(5), key(99), key(1), key(5)]) == [b"\5" * 5, None, b"\1", b"\5" * 5]


def test_a_second_put_replaces_the_value(store: StateStore) -> None:
    store.put({key(1): b"old", key(2): b"stays"})
    store.put({key(1): b"new"})
    assert store.get([key(1), key(2)]) == [b"new", b"stays"]
    assert store.info().entries == 2


def test_nothing_asked_and_nothing_put_is_nothing(store: StateStore) -> None:
    store.put({})
    assert store.get([]) == []
    assert store.info().entries == 0


def test_any_byte_may_stand_in_keys_and_values(store: StateStore) -> None:
    entries = {bytes([b]) * 16: bytes(range(b, 256)) for b in (0, 10, 127, 255)}
    store.put(entries)
    assert store.get(list(entries)) == list(entries.values())


def test_a_large_request_is_put_and_found(store: StateStore) -> None:
    entries = {key(n): n.to_bytes(4, "big") * 200 for n in range(3000)}
    store.put(entries)
    assert store.get(list(entries)) == list(entries.values())
    found = store.info()
    assert found.entries == 3000
    assert found.size >= 3000 * 800
    assert found.to_dict()["kind"] == found.kind


def test_clear_forgets_everything_and_the_store_goes_on(store: StateStore) -> None:
    fill(store, range(20))
    store.clear()
    assert held(store, range(20)) == set()
    assert store.info().entries == 0
    fill(store, [3])
    assert held(store, range(20)) == {3}


def test_threads_read_and_write_at_once(store: StateStore) -> None:
    problems: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for start in range(first, first + 200, 20):
                fill(store, range(start, start + 20))
                held(store, range(0, 800, 3))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(200 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert held(store, range(800)) == set(range(800))


def test_memory_forgets_what_was_not_asked_for_longest() -> None:
    store = MemoryStore(limit=3 * (10 + OVERHEAD))
    store.put({key(n): bytes(10) for n in range(3)})
    store.get([key(0)])
    store.put({key(3): bytes(10)})
    assert [value is not None for value in store.get([key(n) for n in range(4)])] == [
        True,
        False,
        True,
        True,
    ]
    assert store.info().size == store.limit


def test_redis_takes_one_command_for_a_request(server: str) -> None:
    with RedisStore(server) as store:
        store.clear()
        client = store._client
        fill(store, range(50))
        before = client.info("commandstats")
        held(store, range(100))
        after = client.info("commandstats")
        assert after["cmdstat_mget"]["calls"] - before["cmdstat_mget"]["calls"] == 1
        assert "cmdstat_get" not in after
        assert after["cmdstat_mset"]["calls"] == before["cmdstat_mset"]["calls"]


def test_redis_lets_values_go_after_their_time(server: str) -> None:
    with RedisStore(server, ttl=100) as store:
        store.clear()
        store.put({key(1): b"x"})
        assert 90 <= store._client.ttl(redis_store.PREFIX + key(1)) <= 100


def test_redis_keeps_what_is_not_ours_when_it_is_cleared(server: str) -> None:
    with RedisStore(server) as store:
        store._client.set("theirs", "1")
        fill(store, range(5))
        store.clear()
        assert store._client.get("theirs") == b"1"
        assert store.info().entries == 0


def test_two_clients_of_one_redis_see_the_same(server: str) -> None:
    with RedisStore(server) as one, RedisStore(server) as other:
        one.clear()
        fill(one, range(10))
        assert held(other, range(12)) == set(range(10))


def test_a_redis_that_goes_away_costs_time_and_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server(tmp_path) as address:
        store = RedisStore(address)
        fill(store, range(5))
    caplog.set_level(logging.WARNING)
    assert held(store, range(5)) == set()
    fill(store, range(5))
    assert len(caplog.records) == 1  # no second try, no second warning, until the pause is over
    assert "going on without" in caplog.text
    with pytest.raises(StoreError, match="can not be read"):
        store.info()
    with redis_server(tmp_path):
        monkeypatch.setattr(store, "_again_at", 0.0)
        fill(store, range(5))
        assert held(store, range(5)) == set(range(5))
    store.close()


def test_no_server_is_an_error_that_hides_the_password() -> None:
    with pytest.raises(StoreError, match="no Redis server answers") as problem:
        RedisStore("redis://user:secret@127.0.0.1:1/0")
    assert "redis://127.0.0.1:1/0" in str(problem.value)
    assert "secret" not in str(problem.value)
