"""The page about data tells the truth: its code runs and prints what its comments say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from m6rec.data.schema import TABLES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"


def test_the_examples_of_the_page_print_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    said = re.findall(r"^print\(.*\)\s+# (.*)$", code, re.MULTILINE)
    assert len(said) == 5
    for words in said:
        assert words.rstrip("…") in printed.getvalue()


def test_the_page_names_every_column_of_every_table() -> None:
    page = PAGE.read_text("utf-8")
    for table in TABLES.values():
        (row,) = re.findall(rf"^\| `{table.name}` \|.*$", page, re.MULTILINE)
        named = set(re.findall(r"`(\w+)`", row)) - {table.name}
        assert named == {*table.required, *table.numbers, *table.strings}
