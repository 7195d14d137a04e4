"""Woven titles: of those that read most like a user, new, drawn by seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from language_worlds import backbone
from m6rec.data.passages import Passage
from m6rec.metrics.text_variety import copied
from m6rec.records import Event
from m6rec.tasks import weaving
from m6rec.tasks.build import Backbone
from m6rec.tasks.build_writing import build_author
from m6rec.tasks.title import TitleForm
from m6rec.tasks.weaving import Weaver
from m6rec.text.aspects import Aspects
from m6rec.text.templates import Templates
from m6rec.training.writing import writing_recipe

TITLES = {
    "t1": ("Red Wool Tent for Two", "Tents"),
    "t2": ("Blue Wool Tent for Four", "Tents"),
    "l1": ("Green Wool Lamp for Reading", "Lamps"),
    "l2": ("Yellow Lamp with Two Bulbs", "Lamps"),
}
ITEMS = pl.DataFrame([{"item_id": i, "title": t, "category": c} for i, (t, c) in TITLES.items()])
ASKED = Passage(history=(Event("search", query="wool tent"),))


def weaver(**reading: Any) -> Weaver:
    """Titles found by words alone, of a network that was never trained."""
    model, tokenizer = backbone(3, 0)
    shared = Backbone(model, tokenizer)
    shared.embed = lambda texts: np.zeros((len(texts), 2))  # type: ignore[method-assign]
    spec, _ = writing_recipe("title", tuning={"rank": 4, "prompts": 0}, **reading)
    author = build_author(shared, Templates.load(), ITEMS, None, spec, Aspects(()))
    author.model.eval()
    assert isinstance(author.form, TitleForm)
    return Weaver(author, author.form)


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


def test_the_network_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made = weaver(category="none")
    monkeypatch.setattr(weaving, "LIKELIHOOD", 1e6)
    found = made.weave([ASKED], n=4)[0]
    likely = made.author.log_likelihoods(ASKED, found)
    lengths = [len(made.author.tokenizer.write(text)) + 1 for text in found]
    assert sorted(likely / lengths, reverse=True) == list(likely / lengths)


def test_nothing_is_woven_where_nothing_is_known() -> None:
    assert weaver().weave([Passage(), replace(ASKED, history=())]) == [[], []]
    assert weaver().weave([]) == []


def test_a_given_category_is_kept_to() -> None:
    asked = replace(ASKED, about="Lamps")
    found = weaver(category="given").weave([asked], n=50)[0]
    assert found and not any("Tent" in text for text in found)
