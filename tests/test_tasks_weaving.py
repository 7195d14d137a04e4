"""Woven titles: of those that read most like a user, new, drawn by seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.passages import Passage
from m6rec.metrics.text_variety import copied
from m6rec.records import Event
from m6rec.tasks.examples import Examples
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.title import TitleForm, TitleSettings
from m6rec.tasks.weaving import Weaver
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

TITLES = {
    "t1": ("Red Wool Tent for Two", "Tents"),
    "t2": ("Blue Wool Tent for Four", "Tents"),
    "l1": ("Green Wool Lamp for Reading", "Lamps"),
    "l2": ("Yellow Lamp with Two Bulbs", "Lamps"),
}
ITEMS = pl.DataFrame([{"item_id": i, "title": t, "category": c} for i, (t, c) in TITLES.items()])
ASKED = Passage(history=(Event("search", query="wool tent"),))


def weaver(**reading: Any) -> Weaver:
    """Of examples that are found by words alone."""
    grounds = Grounds(ITEMS, None)
    examples = Examples(grounds, grounds.those_of([]), lambda texts: np.zeros((len(texts), 2)))
    words = Verbalizer(Templates.load(), ITEMS, None)
    return Weaver(TitleForm(words, grounds, TitleSettings.parse(reading, "test"), examples))


def test_a_title_is_woven_of_the_nearest_and_copies_none() -> None:
    found = weaver(longest_copy=4).weave([ASKED], n=50)[0]
    titles = [weaver().form.read(text) for text in found]
    assert "Blue Wool Tent for Two" in titles and len(set(titles)) == len(titles)
    assert not copied(titles, [title for title, _ in TITLES.values()], 4).any()
    assert all(text.startswith("Tents: ") for text in found)  # most of what is near
    whole = weaver(longest_copy=0, category="none").weave([ASKED], n=50)[0]
    assert TITLES["t1"][0] in whole


def test_what_is_near_and_agrees_comes_more_often() -> None:
    near = weaver(longest_copy=4, category="none")
    first = [near.weave([ASKED], seed=seed)[0][0] for seed in range(40)]
    assert len(set(first)) > 1 and sum("Tent" in text for text in first) > 30


def test_the_same_seed_weaves_the_same_whatever_else_is_asked() -> None:
    other = Passage(history=(Event("search", query="lamp"),))
    alone, both = (weaver().weave(asked, n=3, seed=7) for asked in ([ASKED], [other, ASKED]))
    assert both[1] == alone[0]
    assert alone[0] != weaver().weave([ASKED], n=3, seed=8)[0]


def test_those_who_are_told_alike_are_not_all_told_the_same() -> None:
    found = weaver(longest_copy=4).weave([ASKED] * 12)
    assert len({texts[0] for texts in found}) > 1
    assert found == weaver(longest_copy=4).weave([ASKED] * 12)


def test_nothing_is_woven_where_nothing_is_known() -> None:
    assert weaver().weave([Passage(), replace(ASKED, history=())]) == [[], []]
    assert weaver().weave([]) == []


def test_a_given_category_is_kept_to() -> None:
    asked = replace(ASKED, about="Lamps")
    found = weaver(category="given").weave([asked], n=50)[0]
    assert found and not any("Tent" in text for text in found)
