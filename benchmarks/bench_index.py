"""Vector indices of several libraries: recall, time, memory, the cost of a change.

`python benchmarks/bench_index.py --count 200000 --json FILE [--only NAME …] [--threads 2]` needs
`pip install faiss-cpu usearch hnswlib`. Each candidate is built in a process of its own, with
`--threads` threads, and searched with one, a query at a time. Data: index_candidates.catalogue.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from index_candidates import candidates, catalogue, shoppers, truth

from m6rec.offers import Filter
from m6rec.stores.vectors import inverted
from m6rec.stores.vectors.local import LocalIndex
from m6rec.stores.vectors.opening import open_index

K, QUERIES, CHANGES = 100, 500, 1000
OURS = "m6rec"
LIBRARIES = ("faiss-cpu", "usearch", "hnswlib", "numpy")


def resident() -> float:
    """MiB that this process has in memory."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def measure(name: str, folder: Path, lists: int, threads: int) -> dict[str, Any]:
    """Everything about one candidate."""
    h_ND = np.load(folder / "vectors.npy", mmap_mode="r")
    q_QD, best_QK = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    more_ND = np.load(folder / "more.npy")
    index = candidates(lists)[name]()
    before, begin, cpu = resident(), time.perf_counter(), time.process_time()
    index.build(np.ascontiguousarray(h_ND), threads)
    out: dict[str, Any] = {
        "name": name,
        "build_s": time.perf_counter() - begin,
        "build_cpu_s": time.process_time() - cpu,
        "memory_mib": resident() - before,
        "sweep": [],
    }
    for effort in index.efforts:
        index.effort(effort)
        found, figures = timed(lambda q_D: index.search(q_D, K), q_QD)
        hits = sum(len({*a.tolist()} & {*b.tolist()}) for a, b in zip(found, best_QK, strict=True))
        recall = hits / best_QK.size
        out["sweep"].append({"effort": effort, "recall": recall, **figures})
        if recall > 0.997:
            break
    ids_N = np.arange(len(h_ND), len(h_ND) + CHANGES)
    begin = time.perf_counter()
    for n in range(CHANGES):
        index.add(more_ND[n : n + 1], ids_N[n : n + 1])
    out["add_one_us"] = 1e6 * (time.perf_counter() - begin) / CHANGES
    begin = time.perf_counter()
    try:
        for n in range(CHANGES):
            index.delete(ids_N[n : n + 1])
        out["delete_one_us"] = 1e6 * (time.perf_counter() - begin) / CHANGES
    except NotImplementedError:
        out["delete_one_us"] = None
    return out


def timed(
    search: Callable[[np.ndarray], Any], q_QD: np.ndarray
) -> tuple[list[Any], dict[str, float]]:
    """Answers, and milliseconds: of the clock, and of this thread's own work."""
    answers, wall, own = [], [], []
    for q_D in q_QD:
        begin, cpu = time.perf_counter(), time.thread_time()
        answers.append(search(q_D))
        own.append(time.thread_time() - cpu)
        wall.append(time.perf_counter() - begin)
    figures = {}
    for name, times in (("", wall), ("cpu_", own)):
        for share in (50, 99):
            figures[f"p{share}_{name}ms"] = 1e3 * float(np.percentile(times, share))
    return answers, figures


def measure_ours(folder: Path) -> dict[str, Any]:
    """The embedded index as it is used: filters, changes, snapshots."""
    h_ND = np.load(folder / "vectors.npy")
    q_QD, best_QK = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    rng = np.random.default_rng(7)
    category_N, price_N = rng.integers(0, 100, len(h_ND)), rng.uniform(0, 100, len(h_ND))
    before, begin, cpu = resident(), time.perf_counter(), time.process_time()
    index = LocalIndex(h_ND.shape[1], expected=len(h_ND))
    for start in range(0, len(h_ND), 20_000):
        rows = range(start, min(start + 20_000, len(h_ND)))
        told = [{"category": f"c{category_N[n]}", "price": float(price_N[n])} for n in rows]
        index.put([str(n) for n in rows], h_ND[start : rows.stop], told)
    out: dict[str, Any] = {
        "name": "m6rec LocalIndex",
        "kind": index.kind,
        "build_s": time.perf_counter() - begin,
        "build_cpu_s": time.process_time() - cpu,
        "memory_mib": resident() - before,
        "sweep": [],
        "filters": [],
    }
    usual = inverted.SEEN, inverted.SEEN_PER_HIT
    for seen in (8_000, 12_000, 16_000, 24_000, 32_000):
        inverted.SEEN, inverted.SEEN_PER_HIT = seen, 1
        found, figures = timed(lambda q_D: index.search(q_D, K).ids, q_QD)
        hits = sum(len({*map(int, a)} & {*b.tolist()}) for a, b in zip(found, best_QK, strict=True))
        out["sweep"].append({"seen": seen, "recall": hits / best_QK.size, **figures})
    inverted.SEEN, inverted.SEEN_PER_HIT = usual
    everything = np.ones(len(h_ND), dtype=bool)
    for name, where, passes_N in (
        ("none", Filter(), everything),
        ("hide 500", Filter(hide=[str(n) for n in range(500)]), np.arange(len(h_ND)) >= 500),
        ("price <= 50", Filter(most_price=50), price_N <= 50),
        ("5 categories of 100", Filter(categories=[f"c{n}" for n in range(5)]), category_N < 5),
        ("1 category of 100", Filter(categories=["c3"]), category_N == 3),
        ("price <= 0.1", Filter(most_price=0.1), price_N <= 0.1),
    ):
        some_QD = q_QD[:100]
        rows_N = np.flatnonzero(passes_N)
        right = rows_N[truth(h_ND[rows_N], some_QD, K)]
        found, figures = timed(lambda q_D, where=where: index.search(q_D, K, where).ids, some_QD)
        hits = sum(len({*map(int, a)} & {*b.tolist()}) for a, b in zip(found, right, strict=True))
        share = len(rows_N) / len(h_ND)
        out["filters"].append(
            {"filter": name, "passes": share, "recall": hits / right.size, **figures}
        )
    more_ND = np.load(folder / "more.npy")
    _, out["put_one"] = timed(lambda q_D: index.put([f"new{q_D[0]}"], q_D[None]), more_ND)
    names = [[f"new{q_D[0]}"] for q_D in more_ND]
    begin = time.thread_time()
    for one in names:
        index.remove(one)
    out["remove_one_cpu_us"] = 1e6 * (time.thread_time() - begin) / len(names)
    with tempfile.TemporaryDirectory() as made:
        begin = time.perf_counter()
        index.save(made, 1)
        out["save_s"] = time.perf_counter() - begin
        out["snapshot_mib"] = sum(p.stat().st_size for p in Path(made).rglob("*.*")) / 2**20
        begin = time.perf_counter()
        open_index(made)
        out["open_s"] = time.perf_counter() - begin
    return out


def main() -> None:
    """Makes the data, measures each candidate apart, writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--lists", type=int, help="of an inverted file; 4 × sqrt(count) unless told"
    )
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="where the data is kept")
    parser.add_argument("--worker")
    options = parser.parse_args()
    lists = options.lists or int(4 * options.count**0.5)
    if options.worker:
        if options.worker == OURS:
            print(json.dumps(measure_ours(options.folder)))
        else:
            print(json.dumps(measure(options.worker, options.folder, lists, options.threads)))
        return
    prepare(options.folder, options.count)
    rows = []
    for name in options.only or (*candidates(lists), OURS):
        words = [sys.executable, __file__, "--worker", name, "--folder", str(options.folder)]
        words += ["--lists", str(lists), "--threads", str(options.threads)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout))
        print(json.dumps(rows[-1]), flush=True)
    told = {
        "count": options.count, "lists": lists, "k": K, "queries": QUERIES,
        "build_threads": options.threads, "machine": platform.processor() or platform.machine(),
        "libraries": {name: version(name) for name in LIBRARIES}, "candidates": rows,
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def prepare(folder: Path, count: int) -> None:
    """Vectors, queries, what is right, and some vectors to add."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "truth.npy").exists() and len(np.load(folder / "vectors.npy", "r")) == count:
        return
    h_ND = catalogue(count + CHANGES)
    np.save(folder / "vectors.npy", h_ND[:count])
    np.save(folder / "more.npy", h_ND[count:])
    q_QD = shoppers(h_ND[:count], QUERIES)
    np.save(folder / "queries.npy", q_QD)
    np.save(folder / "truth.npy", truth(h_ND[:count], q_QD, K))


if __name__ == "__main__":
    main()
