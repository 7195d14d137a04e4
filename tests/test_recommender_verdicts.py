"""A no is never taken for a yes: every call of the Python face and the command line."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import data_worlds as worlds
import tiny
from m6rec.cli.recommend import recommend
from m6rec.data.history import parse_history
from m6rec.data.requests import Requests
from m6rec.data.splits import make_split
from m6rec.data.tables import Dataset, write_table
from m6rec.evaluation.catalogue import chosen_events, liked_codes
from m6rec.recommender import M6Rec
from m6rec.records import Candidate, Event, Request
from m6rec.serving.engine import EngineSettings
from m6rec.serving.ranking import FastRanker

SHOP = {
    "a": "Trail shoes",
    "b": "Road running shoes",
    "c": "Coffee beans",
    "d": "Garden hose",
    "e": "Office chair",
    "f": "Running socks",
    "g": "Espresso machine",
    "h": "Desk lamp",
}
YES_AND_NO = [
    ("liked: trail shoes", "disliked: trail shoes"),
    ("rated 5/5: trail shoes", "rated 1/5: trail shoes"),
    ("bought: trail shoes", "returned: trail shoes"),
    ("put in the cart: trail shoes", "removed from the cart: trail shoes"),
    ("clicked: trail shoes", "skipped: trail shoes"),
    ("loved: trail shoes", "thumbs down: trail shoes"),
]
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def rec() -> M6Rec:
    return M6Rec.from_pretrained("m6-small")


@pytest.fixture(scope="module")
def tuned() -> M6Rec:
    rec = M6Rec(*tiny.backbone())
    train = {"epochs": 3, "batch": 16, "bf16": False, "patience": 0}
    rec.fit("retrieve", tiny.shop(), split="leave-one-out", train=train, console=QUIET)
    return rec


def place(found: list, item_id: str) -> int:
    return [one.item_id for one in found].index(item_id)


@pytest.mark.parametrize(("yes", "no"), YES_AND_NO)
@pytest.mark.parametrize("beside", [[], ["bought: coffee beans"]])
def test_what_is_refused_comes_lower_than_what_is_liked_and_never_first(
    rec: M6Rec, yes: str, no: str, beside: list[str]
) -> None:
    for call in (
        lambda history: rec.recommend(history, SHOP, k=8),
        lambda history: rec.recommend_batch([history, []], SHOP, k=8)[0],
        lambda history: rec.score(history, SHOP),
    ):
        after_yes, after_no = call([*beside, yes]), call([*beside, no])
        assert place(after_yes, "a") == 0
        assert place(after_no, "a") > 2
        assert place(after_no, "b") > place(after_yes, "b")


def test_exchanging_a_like_and_a_dislike_turns_the_order(rec: M6Rec) -> None:
    first = rec.recommend(["liked: trail shoes", "disliked: coffee beans"], SHOP, k=8)
    second = rec.recommend(["disliked: trail shoes", "liked: coffee beans"], SHOP, k=8)
    assert place(first, "a") < place(first, "c") and place(second, "c") < place(second, "a")
    assert place(first, "a") == 0 and place(second, "c") == 0


def test_a_tuned_model_never_puts_first_what_is_disliked(tuned: M6Rec) -> None:
    titles = dict(tiny.shop().items.select("item_id", "title").iter_rows())
    lower = []
    for item_id, title in titles.items():
        liked = tuned.recommend([f"bought: {title}"], titles, k=15)
        disliked = tuned.recommend([f"disliked: {title}"], titles, k=15)
        mixed = tuned.recommend(["bought: red tent", f"returned: {title}"], titles, k=15)
        assert place(disliked, item_id) > 0
        assert place(mixed, item_id) > 0
        lower.append(place(disliked, item_id) - place(liked, item_id))
    assert sum(lower) / len(lower) > 3


@pytest.fixture(scope="module")
def ranking() -> M6Rec:
    rec, data = M6Rec(*tiny.backbone()), tiny.shop()
    train = {"epochs": 1, "minutes": 0.05, "batch": 16, "bf16": False, "patience": 0}
    rec.fit("rank", data, split="temporal", train=train, console=QUIET)
    rec.use(data)
    return rec


@pytest.mark.parametrize("form", ["by id", "in words"])
def test_a_tuned_ranking_puts_what_is_disliked_below_what_is_liked(
    ranking: M6Rec, form: str
) -> None:
    titles = dict(tiny.shop().items.select("item_id", "title").iter_rows())
    ranker = ranking._ranker()
    served = FastRanker(ranker, EngineSettings(runtime="torch-fp32"))
    for item_id in list(titles)[:5]:
        answers = []
        for verb in ("like", "dislike"):
            entry = {"event": verb, "item_id": item_id}
            history = [entry if form == "by id" else f"{verb}d: {titles[item_id]}"]
            answers.append(ranking.rank(history, titles))
            named = Requests.of([Request(parse_history(history), None, None, None, CANDIDATES)])
            np.testing.assert_allclose(served.predict(named), ranker.predict(named), atol=1e-5)
        liked, disliked = answers
        assert place(disliked, item_id) == len(titles) - 1 > place(liked, item_id)


CANDIDATES = tuple(Candidate(item_id) for item_id in tiny.shop().items["item_id"])


def shop(rows: list[worlds.EventRow], **columns: list) -> Dataset:
    items = pl.DataFrame({"item_id": list(SHOP), "title": list(SHOP.values())})
    return Dataset("shop", items=items, events=worlds.events(rows, **columns))


def test_what_is_taken_back_is_no_reason_to_recommend_its_like(rec: M6Rec) -> None:
    history = [Event("purchase", "c"), Event("purchase", "a"), Event("return", "a")]
    after = rec.recommend(history, SHOP, k=8, exclude_seen=False)
    kept = rec.recommend(history[:2], SHOP, k=8, exclude_seen=False)
    assert place(kept, "a") < 2 and place(kept, "b") < place(kept, "e")
    assert place(after, "c") == 0 and place(after, "a") == 7 and place(after, "b") > 4


def test_with_nothing_but_dislikes_the_order_is_that_of_no_history_less_what_is_near(
    rec: M6Rec,
) -> None:
    rows = [(f"u{n}", item, "click", 1.0) for item, n_all in CHOSEN.items() for n in range(n_all)]
    opened = M6Rec(rec.backbone, rec.tokenizer).use(shop(rows))
    plain = opened.recommend(k=8)
    assert [one.item_id for one in plain][:5] == ["a", "b", "c", "g", "d"]
    against = opened.recommend(["disliked: trail shoes"], k=8)
    order = [one.item_id for one in against]
    assert order[0] == "c" and order[-1] == "a"
    assert [item for item in order if item in "cgde"] == ["c", "g", "d", "e"]
    assert order.index("b") > order.index("g") and order.index("f") == 6
    assert opened.recommend([Event("impression", "h")], k=8, exclude_seen=False) == plain


CHOSEN = {"a": 9, "b": 7, "c": 5, "g": 4, "d": 3, "e": 2}


def test_what_most_people_chose_counts_no_refusals_and_people_once(rec: M6Rec) -> None:
    rows = [(f"a{n}", "a", "rating", 1.0) for n in range(10)]
    rows += [(f"b{n}", "b", "removeFromCart", 2.0) for n in range(7)]
    rows += [(f"c{n}", "c", "refund", 2.0) for n in range(6)]
    rows += [(f"d{n}", "d", "rating", 1.0) for n in range(5)]
    rows += [("bot", "e", "click", float(n)) for n in range(500)]
    data = shop(rows, value=[1.0] * 10 + [None] * 13 + [5.0] * 5 + [None] * 500)
    found = M6Rec(rec.backbone, rec.tokenizer).use(data).recommend(k=8)
    assert [(one.item_id, round(one.score, 3)) for one in found[:2]] == [("d", 0.833), ("e", 0.167)]
    assert {one.score for one in found[2:]} == {0.0}


def test_the_command_line_knows_a_no(tmp_path: Path) -> None:
    rows = [(f"u{n}", item, "click", 1.0) for item, n_all in CHOSEN.items() for n in range(n_all)]
    data = shop(rows)
    write_table(data.items, tmp_path / "items.parquet")
    assert data.events is not None
    write_table(data.events, tmp_path / "events.parquet")
    orders = []
    for history in ("liked: trail shoes", "disliked: trail shoes"):
        told = tmp_path / "told.json"
        recommend(data=tmp_path, history=[history], k=8, json=told)
        orders.append([one["item_id"] for one in json.loads(told.read_text())["items"]])
    assert orders[0][0] == "a" and orders[1][-1] == "a" and orders[1][0] == "c"


def test_baselines_learn_from_and_look_at_what_is_liked_alone() -> None:
    rows = [("u", "a", "rating", 1.0), ("u", "b", "rating", 2.0), ("u", "c", "rating", 3.0)]
    rows += [("v", "a", "rating", 1.0), ("v", "c", "rating", 2.0), ("v", "b", "rating", 3.0)]
    split = make_split(
        worlds.dataset("abc", rows, value=[5.0, 1.0, 4.0, 5.0, 5.0, 5.0]),
        "retrieve",
        "leave-one-out",
    )
    ids = split.items["item_id"].to_list()
    assert chosen_events(split)["value"].min() == 4.0
    past = (Event("rating", "a", value=5.0), Event("rating", "b", value=1.0), Event("click", "c"))
    asked = Requests.of([Request(past)])
    assert liked_codes(asked, ids, 3).tolist() == [[-1, 0, 2]]


def test_ratings_of_ten_are_heard_on_their_own_scale(rec: M6Rec) -> None:
    rows = [(f"u{n}", "d", "rating", 1.0) for n in range(3)] + [("v", "e", "rating", 1.0)]
    rows += [("w", "c", "rating", 1.0), ("w", "a", "rating", 2.0)]
    ten = M6Rec(rec.backbone, rec.tokenizer).use(shop(rows, value=[9.0, 8.0, 9.0, 5.0, 10.0, 4.0]))
    assert ten.scale == 10.0
    assert [one.item_id for one in ten.recommend(k=8)][:2] == ["d", "c"]
    assert {one.score for one in ten.recommend(k=8)[2:]} == {0.0}
    for low, high in (("rated 4/10", "rated 9/10"), ("rated 2/5", "rated 5/5")):
        assert place(ten.recommend([f"{high}: trail shoes"], SHOP, k=8), "a") == 0
        assert place(ten.recommend([f"{low}: trail shoes"], SHOP, k=8), "a") == 7
    own = ten.recommend(user_id="w", k=8, exclude_seen=False)
    assert place(own, "c") == 0 and place(own, "a") == 7


def test_templates_that_name_a_scale_keep_it(rec: M6Rec, tmp_path: Path) -> None:
    own = tmp_path / "templates.toml"
    own.write_text("[words]\nscale = 20.0\n")
    data = shop([("u", "a", "rating", 1.0)], value=[9.0])
    opened = M6Rec(rec.backbone, rec.tokenizer)
    assert opened.use(data).scale == 10.0
    assert opened.use(replace(data, templates=own)).scale == 20.0
