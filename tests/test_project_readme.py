"""Every command and every Python block of the README runs, and the trees are as the files are.

A block may be preceded by comments that say how it is run here; readers do not see them:
`<!-- test: dry -->` asks `make -n` for each command instead of running it (one is this suite);
`<!-- test: VERB OPTIONS -->` adds documented options to the commands of a verb, to be quick;
`<!-- test: NAME = VALUE -->` hands a named argument to each `fit` of a block of Python.
There is no way to leave a block out.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m6rec.cli.app import VERBS, build_app
from m6rec.data.shop import generate_shop

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"((?:<!-- test: .+? -->\n)*)```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code, its language, and how it is run."""

    language: str
    code: str
    how: tuple[str, ...]


def blocks(text: str) -> list[Block]:
    return [
        Block(language, code, tuple(re.findall(r"<!-- test: (.+?) -->", comments)))
        for comments, language, code in BLOCK.findall(text)
    ]


BLOCKS = blocks(README)
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language == "sh"]


def commands(block: Block) -> list[list[str]]:
    """Words of each line, comments left out."""
    split = [shlex.split(line, comments=True) for line in block.code.splitlines()]
    return [words for words in split if words]


def with_options(words: list[str], how: tuple[str, ...]) -> list[str]:
    """A command of m6rec with what a comment adds for its verb."""
    added = [option.split()[1:] for option in how if option.split()[0] == words[1]]
    return [*words, *(word for option in added for word in option)]


def with_argument(block: Block) -> str:
    """Python with each `name = value` of the comments handed to every call of `fit`."""
    tree = ast.parse(block.code)
    for setting in block.how:
        name, _, value = setting.partition(" = ")
        fits = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "fit"
        ]
        assert fits, f"no call of fit for the comment {setting!r}"
        for call in fits:
            call.keywords.append(ast.keyword(name, ast.parse(value, mode="eval").body))
    return ast.unparse(ast.fix_missing_locations(tree))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A command and what it says."""
    return subprocess.run(
        words, cwd=folder, check=False, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's reader stands: `make demo` has left a shop."""
    place = tmp_path_factory.mktemp("reader")
    generate_shop(place / "demo" / "shop", size="tiny")
    return place


def test_every_block_of_the_readme_is_of_a_kind_that_is_run() -> None:
    kinds = {block.language for block in BLOCKS}
    assert kinds == {"python", "sh", "text"}  # text is the tree
    assert README.count("```") == 2 * len(BLOCKS)
    assert len(PYTHON) >= 2
    assert len(SHELL) >= 2
    assert README.count("<!-- test:") == sum(len(block.how) for block in BLOCKS)


def test_the_first_example_is_a_user_and_items_that_nobody_has_seen() -> None:
    assert "from_pretrained" in PYTHON[0].code
    assert "recommend(history=" in PYTHON[0].code
    assert ".fit(" not in PYTHON[0].code
    assert not PYTHON[0].how


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_of_the_readme_runs(block: Block, folder: Path) -> None:
    done = run([sys.executable, "-c", with_argument(block)], folder)
    assert done.returncode == 0, done.stderr
    if block is PYTHON[0]:
        first, *_ = done.stdout.splitlines()
        assert "trail running" in first, done.stdout
        assert len(done.stdout.splitlines()) == 3
    elif "print(" in block.code:
        assert done.stdout


def test_the_readme_names_make_demo_and_make_test() -> None:
    (block,) = [block for block in SHELL if "dry" in block.how]
    assert commands(block) == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize("block", SHELL, ids=range(len(SHELL)))
def test_commands_of_the_readme_run(
    block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for words in commands(block):
        if "dry" in block.how:
            assert words[0] == "make"
            done = run([*words, "-n"], ROOT)
            assert done.returncode == 0, done.stderr
            continue
        assert words[0] == "m6rec", f"the README has a command that is not run: {words}"
        assert words[1] in VERBS
        line = with_options(words, block.how)
        result = CliRunner().invoke(build_app([line[1]]), line[1:])
        assert result.exit_code == 0, f"{shlex.join(line)}: {result.output}"


def test_options_for_the_test_are_of_verbs_that_the_block_has() -> None:
    for block in SHELL:
        verbs = {words[1] for words in commands(block)}
        assert {option.split()[0] for option in block.how} <= verbs | {"dry"}


def test_the_command_is_installed_under_its_name() -> None:
    command = shutil.which("m6rec", path=str(Path(sys.executable).parent))
    assert command is not None
    done = run([command, "check", "--help"], ROOT)
    assert done.returncode == 0, done.stderr
    assert "m6rec check" in done.stdout


def test_the_trees_of_files_and_of_folders_are_as_the_files_are() -> None:
    done = run([sys.executable, "tools/tree.py", "--check"], ROOT)
    assert done.returncode == 0, done.stderr


def test_the_readme_is_read_in_one_go() -> None:
    assert len(README.encode("utf-8")) <= 12 * 1024
    (folders,) = [block for block in BLOCKS if block.language == "text"]
    assert len(folders.code.splitlines()) <= 30


def test_what_the_readme_is_read_from_sees_a_block_and_its_comments() -> None:
    text = "a\n<!-- test: tune --set a=1 -->\n```sh\nm6rec tune x  # y\n```\n```python\n1\n```\n"
    first, second = blocks(text)
    assert with_options(commands(first)[0], first.how) == ["m6rec", "tune", "x", "--set", "a=1"]
    assert (second.language, second.code, second.how) == ("python", "1\n", ())
    fit = Block("python", "rec.fit('rank')\n", ("train = {'epochs': 1}",))
    assert with_argument(fit) == "rec.fit('rank', train={'epochs': 1})"
