"""The house stands as docs/architecture.md draws it: floors, no cycles, a quiet import."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "m6rec"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 500
HTTP = "m6rec.serving.http"
"""Needs the extra `serve`; imported when a server is started, and by nothing else."""
Import = tuple[str, str]
"""Importing module, imported module."""


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(module: str, path: Path, tree: ast.AST) -> Iterator[Import]:
    """What a file imports of ours; `from m6rec.data import tables` is an import of the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in inner]
        else:
            continue
        yield from ((module, name) for name in names if name.split(".")[0] == "m6rec")


def at_run_time(tree: ast.Module) -> ast.Module:
    """The file without what stands under `if TYPE_CHECKING`."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
    ]
    return ast.Module(body=kept, type_ignores=[])


@cache
def all_imports() -> list[Import]:
    """Every import of ours at run time, of every file."""
    found: list[Import] = []
    for module, path in MODULES.items():
        found += imports_of(module, path, at_run_time(ast.parse(path.read_text("utf-8"))))
    return found


def room_of(module: str) -> str:
    """Room of a module, such as "data"; the package itself is no room."""
    return [*module.split("."), ""][1]


def table_after(marker: str) -> list[list[str]]:
    """Rows of the table that follows a marker in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    lines = text.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def floors() -> dict[str, int]:
    """Room → its floor."""
    rows = table_after("floors")
    return {room: int(row[0]) for row in rows for room in re.findall(r"`(\w+)`", row[1])}


def exceptions() -> set[Import]:
    """Pairs of rooms of one floor that may import, each with a reason."""
    rows = table_after("exceptions")
    assert all(len(reason) > 20 for *_, reason in rows), "an exception needs a reason"
    return {(row[0].strip("`"), row[1].strip("`")) for row in rows}


def broken(imports: list[Import], floor: dict[str, int], allowed: set[Import]) -> list[str]:
    """Imports that do not point down, in words."""
    found = []
    for module, target in imports:
        one, other = room_of(module), room_of(target)
        if one in ("", other) or (one, other) in allowed:
            continue
        if other == "":
            found.append(f"{module} imports the package itself: name the module that is meant")
        elif floor[one] <= floor[other]:
            found.append(f"{module} (floor {floor[one]}) imports {target} (floor {floor[other]})")
    return found


def test_every_room_has_a_floor_and_every_floor_has_rooms() -> None:
    there = {room_of(module) for module in MODULES} - {""}
    assert there == set(floors()), "docs/architecture.md does not show the rooms as they are"


def test_imports_point_down_the_floors() -> None:
    wrong = broken(all_imports(), floors(), exceptions())
    assert not wrong, "\n".join(wrong)


def test_the_test_of_floors_sees_what_it_should() -> None:
    floor = {"tasks": 3, "model": 2, "text": 1, "data": 1}
    assert not broken([("m6rec.tasks.a", "m6rec.model.b")], floor, set())
    assert broken([("m6rec.model.b", "m6rec.tasks.a")], floor, set())
    assert broken([("m6rec.text.b", "m6rec.data.a")], floor, set())
    assert not broken([("m6rec.text.b", "m6rec.data.a")], floor, {("text", "data")})
    assert broken([("m6rec.text.b", "m6rec")], floor, set())
    code = "from m6rec.data import tables\ndef f():\n    import m6rec.model.m6"
    seen = list(imports_of("m6rec.x", Path("x.py"), ast.parse(code)))
    assert seen == [("m6rec.x", "m6rec.data.tables"), ("m6rec.x", "m6rec.model.m6")]


def test_every_exception_is_needed() -> None:
    used = {(room_of(one), room_of(other)) for one, other in all_imports()}
    assert exceptions() <= used


def test_retrieval_and_ranking_do_not_know_each_other() -> None:
    tasks = {"m6rec.tasks.retrieval", "m6rec.tasks.ranking"}
    assert not [pair for pair in all_imports() if set(pair) == tasks]


def circle(imports: list[Import]) -> list[str]:
    """Modules that import each other in a circle, the first one named twice; none: []."""
    graph: dict[str, set[str]] = {}
    for module, target in imports:
        if module != target:
            graph.setdefault(module, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert set(circle([("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")])) == {"a", "b", "c"}
    assert not circle(all_imports())


def test_no_import_of_ours_hides_inside_a_function() -> None:
    hidden = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                hidden += list(imports_of(module, path, node))
    assert not hidden


@pytest.mark.parametrize("path", FILES, ids=[module_of(path) for path in FILES])
def test_a_file_is_short_and_holds_no_pickle_and_no_eval(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            names.add((getattr(node, "module", None) or "").split(".")[0])
            forbidden = names & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
            assert not forbidden, f"{path.name}:{node.lineno} imports {forbidden}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "torch.load", "torch.save"}, (
                f"{path.name}:{node.lineno} calls {called}"
            )
            loose = [word for word in node.keywords if word.arg == "allow_pickle"]
            assert all(ast.unparse(word.value) == "False" for word in loose)


QUIET = """
import json, socket, subprocess, sys, threading, time
def refuse(*a, **k): raise AssertionError("the import opened a socket or a process")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
subprocess.Popen.__init__ = refuse
begin = time.perf_counter()
{code}
seconds = time.perf_counter() - begin
known = sorted({{name.split(".")[0] for name in sys.modules}})
print(json.dumps({{"seconds": seconds, "modules": known, "threads": threading.active_count()}}))
"""


def in_fresh_process(code: str, folder: Path) -> dict[str, object]:
    """Runs imports with network and processes refused, in an empty folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:m6rec", "-c", QUIET.format(code=code)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *said, last = done.stdout.splitlines()
    assert not said, f"importing prints {said}"
    assert not list(folder.iterdir()), "importing writes files"
    found: dict[str, object] = json.loads(last)
    return found


def test_importing_the_package_is_instant_and_loads_no_library(tmp_path: Path) -> None:
    found = in_fresh_process("import m6rec", tmp_path)
    assert isinstance(found["seconds"], float) and found["seconds"] < 1
    assert isinstance(found["modules"], list)
    assert not {"torch", "numpy", "polars", "pydantic", "matplotlib"} & set(found["modules"])


def test_importing_every_module_does_no_work_and_reaches_for_no_network(tmp_path: Path) -> None:
    # The first import of matplotlib ever asks a process for this machine's fonts; then a file does.
    import_module("matplotlib.font_manager")
    code = "\n".join(f"import {module}" for module in MODULES if not module.startswith(HTTP))
    found = in_fresh_process(code, tmp_path)
    assert found["threads"] == 1
    assert isinstance(found["modules"], list)
    extras = {"tensorboard", "litestar", "granian", "onnx", "onnxruntime", "ray", "rectools"}
    extras |= {"prometheus_client", "opentelemetry", "lmdb", "redis", "openvino", "faiss"}
    extras |= {"psycopg", "qdrant_client"}
    development = {"fuxictr", "transformers", "sklearn", "ir_measures", "hypothesis", "pytest"}
    assert not (extras | development) & set(found["modules"]), "a core module imports an extra"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from a copy of the project, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(SOURCE, folder / "src", ignore=ignored)
    words = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--wheel-dir", str(folder), str(folder)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: set[str]) -> None:
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel if ".dist-info/" not in name}
    assert packed == there
    assert {"m6rec/text/templates/default.toml", "m6rec/py.typed"} <= packed


def test_the_wheel_carries_its_licence_and_its_command(wheel: set[str]) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in wheel)
    assert any(name.endswith("entry_points.txt") for name in wheel)
