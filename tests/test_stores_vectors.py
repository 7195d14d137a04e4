"""Every vector index gives the same answers: exact, inverted, and Qdrant (its client alone)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.offers import Filter
from m6rec.stores.vectors import inverted
from m6rec.stores.vectors.base import VectorError, VectorIndex
from m6rec.stores.vectors.local import LocalIndex
from m6rec.stores.vectors.opening import new_index, open_index
from m6rec.stores.vectors.qdrant import QdrantIndex
from m6rec.stores.vectors.snapshot import LOCK

DIM = 16
EYE = np.eye(DIM, dtype=np.float32)
CATEGORIES = ("shoes", "tea", "books")


def made(kind: str) -> VectorIndex:
    if kind == "qdrant":
        return QdrantIndex(":memory:", DIM)
    return LocalIndex(DIM, exact_below=None if kind == "exact" else 1)


@pytest.fixture(params=["exact", "inverted", "qdrant"])
def index(request: pytest.FixtureRequest) -> Iterator[VectorIndex]:
    with made(request.param) as one:
        yield one


def test_hits_come_best_first_with_their_inner_products(index: VectorIndex) -> None:
    index.put(["a", "b", "c"], np.array([EYE[0] * 2, EYE[0] + EYE[1], -EYE[0]]))
    found = index.search(EYE[0], 2)
    assert found.ids == ["a", "b"]
    assert found.scores.tolist() == [2.0, 1.0]
    assert index.search(EYE[0], 10).ids == ["a", "b", "c"]
    assert [one.ids for one in index.search_many(np.array([EYE[1], -EYE[0]]), 1)] == [["b"], ["c"]]


def test_every_vector_is_compared_as_a_search_finds_it(index: VectorIndex) -> None:
    assert index.compare(EYE[0]).ids == []
    vectors = np.random.default_rng(3).normal(size=(40, DIM)).astype(np.float32)
    index.put([f"i{n}" for n in range(40)], vectors)
    for gone in ("i3", "i39", "i0"):
        index.remove([gone])
        compared, found = index.compare(vectors[7]), index.search(vectors[7], 40)
        assert gone not in compared.ids
        scores = dict(zip(compared.ids, compared.scores.tolist(), strict=True))
        assert scores == pytest.approx(dict(zip(found.ids, found.scores.tolist(), strict=True)))
    index.put(["new"], vectors[7:8] * 9)
    compared = index.compare(vectors[7])
    assert compared.ids[int(compared.scores.argmax())] == "new"


def test_some_vectors_are_compared_by_their_ids(index: VectorIndex) -> None:
    assert index.among(EYE[0], ["nobody"]).ids == []
    vectors = np.random.default_rng(4).normal(size=(60, DIM)).astype(np.float32)
    index.put([f"i{n}" for n in range(60)], vectors)
    index.remove(["i5"])
    for asked in ([], ["i5", "i7", "nobody"], [f"i{n}" for n in range(59, 0, -1)]):
        found = index.among(vectors[1], asked)
        wanted = {one: vectors[1] @ vectors[int(one[1:])] for one in asked if one[1:].isdigit()}
        wanted.pop("i5", None)
        assert dict(zip(found.ids, found.scores, strict=True)) == pytest.approx(wanted, abs=1e-2)


def test_a_put_replaces_and_a_removal_removes_at_once(index: VectorIndex) -> None:
    index.put(["a", "b"], EYE[:2])
    index.put(["a", "c", "c"], np.array([EYE[5], EYE[7], EYE[0]]))
    assert len(index) == 3
    assert index.search(EYE[5], 1).ids == ["a"]
    assert index.search(EYE[0], 1).ids == ["c"]
    assert index.remove(["a", "nobody"]) == 1
    assert set(index.search(EYE[5], 10).ids) == {"b", "c"}
    index.put(["d"], EYE[5:6])
    assert index.search(EYE[5], 1).ids == ["d"]
    assert index.remove([]) == 0 and len(index) == 3


def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    assert index.search(EYE[0], 5).ids == []
    index.put(["a"], EYE[:1])
    index.remove(["a"])
    found = index.search(EYE[0], 5, Filter(categories=["shoes"]))
    assert found.ids == [] and len(found.scores) == 0


@pytest.mark.parametrize(
    ("where", "right"),
    [
        (Filter(), "abcd"),
        (Filter(categories=["shoes"]), "ab"),
        (Filter(categories=["shoes", "unknown"], least_price=10), "b"),
        (Filter(categories=["unknown"]), ""),
        (Filter(categories=[]), ""),
        (Filter(least_price=5, most_price=10), "ab"),
        (Filter(most_price=4.9), ""),
        (Filter(now=100.0), "abd"),
        (Filter(now=101), "abcd"),
        (Filter(hide=["a", "nobody"], bought=["b", "c"]), "d"),
        (Filter(categories=["tea"], now=100, hide=["d"]), ""),
    ],
)
def test_a_filter_lets_through_what_it_says(index: VectorIndex, where: Filter, right: str) -> None:
    told: list[dict[str, Any]] = [
        {"category": "shoes", "price": 5, "color": "red"},
        {"category": "shoes", "price": 10.0, "available_from": 100},
        {"category": "tea", "available_from": 101},
        {},
    ]
    scale = np.array([[4.0], [3], [2], [1]])
    index.put(list("abcd"), EYE[0] * scale, told)
    assert "".join(index.search(EYE[0], 4, where).ids) == right
    assert "".join(index.search(EYE[0], 1, where).ids) == right[:1]


def test_attributes_are_replaced_with_their_vector(index: VectorIndex) -> None:
    index.put(["a"], EYE[:1], [{"category": "tea", "price": 1, "available_from": 5}])
    index.put(["a"], EYE[:1])
    assert index.search(EYE[0], 1, Filter(categories=["tea"])).ids == []
    assert index.search(EYE[0], 1, Filter(most_price=9)).ids == []
    assert index.search(EYE[0], 1, Filter(now=0)).ids == ["a"]


def test_what_does_not_fit_is_refused_and_changes_nothing(index: VectorIndex) -> None:
    index.put(["a"], EYE[:1])
    with pytest.raises(VectorError, match=r"right is \(1, 16\)"):
        index.put(["b"], EYE[:1, :4])
    with pytest.raises(VectorError, match="not finite"):
        index.put(["b"], np.full((1, DIM), np.inf))
    with pytest.raises(VectorError, match="attributes for"):
        index.put(["b"], EYE[:1], [])
    with pytest.raises(VectorError, match="right is"):
        index.search(EYE[0, :4], 1)
    with pytest.raises(VectorError, match="not finite"):
        index.search(np.full(DIM, np.nan), 1)
    with pytest.raises(VectorError, match="1 or more"):
        index.search(EYE[0], 0)
    assert len(index) == 1


def test_attributes_of_a_wrong_kind_are_refused_and_change_nothing() -> None:
    index = LocalIndex(DIM, exact_below=None)
    for wrong, said in (({"price": "5"}, "price"), ({"category": 5}, "category")):
        with pytest.raises(VectorError, match=said):
            index.put(["a", "b"], EYE[:2], [{}, wrong])
    assert len(index) == 0 and index.search(EYE[0], 5).ids == []


def test_a_snapshot_is_opened_with_its_journal_number(index: VectorIndex, tmp_path: Path) -> None:
    if isinstance(index, QdrantIndex):
        index = QdrantIndex(str(tmp_path / "qdrant"), DIM)
    index.put(["a", "b", "é"], EYE[:3], [{"category": "tea", "price": 3}, {}, {}])
    index.remove(["b"])
    index.save(tmp_path / "index", 17, "journal-1")
    index.put(["c"], EYE[4:5])
    index.save(tmp_path / "index", 18, "journal-1")
    index.close()
    found, number = open_index(tmp_path / "index", "journal-1")
    assert number == 18 and type(found) is type(index) and len(found) == 3
    assert found.search(EYE[0], 9, Filter(categories=["tea"], least_price=3)).ids == ["a"]
    found.put(["d", "a"], EYE[5:7])
    assert [one.ids[0] for one in found.search_many(EYE[4:7], 1)] == ["c", "d", "a"]
    assert found.remove(["é"]) == 1 and len(found) == 3
    found.close()
    assert [p.name for p in (tmp_path / "index").iterdir() if p.is_dir()] == ["snapshot-2"]
    with pytest.raises(VectorError, match="another journal"):
        open_index(tmp_path / "index", "journal-2")


@pytest.mark.parametrize("kind", ["exact", "inverted"])
def test_a_torn_snapshot_is_noticed_whichever_file_it_is(kind: str, tmp_path: Path) -> None:
    index = made(kind)
    index.put(["a", "b"], EYE[:2], [{"category": "tea"}, {}])
    index.save(tmp_path, 3)
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != LOCK]
    assert len(files) >= 8
    for file in files:
        whole = file.read_bytes()
        for torn in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
            file.write_bytes(torn)
            with pytest.raises(VectorError):
                open_index(tmp_path)
        file.unlink()
        with pytest.raises(VectorError):
            open_index(tmp_path)
        file.write_bytes(whole)
    assert len(open_index(tmp_path)[0]) == 2


def test_a_snapshot_that_was_cut_off_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = made("exact")
    index.put(["a"], EYE[:1])
    index.save(tmp_path, 1)
    index.put(["b"], EYE[1:2])

    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", full)
        with pytest.raises(VectorError, match="No space left"):
            index.save(tmp_path, 2)
    (tmp_path / "snapshot-2").mkdir()  # as a kill would leave it
    assert open_index(tmp_path)[1] == 1
    index.save(tmp_path, 3)
    found, number = open_index(tmp_path)
    assert (number, len(found)) == (3, 2)


def test_no_snapshot_is_said() -> None:
    with pytest.raises(VectorError, match="holds no snapshot"):
        open_index("/nowhere")


def test_a_qdrant_that_lost_its_vectors_is_noticed(tmp_path: Path) -> None:
    index = QdrantIndex(str(tmp_path / "qdrant"), DIM)
    index.put(["a"], EYE[:1])
    index.save(tmp_path / "index", 1)
    index.remove(["a"])
    index.close()
    with pytest.raises(VectorError, match="collection is empty"):
        open_index(tmp_path / "index")
    with pytest.raises(VectorError, match="vectors of 16 numbers, not 4"):
        QdrantIndex(str(tmp_path / "qdrant"), 4)
    with pytest.raises(VectorError, match="no Qdrant answers"):
        new_index(DIM, where="http://127.0.0.1:1")


def clustered(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(40, DIM))
    h_ND = centre[rng.integers(0, 40, count)] + 0.4 * rng.normal(size=(count, DIM))
    return (h_ND / np.linalg.norm(h_ND, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def pair() -> tuple[LocalIndex, LocalIndex]:
    """The same 6,000 items, exact and inverted; categories go with the place of the vector."""
    h_ND = clustered(6000)
    rng = np.random.default_rng(1)
    told = [
        {
            "category": CATEGORIES[int(np.argmax(h[:3]))],
            "price": float(rng.uniform(0, 100)),
            "available_from": float(rng.uniform(0, 100)),
        }
        for h in h_ND
    ]
    ids = [f"i{n}" for n in range(len(h_ND))]
    exact, inverted = LocalIndex(DIM, None), LocalIndex(DIM, 5000, expected=6000)
    for start in range(0, 6000, 1000):
        part = slice(start, start + 1000)
        exact.put(ids[part], h_ND[part], told[part])
        inverted.put(ids[part], h_ND[part], told[part])
    for index in (exact, inverted):  # holes, moves and new ids in old slots
        index.remove(ids[100:400])
        index.put(ids[350:500], h_ND[:150], told[:150])
    return exact, inverted


def recall(pair: tuple[LocalIndex, LocalIndex], q_QD: np.ndarray, k: int, where: Filter) -> float:
    exact, inverted = (index.search_many(q_QD, k, where) for index in pair)
    hits = sum(len({*a.ids} & {*b.ids}) for a, b in zip(exact, inverted, strict=True))
    assert [len(a.ids) for a in exact] == [len(b.ids) for b in inverted]
    right = sum(len(a.ids) for a in exact)
    return hits / right if right else 1.0


def test_the_index_becomes_an_inverted_file_as_it_grows(
    pair: tuple[LocalIndex, LocalIndex], tmp_path: Path
) -> None:
    exact, inverted = pair
    assert (exact.kind, inverted.kind) == ("exact", "inverted")
    assert len(exact) == len(inverted) == 5750
    inverted.save(tmp_path, 1)
    about = json.loads(next(tmp_path.glob("snapshot-*/manifest.json")).read_text())
    assert (about["kind"], about["count"]) == ("inverted", 5750)
    again = open_index(tmp_path)[0]
    assert isinstance(again, LocalIndex)
    queries = clustered(20, seed=3)
    before = [found.ids for found in inverted.search_many(queries, 10)]
    assert [found.ids for found in again.search_many(queries, 10)] == before
    again.rebuild()
    assert recall((exact, again), queries, 50, Filter()) > 0.98


def test_an_inverted_file_that_sees_little_finds_most_and_one_that_sees_all_finds_all(
    pair: tuple[LocalIndex, LocalIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inverted, "SEEN_PER_HIT", 1)
    queries = clustered(50, seed=5)
    monkeypatch.setattr(inverted, "SEEN", 1500)
    assert 0.9 < recall(pair, queries, 20, Filter()) < 1
    monkeypatch.setattr(inverted, "SEEN", 100)
    assert recall(pair, queries, 20, Filter()) < 0.9, "the bar above means nothing"
    monkeypatch.setattr(inverted, "SEEN", 100_000)
    assert recall(pair, queries, 20, Filter()) > 0.99


FILTERS = st.builds(
    Filter,
    categories=st.none() | st.lists(st.sampled_from([*CATEGORIES, "none"]), max_size=2),
    least_price=st.none() | st.floats(0, 100),
    most_price=st.none() | st.floats(0, 100),
    now=st.none() | st.floats(0, 100),
    hide=st.lists(st.integers(0, 5999).map(lambda n: f"i{n}"), max_size=30),
    bought=st.sampled_from([(), tuple(f"i{n}" for n in range(0, 6000, 3))]),
)


@settings(max_examples=40, deadline=None)
@given(FILTERS, st.integers(0, 1000), st.sampled_from([1, 10, 100]))
def test_a_filtered_search_finds_what_an_exact_one_finds(
    pair: tuple[LocalIndex, LocalIndex], where: Filter, seed: int, k: int
) -> None:
    seen, per_hit = inverted.SEEN, inverted.SEEN_PER_HIT
    inverted.SEEN, inverted.SEEN_PER_HIT = 2000, 1
    try:
        queries = clustered(10, seed)
        assert recall(pair, queries, k, where) >= 0.9
        for found in pair[1].search_many(queries, k, where):
            assert not {*found.ids} & {*where.hide, *where.bought}
            assert (np.diff(found.scores) <= 0).all()
    finally:
        inverted.SEEN, inverted.SEEN_PER_HIT = seen, per_hit


def test_indices_that_are_saved_to_one_folder_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    def save(number: int) -> None:
        index = LocalIndex(4)
        index.put([f"item {number}"], np.eye(4, dtype=np.float32)[:1])
        for _ in range(5):
            index.save(tmp_path, number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(1, 5)))
    found, number = open_index(tmp_path)
    assert found.search(np.eye(4, dtype=np.float32)[0], 1).ids == [f"item {number}"]
    assert len(list(tmp_path.glob("snapshot-*"))) == 1
