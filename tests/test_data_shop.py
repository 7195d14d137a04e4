"""The built-in shop: its tables are whole, repeat by seed, and can be loaded, checked and split."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

import shop_baselines
from m6rec.data.check import check
from m6rec.data.schema import DataError
from m6rec.data.shop import SIZES, ShopSize, generate_shop
from m6rec.data.shop.calendar import DAY, START
from m6rec.data.shop.generate import VERSION, items_table
from m6rec.data.shop.vocabulary import vocabulary
from m6rec.data.shop.world import DEPARTMENTS, build_world
from m6rec.data.splits import make_split
from m6rec.data.tables import Dataset, load

CONTENT = {1: "617d7cd10f6a270e"}
"""VERSION -> digest of the tiny shop of seed 0. Whoever changes the content counts VERSION up."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_baselines.small_shop(tmp_path_factory)


@pytest.fixture(scope="module")
def shop(folder: Path) -> Dataset:
    return load(folder)


@pytest.fixture(scope="module")
def events(shop: Dataset) -> pl.DataFrame:
    assert shop.events is not None
    return shop.events


def digest(folder: Path) -> str:
    """Of the content: the values of all tables in their order, not the bytes of Parquet."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            text = pl.read_parquet(path).write_csv(float_precision=6)
        else:
            text = path.read_text("utf-8")
        found.update(f"{path.name}\n{text}".encode())
    return found.hexdigest()[:16]


def dialogs_of(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "dialogs.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_full_shop_is_as_large_as_promised() -> None:
    world = shop_baselines.full_world()
    assert len(world.items) >= 2000
    assert len({item.category.split("|")[0] for item in world.items}) >= 12
    assert len(world.shoppers) >= 1000
    titles = [item.title for item in world.items]
    assert len(set(titles)) == len(titles)
    shown = sum(shopper.visits for shopper in world.shoppers) * 1.6 * 6
    assert 70_000 < shown < 150_000


def test_the_same_seed_gives_the_same_content_in_another_process(tmp_path: Path) -> None:
    generate_shop(tmp_path / "here", size="tiny", seed=3)
    code = "import sys; from m6rec.data.shop import generate_shop as g; "
    code += "g(sys.argv[1], size='tiny', seed=3)"
    there = tmp_path / "there"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(there)], check=True, env=environment)
    assert digest(tmp_path / "here") == digest(there)
    assert (tmp_path / "here/dialogs.jsonl").read_bytes() == (there / "dialogs.jsonl").read_bytes()


def test_another_seed_gives_another_shop(tmp_path: Path) -> None:
    for seed in (0, 1):
        generate_shop(tmp_path / str(seed), size="tiny", seed=seed)
    first, second = (pl.read_parquet(tmp_path / f"{seed}/items.parquet") for seed in (0, 1))
    assert not set(first["title"]) & set(second["title"])


def test_content_changes_only_with_the_version(tmp_path: Path) -> None:
    generate_shop(tmp_path, size="tiny")
    assert digest(tmp_path) == CONTENT[VERSION]


def test_check_finds_nothing_wrong(folder: Path) -> None:
    report = check(folder)
    assert report.problems == ()
    assert {table.name for table in report.tables} >= {"items", "events", "users", "dialogs"}


def test_every_id_is_known(folder: Path, shop: Dataset, events: pl.DataFrame) -> None:
    items, users = set(shop.items["item_id"]), set(users_of(shop)["user_id"])
    assert shop.reviews is not None and shop.queries is not None
    for table in (events, shop.reviews, shop.queries):
        assert set(table["item_id"].drop_nulls()) <= items
        assert set(table["user_id"].drop_nulls()) <= users
    titles = dict(shop.items.select("item_id", "title").iter_rows())
    for dialog in dialogs_of(folder):
        assert dialog["user_id"] in users
        for item in mentions(dialog):
            assert titles[str(item["id"])] == item["title"]
            assert isinstance(item["liked"], bool)


def users_of(shop: Dataset) -> pl.DataFrame:
    assert shop.users is not None
    return shop.users


def mentions(dialog: Mapping[str, object]) -> list[dict[str, object]]:
    turns = dialog["turns"]
    assert isinstance(turns, list)
    return [item for turn in turns for item in turn["items"]]


def test_nothing_happens_to_an_item_before_it_is_there(shop: Dataset, events: pl.DataFrame) -> None:
    joined = events.join(shop.items.select("item_id", "available_from"), on="item_id")
    early = joined.filter(pl.col("timestamp") < pl.col("available_from"))
    assert early.is_empty()
    assert joined["available_from"].max() > START + 200 * DAY


def test_only_searches_lack_an_item_and_only_they_have_a_query(events: pl.DataFrame) -> None:
    search = pl.col("event") == "search"
    assert events.filter(search != pl.col("item_id").is_null()).is_empty()
    assert events.filter(search != pl.col("query").is_not_null()).is_empty()


def test_what_is_done_on_a_page_was_shown_there(events: pl.DataFrame) -> None:
    keys = ["user_id", "request_id", "position", "item_id", "timestamp"]
    shown = events.filter(pl.col("event") == "impression").select(keys)
    assert shown.is_unique().all()
    done = events.filter(pl.col("event").is_in(["click", "cart", "purchase", "like", "dislike"]))
    assert done.join(shown, on=keys, how="anti").is_empty()
    clicks = events.filter(pl.col("event") == "click").select(keys)
    later = events.filter(pl.col("event").is_in(["cart", "purchase"]))
    assert later.join(clicks, on=keys, how="anti").is_empty()


def test_reviews_and_ratings_follow_a_purchase(shop: Dataset, events: pl.DataFrame) -> None:
    pair = ["user_id", "item_id"]
    bought = events.filter(pl.col("event") == "purchase").group_by(pair).agg(pl.min("timestamp"))
    assert shop.reviews is not None
    for table in (shop.reviews, events.filter(pl.col("event") == "rating")):
        joined = table.join(bought, on=pair, how="left", suffix="_bought")
        assert (joined["timestamp"] > joined["timestamp_bought"]).all()
        assert joined["timestamp_bought"].null_count() == 0


def test_temporal_retrieval_has_unseen_items_and_new_users(shop: Dataset) -> None:
    split = make_split(shop, "retrieve", "temporal", min_history=0)
    assert split.card.counts["test_targets_not_in_train"] >= 20
    train_users = set(split.train.rows["user_id"])
    assert len(set(split.test.rows["user_id"]) - train_users) >= 3


def test_ranking_by_impressions_has_both_labels(shop: Dataset) -> None:
    split = make_split(shop, "rank", "temporal")
    share = split.card.counts["test_labels_positive"] / split.card.counts["test_labels"]
    assert 0.1 < share < 0.4


def test_cold_paths_are_there(shop: Dataset, events: pl.DataFrame) -> None:
    assert len(set(users_of(shop)["user_id"]) - set(events["user_id"])) >= 2
    assert users_of(shop)["interests"].null_count() >= 2
    assert shop.items["description"].null_count() >= 2
    assert shop.items["price"].null_count() >= 1


def test_queries_are_judged_from_exact_to_related(shop: Dataset) -> None:
    assert shop.queries is not None
    assert set(shop.queries["relevance"]) == {1.0, 2.0, 3.0}
    judged = shop.queries.filter(pl.col("user_id").is_null())
    assert judged.select("query", "item_id").is_unique().all()


def test_dialogues_ask_offer_and_end_with_a_yes_or_a_no(folder: Path) -> None:
    dialogs = dialogs_of(folder)
    assert {dialog["split"] for dialog in dialogs} == {"train", "valid", "test"}
    liked = [mentions(dialog)[-1]["liked"] for dialog in dialogs]
    assert 0.7 < sum(map(bool, liked)) / len(liked) < 1
    refused = sum(any(not item["liked"] for item in mentions(d)[:-1]) for d in dialogs)
    assert refused > len(dialogs) / 4


def test_the_shop_uses_its_own_templates(shop: Dataset) -> None:
    assert shop.templates is not None
    assert shop.templates.read_text("utf-8") == 'extends = "shop"\n'


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    generate_shop(tmp_path, size="tiny", progress=lambda step, share: told.append((step, share)))
    assert list(dict(told)) == ["catalogue", "visits", "texts"]
    assert told[-1] == ("texts", 1.0)


def test_an_unknown_size_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'huge': right is one of tiny, small, full"):
        generate_shop(tmp_path, size="huge")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"departments=15\): right is 1 to 14"):
        ShopSize(items=100, shoppers=10, departments=15, visits=3, dialogs=5)


def test_a_shop_of_any_size_can_be_made(tmp_path: Path) -> None:
    size = ShopSize(items=20, shoppers=1, departments=1, visits=1, dialogs=1, days=30)
    generate_shop(tmp_path, size=size, seed=5)
    assert load(tmp_path).items.height == 20


def test_words_belong_together() -> None:
    words = vocabulary()
    kinds = [kind for department in words.departments for kind in department.kinds]
    assert len(words.departments) == DEPARTMENTS
    assert len({kind.key for kind in kinds}) == len(kinds)
    assert len({kind.noun for kind in kinds}) == len(kinds)
    for kind in kinds:
        aspects = [feature.aspect for feature in kind.features]
        assert len(set(aspects)) == len(aspects) >= 4, kind.key
        assert kind.price[0] < kind.price[1]
    assert items_table(build_world(SIZES["tiny"])).height == 60
