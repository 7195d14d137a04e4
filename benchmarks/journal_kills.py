"""A writer that is killed with SIGKILL again and again, and what must be true afterwards.

The child appends items and events from several threads, keeps an index beside the journal, saves
snapshots of it, and compacts the journal; it says what was acknowledged, line by line. After each
kill: every acknowledged event is there, none is there twice, and the snapshot with what the journal
has after it holds the same items as the journal.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.stores.journal.base import Journal
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.vectors.base import VectorError, VectorIndex
from m6rec.stores.vectors.local import LocalIndex
from m6rec.stores.vectors.opening import open_index

DIM, THREADS, EVENTS, SAVE_EVERY = 8, 4, 5, 8


def vector(item_id: str) -> np.ndarray:
    """A vector that is a function of the id: float32 [D]."""
    return np.frombuffer(hashlib.sha256(item_id.encode()).digest(), "u1")[:DIM].astype(np.float32)


def caught_up(folder: Path, journal: Journal) -> VectorIndex:
    """The index of a snapshot, or an empty one, with what the journal has after it."""
    index: VectorIndex
    try:
        index, number = open_index(folder, journal.name)
    except VectorError:
        index, number = LocalIndex(DIM, exact_below=None), 0
    while page := journal.entries(number):
        for entry in page:
            if entry.kind == "item":
                index.put([entry.key], vector(entry.key)[None])
            if entry.kind == "erase_item":
                index.remove([entry.key])
        number = page[-1].number
    return index


def write(folder: Path, run: int) -> None:
    """The child: writes until it is killed."""
    with open_journal(folder / "journal") as journal:
        index = caught_up(folder / "index", journal)
        print("ready", flush=True)
        said = threading.Lock()

        def work(thread: int) -> None:
            for turn in range(1_000_000):
                one = f"{run}-{thread}-{turn}"
                journal.append("item", [{"item_id": one, "title": one}])
                index.put([one], vector(one)[None])
                events = [
                    {"user_id": f"u{thread}", "item_id": one, "event_id": f"{one}-{n}"}
                    for n in range(EVENTS)
                ]
                journal.append("event", events, idempotency=one)
                with said:
                    print(json.dumps(one), flush=True)
                journal.append("event", events[:2])  # sent again by a client that heard nothing
                if thread == 1 and turn % SAVE_EVERY == 3:
                    journal.compact()
                if thread == 0 and turn % SAVE_EVERY == 1:
                    number = journal.last()  # other threads' items may still miss in `index`
                    caught_up(folder / "index", journal).save(
                        folder / "index", number, journal.name
                    )

        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def kill_once(folder: Path, run: int, seconds: float) -> tuple[set[str], float]:
    """Runs a child for so long after it is ready; what it acknowledged, and seconds to ready."""
    begin = time.perf_counter()
    words = [sys.executable, __file__, str(folder), str(run)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        ready = time.perf_counter() - begin
        timer = threading.Timer(seconds, child.send_signal, (signal.SIGKILL,))
        timer.start()
        said = [line for line in child.stdout if line.endswith("\n")]
        timer.join()
    assert child.returncode == -signal.SIGKILL
    return {json.loads(line) for line in said}, ready


def check(folder: Path, acknowledged: set[str]) -> dict[str, int]:
    """Counts of what went wrong; all of them have to be zero."""
    with open_journal(folder / "journal") as journal:
        events: Counter[str] = Counter()
        items: set[str] = set()
        after = 0
        while page := journal.entries(after):
            events.update(e.body["event_id"] for e in page if e.kind == "event")
            items.update(e.key for e in page if e.kind == "item")
            after = page[-1].number
        expected = {f"{one}-{n}" for one in acknowledged for n in range(EVENTS)}
        index = caught_up(folder / "index", journal)
        found: set[str] = set()
        if len(index):
            found = set(index.search(np.ones(DIM), 10_000_000).ids)
    halves = Counter(one.rpartition("-")[0] for one in events)
    return {
        "lost": len(expected - set(events)),
        "twice": sum(count - 1 for count in events.values()),
        "half": sum(count != EVENTS for count in halves.values()),
        "not in the index": len(items - found),
        "only in the index": len(found - items),
    }


def kills(folder: Path, count: int, seed: int = 0) -> dict[str, Any]:
    """Kills so often, checks after each; sums of what went wrong, and what was done."""
    draw = random.Random(seed)
    acknowledged: set[str] = set()
    wrong: Counter[str] = Counter()
    ready: list[float] = []
    for run in range(count):
        said, seconds = kill_once(folder, run, draw.uniform(0.02, 0.6))
        acknowledged |= said
        ready.append(seconds)
        wrong.update(check(folder, acknowledged))
    done = {"kills": count, "acknowledged_events": EVENTS * len(acknowledged)}
    return {**done, "slowest_start_s": max(ready), "wrong": dict(wrong)}


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
