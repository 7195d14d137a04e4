"""What a journal says when a model is opened: read at once, as if body by body."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from m6rec.data.tables import Dataset
from m6rec.serving.known import OTHERS, Known, frame_of, named_columns, newest_users
from m6rec.serving.starting import open_service
from m6rec.stores.journal.sqlite import SqliteJournal
from m6rec.text.templates import Templates
from serve_worlds import write_world

BASE = Dataset(name="nothing", path=Path())


def test_events_items_and_counts_are_those_of_the_journal() -> None:
    journal = SqliteJournal()
    journal.append(
        "item", [{"item_id": "a", "title": "Oak desk"}, {"item_id": "b", "title": "Jar"}]
    )
    journal.append("item", [{"item_id": "a", "title": "Oak desk, larger"}])
    journal.append(
        "event",
        [
            {"user_id": "u", "event": "click", "item_id": "b", "timestamp": 30},
            {"user_id": "v", "event": "purchase", "item_id": "a", "timestamp": 20.5, "value": 2},
            {"user_id": "u", "event": "impression", "item_id": "a", "timestamp": 10},
            {"user_id": "u", "event": "search", "query": "jar", "own field": ["kept", 1]},
        ],
    )
    journal.erase_item("b")
    known = Known.read(journal)
    assert known.number == journal.last()
    assert known.items == {"a": {"item_id": "a", "title": "Oak desk, larger"}}
    assert known.chosen == Counter({"b": 1, "a": 1})
    assert list(known.chosen) == ["b", "a"]  # equally often chosen: the first one first
    assert newest_users(known.events, 5) == ["u", "v"]
    came = journal.entries()[-2].at
    rows = known.dataset(BASE).events
    assert rows is not None
    told = rows.select("user_id", "event", "item_id", "query", "timestamp", "value").rows()
    assert told == [
        ("u", "impression", "a", None, 10.0, None),
        ("u", "click", "b", None, 30.0, None),
        ("u", "search", None, "jar", came, None),  # without a time: when it came
        ("v", "purchase", "a", None, 20.5, 2.0),
    ]


def test_a_field_of_another_type_costs_that_field_alone() -> None:
    journal = SqliteJournal()
    odd = {
        "user_id": "u",
        "event": "click",
        "item_id": "a",
        "timestamp": 1,
        "value": "much",
    }
    plain = {"user_id": "u", "event": "click", "item_id": "b", "timestamp": 2, "value": 3}
    journal.append("event", [odd, plain])
    known = Known.read(journal)
    assert known.events["item_id"].to_list() == ["a", "b"]
    assert known.events["value"].to_list() == [None, 3.0]
    assert known.chosen == Counter({"a": 1, "b": 1})


def test_an_empty_journal_is_a_shop_that_begins() -> None:
    known = Known.read(SqliteJournal())
    assert known.number == 0 and known.events.is_empty() and not known.chosen
    assert known.dataset(BASE).events is None


def test_what_the_journal_holds_is_not_read_from_the_folder_again(tmp_path: Path) -> None:
    place = write_world(tmp_path)
    first = open_service(place)
    counts = len(first.registry.current.shown), first.journal.last()
    first.close()
    first.journal.close()
    for path in place.data.iterdir():
        if path.stem in ("items", "events", "users"):
            path.write_bytes(b"no table any more")
    again = open_service(place)
    assert (len(again.registry.current.shown), again.journal.last()) == counts
    again.close()
    again.journal.close()


def test_a_row_with_names_of_its_own_makes_no_columns_for_all() -> None:
    rows = [{"item_id": f"i{n}", "title": "a jar", "material": "glass"} for n in range(20)]
    rows[7] |= {f"own {n}": n for n in range(1000)} | {"named": "by a template"}
    table = frame_of(rows, "items", {"named"})
    assert {"item_id", "title", "material", "named"} <= set(table.columns)
    assert len(table.columns) <= 3 + 1 + OTHERS
    assert table["named"].drop_nulls().to_list() == ["by a template"]
    assert table["material"].null_count() == 0


def test_columns_are_named_by_templates_of_items_events_and_profiles(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[item]\ntext = "{{ title }} of {{ material }}"\n[features]\ncross = ["shape"]\n'
    )
    named = named_columns([Templates.load(own)])
    assert {"title", "material", "shape"} <= named["items"] and "row" in named["users"]
