"""docs/templates.md: its example renders, and no variable, filter, method or key is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m6rec.text import language
from m6rec.text.sandbox import build_sandbox, compile_template
from m6rec.text.templates import VARIABLES, Templates

PAGE = (Path(__file__).parents[1] / "docs" / "templates.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_example_writes_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("templates.toml").write_text(block("toml"), encoding="utf-8")
    code = block("python")
    exec(compile(code, "docs/templates.md", "exec"), {})
    said = re.findall(r"^print\(.*#\s(.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said
    assert len(said) == 6
    sentences = Templates.load(Path("templates.toml")).sentences()
    assert [s.render({"item_count": 4.0}) for s in sentences][-1] == "cooked 4 times"


def test_every_filter_does_what_the_page_says() -> None:
    examples = re.findall(r"^\* `(\w+)`: `(\{\{.*\}\})` → (.*)$", PAGE, re.MULTILINE)
    sandbox = build_sandbox()
    for name, source, said in examples:
        assert name in source
        assert compile_template(sandbox, source, str, own=True).render({}) == said
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {name for name, _, _ in examples} | set(language.LIBRARY) == set(language.FILTERS)
    assert set(language.FILTERS) | language.METHODS <= named


def test_every_variable_and_key_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    for names in VARIABLES.values():
        assert names <= named
    for section, table in Templates.load().to_dict().items():
        assert f"`[{section}]`" in PAGE
        assert {key for key in table if key not in ("verbs", "sentences")} <= named | {
            "rating",
            "search",
            "context",
        }
