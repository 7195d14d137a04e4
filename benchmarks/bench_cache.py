"""The segment cache: time of puts and gets, bytes of an item, and what int8 costs.

`python benchmarks/bench_cache.py --json benchmarks/results/cache.json` measures made-up states of
width 384, k = 1, in memory, in a folder and in Redis (where redis-server is installed), and prints
a table. With `--model NAME --data FOLDER` (a data set) it measures as well how well int8 keeps the
states of that catalogue and what retrieval without training loses by it, and how long warming
takes. Times are of one thread; each is a percentile (p10, p50, p99) of many requests.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m6rec.data import tables
from m6rec.model.plans import SegmentStates
from m6rec.recommender import M6Rec
from m6rec.stores.states.base import StateStore
from m6rec.stores.states.cache import SegmentCache, StateCache
from m6rec.stores.states.codec import FORMS, States, dequantise, quantise
from m6rec.stores.states.lmdb_store import LmdbStore
from m6rec.stores.states.memory_store import MemoryStore
from m6rec.stores.states.redis_store import RedisStore

WIDTH, ITEMS, TOKENS = 384, 100_000, 24
PUT_AT_ONCE = 1000
FIGURES = ("hr@10", "ndcg@10", "hr@100")
REQUESTS = {1: 3000, 100: 600, 1101: 300}
"""Segments of a request (1,101: 1,000 candidates and 101 of a history) → requests measured."""


def segments(rng: np.random.Generator) -> list[list[int]]:
    """Token ids of ITEMS segments."""
    made: list[list[int]] = rng.integers(0, 30_000, (ITEMS, TOKENS)).tolist()
    return made


def fill(cache: SegmentCache, ids: list[list[int]], h_SD: np.ndarray) -> float:
    """Puts everything; returns segments per second."""
    begin = time.perf_counter()
    for start in range(0, len(ids), PUT_AT_ONCE):
        part = h_SD[start : start + PUT_AT_ONCE, None]
        states = States(part, np.ones(len(part), dtype=np.int64))
        cache.put(ids[start : start + PUT_AT_ONCE], states)
    return len(ids) / (time.perf_counter() - begin)


def timed(cache: SegmentCache, ids: list[list[int]], rng: np.random.Generator) -> dict[str, Any]:
    """Milliseconds of requests of each size: the whole of `get`, and the store's part of it."""
    out: dict[str, Any] = {}
    for size, count in REQUESTS.items():
        whole, inner = [], []
        for _ in range(count):
            asked = [ids[i] for i in rng.choice(len(ids), size, replace=False)]
            begin = time.perf_counter()
            found = cache.get(asked)
            whole.append(time.perf_counter() - begin)
            assert int(found.length_S.sum()) == size
            keys = [cache.key(one) for one in asked]
            begin = time.perf_counter()
            cache.store.get(keys)
            inner.append(time.perf_counter() - begin)
        out[str(size)] = {
            "p10_ms": 1e3 * float(np.percentile(whole, 10)),
            "p50_ms": 1e3 * float(np.percentile(whole, 50)),
            "p99_ms": 1e3 * float(np.percentile(whole, 99)),
            "store_p50_ms": 1e3 * float(np.percentile(inner, 50)),
        }
    return out


@contextmanager
def stores(folder: Path) -> Iterator[dict[str, Callable[[], StateStore]]]:
    """What makes an empty store, by kind."""
    made: dict[str, Callable[[], StateStore]] = {
        "memory": MemoryStore,
        "lmdb": lambda: LmdbStore(Path(tempfile.mkdtemp(dir=folder)), 4 << 30),
    }
    command = shutil.which("redis-server")
    if command is None:
        print("redis: not measured, redis-server is not installed")
        yield made
        return
    socket = folder / "redis.sock"
    words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([command, *words], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.05)
        yield {**made, "redis": lambda: RedisStore(f"unix://{socket}")}
    finally:
        server.terminate()
        server.wait()


def held_bytes(store: StateStore) -> float:
    """Bytes of an entry: of the server's memory, of the file's pages, or in this process."""
    found = store.info()
    size = found.more["used_memory"] if found.kind == "redis" else found.size
    assert isinstance(size, int)
    return size / found.entries


def measure_stores() -> list[dict[str, Any]]:
    """One row for each kind of store and each form."""
    rng = np.random.default_rng(0)
    ids, h_SD = segments(rng), rng.normal(size=(ITEMS, WIDTH)).astype(np.float16)
    rows = []
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as kinds:
        for kind, make in kinds.items():
            for form in FORMS:
                with make() as store:
                    store.clear()
                    cache = StateCache(store, form).segments("bench", 5, 1, WIDTH)
                    speed = fill(cache, ids, h_SD)
                    row = {"store": kind, "form": form, "puts_per_second": speed}
                    row |= {"bytes_per_item": held_bytes(store), "get": timed(cache, ids, rng)}
                    rows.append(row)
                    print(as_line(row), flush=True)
    return rows


def as_line(row: dict[str, Any]) -> str:
    """A row of the table in docs/cache.md."""
    one, hundred, many = (row["get"][str(size)] for size in REQUESTS)
    return (
        f"| {row['store']} | {row['form']} | {row['puts_per_second']:,.0f} "
        f"| {row['bytes_per_item']:,.0f} | {1e3 * one['p50_ms']:.0f} | {hundred['p50_ms']:.2f} "
        f"| {many['p10_ms']:.1f} | {many['p50_ms']:.1f} | {many['p99_ms']:.1f} "
        f"| {many['store_p50_ms']:.1f} |"
    )


def measure_int8(model: str, data: Path) -> dict[str, Any]:
    """How int8 states of a catalogue differ from float16 ones, and retrieval with each."""
    dataset = tables.load(data)
    rec = M6Rec.from_pretrained(model, cache=StateCache(MemoryStore())).use(dataset)
    warmed = [rec.warm().to_dict(), rec.warm().to_dict()]
    figures, vectors = {}, {}
    for form in FORMS:
        if form == "int8":
            for memory in rec._shared._memories.values():
                memory.states = as_int8(memory.states)
        result = rec.evaluate("retrieve", dataset)
        figures[form] = {name: result.metrics[name].to_dict() for name in FIGURES}
        vectors[form] = rec.embed(dataset.items["title"].to_list())
    return {
        "data": dataset.name,
        "items": dataset.items.height,
        "warm": warmed,
        "retrieval": figures,
        "states": agreement(vectors["fp16"], vectors["int8"]),
    }


def as_int8(states: SegmentStates | None) -> SegmentStates:
    """The states as they come back from an int8 cache."""
    assert states is not None
    told = dequantise(*quantise(states.h_SKD.numpy()))
    return SegmentStates(torch.from_numpy(told), states.valid_SK)


def agreement(exact_ND: np.ndarray, told_ND: np.ndarray, asked: int = 500) -> dict[str, float]:
    """Cosines of the same vector in both forms; agreement of rankings by cosine of 1,000 others."""
    rng = np.random.default_rng(0)
    cosine_N = (exact_ND * told_ND).sum(1)
    overlap, rank, first = [], [], []
    for query in rng.choice(len(exact_ND), min(asked, len(exact_ND)), replace=False):
        others = rng.choice(len(exact_ND), min(1000, len(exact_ND)), replace=False)
        others = others[others != query]
        a, b = exact_ND[others] @ exact_ND[query], told_ND[others] @ told_ND[query]
        top_a, top_b = np.argsort(-a, kind="stable")[:10], np.argsort(-b, kind="stable")[:10]
        overlap.append(len(set(top_a) & set(top_b)) / 10)
        first.append(top_a[0] == top_b[0])
        rank.append(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])
    return {
        "cosine_mean": float(cosine_N.mean()),
        "cosine_least": float(cosine_N.min()),
        "top_10_shared": float(np.mean(overlap)),
        "same_first": float(np.mean(first)),
        "rank_correlation": float(np.mean(rank)),
        "rank_correlation_least": float(np.min(rank)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm-l6", help="checkpoint by name, or its folder")
    parser.add_argument("--data", type=Path, help="folder of a data set, for what int8 costs")
    parser.add_argument("--no-stores", action="store_true", help="only what int8 costs")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    body: dict[str, Any] = {"machine": f"{platform.machine()}, {platform.python_version()}"}
    if given.json is not None and given.json.exists():
        body |= json.loads(given.json.read_text(encoding="utf-8"))
    if not given.no_stores:
        body["stores"] = measure_stores()
    if given.data is not None:
        body["int8"] = measure_int8(given.model, given.data)
        print(json.dumps(body["int8"], indent=2))
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
