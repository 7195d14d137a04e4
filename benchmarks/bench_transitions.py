"""What people chose next, at scale: counting a long log, and following it live.

`python benchmarks/bench_transitions.py --items 1000000 --choices 100000000 --folder SCRATCH
[--json FILE]` counts a made-up log (popularity falls as 1 / rank, sequences of about 50) into files
of the folder, which takes twelve bytes for each pair and distance twice over. Then it reads rows
and appends choices to what was counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from m6rec.collaborative.counts import count
from m6rec.collaborative.live import LiveTransitions
from m6rec.collaborative.live_sequences import LiveSequences
from m6rec.collaborative.pairs import Sequences

LENGTH, AT_ONCE = 50, 1_000_000
APPENDED, ROWS = 20_000, 2_000


def blocks(items: int, choices: int, seed: int = 0) -> Iterator[Sequences]:
    """People of about 50 choices each: of each item as often as one divided by its rank."""
    rng = np.random.default_rng(seed)
    number_of_rank = rng.permutation(items)
    left = choices
    while left > 0:
        size = min(AT_ONCE, left)
        rank = np.exp(rng.random(size) * np.log(items)).astype(np.int64)
        length = rng.poisson(LENGTH, size // LENGTH + 1) + 1
        person = np.repeat(np.arange(len(length)), length)[:size]
        size = len(person)
        item = number_of_rank[np.minimum(rank[:size], items - 1)]
        yield Sequences(item, np.arange(size), person)
        left -= size


def peak() -> float:
    """Most memory of this process so far, GiB; pages of mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def measure(items: int, choices: int, folder: Path) -> dict[str, float]:
    """Seconds of the clock and of the processor, memory, disk."""
    began, own = time.perf_counter(), time.process_time()
    counts = count(blocks(items, choices), items, folder)
    out = {
        "items": items,
        "choices": choices,
        "pairs": len(counts.key_P),
        "count_s": time.perf_counter() - began,
        "count_cpu_s": time.process_time() - own,
        "peak_gib": peak(),
        "disk_gib": sum(path.stat().st_size for path in folder.iterdir()) / (1 << 30),
    }
    live = LiveTransitions(counts, LiveSequences.empty(), {str(n): n for n in range(items)})
    rng = np.random.default_rng(1)
    drawn = next(blocks(items, APPENDED, seed=2)).item_E.tolist()
    own = time.thread_time()
    for moment, item in enumerate(drawn):
        live.append(f"u{moment % 400}", str(item), float(moment))
    out["append_cpu_us"] = 1e6 * (time.thread_time() - own) / len(drawn)
    taken = []
    for item in rng.choice(drawn, ROWS).tolist():
        own = time.thread_time()
        live.row(item)
        taken.append(time.thread_time() - own)
    out["row_ms_p50"], out["row_ms_p99"] = (1e3 * np.percentile(taken, q) for q in (50, 99))
    out["row_ms_most"] = 1e3 * max(taken)
    return out


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--choices", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    folder = asked.folder / "transitions"
    folder.mkdir(parents=True)
    try:
        found = measure(asked.items, asked.choices, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found, indent=2))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
