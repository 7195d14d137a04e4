"""The journal: durable events a second, time to an answer, reading, erasing, export, and kills.

`python benchmarks/bench_journal.py --json benchmarks/results/journal.json [--kills 50]` measures
SQLite in a folder (on the disk of the temporary folder; name another with `--folder`). An append
returns when the disk has it. With `--postgres URL` an empty database is measured as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from journal_kills import kills

from m6rec.stores.journal.base import Journal
from m6rec.stores.journal.opening import open_journal

SECONDS, USERS, ITEMS = 3.0, 20_000, 5_000
CALLERS = ((1, 1), (32, 1), (1, 100), (8, 100), (1, 1000), (4, 1000))
"""Callers at once, and events of one append."""


def events(rng: np.random.Generator, count: int, first: int) -> list[dict[str, Any]]:
    """Clicks as a shop sends them, each with an event_id."""
    users, items = rng.integers(0, USERS, count), rng.integers(0, ITEMS, count)
    return [
        {
            "user_id": f"user-{user}",
            "item_id": f"item-{item}",
            "event": "click",
            "timestamp": 1.7e9 + first + n,
            "event_id": f"{first + n:032x}",
        }
        for n, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
    ]


def load(journal: Journal, callers: int, size: int, first: int) -> dict[str, Any]:
    """Appends from several threads for some seconds."""
    until = time.perf_counter() + SECONDS
    times: list[float] = []

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        start = first + number * 10_000_000
        while time.perf_counter() < until:
            bodies = events(rng, size, start)
            start += size
            begin = time.perf_counter()
            journal.append("event", bodies)
            times.append(time.perf_counter() - begin)

    begin, cpu = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = 1e3 * np.percentile(times, (50, 99))
    rate = len(times) * size / (time.perf_counter() - begin)
    return {
        "callers": callers,
        "events_each": size,
        "events_per_s": rate,
        "cpu_us_per_event": 1e6 * (time.process_time() - cpu) / (len(times) * size),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }


def compaction(journal: Journal) -> dict[str, Any]:
    """Every item is told twice more, then all is compacted while somebody goes on appending."""
    for turn in range(2):
        for first in range(0, ITEMS, 1000):
            rows = [
                {"item_id": f"item-{n}", "title": f"{turn}"} for n in range(first, first + 1000)
            ]
            journal.append("item", rows)
    stop, waits = threading.Event(), [0.0]

    def work() -> None:
        while not stop.is_set():
            begin = time.perf_counter()
            journal.append("event", [{"user_id": "w", "item_id": "item-0", "event": "click"}])
            waits.append(time.perf_counter() - begin)

    writer = threading.Thread(target=work)
    writer.start()
    begin, cpu = time.perf_counter(), time.process_time()
    done = journal.compact()
    seconds, spent = time.perf_counter() - begin, time.process_time() - cpu
    stop.set()
    writer.join()
    return {
        "entries": journal.last(),
        "seconds": seconds,
        "cpu_s": spent,
        "bytes": None if done is None else [done.before, done.after],
        "longest_append_ms": 1e3 * max(waits),
        "median_append_ms": 1e3 * float(np.median(waits)),
    }


def median_ms(call: Callable[[int], object], count: int) -> float:
    """Of so many calls."""
    times = []
    for n in range(count):
        begin = time.perf_counter()
        call(n)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def measure(where: str, folder: Path) -> dict[str, Any]:
    """Everything about one journal."""
    out: dict[str, Any] = {"loads": []}
    with open_journal(where) as journal:
        journal.append("item", [{"item_id": f"item-{n}", "title": f"{n}"} for n in range(ITEMS)])
        for turn, (callers, size) in enumerate(CALLERS):
            out["loads"].append(load(journal, callers, size, turn * 1_000_000_000))
            print(json.dumps(out["loads"][-1]), flush=True)
        out["entries"] = journal.last()
        out["history_of_100_ms"] = median_ms(lambda n: journal.history(f"user-{n}", 100), 300)
        out["item_ms"] = median_ms(lambda n: journal.item(f"item-{n}"), 300)
        out["compaction"] = compaction(journal)
        out["erase_user_ms"] = median_ms(lambda n: journal.erase_user(f"user-{n}"), 20)
        begin, after = time.perf_counter(), 0
        while page := journal.entries(after):
            after = page[-1].number
        out["replayed_entries_per_s"] = journal.last() / (time.perf_counter() - begin)
        begin = time.perf_counter()
        journal.export(folder / "export")
        out["export_s"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with open_journal(where):
        out["open_s"] = time.perf_counter() - begin
    if "://" not in where:
        out["bytes_per_entry"] = (Path(where) / "journal.sqlite").stat().st_size / out["entries"]
    with open_journal(folder / "restored") as other:
        begin = time.perf_counter()
        other.restore(folder / "export")
        out["restored_entries_per_s"] = other.last() / (time.perf_counter() - begin)
    return out


def flush_ms(folder: Path) -> float:
    """What one flush of a page costs on this disk."""
    handle = os.open(folder / "flush", os.O_WRONLY | os.O_CREAT)

    def once(_: int) -> None:
        os.pwrite(handle, os.urandom(4096), 0)
        os.fsync(handle)

    found = median_ms(once, 200)
    os.close(handle)
    return found


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--postgres")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        out: dict[str, Any] = {
            "sqlite_version": sqlite3.sqlite_version,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load_average": os.getloadavg()[0],
            "flush_of_a_page_ms": flush_ms(folder),
            "sqlite": measure(str(folder / "journal"), folder),
        }
        if options.postgres:
            (folder / "postgres").mkdir()
            out["postgres"] = measure(options.postgres, folder / "postgres")
        if options.kills:
            out["kills"] = kills(folder / "kills", options.kills)
        out["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(out, indent=2))
    if options.json:
        options.json.write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
