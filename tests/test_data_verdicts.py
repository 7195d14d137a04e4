"""What an event says of its item: yes, no, nothing, shown, or taken back; and how many say yes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import data_worlds as worlds
from m6rec.data import verdicts as verdicts_module
from m6rec.data.known import popularity
from m6rec.data.verdicts import (
    Scale,
    Verdict,
    acted,
    history_verdicts,
    people,
    said_of,
    scale_of,
    standing,
    taken_back,
    verdict,
    verdicts,
)
from m6rec.records import Event

YES, NO, NEITHER, SHOWN, UNDONE = (
    Verdict.YES,
    Verdict.NO,
    Verdict.NEITHER,
    Verdict.SHOWN,
    Verdict.UNDONE,
)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        *((kind, YES) for kind in ("click", "cart", "purchase", "like", "play", "rating", "X")),
        *((kind, NO) for kind in ("dislike", "thumbs_down", "thumbsDown", "Thumbs-Down", "skip")),
        *((kind, NO) for kind in ("return", "Refund", "refunded", "cancelled", "not_interested")),
        *((kind, NO) for kind in ("remove_from_cart", "removeFromCart", "REMOVE FROM CART")),
        *((kind, SHOWN) for kind in ("impression", "Impression", "view_item_list", "exposure")),
        *((kind, NEITHER) for kind in ("search", "context", "view_search_results")),
        ("unlike", UNDONE),
        *((kind, NO) for kind in ("item_returned", "order_cancelled", "partial_refund", "returns")),
        *((kind, NO) for kind in ("dislikes", "not liked", "didn't like", "not_relevant", "👎")),
        *(
            (kind, NO)
            for kind in ("removed from the bag", "cartItemRemoved", "1 star", "Rating: 1")
        ),
        *((kind, SHOWN) for kind in ("no_click", "ad_impression", "not purchased", "ignored")),
        *((kind, YES) for kind in ("5 stars", "rated 4", "★★★★", "👍", "impression_click")),
        ("rating_3", NEITHER),
        ("removed from wishlist", UNDONE),
    ],
)
def test_a_kind_says_the_same_in_every_spelling_alone_and_in_a_table(
    kind: str, says: Verdict
) -> None:
    events = worlds.events([("u", "a", kind, 1.0)])
    assert verdict(Event(kind, "a")) == says
    assert verdicts(events.with_columns(event=pl.lit(kind))).tolist() == [says]
    assert history_verdicts([Event(kind, "a")]) == [says]


def test_a_rating_in_a_name_counts_as_one_with_a_value_on_the_scale_of_both() -> None:
    rows = [("u", "a", "rated 6", 1.0), ("u", "b", "rating", 2.0), ("u", "c", "rated 9", 3.0)]
    events = worlds.events(rows, value=[None, 10.0, None])
    assert scale_of(events) == scale_of(events.drop("value")) == Scale(10.0)
    assert verdicts(events).tolist() == [NEITHER, YES, YES]
    many = pl.concat([events] * 1000)
    assert said_of(many).verdict.tolist() == [NEITHER, YES, YES] * 1000


def test_a_kind_that_nobody_listed_is_something_the_user_did() -> None:
    assert verdict(Event("added to the wardrobe", "a")) == YES


@pytest.mark.parametrize(
    ("highest", "values", "says"),
    [
        (5, [1, 2, 2.5, 3, 3.5, 4, 4.5, 5], [NO, NO, NEITHER, NEITHER, NEITHER, YES, YES, YES]),
        (10, [1, 4, 5, 7, 8, 10], [NO, NO, NEITHER, NEITHER, YES, YES]),
        (100, [20, 40, 60, 80, 100], [NO, NO, NEITHER, YES, YES]),
    ],
)
def test_a_rating_is_judged_by_its_scale(
    highest: float, values: list[float], says: list[Verdict]
) -> None:
    rows = [("u", f"i{n}", "rating", float(n)) for n in range(len(values))]
    events = worlds.events(rows, value=values)
    assert scale_of(events) == Scale(highest)
    assert verdicts(events).tolist() == says
    assert [verdict(Event("rating", "a", value=v), Scale(highest)) for v in values] == says


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 1.0], Scale(1.0)),
        ([1.0, 1.0], Scale(5.0)),
        ([-10.0, 4.0], Scale(10.0, -10.0)),
        ([-1.0, 1.0], Scale(1.0, -1.0)),
        ([9.0, float("nan")], Scale(10.0)),
        ([250.0, 3.0], Scale(250.0)),
    ],
)
def test_the_scale_follows_from_the_ratings(values: list[float], scale: Scale) -> None:
    rows = [("u", f"i{n}", "rating", float(n)) for n in range(len(values))]
    assert scale_of(worlds.events(rows, value=values)) == scale


def test_thumbs_as_numbers_are_a_yes_and_a_no() -> None:
    for low in (0.0, -1.0):
        events = worlds.events(
            [("u", "a", "rating", 1.0), ("u", "b", "rating", 2.0)], value=[1, low]
        )
        assert verdicts(events).tolist() == [YES, NO]


def test_a_value_that_is_no_rating_makes_no_scale() -> None:
    events = worlds.events([("u", "a", "purchase", 1.0)], value=[5999.0])
    assert scale_of(events) == Scale(5.0) and verdicts(events).tolist() == [YES]


def test_a_purchase_of_minus_one_piece_is_a_return() -> None:
    rows = [("u", "a", "purchase", 1.0), ("u", "a", "purchase", 2.0)]
    assert verdicts(worlds.events(rows, value=[1, -1])).tolist() == [UNDONE, NO]


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        ("click cart purchase return", [UNDONE, UNDONE, UNDONE, NO]),
        ("purchase click purchase refund", [YES, UNDONE, UNDONE, NO]),
        ("purchase click cart remove_from_cart", [YES, UNDONE, UNDONE, NO]),
        ("cart remove_from_cart cart purchase", [UNDONE, UNDONE, YES, YES]),
        ("click purchase like dislike", [UNDONE, UNDONE, UNDONE, NO]),
        ("dislike like", [UNDONE, YES]),
        ("dislike click", [NO, YES]),
        ("dislike undislike", [UNDONE, NEITHER]),
        ("like unlike", [UNDONE, UNDONE]),
        ("play play skip", [YES, YES, NO]),
        ("return purchase", [UNDONE, YES]),
        ("impression dislike", [SHOWN, NO]),
        ("return", [NO]),
    ],
)
def test_what_is_said_later_takes_back_what_was_said_before(
    kinds: str, says: list[Verdict]
) -> None:
    rows = [("u", "a", kind, float(n)) for n, kind in enumerate(kinds.split())]
    others = [("u", "b", "click", 0.5), ("v", "a", "click", 0.5)]
    events = worlds.events([*rows, *others])
    mine = (events["user_id"] == "u") & (events["item_id"] == "a")
    found = verdicts(events)
    assert found[mine.to_numpy()].tolist() == says
    assert found[~mine.to_numpy()].tolist() == [YES, YES]


def test_items_in_words_are_taken_back_too() -> None:
    told = [Event("purchase", text="Trail shoes"), Event("return", text="trail shoes")]
    assert history_verdicts(told) == [UNDONE, NO]


@pytest.mark.parametrize("few", [0, verdicts_module.FEW])
def test_a_table_and_single_histories_agree_on_random_logs(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts_module, "FEW", few)
    draw = np.random.default_rng(0)
    kinds = ["click", "cart", "purchase", "return", "remove_from_cart", "dislike", "like", "rating"]
    kinds += ["skip", "impression", "search", "unlike"]
    for _ in range(60):
        rows = [
            (str(user), str(item), kinds[kind], float(time))
            for time, (user, item, kind) in enumerate(
                draw.integers((3, 3, len(kinds)), size=(40, 3))
            )
        ]
        events = worlds.events(rows, value=draw.integers(1, 6, size=40).astype(float))
        found = pl.Series(verdicts(events))
        for user in events["user_id"].unique():
            own = events.filter(pl.col("user_id") == user)
            names = ("event", "item_id", "value")
            history = [Event(**row) for row in own.select(names).rows(named=True)]
            said = found.filter(events["user_id"] == user).to_list()
            assert history_verdicts(history, scale_of(events)) == said


def test_the_row_that_takes_back_says_since_when() -> None:
    rows = [("u", "a", "purchase", 1.0), ("u", "b", "click", 2.0), ("u", "a", "return", 3.0)]
    events = worlds.events(rows)
    assert taken_back(events, said_of(events)).tolist() == [2, 3, 3]


def test_what_was_shown_is_no_act_and_a_search_none_on_an_item() -> None:
    kinds = ["impression", "search", "click", "dislike", "return"]
    events = worlds.events([("u", "a", kind, float(n)) for n, kind in enumerate(kinds)])
    assert acted(events).tolist() == [False, False, True, True, True]


def test_what_most_people_chose_is_counted_in_people_who_stayed_with_it() -> None:
    rows = [(f"a{n}", "one star", "rating", 1.0) for n in range(10)]
    rows += [(f"b{n}", "carts", kind, t) for n in range(7) for kind, t in CART]
    rows += [(f"c{n}", "refunds", kind, t) for n in range(6) for kind, t in REFUND]
    rows += [(f"d{n}", "five stars", "rating", 1.0) for n in range(5)]
    values = [1.0] * 10 + [None] * 26 + [5.0] * 5
    events = worlds.events(rows, value=values)
    assert people(events).rows() == [("five stars", 5)]
    names = ["one star", "carts", "refunds", "five stars", "untouched"]
    data = worlds.dataset("", []).__class__("shop", items=worlds.items(*names), events=events)
    counts = popularity(data)
    assert counts is not None and counts.tolist() == [0, 0, 0, 5, 0]


CART = (("cart", 1.0), ("remove_from_cart", 2.0))
REFUND = (("purchase", 1.0), ("refund", 2.0))


def test_one_bot_is_one_person() -> None:
    rows = [("bot", "a", "click", float(n)) for n in range(50_000)]
    rows += [(f"u{n}", "b", "purchase", 1.0) for n in range(200)]
    counts = popularity(worlds.dataset("ab", rows))
    assert counts is not None and counts.tolist() == [1.0, 200.0]


def test_standing_events_keep_their_order() -> None:
    rows = [("u", "a", "click", 1.0), ("u", "b", "dislike", 2.0), ("u", "c", "purchase", 3.0)]
    assert standing(worlds.events(rows))["item_id"].to_list() == ["a", "c"]
