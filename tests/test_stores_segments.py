"""Segments by content: what makes a key, what is kept, and how a cache is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.stores.extras import need
from m6rec.stores.states.base import StoreError
from m6rec.stores.states.cache import SegmentCache, StateCache
from m6rec.stores.states.codec import States
from m6rec.stores.states.lmdb_store import LmdbStore
from m6rec.stores.states.memory_store import MemoryStore
from m6rec.stores.states.opening import open_cache, parse_size
from stores_worlds import WIDTH, cache_of, right, segment


def test_a_key_depends_on_everything_that_states_depend_on() -> None:
    store = MemoryStore()
    half, codes = StateCache(store), StateCache(store, "int8")
    scopes: list[SegmentCache] = [
        half.segments("a model", 1, 1, WIDTH),
        half.segments("another model", 1, 1, WIDTH),
        half.segments("a model", 2, 1, WIDTH),
        half.segments("a model", 1, 2, WIDTH),
        half.segments("a model", 1, "all", WIDTH),
        half.segments("a model", 1, 1, WIDTH + 1),
        codes.segments("a model", 1, 1, WIDTH),
    ]
    texts = [[1, 2, 3], [1, 2], [1, 2, 3, 0], [3, 2, 1], [1, 2, 259], [513]]
    made = [scope.key(ids) for scope in scopes for ids in texts]
    assert len(set(made)) == len(scopes) * len(texts)
    assert {len(key) for key in made} == {16}
    again = StateCache(MemoryStore()).segments("a model", 1, 1, WIDTH)
    assert again.key([1, 2, 3]) == scopes[0].key([1, 2, 3])


def test_keys_stay_the_same_from_release_to_release() -> None:
    found = StateCache(MemoryStore()).segments("a model", 1, 1, 384).key([1, 2, 3])
    assert found.hex() == "3b3c78fc03cc28b1ea17de304307c96b"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=40), min_size=1, unique_by=tuple))
def test_different_segments_have_different_keys(segments: list[list[int]]) -> None:
    cache = cache_of(MemoryStore())
    assert len({cache.key(ids) for ids in segments}) == len(segments)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=30, unique=True),
    st.sets(st.integers(0, 500)),
    st.integers(1, 4),
)
def test_what_was_put_is_found_and_nothing_else(put: list[int], asked: set[int], rows: int) -> None:
    cache = cache_of(MemoryStore())
    cache.put([segment(n) for n in put], right(put, rows))
    found = cache.get([segment(n) for n in sorted(asked)])
    for n, length, h_KD in zip(sorted(asked), found.length_S, found.h_SKD, strict=True):
        assert length == (rows if n in put else 0)
        if n in put:
            assert np.array_equal(h_KD[:rows], right([n], rows).h_SKD[0])
    assert (cache.hits, cache.misses) == (len(asked & set(put)), len(asked - set(put)))


def test_a_put_returns_what_every_later_get_returns() -> None:
    rng = np.random.default_rng(0)
    states = States(rng.normal(size=(5, 3, WIDTH)).astype(np.float16), np.array([3, 1, 2, 3, 3]))
    for form in ("fp16", "int8"):
        cache = cache_of(MemoryStore(), form)
        returned = cache.put([segment(n) for n in range(5)], states)
        found = cache.get([segment(n) for n in range(5)])
        for s, n in enumerate(states.length_S):
            assert np.array_equal(returned.h_SKD[s, :n], found.h_SKD[s, :n])
        assert (form == "fp16") == np.array_equal(found.h_SKD[0], states.h_SKD[0])


def test_states_that_are_not_finite_are_not_kept() -> None:
    states = right(range(4))
    states.h_SKD[1, 0, 5], states.h_SKD[2, 0, 0] = np.inf, np.nan
    cache = cache_of(MemoryStore(), "int8")
    returned = cache.put([segment(n) for n in range(4)], states)
    assert np.isinf(returned.h_SKD[1, 0, 5])
    assert cache.get([segment(n) for n in range(4)]).length_S.tolist() == [1, 0, 0, 1]
    cache.put([segment(1)], States(states.h_SKD[1:2], np.array([1])))
    assert cache.get([segment(1)]).length_S.tolist() == [0]


def test_int8_keeps_direction_and_order() -> None:
    rng = np.random.default_rng(0)
    h_SD = rng.normal(size=(300, WIDTH)) * rng.lognormal(0, 0.5, size=WIDTH)
    states = States(h_SD[:, None].astype(np.float16), np.ones(300, dtype=np.int64))
    cache = cache_of(MemoryStore(), "int8")
    told = cache.put([segment(n) for n in range(300)], states).h_SKD[:, 0].astype(np.float64)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (h_SD, told)]
    assert (unit[0] * unit[1]).sum(1).min() > 0.999
    order = [np.argsort(-(x[1:] @ x[0]))[:20] for x in unit]
    assert len(set(order[0]) & set(order[1])) >= 19


def test_a_cache_is_named_by_folder_server_or_memory(tmp_path: Path) -> None:
    with open_cache(tmp_path / "states", "int8", limit=8 << 20).store as store:
        assert isinstance(store, LmdbStore)
        assert store.info().limit == 8 << 20
    assert open_cache("memory").form == "fp16"
    with pytest.raises(StoreError, match="no form 'int4' of states: right is fp16 or int8"):
        open_cache("memory", "int4")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="maxmemory"):
        open_cache("redis://localhost", limit=1 << 30)
    with pytest.raises(StoreError, match="a folder makes room by its limit"):
        open_cache(tmp_path, ttl=5)
    with pytest.raises(StoreError, match="right is a folder, redis://"):
        open_cache("http://localhost")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("500M", 500 << 20),
        ("500 MB", 500 << 20),
        ("4GiB", 4 << 30),
        ("1.5g", 3 << 29),
        ("2T", 2 << 40),
        ("8kb", 8 << 10),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["9999999999T", "9" * 400])
def test_a_size_beyond_any_disk_is_an_error(text: str) -> None:
    with pytest.raises(StoreError, match="more than any disk holds"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "much", "-1", "4X", "4 G B", "1e9"])
def test_what_is_no_size_is_an_error_that_says_what_is_right(text: str) -> None:
    with pytest.raises(StoreError, match="no size"):
        parse_size(text)


def test_a_missing_library_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, where in (("lmdb", str(tmp_path)), ("redis", "redis://localhost")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(StoreError, match=r"pip install 'm6rec\[serve\]'"):
            open_cache(where)
    assert need("json", "nothing") is sys.modules["json"]
