"""Trees of the project: every file in docs/dev/tree.md, the folders in README.md.

`python tools/tree.py` writes both; `--check` only says whether they are as they should be (exit
code 1 if not). A Python file is described by the first sentence of its docstring, any other by its
first comment or its name, a room by ROOMS or its __init__.py.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "dev" / "tree.md"
BEGIN, END = "<!-- tree: `make tree` writes what follows -->", "<!-- tree: end -->"
HEAD = """# The tree of files

One line a file, taken from the file's own first sentence; `make tree` writes this page.

"""
WIDTH = 26

ROOMS = {
    "src/m6rec": "The package. Floor by floor: docs/architecture.md.",
    "src/m6rec/cli": "The command line, one file per verb.",
    "src/m6rec/data": "Canonical tables, checked; splits with a protocol card.",
    "src/m6rec/data/shop/departments": "What the shop sells, one file per department.",
    "src/m6rec/evaluation": "Protocols, results with intervals, the report.",
    "src/m6rec/metrics": "Metrics as functions of arrays.",
    "src/m6rec/model": "The network, its execution plans, tuning, checkpoints.",
    "src/m6rec/models": "Checkpoints that come with the package, each with its model card.",
    "src/m6rec/serving/console": "The page at /, as it is sent: no build, no library.",
    "src/m6rec/stores": "Whatever keeps state behind a small interface.",
    "src/m6rec/tasks": "What the network is used for; tasks do not know each other.",
    "src/m6rec/text": "Everything that becomes words, and words that become ids.",
    "src/m6rec/text/templates": "How items, events and users are written, by domain.",
    "src/m6rec/training": "One loop for tuning, and pretraining.",
    "benchmarks": "Measurements on real data; results as JSON.",
    "deploy": "A server in a container, on one machine or many.",
    "edge-web": "M6-Edge in the browser: TypeScript, built with npm (docs/edge-export.md).",
    "docs": "The documentation (`make docs`).",
    "models": "The same folder, where a visitor looks first.",
    "runs": "One runnable recipe per published figure.",
    "tests": "One file per module: test_ROOM_MODULE.py.",
    "tools": "What the project itself is kept in order with.",
    ".ci": "What has to pass before a change is taken.",
    "constraints": "Pinned releases of everything that is installed.",
}
FILES = {
    ".ci/run": "make test, lint and types, from nothing.",
    "constraints/bench.txt": "For the baselines, which need older releases.",
    "constraints/main.txt": "For everything else.",
    "src/m6rec/evaluation/report.html.jinja": "The page of the report.",
    "src/m6rec/serving/http/reference.html.jinja": "The page /docs, from the OpenAPI description.",
    "CHANGELOG.md": "What changed for those who use it.",
    "CONTRIBUTING.md": "How to work here.",
    "LICENSE": "Apache-2.0.",
    "Makefile": "demo, test, lint, types, docs, bench; each does its own set-up.",
    "mkdocs.yml": "The documentation's pages and looks.",
    "pyproject.toml": "Dependencies, extras, settings of the tools.",
}
WHOLE = ("src/m6rec", "tools", "constraints", ".ci")
"""Folders that are listed file by file; those in PLAIN stand for what is in them."""
PLAIN = ("benchmarks", "deploy", "docs", "edge-web", "models", "runs", "tests")
SHUT = ("src/m6rec/models",)
"""Folders inside those that stand for what is in them."""
UNLISTED = ("__init__.py", "py.typed")
SAID = r'(?:<!doctype html>)?\s*(?:(?:#|//|/\*|<!--)\s*(.+?)(?:\s*(?:\*/|-->))?$|name = "(.+)")'
"""How a file that is not Python says what it is: by its first comment, or by its name."""


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence of the first paragraph."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s+(?=[A-Z`])", paragraph)[0]


def described(path: Path) -> str:
    """What a file says about itself; raises SystemExit for one that says nothing."""
    name = path.relative_to(ROOT).as_posix()
    if name in FILES:
        return FILES[name]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = ast.get_docstring(ast.parse(text)) or ""
    else:
        said = re.match(SAID, text, re.MULTILINE)
        found = (said[1] or said[2]) if said else ""
    if not found:
        sys.exit(f"{name} says nothing about itself: begin it with a docstring or a comment")
    return first_sentence(found)


def room(folder: Path) -> str:
    """What a folder is for."""
    init = folder / "__init__.py"
    name = folder.relative_to(ROOT).as_posix()
    if name not in ROOMS and init.is_file():
        return described(init)
    if name not in ROOMS:
        sys.exit(f"{name}/ is not described: add it to ROOMS of tools/tree.py")
    return ROOMS[name]


def line(depth: int, name: str, words: str) -> str:
    """One line; descriptions stand below each other."""
    return f"{'  ' * depth + name:<{WIDTH}} {words}".rstrip()


def inside(folder: Path) -> list[Path]:
    """Entries of a folder that are listed: files first, then folders, in order of their names."""
    entries = sorted(path for path in folder.iterdir() if path.name != "__pycache__")
    files = [
        path
        for path in entries
        if path.is_file() and path.name not in UNLISTED and path.suffix != ".pyc"
    ]
    return files + [path for path in entries if path.is_dir() and any(path.rglob("*.*"))]


def files_below(folder: Path, depth: int) -> list[str]:
    """A folder and everything in it, one line each."""
    name = folder.relative_to(ROOT).as_posix()
    lines = [line(depth, (folder.name if depth else name) + "/", room(folder))]
    if name in SHUT:
        return lines
    for path in inside(folder):
        if path.is_dir():
            lines += files_below(path, depth + 1)
        else:
            lines.append(line(depth + 1, path.name, described(path)))
    return lines


def plain_folders() -> list[str]:
    """Folders that stand for what is in them."""
    there = [name for name in PLAIN if (ROOT / name).is_dir() and any((ROOT / name).iterdir())]
    return [line(0, name + "/", ROOMS[name]) for name in there]


def files() -> list[str]:
    """Every file of WHOLE, the other folders, and the files at the root."""
    whole = [words for name in WHOLE for words in files_below(ROOT / name, 0)]
    root = [line(0, name, words) for name, words in FILES.items() if "/" not in name]
    return whole + plain_folders() + root


def folders() -> list[str]:
    """The rooms of the package and the folders at the root: what a visitor sees first."""
    package = ROOT / WHOLE[0]
    rooms = [path for path in inside(package) if path.is_dir()]
    others = [line(0, name + "/", ROOMS[name]) for name in WHOLE[1:]]
    inner = [line(1, path.name + "/", room(path)) for path in rooms]
    return [line(0, WHOLE[0] + "/", room(package)), *inner, *others, *plain_folders()]


def block(lines: list[str]) -> str:
    """Lines as a Markdown block."""
    return "```text\n" + "\n".join(lines) + "\n```\n"


def main() -> int:
    """Writes or checks both trees."""
    readme = README.read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    wanted = {
        README: f"{before}{BEGIN}\n\n{block(folders())}\n{END}{rest.split(END)[1]}",
        PAGE: HEAD + block(files()),
    }
    stale = [
        path for path in wanted if not path.exists() or path.read_text("utf-8") != wanted[path]
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            name = path.relative_to(ROOT).as_posix()
            print(f"{name}: the tree is not as the files are: run `make tree`", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
