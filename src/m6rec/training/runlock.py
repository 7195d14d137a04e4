"""One process for one run: a lock of the operating system, which dies with its process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from m6rec.training.loop import TrainingError

LOCK = "LOCK"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds the folder of a run (created if missing) while the block runs.

    Raises TrainingError at once where another process holds it. The file stays; what counts is
    that a living process has it locked, so a kill leaves nothing to clean up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"{folder}: another process trains there; wait for it or stop it, or give another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
