"""Reasons and similar items through the Python face."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import polars as pl
import pytest

import tiny
from m6rec.answers import History, Recommendation
from m6rec.collaborative.reasons import Reason
from m6rec.data.schema import DataError
from m6rec.recommender import M6Rec
from m6rec.records import M6Error
from m6rec.tasks.similar import Likeness

TITLES = ["red shoe", "red tent", "blue lamp", "green tent"]


@pytest.fixture(scope="module")
def shop() -> M6Rec:
    """So many people that counts outweigh words."""
    return M6Rec(*tiny.backbone()).use(tiny.shop(600))


def ids(found: list[Recommendation]) -> list[str]:
    return [one.item_id for one in found]


def test_next_is_what_people_chose_after_it(shop: M6Rec) -> None:
    found = shop.similar("red-shoe", k=4)
    chosen = shop._catalogue(None)[0].chosen
    assert chosen is not None
    later, weight = chosen.score.transitions.row(chosen.score.codes["red-shoe"])
    first = list(chosen.score.codes)[later[weight.argmax()]]
    assert found[0].item_id == first
    assert ids(found)[1].startswith("red-")  # people keep to a colour
    assert "red-shoe" not in ids(shop.similar("red-shoe", k=99)) and len(found) == 4


def test_alike_is_the_cosine_of_half_whitened_texts(shop: M6Rec) -> None:
    found = shop.similar("red-shoe", k=14, kind="alike")
    score = shop._catalogue(None)[0].chosen.score  # type: ignore[union-attr]
    likeness = score.g_ID @ score.g_ID[score.codes["red-shoe"]]
    order = [list(score.codes)[n] for n in np.argsort(-likeness, kind="stable")]
    assert ids(found) == [one for one in order if one != "red-shoe"]
    assert found[0].score == pytest.approx(np.sort(likeness)[-2], abs=1e-5)
    bare = M6Rec(*tiny.backbone()).use(tiny.shop(), text_only=True)
    assert ids(bare.similar("red-shoe", k=14, kind="alike")) == ids(found)


def test_an_item_may_be_called_by_its_title(shop: M6Rec) -> None:
    assert shop.similar("red shoe", k=5) == shop.similar("red-shoe", k=5)


def test_an_item_that_nobody_knows_goes_by_its_words(shop: M6Rec) -> None:
    for kind in get_args(Likeness):
        found = shop.similar("a green lamp", k=15, kind=kind)
        assert len(found) == 15 and found[0].score > found[-1].score
    assert "green" in shop.similar("green tent with a green lamp", k=1, kind="alike")[0].title


def test_without_a_log_next_is_alike_and_filters_hold() -> None:
    rec = M6Rec(*tiny.backbone())
    assert rec.similar("red shoe", items=TITLES) == rec.similar(
        "red shoe", items=TITLES, kind="alike"
    )
    rows = [{"item_id": t, "title": t, "in_stock": t != "red tent"} for t in TITLES]
    assert "red tent" not in ids(rec.similar("red shoe", items=rows))
    assert "red tent" in ids(rec.similar("red shoe", items=rows, where={"available": False}))
    assert ids(rec.similar("red shoe", items=rows, where={"hide": TITLES[1:]})) == []


def test_what_can_not_be_asked_is_named(shop: M6Rec) -> None:
    with pytest.raises(M6Error, match="'next' or 'alike'"):
        shop.similar("red-shoe", kind="near")  # type: ignore[arg-type]
    with pytest.raises(M6Error, match="1 or more"):
        shop.similar("red-shoe", k=0)
    with pytest.raises(DataError, match="right is an item_id"):
        shop.similar(" ")


def test_reasons_come_where_they_are_asked_for(shop: M6Rec) -> None:
    history = [{"event": "click", "item_id": "red-shoe"}]
    assert {one.reason for one in shop.recommend(history, k=3)} == {None}
    found = shop.recommend(history, k=3, reasons=True)
    assert ids(found) == ids(shop.recommend(history, k=3))
    for one in found:
        assert one.reason is not None and one.reason.because == "red-shoe"
        assert one.reason.text == "People who chose “red shoe” often chose this next."
        assert one.reason.share == 1


def test_a_batch_has_the_reasons_of_each(shop: M6Rec) -> None:
    histories: list[History] = [
        ["clicked: a red hat"],
        [],
        [{"event": "purchase", "item_id": "blue-lamp"}],
    ]
    together = shop.recommend_batch(histories, k=4, reasons=True)
    alone = [shop.recommend(one, k=4, reasons=True) for one in histories]
    assert [[(o.item_id, o.reason) for o in row] for row in together] == [
        [(o.item_id, o.reason) for o in row] for row in alone
    ]
    texts = [{one.reason.text for one in row if one.reason} for row in together]
    assert texts[0] == {"Its words are near those of “a red hat”."}
    assert texts[1] == {"Many people chose this."}


def test_without_a_log_the_nearest_of_the_history_is_named() -> None:
    rec = M6Rec(*tiny.backbone())
    history = ["clicked: green tent", "disliked: red shoe"]
    found = rec.recommend(history, items=TITLES, k=4, reasons=True)
    texts = {one.reason.text for one in found if one.reason}
    assert texts == {"Its words are near those of “green tent”."}
    assert [one.reason for one in rec.recommend(items=TITLES, reasons=True)] == [None] * 4


def test_what_only_the_log_knows_is_called_by_its_id() -> None:
    data = tiny.shop()
    items = data.items.filter(pl.col("item_id") != "red-shoe")
    rec = M6Rec(*tiny.backbone()).use(replace(data, items=items))
    found = rec.recommend([{"event": "click", "item_id": "red-shoe"}], k=2, reasons=True)
    assert [one.reason.because for one in found if one.reason] == ["red-shoe"] * 2
    assert ids(rec.similar("red-shoe", k=2)) == ids(found)


def test_a_task_that_was_tuned_to_explain_writes_the_reasons(
    shop: M6Rec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explain(item: str, history: History, user_id: str | None) -> SimpleNamespace:
        return SimpleNamespace(text=f"{item} for {user_id} after {len(history)}")

    monkeypatch.setattr(shop, "tasks", {"explain": None})
    monkeypatch.setattr(shop, "explain", explain)
    (one,) = shop.recommend(["clicked: red shoe"], k=1, user_id="u1", reasons=True)
    assert one.reason == Reason(f"{one.item_id} for u1 after 1", written=True)
    (one,) = shop.recommend(["clicked: red shoe"], [{"item_id": "7", "title": "hat"}], reasons=True)
    assert one.reason == Reason("hat for None after 1", written=True)
