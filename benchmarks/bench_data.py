"""Memory and time of loading and splitting a made-up log: `python benchmarks/bench_data.py 10`.

The first argument is the number of events in millions, the second a folder to write the log to
(default: a temporary one), the third the format (parquet, csv or jsonl). Loading with splitting,
and checking, each run in a fresh process and print one line of JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.data.check import check
from m6rec.data.splits import make_split
from m6rec.data.tables import load, write_table

CHUNK = 1_000_000


def write_log(folder: Path, millions: int, kind: str) -> None:
    """Events of 50,000 users per million over 100,000 items, unsorted, ids of 13 to 14 letters."""
    rng = np.random.default_rng(0)
    names = [f"item-{i:09d}" for i in range(100_000)]
    write_table(pl.DataFrame({"item_id": names, "title": names}), folder / "items.parquet")
    parts = []
    for _ in range(millions):
        users = rng.integers(0, 50_000 * millions, CHUNK)
        items = (100_000 * rng.random(CHUNK) ** 2).astype(np.int64)
        kinds = rng.choice(["click", "purchase", "impression"], CHUNK)
        ids = [
            "user-" + pl.Series(users).cast(pl.String).str.zfill(9),
            "item-" + pl.Series(items).cast(pl.String).str.zfill(9),
        ]
        times = rng.integers(1_600_000_000, 1_700_000_000, CHUNK)
        columns = {"user_id": ids[0], "item_id": ids[1], "event": kinds, "timestamp": times}
        parts.append(pl.DataFrame(columns))
    write_table(pl.concat(parts), folder / f"events.{kind}")


def measure_load(folder: Path) -> dict[str, float]:
    """Seconds and the highest memory of this process (GB) after each step."""
    started = time.perf_counter()
    dataset = load(folder)
    loaded, memory = time.perf_counter(), _peak()
    split = make_split(dataset, "retrieve", "temporal")
    return {
        "events": 0 if dataset.events is None else dataset.events.height,
        "load_s": round(loaded - started, 1),
        "load_peak_gb": memory,
        "split_s": round(time.perf_counter() - loaded, 1),
        "peak_gb": _peak(),
        "train": len(split.train),
        "test": len(split.test),
    }


def measure_check(folder: Path) -> dict[str, float]:
    """Seconds and the highest memory of this process (GB) of a check of all rows."""
    started = time.perf_counter()
    report = check(folder)
    return {
        "rows": sum(table.rows for table in report.tables),
        "check_s": round(time.perf_counter() - started, 1),
        "peak_gb": _peak(),
        "exit_code": report.exit_code,
    }


STEPS = {"load": measure_load, "check": measure_check}


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def main() -> None:
    """Writes the log here and measures in a fresh process, so that writing does not count."""
    if sys.argv[1] in STEPS:
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
        return
    millions = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        write_log(folder, millions, sys.argv[3] if len(sys.argv) > 3 else "parquet")
        for step in STEPS:
            subprocess.run([sys.executable, __file__, step, str(folder)], check=True)


if __name__ == "__main__":
    main()
