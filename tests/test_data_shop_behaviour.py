"""The shop's behaviour can be learnt but is not trivial; it drifts, and has seasons and tails."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import shop_baselines
from m6rec.data.shop import SIZES
from m6rec.data.shop.calendar import START
from m6rec.data.shop.world import World
from m6rec.data.tables import load

CHOICES = ["click", "cart", "purchase"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_baselines.small_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def world() -> World:
    return shop_baselines.small_world()


@pytest.fixture(scope="module")
def events(folder: Path) -> pl.DataFrame:
    """Events with the department of their item."""
    shop = load(folder)
    assert shop.events is not None
    department = pl.col("category").str.split("|").list.first().alias("department")
    return shop.events.join(shop.items.select("item_id", department), on="item_id", how="left")


def test_simple_models_lie_between_chance_and_an_oracle(folder: Path) -> None:
    results = shop_baselines.retrieval_results(folder, SIZES["small"])
    found = {name: result.metrics["hr@50"].value for name, result in results.items()}
    for name in ("popularity", "text similarity, decayed mean", "ItemKNN"):
        assert 2 * found["chance"] < found[name] < 0.7 * found["oracle"], found
    text = results["text similarity, decayed mean"].breakdown["unseen"]["hr@50"].value
    assert text > 2 * found["chance"]


def test_taste_decides_about_clicks_more_than_rates_do(folder: Path) -> None:
    results = shop_baselines.ranking_results(folder, SIZES["small"])
    auc = {name: result.metrics["auc"].value for name, result in results.items()}
    assert 0.75 < auc.pop("oracle") < 0.85
    assert max(auc.values()) < 0.62
    assert auc["item's mean rate"] > 0.52


def test_tastes_differ_between_the_first_and_the_last_day(world: World) -> None:
    likenesses = []
    for shopper in world.shoppers:
        first, last = (shopper.taste(time).weights for time in (START, world.calendar.end))
        likenesses.append(first @ last / np.linalg.norm(first) / np.linalg.norm(last))
    assert 0.2 < np.mean(likenesses) < 0.8


def test_behaviour_drifts(events: pl.DataFrame) -> None:
    """A shopper's first and second half differ more than every other visit from the rest."""
    pages = events.filter(pl.col("event") == "click").unique(
        ["user_id", "request_id"], keep="first"
    )
    pages = pages.sort("user_id", "timestamp", "request_id")
    place = pl.int_range(pl.len()).over("user_id")
    pages = pages.with_columns(place=place, count=pl.len().over("user_id"))
    pages = pages.filter(pl.col("count") >= 12)
    halves = pages.with_columns(group=(2 * pl.col("place") >= pl.col("count")))
    turns = pages.with_columns(group=pl.col("place") % 2 == 1)
    assert distance(halves) > 1.25 * distance(turns)


def distance(grouped: pl.DataFrame) -> float:
    """Mean total variation between a shopper's departments in two groups of pages."""
    size = pl.len().over("user_id", "group")
    shares = grouped.with_columns(share=1 / size).group_by("user_id", "department", "group")
    wide = shares.agg(pl.sum("share")).pivot("group", index=["user_id", "department"])
    gap = (pl.col("true").fill_null(0) - pl.col("false").fill_null(0)).abs()
    return float(wide.group_by("user_id").agg(gap.sum() / 2).get_column("true").mean())  # type: ignore[arg-type]


def test_the_first_place_of_a_page_gets_more_clicks(events: pl.DataFrame) -> None:
    shown = events.filter(pl.col("event") == "impression").group_by("position").len("shown")
    clicks = events.filter(pl.col("event") == "click").group_by("position").len("clicks")
    rate = shown.join(clicks, on="position").sort("position")
    rates = (rate["clicks"] / rate["shown"]).to_list()
    assert rates[0] > 1.3 * rates[-1]


def test_few_items_get_much_and_many_get_little(events: pl.DataFrame) -> None:
    counts = np.sort(events.filter(pl.col("event") == "click")["item_id"].value_counts()["count"])
    assert 0.25 < counts[-50:].sum() / counts.sum() < 0.7


def test_the_garden_sells_in_spring(events: pl.DataFrame) -> None:
    clicks = events.filter(pl.col("event").is_in(CHOICES))
    month = pl.from_epoch(pl.col("timestamp").cast(pl.Int64)).dt.month()
    spring, winter = (
        (clicks.filter(month.is_in(months))["department"] == "Camping").mean()
        for months in ([5, 6, 7], [11, 12, 1])
    )
    assert spring > 2 * winter


def test_what_goes_with_a_purchase_is_bought_after_it(events: pl.DataFrame, world: World) -> None:
    """More than twice as often as the same goods are bought at all."""
    kind = {item.item_id: item.kind.key for item in world.items}
    bought = events.filter(pl.col("event") == "purchase").sort("user_id", "timestamp", "position")
    share = {
        key: n / bought.height
        for key, n in pl.Series([kind[i] for i in bought["item_id"]]).value_counts().iter_rows()
    }
    hits, expected = 0, 0.0
    for _, purchases in bought.group_by("user_id", maintain_order=True):
        ids = [kind[item] for item in purchases["item_id"]]
        for before, after in pairwise(ids):
            goes_with = world.words.complements.get(before, ())
            hits += after in goes_with
            expected += sum(share.get(key, 0.0) for key in goes_with)
    assert hits > 2 * expected > 0


def test_all_kinds_of_events_are_there(events: pl.DataFrame) -> None:
    kinds = {"impression", "click", "cart", "purchase", "rating", "like", "dislike", "search"}
    assert set(events["event"]) == kinds
    assert set(events.filter(pl.col("event") == "rating")["value"]) <= {1.0, 2.0, 3.0, 4.0, 5.0}
