"""What a vocabulary can not read: counted by hand, said to people, and no evidence for an item."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import tiny
from m6rec import M6Rec
from m6rec.cli.app import build_app
from m6rec.data.tables import Dataset, write_table
from m6rec.model.hf import load_start
from m6rec.text.readability import LOOKED_AT, readability
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer

UNREAD = {"w": "婚礼", "m": "菜单", "t": "ร้านอาหาร", "e": "🎉🎂"}


def shop(titles: dict[str, str], chosen: str = "") -> Dataset:
    """Items by id, and a purchase for each letter of `chosen`, each of another user."""
    items = pl.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    events = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(len(chosen))],
            "item_id": list(chosen),
            "event": "purchase",
            "timestamp": np.arange(len(chosen), dtype=float),
            "value": None,
        },
        schema_overrides={"value": pl.Float64},
    )
    return Dataset(name="unread", items=items, events=events if chosen else None)


def test_characters_are_counted_without_spaces() -> None:
    words = tiny.tokenizer()
    unread, total = words.unread_characters(["red shoe", "婚礼 red", "", " 🎉 "])
    assert unread.tolist() == [0, 2, 0, 1]
    assert total.tolist() == [7, 5, 0, 1]
    found = readability(words, ["red shoe", "婚礼 red", "菜单"], "tiny")
    assert (found.texts, found.wholly, found.warns) == (3, 1, True)
    assert found.unread == pytest.approx(4 / 14)
    assert str(found).startswith("tiny reads 71.4 % of the items' titles (3 looked at): ")
    assert str(readability(words, ["red"], "tiny")) == (
        "tiny reads 100.0 % of the items' titles (1 looked at)"
    )


def test_a_large_catalogue_is_looked_at_in_part_and_evenly() -> None:
    titles = ["red shoe"] * 3000 + ["婚礼"] * 3000
    found = readability(tiny.tokenizer(), titles, "tiny")
    assert found.texts == LOOKED_AT
    assert found.wholly == LOOKED_AT // 2


@pytest.mark.parametrize("title", UNREAD.values())
def test_the_shipped_vocabulary_reads_nothing_of_these(title: str) -> None:
    words = load_start("m6-small")[1]
    found = readability(words, [title], "m6-small")
    assert (found.wholly, found.unread) == (1, 1.0)
    assert readability(words, ["Trail running shoe — blue, “42”"], "m6-small").unread == 0


def test_a_vocabulary_that_spells_bytes_reads_everything() -> None:
    definition = json.loads(tiny.tokenizer().definition)
    definition["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": [], "byte_fallback": True}
    words = Tokenizer(json.dumps(definition), tiny.SPECIAL)
    assert words.unknown_id is None
    assert readability(words, ["婚礼"], "bytes").unread == 0
    assert not words.tells_nothing([0])


def test_using_data_says_what_is_unreadable_once_and_names_the_backbone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny.write_backbone(tmp_path / "model")
    rec = M6Rec.from_pretrained(folder)
    with caplog.at_level(logging.INFO):
        rec.use(tiny.shop())
    assert [r.levelname for r in caplog.records if "titles" in r.message] == ["INFO"]
    caplog.clear()
    for _ in range(2):
        rec.use(shop({"a": "red shoe", **UNREAD}))
    [record] = [r for r in caplog.records if "titles" in r.message]
    assert record.levelname == "WARNING"
    assert f"{folder} reads " in record.message
    assert "4 titles have no word that it knows" in record.message
    assert rec.readability is not None
    assert rec.readability.wholly == 4


def test_unreadable_items_are_ordered_by_what_people_chose_and_their_similarity_is_none() -> None:
    data = shop({**UNREAD, "r": "red shoe"}, chosen="mmmtte")
    rec = M6Rec(*tiny.backbone()).use(data, text_only=True)
    for history in (["clicked: red shoe"], ["clicked: 婚礼"]):
        found = rec.recommend(history, k=5)
        unread = [one for one in found if one.item_id in UNREAD]
        assert [one.item_id for one in unread] == ["m", "t", "e", "w"]
        assert max(abs(one.score) for one in unread) < 1e-4
    assert rec.recommend(["clicked: red shoe"], k=1)[0].item_id == "r"


def test_beside_what_people_chose_next_unreadable_words_say_nothing() -> None:
    data = shop({**UNREAD, "r": "red shoe", "b": "blue boot"}, chosen="rmrmrt")
    assert data.events is not None
    users = pl.Series("user_id", [f"u{n // 2}" for n in range(6)])
    data = replace(data, events=data.events.with_columns(users))
    rec = M6Rec(*tiny.backbone()).use(data)
    found = {one.item_id: one.score for one in rec.recommend([{"event": "click", "item_id": "r"}])}
    assert found["m"] > found["t"] > found["e"] == found["w"] == 0  # m after r twice, t once
    unread = [one for one in rec.recommend(["clicked: 婚礼"], k=6) if one.item_id in UNREAD]
    assert max(abs(one.score) for one in unread) < 1e-4


def test_words_of_the_template_do_not_make_an_item_readable() -> None:
    data = shop(UNREAD)
    rec = M6Rec(*tiny.backbone())
    rec.use(replace(data, items=data.items.with_columns(brand=pl.lit("某"))))
    scores = [one.score for one in rec.recommend(["clicked: red shoe"], k=4)]
    assert scores == [0.0] * 4
    assert Templates.load().own_words("item") == "by ( ) ."


def test_check_says_it_for_the_model_that_is_named(tmp_path: Path) -> None:
    model = str(tiny.write_backbone(tmp_path / "model"))
    data = tmp_path / "data"
    data.mkdir()
    write_table(shop({"a": "red shoe", "w": "婚礼"}).items, data / "items.csv")
    result = tmp_path / "result.json"
    app = build_app(["check"])
    told = CliRunner().invoke(app, ["check", str(data), "--model", model, "--json", str(result)])
    assert told.exit_code == 0
    assert f"{model} reads 77.8 % of the items' titles" in told.output.replace("\n", "")
    assert json.loads(result.read_text())["readability"] == {
        "backbone": model,
        "texts": 2,
        "wholly_unreadable": 1,
        "unreadable_share": 0.2222,
    }
    without = CliRunner().invoke(app, ["check", str(data), "--model", ""])
    assert "titles" not in without.output
