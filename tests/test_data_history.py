"""Histories written by hand: what each way of writing is taken for."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.data.history import HistoryError, parse_history
from m6rec.records import Event


@pytest.mark.parametrize(
    ("entry", "event"),
    [
        ("clicked: trail running shoes", Event("click", text="trail running shoes")),
        ("Clicked on trail running shoes", Event("click", text="trail running shoes")),
        ("viewed:tent", Event("click", text="tent")),
        ("bought: tent: for two", Event("purchase", text="tent: for two")),
        ("purchased tent", Event("purchase", text="tent")),
        ("ordered tent", Event("purchase", text="tent")),
        ("added to cart: tent", Event("cart", text="tent")),
        ("put in the cart: tent", Event("cart", text="tent")),
        ("liked: Dune", Event("like", text="Dune")),
        ("LOVED Dune", Event("like", text="Dune")),
        ("disliked: Dune", Event("dislike", text="Dune")),
        ("hated: Dune", Event("dislike", text="Dune")),
        ("searched for: 'warm gloves'", Event("search", query="warm gloves")),
        ("searched “warm gloves”", Event("search", query="warm gloves")),
        ("rated 4: Dune", Event("rating", text="Dune", value=4.0)),
        ("rated 4.5 stars: Dune", Event("rating", text="Dune", value=4.5)),
        ("rated 4/5 Dune", Event("rating", text="Dune", value=4.0)),
        ("rated 8 out of 10: Dune", Event("rating", text="Dune", value=4.0)),
        ("rated 1,5/5: Dune", Event("rating", text="Dune", value=1.5)),
        ("rated 90%: Dune", Event("rating", text="Dune", value=4.5)),
        ("Rating: 1: Dune", Event("rating", text="Dune", value=1.0)),
        ("1 star: Dune", Event("rating", text="Dune", value=1.0)),
        ("★★: Dune", Event("rating", text="Dune", value=2.0)),
        ("dislike: Dune", Event("dislike", text="Dune")),
        ("Not interested in: Dune", Event("not interested in", text="Dune")),
        ("downvoted: Dune", Event("downvoted", text="Dune")),
        ("view: Dune", Event("click", text="Dune")),
        ("search: warm gloves", Event("search", query="warm gloves")),
        ("Alien: Covenant", Event("context", text="Alien: Covenant")),
        ("trail running shoes", Event("context", text="trail running shoes")),
        ("clicked", Event("context", text="clicked")),
        ("clickedshoes", Event("context", text="clickedshoes")),
        ("clicked: [EOS] [BOS]", Event("click", text="[EOS] [BOS]")),
        ("bought: two\nlines", Event("purchase", text="two\nlines")),
    ],
)
def test_a_string_says_what_was_done(entry: str, event: Event) -> None:
    assert parse_history([entry]) == (event,)


def test_a_rating_is_put_on_the_scale_of_the_templates() -> None:
    (event,) = parse_history(["rated 4/5: Dune"], scale=10)
    assert event.value == 8
    (event,) = parse_history(["rated 4: Dune"], scale=10)
    assert event.value == 4


def test_events_and_mappings_stay_what_they_are() -> None:
    event = Event("click", item_id="7", timestamp=5.0)
    assert parse_history([event, {"event": "click", "item_id": "7", "timestamp": 5.0}]) == (
        event,
        event,
    )
    assert parse_history([]) == ()
    assert parse_history([{"event": "click", "item_id": 7}]) == (Event("click", "7"),)


@pytest.mark.parametrize("kind", ["view", "View ", "history_click"])
def test_a_kind_has_the_name_that_tables_give_it(kind: str) -> None:
    right = (Event("click", "7"),)
    assert parse_history([{"event": kind, "item_id": "7"}]) == right
    assert parse_history([Event(kind, "7")]) == right


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ("clicked: shoes", r"a history is a list of entries; right is \['clicked: shoes'\]"),
        (["a", 5], "history entry 2 is int; right is text such as"),
        ([{"event": "click", "item": "7"}], "unknown key 'item'; did you mean 'item_id'"),
        ([{"item_id": "7"}], "'event' is missing; right is its kind"),
        ({"event": "click"}, "a history is a list of entries"),
        (["a", " "], "history entry 2 is empty"),
        ([{"event": " "}], "entry 1: 'event' is empty"),
        ([{"event": "click", "timestamp": 1e18}], "nanoseconds; right is 1000000000"),
        ([Event("click", timestamp=-5.0)], "-5.0 is before 1970"),
        ([{"event": "click", "timestamp": "2024-05-01"}], "is a text; right is 1714521600"),
        ([{"event": "rating", "value": float("inf")}], "value is inf; right is a finite number"),
        ([{"event": "rating", "value": "great"}], "value is 'great'; right is a number"),
        (["clicked: \ud800"], "half a character"),
        ([{"event": "click", "item_id": 7.5}], "entry 1: item_id is 7.5; right is text"),
        ([{"event": "rating", "value": True}], "value is True; right is a number"),
    ],
)
def test_what_is_no_event_is_told(history: object, said: str) -> None:
    with pytest.raises(HistoryError, match=said):
        parse_history(history)  # type: ignore[arg-type]


@pytest.mark.parametrize("item_id", [101, 101.0, np.int64(101), np.float32(101), "101"])
def test_ids_that_are_numbers_are_those_of_a_catalogue(item_id: object) -> None:
    """Tables read 101 and 101.0 as "101", too."""
    (event,) = parse_history([{"event": "click", "item_id": item_id}])
    assert event.item_id == "101"
    assert parse_history([Event("click", item_id=item_id)]) == (event,)  # type: ignore[arg-type]


@pytest.mark.parametrize("item_id", [True, ["a"], 1.5])
def test_what_is_no_id_is_told(item_id: object) -> None:
    with pytest.raises(HistoryError, match=r"history entry 1: item_id is .*; right is text"):
        parse_history([{"event": "click", "item_id": item_id}])
