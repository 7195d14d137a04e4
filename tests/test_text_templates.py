"""Templates as data: files over files, keys that are known, words for what is new."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from m6rec.records import Event
from m6rec.text.templates import TemplateError, Templates, builtin_names
from m6rec.text.verbalize import Verbalizer

ITEMS = pl.DataFrame(
    {"item_id": ["1"], "title": ["Dune"], "author": ["Frank Herbert"], "category": ["Fiction|SF"]}
)


def file(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def item(*sources: str | Path | None) -> str:
    return Verbalizer(Templates.load(*sources), ITEMS).item("1").text


def test_every_built_in_file_compiles_and_writes_an_item() -> None:
    assert builtin_names() == ["books", "default", "movies", "news", "shop"]
    assert {name: item(name) for name in builtin_names()} == {
        "books": "Dune written by Frank Herbert (Fiction, SF)",
        "default": "Dune (Fiction, SF)",
        "movies": "Dune, Fiction, SF",
        "news": "Fiction: Dune",
        "shop": "Dune (Fiction, SF)",
    }


def test_a_file_changes_only_the_keys_it_holds(tmp_path: Path) -> None:
    mine = file(tmp_path, '[item]\ntext = "{{ title }} of {{ author }}"\n')
    templates = Templates.load(mine)
    assert item(mine) == "Dune of Frank Herbert"
    assert templates.verb("click") == "clicked"
    assert templates.budget("item") == 48


def test_a_file_extends_a_built_in_one(tmp_path: Path) -> None:
    mine = file(tmp_path, 'extends = "books"\n[words.verbs]\nclick = "opened"\n')
    assert item(mine) == "Dune written by Frank Herbert (Fiction, SF)"
    assert Templates.load(mine).verb("click") == "opened"


def test_later_sources_win_and_none_is_passed_over(tmp_path: Path) -> None:
    mine = file(tmp_path, '[item]\ntext = "just {{ title }}"\n')
    assert item("books", None, mine) == "just Dune"
    templates = Templates.load("books", mine)
    assert templates.verb("click") == "looked at"


def test_a_new_kind_of_event_needs_no_code(tmp_path: Path) -> None:
    mine = file(
        tmp_path,
        '[words.verbs]\nborrow = "borrowed"\n'
        '[event]\nlisten = "heard {{ value | number }} minutes of {{ item }}"\n',
    )
    verbalizer = Verbalizer(Templates.load(mine), ITEMS)
    said = [
        verbalizer.event(event, None, 0).text
        for event in (
            Event("listen", "1", value=12.0),
            Event("borrow", "1"),
            Event("give_back", "1"),
        )
    ]
    assert said == ["heard 12 minutes of Dune", "borrowed: Dune", "give back: Dune"]


def test_what_was_saved_is_what_was_loaded_and_warns_of_nothing(tmp_path: Path) -> None:
    mine = file(tmp_path, 'extends = "books"\n[item]\ntext = "{{ title }}!"\n')
    templates = Templates.load(mine)
    again = Templates.from_dict(templates.to_dict(), "saved")
    assert again.to_dict() == templates.to_dict()
    assert Verbalizer(again, ITEMS).item("1").text == "Dune!"
    assert [c.place for c in again.sentences()] != []
    assert again.check({"items": ["title"]}) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[itme]\ntext = "a"\n', r"mine\.toml: unknown section \[itme\]; did you mean 'item'\?"),
        ('[item]\n\ntxt = "a"\n',
         r"mine\.toml, line 3, \[item\] txt: unknown key 'txt'; did you mean 'text'\?"),
        ('[words.verbs]\nclik = "a"\n', r"line 2, \[words\.verbs\] clik: .* did you mean 'click'"),
        ('[budget]\nitem = "many"\n', r"line 2, \[budget\] item: 'many' is not right here, .* 48"),
        ("[budget]\nitem = 0\n", "0 is not right here"),
        ("[budget]\nitem = true\n", "True is not right here"),
        ("[words]\nrecency = 1\n", "1 is not right here, such a value is True"),
        ("[features]\ncross = [1]\n", r"\[1\] is not right here"),
        ("[item]\ntext = 5\n", "5 is not right here"),
        ('extends = "book"\n', r"'book' is none of .*; did you mean 'books'\?"),
        ('item = "a"\n', r"'item' should stand in a \[section\]"),
        ('[item\ntext = "a"\n', "mine.toml is not valid TOML"),
        ('[item]\ntext = """\n{{ title }}\n{{ title | listd }}"""\n',
         r"line 4, \[item\] text: No filter named 'listd'; did you mean 'listed'\?"),
        ('[features.sentences]\nmine = "{{ own_cuont }}"\n',
         r"nothing is called 'own_cuont' here; did you mean 'own_count'\?"),
        ('[query]\ntext = "{{ title }}"\n', "nothing is called 'title' here; known are query"),
    ],
)  # fmt: skip
def test_slips_are_told_with_place_and_nearest_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        Templates.load(file(tmp_path, text))


def test_files_that_are_not_there_or_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no template file 'boks'; .* did you mean 'books'\?"):
        Templates.load("boks")
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TemplateError, match="can not be read as text"):
        Templates.load(path)
    with pytest.raises(TemplateError, match="can not be read as text"):
        Templates.load(tmp_path)


def test_columns_that_no_row_fills_are_warned_of(tmp_path: Path) -> None:
    mine = file(
        tmp_path,
        '[item]\ntext = "{{ title }} {{ authr }}"\n'
        '[event]\nlisten = "{{ verb }} {{ item }} {{ row }}"\n[profile]\ntext = "{{ age }}"\n',
    )
    templates = Templates.load(mine)
    columns = {"items": ["item_id", "title", "author"]}
    assert templates.check(columns, ["listen"]) == [
        f"{mine}, line 2, [item] text: no row of items has 'authr', so it is left empty; "
        "did you mean 'author'?"
    ]
    warnings = templates.check({**columns, "users": ["user_id", "ages"]}, ["listens", "click"])
    assert warnings[1:] == [
        f"{mine}, line 6, [profile] text: no row of users has 'age', so it is left empty; "
        "did you mean 'ages'?",
        f"{mine}, line 4, [event] listen: no event is of this kind; did you mean 'listens'?",
    ]


def test_a_built_in_template_never_warns() -> None:
    assert Templates.load("movies").check({"items": ["title"], "users": ["user_id"]}, []) == []


def test_a_warning_is_logged_where_the_tables_are_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = file(tmp_path, '[item]\ntext = "{{ title }} {{ nothing }}"\n')
    Verbalizer(Templates.load(mine), ITEMS)
    assert "no row of items has 'nothing'" in caplog.text


def test_the_same_templates_are_compiled_once_and_changed_ones_anew(tmp_path: Path) -> None:
    mine = file(tmp_path, '[item]\ntext = "{{ title }}!"\n')
    first = Templates.load(mine)
    assert Templates.load(mine) is first
    assert Templates.load() is Templates.load()
    saved = first.to_dict()
    assert Templates.from_dict(saved, "x") is Templates.from_dict(saved, "x")
    file(tmp_path, '[item]\ntext = "{{ title }}?"\n')
    assert Templates.load(mine).get("item").render({"title": "a"}) == "a?"
    assert first.get("item").render({"title": "a"}) == "a!"
