"""The shop's English reads well, and what it says is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

import shop_baselines
from m6rec.data.shop.generate import items_table
from m6rec.data.shop.grammar import article, both, title_case
from m6rec.data.shop.shoppers import cares
from m6rec.data.shop.world import World
from m6rec.data.tables import Dataset, load

BAD = {
    "double space": re.compile(r"  "),
    "space before a mark": re.compile(r" [.,:;?!]"),
    "double mark": re.compile(r"[.,:;?!]{2}"),
    "gap": re.compile(r"[{}]"),
    "None": re.compile(r"\bNone\b"),
    "a before a vowel": re.compile(r"\b[Aa] (?!one\b|one-|eu|uni|use|urea|U-)[aeiouAEIO]"),
    "an before a consonant": re.compile(r"\b[Aa]n (?![aeiouAEIOU]|18|11|8|LED|SPF|hour)"),
    "word twice": re.compile(r"\b(\w+) \1\b", re.IGNORECASE),
    "this with a plural": re.compile(r"\b[Tt]his (?:\w+ )?(?:socks|gloves|beans|headphones)\b"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_baselines.small_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def shop(folder: Path) -> Dataset:
    return load(folder)


@pytest.fixture(scope="module")
def world() -> World:
    return shop_baselines.small_world()


def sentences(shop: Dataset, folder: Path) -> list[str]:
    """Every text of the shop that is prose."""
    assert shop.reviews is not None
    lines = (folder / "dialogs.jsonl").read_text("utf-8").splitlines()
    return [
        *shop.items["description"].drop_nulls(),
        *shop.reviews["text"],
        *shop.reviews["explanation"].drop_nulls(),
        *(turn["text"] for line in lines for turn in json.loads(line)["turns"]),
    ]


def test_prose_is_clean(shop: Dataset, folder: Path) -> None:
    texts = sentences(shop, folder) + list(items_table(shop_baselines.full_world())["description"])
    for text in texts:
        if text is not None:
            assert text[0].isupper() or text[0].isdigit(), text
            assert text[-1] in ".!?", text
            for name, pattern in BAD.items():
                assert not pattern.search(text), f"{name}: {text}"


def test_titles_are_clean() -> None:
    for item in shop_baselines.full_world().items:
        assert item.title == item.title.strip()
        assert 10 < len(item.title) < 100
        for name in ("double space", "space before a mark", "gap", "word twice", "None"):
            assert not BAD[name].search(item.title), item.title


def test_texts_vary(shop: Dataset) -> None:
    assert shop.reviews is not None
    assert shop.items["description"].drop_nulls().is_unique().mean() > 0.95
    assert shop.reviews["text"].is_unique().mean() > 0.8
    assert shop.reviews["explanation"].drop_nulls().is_unique().mean() > 0.6


def test_descriptions_name_all_that_an_item_is_good_at(world: World) -> None:
    for item in world.items:
        if item.description is not None:
            assert all(feature.clause in item.description for feature in item.features)
            assert 1 <= len(re.findall(r"[.!?](?: |$)", item.description)) <= 3


def test_explanations_are_true_of_item_and_shopper(shop: Dataset, world: World) -> None:
    """The aspect is named; the item's description says why; the shopper cares when it says so."""
    assert shop.reviews is not None and shop.events is not None
    bought = shop.events.filter(pl.col("event") == "purchase").select(
        "user_id", "item_id", bought="timestamp"
    )
    first = bought.group_by("user_id", "item_id").agg(pl.min("bought"))
    rows = shop.reviews.filter(pl.col("explanation").is_not_null())
    rows = rows.join(first, on=["user_id", "item_id"])
    items = {item.item_id: item for item in world.items}
    shoppers = {shopper.user_id: shopper for shopper in world.shoppers}
    claims = 0
    for row in rows.iter_rows(named=True):
        item, text = items[row["item_id"]], row["explanation"]
        assert row["feature"] in text
        assert "because" in text.lower()
        clauses = [feature.clause for feature in item.features if feature.clause in text]
        assert clauses and all(clause in (item.description or "") for clause in clauses)
        wanted = cares(shoppers[row["user_id"]].taste(row["bought"]), world.columns)
        nouns = [world.words.aspects[aspect].noun for aspect in wanted]
        if re.search(r"\b(care about|value|look for|list|wish for)\b", text):
            claims += 1
            assert row["feature"] in nouns
    assert rows.height > 300
    assert claims > rows.height / 2


def test_reviewers_say_that_they_care_only_where_they_do(shop: Dataset, world: World) -> None:
    assert shop.reviews is not None and shop.events is not None
    bought = shop.events.filter(pl.col("event") == "purchase")
    first = bought.group_by("user_id", "item_id").agg(bought=pl.min("timestamp"))
    shoppers = {shopper.user_id: shopper for shopper in world.shoppers}
    said = 0
    for row in shop.reviews.join(first, on=["user_id", "item_id"]).iter_rows(named=True):
        wanted = cares(shoppers[row["user_id"]].taste(row["bought"]), world.columns)
        nouns = [world.words.aspects[aspect].noun for aspect in wanted]
        for claim in re.findall(r"(?:I care about|I always look for) ([^,:]+)[,:]", row["text"]):
            said += 1
            assert claim in nouns
    assert said > 50


def test_low_stars_name_what_is_missing(shop: Dataset, world: World) -> None:
    assert shop.reviews is not None
    low = shop.reviews.filter(pl.col("rating") <= 2)
    lacks = {aspect.noun: aspect.lack for aspect in world.words.aspects.values()}
    items = {item.item_id: item for item in world.items}
    assert low.height > 10
    for row in low.iter_rows(named=True):
        assert row["explanation"] is None
        assert lacks[row["feature"]] in row["text"]
        good_at = [world.words.aspects[aspect].noun for aspect in items[row["item_id"]].aspects]
        assert row["feature"] not in good_at


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("LED lantern", "an"),
        ("SPF 30 sun cream", "an"),
        ("18-piece set", "an"),
        ("over-ear model", "an"),
        ("uncluttered desk", "an"),
        ("one-litre bottle", "a"),
        ("U-shaped lock", "a"),
        ("urea hand cream", "a"),
        ("unit", "a"),
        ("herb seed set", "a"),
        ("2-person tent", "a"),
    ],
)
def test_articles_go_by_sound(words: str, right: str) -> None:
    assert article(words) == right


def test_clauses_are_joined_without_a_pile_of_ands() -> None:
    assert both("weighs little", "folds flat", ", and", "it") == "weighs little and folds flat"
    joined = both("keeps off wind and rain", "folds flat", ", and", "it")
    assert joined == "keeps off wind and rain, and it folds flat"


def test_titles_keep_small_words_and_units_small() -> None:
    assert title_case("step-by-step craft kit") == "Step-by-Step Craft Kit"
    assert title_case("28 cm frying pan") == "28 cm Frying Pan"
    assert title_case("LED lantern") == "LED Lantern"
