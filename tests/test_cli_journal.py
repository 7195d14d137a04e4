"""`m6rec journal`: what an operator is told to do is a verb, and works without a server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from journal_worlds import event, item
from m6rec.cli.app import build_app
from m6rec.stores.journal.opening import open_journal
from stores_worlds import run_apart

LIGHT = """
import sys
import m6rec.cli.journal
print("torch" in sys.modules)
"""


def run(*words: object, code: int = 0) -> dict[str, Any]:
    """The JSON of one call; with another code its text."""
    done = CliRunner().invoke(build_app(["journal"]), ["journal", *map(str, words), "--json", "-"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code in (0, 1) else {"said": done.output}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder whose server has a journal."""
    folder = tmp_path / "shop"
    with open_journal(folder / "server" / "journal") as journal:
        journal.append("item", [item("a"), item("a", price=2), item("b")])
        journal.append("event", [event("u", str(n), event_id=str(n)) for n in range(5)])
        journal.append("event", [event("v", "a")])
    return folder


def test_a_journal_is_checked_compacted_and_its_rows_erased(data: Path) -> None:
    found = run("check", "--data", data)
    assert (found["entries"], found["problems"]) == (9, [])
    assert run("erase", "--data", data, "--item", "b")["receipt"]["entries"] == {"item": 1}
    assert run("erase", "--data", data, "--user", "u")["receipt"]["entries"]["event"] == 5
    done = run("compact", "--data", data, "--keep-events", "3")
    assert done["bytes_after"] <= done["bytes_before"]
    with open_journal(data / "server" / "journal") as journal:
        assert [one["item_id"] for one in journal.items()] == ["a"]
        assert len(journal.history("v")) == 1
        assert "another process" in run("check", "--data", data, code=2)["said"]


def test_an_export_and_a_snapshot_are_restored_and_bring_nobody_back(
    data: Path, tmp_path: Path
) -> None:
    run("export", "--data", data, tmp_path / "export")
    run("snapshot", "--data", data, tmp_path / "snapshot")
    run("erase", "--data", data, "--user", "v")
    run("export", "--data", data, tmp_path / "newer")
    for copy in ("export", "snapshot"):
        shutil.rmtree(data / "server" / "journal")
        run("restore", "--data", data, tmp_path / copy)
        with open_journal(data / "server" / "journal") as journal:
            assert journal.history("v") == [], "the state folder knows"
            assert len(journal.history("u")) == 5
    elsewhere = tmp_path / "elsewhere"
    run("restore", "--data", elsewhere, tmp_path / "export", "--erasures", tmp_path / "newer")
    with open_journal(elsewhere / "server" / "journal") as journal:
        assert journal.history("v") == [] and len(journal.history("u")) == 5
    said = run("restore", "--data", elsewhere, tmp_path / "snapshot", code=2)["said"]
    assert "holds a journal" in said


def test_what_is_missing_is_asked_for(data: Path) -> None:
    assert "needs a folder" in run("export", "--data", data, code=2)["said"]
    assert "--item ID or --user ID" in run("erase", "--data", data, code=2)["said"]


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--user", "u"),
        ("export", "FOLDER", "--keep-events", "3"),
        ("compact", "FOLDER"),
        ("erase", "--item", "a", "--erasures", "FOLDER"),
    ],
)
def test_what_an_action_does_not_read_is_refused(data: Path, words: tuple[str, ...]) -> None:
    assert "does not read it" in run(*words, "--data", data, code=2)["said"]
    assert run("check", "--data", data)["entries"] == 9


def test_the_verb_waits_for_no_network(tmp_path: Path) -> None:
    assert run_apart(LIGHT).strip() == "False"
