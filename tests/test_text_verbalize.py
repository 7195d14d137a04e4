"""Items, events, users and histories in words."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from m6rec.records import Candidate, Event, Request, Segment
from m6rec.text.phrases import DAY
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import CHARS_PER_TOKEN
from m6rec.text.verbalize import Verbalizer

ITEMS = pl.DataFrame(
    {
        "item_id": ["1", "2", "3", "4"],
        "title": ["<b>Trail</b> shoe", "[EOS] [BOS]", "", "Lamp"],
        "brand": ["Acme", None, None, "nan"],
        "category": ["Shoes > Trail", None, None, None],
        "price": [12.5, 3.0, float("nan"), None],
        "added": [date(2024, 2, 3), None, None, None],
        "tags": [["light", None, "<i>dry</i>"], [], None, None],
    }
)
USERS = pl.DataFrame({"user_id": ["u", "v"], "age": [34, None], "home_town": ["Oslo", None]})


def verbalizer(tmp_path: Path | None = None, text: str = "") -> Verbalizer:
    if tmp_path is None:
        return Verbalizer(Templates.load(), ITEMS, USERS)
    mine = tmp_path / "mine.toml"
    mine.write_text(text, encoding="utf-8")
    return Verbalizer(Templates.load(mine), ITEMS, USERS)


def test_an_item_is_its_row_in_words() -> None:
    words = verbalizer()
    assert words.item("1") == Segment("Trail shoe by Acme (Shoes, Trail)", "item", "target")
    assert words.item_texts() == [
        "Trail shoe by Acme (Shoes, Trail)",
        "[EOS] [BOS]",
        "an unknown item",
        "Lamp by nan",
    ]


def test_cells_of_every_type_are_readable(tmp_path: Path) -> None:
    words = verbalizer(
        tmp_path,
        '[item]\ntext = "{{ price }}, {{ added }}, {{ tags }}, {{ tags | length }}"\n',
    )
    assert words.item("1").text == "12.5, 2024-02-03, light, dry, 2"
    assert words.item("2").text == "3, , , 0"
    assert words.item("3").text == ", , , 0"


def test_an_item_that_no_catalogue_knows_is_its_own_words_or_an_unknown_item() -> None:
    words = verbalizer()
    assert words.item(Candidate("9", "Tent <br> for&nbsp;two")).text == "Tent for two"
    assert words.item(Candidate("1", "Tent")).text == "Trail shoe by Acme (Shoes, Trail)"
    assert words.item("9").text == words.item(Candidate()).text == "an unknown item"
    assert words.item(Candidate(text=" \u200b ")).text == "an unknown item"


def test_an_event_says_what_was_done_to_what_and_when() -> None:
    words = verbalizer()
    now = 100 * DAY
    said = [
        words.event(event, now, 0).text
        for event in (
            Event("click", "1", timestamp=now - 90),
            Event("purchase", "9", text="a <b>tent</b>", timestamp=now - 3 * DAY),
            Event("rating", "1", value=4.0, timestamp=now + 5),
            Event("rating", "1"),
            Event("search", query="warm gloves", timestamp=now - 8 * DAY),
            Event("search", "1"),
            Event("click"),
            Event("context", text="on a phone"),
            Event("interaction", "2", timestamp=float("nan")),
        )
    ]
    assert said == [
        "clicked minutes ago: Trail shoe",
        "bought days ago: a tent",
        "rated 4 moments ago: Trail shoe",
        "rated: Trail shoe",
        "searched last week: warm gloves",
        "searched: Trail shoe",
        "clicked: an unknown item",
        "on a phone",
        "chose: [EOS] [BOS]",
    ]


def test_recency_is_left_out_without_a_moment_or_when_switched_off(tmp_path: Path) -> None:
    event = Event("click", "1", timestamp=5.0)
    assert verbalizer().event(event, None, 0).text == "clicked: Trail shoe"
    off = verbalizer(tmp_path, "[words]\nrecency = false\n")
    assert off.event(event, 100.0, 0).text == "clicked: Trail shoe"


def test_a_template_may_use_everything_an_event_has(tmp_path: Path) -> None:
    words = verbalizer(
        tmp_path,
        '[event]\nwatch = "{{ verb }} {{ event }} {{ title }} {{ brand }} {{ value }} '
        '{{ seconds | ago_exact }} {{ timestamp }} {{ scale }} {{ text }} {{ query }}"\n',
    )
    event = Event("watch", "1", "free", "asked", timestamp=40.0, value=2.0)
    assert words.event(event, 160.0, 0).text == (
        "watch watch Trail shoe Acme 2 2 minutes ago 40 5 free asked"
    )


def test_a_profile_lists_what_is_known_and_is_none_where_nothing_is() -> None:
    words = verbalizer()
    assert words.profile("u") == Segment("age: 34, home town: Oslo", "profile", "source")
    assert words.profile("v") is None
    assert words.profile("w") is None
    assert words.profile(None) is None
    assert Verbalizer(Templates.load(), ITEMS).profile("u") is None


def test_a_history_is_profile_then_the_newest_events_oldest_first() -> None:
    request = Request(
        history=tuple(Event("click", str(i), timestamp=float(i)) for i in (1, 2, 4)),
        user_id="u",
        timestamp=4 + 30.0,
    )
    words = verbalizer()
    assert words.history(request, 2) == [
        Segment("age: 34, home town: Oslo", "profile"),
        Segment("clicked moments ago: [EOS] [BOS]", "event", "source", 1),
        Segment("clicked moments ago: Lamp", "event", "source", 0),
    ]
    assert [s.age for s in words.history(request, 9)] == [0, 2, 1, 0]
    assert [s.kind for s in words.history(request, 0)] == ["profile"]
    assert words.history(Request(), 5) == []


def test_query_and_context_are_segments_of_their_kinds() -> None:
    words = verbalizer()
    assert words.query("warm\ngloves") == Segment("searches: warm gloves", "query")
    assert words.context("at <b>home</b>") == Segment("at home", "context")


def test_texts_are_cut_at_what_their_token_budget_can_hold() -> None:
    words = verbalizer()
    long = "word " * 200_000
    begin = time.perf_counter()
    cut = {
        "item": words.item(Candidate(text=long)).text,
        "event": words.event(Event("click", text=long), None, 0).text,
        "query": words.query(long).text,
        "context": words.context(long).text,
    }
    for kind, text in cut.items():
        most = CHARS_PER_TOKEN * words.templates.budget(kind)
        assert most - 6 < len(text) <= most
    assert time.perf_counter() - begin < 1


def test_a_catalogue_with_cells_of_a_megabyte_stays_fast() -> None:
    size = 1_000_000
    items = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["word " * (size // 5), "<b>" * (size // 3)],
            "tags": [["tag"] * (size // 3), ["x" * size]],
        }
    )
    templates = Templates.from_dict({"item": {"text": "{{ title }}{{ tags }}"}}, "here")
    begin = time.perf_counter()
    words = Verbalizer(templates, items)
    texts = words.item_texts()
    assert time.perf_counter() - begin < 2
    assert [len(text) for text in texts] == [576, 576]
    assert words.event(Event("click", "a"), None, 0).text.startswith("clicked: word word")


def test_a_catalogue_of_one_and_an_empty_one() -> None:
    one = Verbalizer(Templates.load(), pl.DataFrame({"item_id": ["1"], "title": ["Only"]}))
    assert one.item_texts() == ["Only"]
    none = pl.DataFrame(schema={"item_id": pl.String, "title": pl.String})
    empty = Verbalizer(Templates.load(), none)
    assert empty.item_texts() == []
    assert empty.item("1").text == "an unknown item"


@pytest.mark.parametrize("ids", [[1, 2, 3, 4], ["1", "2", "3", "4"]])
def test_ids_are_found_by_their_text(ids: list[object]) -> None:
    items = ITEMS.with_columns(item_id=pl.Series(ids))
    assert Verbalizer(Templates.load(), items).item("4").text == "Lamp by nan"


def test_a_missing_cell_is_empty_in_every_filter(tmp_path: Path) -> None:
    words = verbalizer(
        tmp_path, '[item]\ntext = "{{ brand | upper }}{{ price | round(1) }}{{ tags | join }}."\n'
    )
    assert words.item("4").text == "NAN."
    assert words.item("3").text == "."
