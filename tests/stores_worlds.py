"""States that can be told right from wrong, and a Redis server, for tests of the stores room."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from m6rec.stores.states.base import StateStore, StoreError
from m6rec.stores.states.cache import SegmentCache, StateCache
from m6rec.stores.states.codec import Form, States

WIDTH = 96


def segment(number: int) -> list[int]:
    """Token ids of a made-up segment."""
    return [number, number // 7, 3]


def right(numbers: Sequence[int], rows: int = 1) -> States:
    """The states of made-up segments: a function of their number, so that any can be checked."""
    n_S = np.array(numbers, dtype=np.int64)[:, None, None]
    k_K = np.arange(rows)[None, :, None]
    d_D = np.arange(WIDTH)[None, None, :]
    h_SKD = ((n_S * 31 + k_K * 17 + d_D * 7) % 251 - 125).astype(np.float16)
    return States(h_SKD, np.full(len(numbers), rows))


def cache_of(store: StateStore, form: Form = "fp16") -> SegmentCache:
    """A cache of made-up segments."""
    return StateCache(store, form).segments("a model", 1, 1, WIDTH)


def fill(store: StateStore, numbers: Sequence[int]) -> None:
    """Puts made-up segments, as one request."""
    cache_of(store).put([segment(n) for n in numbers], right(numbers))


def held(store: StateStore, numbers: Sequence[int]) -> set[int]:
    """Which of the made-up segments are there; a wrong one fails the test."""
    found = cache_of(store).get([segment(n) for n in numbers])
    expected = right(numbers)
    there = found.length_S > 0
    if there.any():
        assert (found.length_S[there] == 1).all()
        assert np.array_equal(found.h_SKD[there], expected.h_SKD[there]), "a wrong state was served"
    return {n for n, is_there in zip(numbers, there, strict=True) if is_there}


def run_apart(code: str, *words: str) -> str:
    """Runs code in a fresh process beside this file; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=Path(__file__).parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Address of a real server on a socket of its own; skips where there is none installed."""
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(
        [command, *options, "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            if socket.exists():
                break
            time.sleep(0.05)
        else:
            raise StoreError("redis-server did not start")
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(timeout=10)
