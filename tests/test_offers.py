"""What of an item a filter asks, and that every place that filters says the same."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from m6rec.offers import Filter, Offer, parts_of
from m6rec.stores.vectors.local import LocalIndex
from m6rec.stores.vectors.qdrant import QdrantIndex
from m6rec.tasks.shelf import Shelf, choose


@pytest.mark.parametrize(
    ("category", "asked", "found"),
    [
        ("Action|Comedy", ["Comedy"], True),
        ("Action, Comedy", ["Comedy"], True),
        ("Home > Garden", ["Garden"], True),
        ("Home > Garden", ["Home > Garden"], True),
        ("Action|Comedy", ["Action|Comedy"], True),
        ("Action|Comedy", ["Comedy|Action"], True),
        ("Action", ["Action|Comedy"], False),
        ("Action|Comedy", ["Drama", "Comedy"], True),
        ("Romantic Comedy", ["Comedy"], False),
        (["Action", "Comedy"], ["Comedy"], True),
        (None, ["Comedy"], False),
        ("Comedy", [], False),
        ("Comedy", [""], False),
    ],
)
def test_a_category_is_found_among_several(category: object, asked: list[str], found: bool) -> None:
    assert Offer.of({"category": category}).passes(Filter(categories=asked)) is found


@pytest.mark.parametrize(
    ("row", "available"),
    [
        ({}, True),
        ({"available_from": 100.0}, True),
        ({"available_from": 101.0}, False),
        ({"hidden": True}, False),
        ({"is_hidden": "true"}, False),
        ({"hidden": False}, True),
        ({"hidden": "0"}, True),
        ({"hidden": None, "in_stock": None}, True),
        ({"in_stock": False}, False),
        ({"in_stock": "no"}, False),
        ({"in_stock": 1.0}, True),
        ({"stock": 0}, False),
        ({"stock": "0.0"}, False),
        ({"stock": 7}, True),
        ({"availability": "out of stock"}, False),
        ({"availability": "out_of_stock"}, False),
        ({"availability": "https://schema.org/OutOfStock"}, False),
        ({"availability": "https://schema.org/InStock"}, True),
        ({"availability": "in stock"}, True),
        ({"availability": "Discontinued"}, False),
    ],
)
def test_hidden_and_sold_out_items_are_not_available(
    row: dict[str, object], available: bool
) -> None:
    assert Offer.of(row).passes(Filter(now=100.0)) is available
    assert Offer.of(row).passes(Filter()), "who does not ask what is available now gets all"


NAMES = st.sampled_from(["Action", "Comedy", "Home > Garden", "Action|Comedy", "", "Drama,Comedy"])
ROWS = st.fixed_dictionaries(
    {
        "category": st.none() | NAMES,
        "price": st.none() | st.integers(0, 9).map(float),
        "available_from": st.none() | st.integers(0, 9).map(float),
        "hidden": st.none() | st.booleans(),
    }
)
FILTERS = st.builds(
    Filter,
    categories=st.none() | st.lists(NAMES, max_size=2),
    least_price=st.none() | st.integers(0, 9).map(float),
    most_price=st.none() | st.integers(0, 9).map(float),
    now=st.none() | st.integers(0, 9).map(float),
    hide=st.lists(st.sampled_from(["i0", "i1", "lost"]), max_size=2),
)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@example(rows=[{"category": "Action"}], where=Filter(categories=[]))
@given(rows=st.lists(ROWS, min_size=1, max_size=6), where=FILTERS)
def test_a_shelf_and_the_indices_find_what_passes_one_by_one(
    rows: list[dict[str, object]], where: Filter
) -> None:
    ids = [f"i{n}" for n in range(len(rows))]
    offers = [Offer.of(row) for row in rows]
    right = {i for i, o in zip(ids, offers, strict=True) if o.passes(where) and i not in where.hide}
    schema = {"category": pl.String, "price": pl.Float64, "available_from": pl.Float64}
    items = pl.DataFrame(rows, {**schema, "hidden": pl.Boolean}).with_columns(
        item_id=pl.Series(ids)
    )
    passes = Shelf.of(items).passing(where)
    assert {i for i, passed in zip(ids, passes, strict=True) if passed} == right
    vectors = np.eye(8, dtype=np.float32)[: len(ids)]
    told = [offer._asdict() for offer in offers]
    for index in (LocalIndex(8, exact_below=None), QdrantIndex(":memory:", 8)):
        with index:
            index.put(ids, vectors, told)
            assert set(index.search(np.ones(8, np.float32), 8, where).ids) == right


def test_parts_are_cut_at_bars_commas_and_arrows() -> None:
    assert parts_of(" Home > Garden|Tools, Sheds ") == ("Home", "Garden", "Tools", "Sheds")
    assert parts_of("Sci-Fi>Space") == ("Sci-Fi>Space",), "an arrow has spaces around it"


def test_an_answer_is_what_passes_in_order_of_scores_then_of_the_shelf() -> None:
    score, passes = np.array([1.0, 3.0, 3.0, 2.0]), np.array([True, True, True, False])
    place, found = choose(score, 3, passes)
    assert place.tolist() == [1, 2, 0] and found.tolist() == [3, 3, 1]
    place, _ = choose(np.array([3.0, 1.0, 3.0]), 2, passes, place_N=np.array([2, 0, 1]))
    assert place.tolist() == [1, 2]


def test_a_shelf_keeps_the_order_of_the_catalogue_through_changes() -> None:
    shelf = Shelf.of(pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["a", "b", "c"]}))
    shelf.remove("a")
    shelf.put(["d"], [Offer()])
    shelf.put(["b"], [Offer(price=1.0)])
    alive = shelf.passing(Filter())
    assert [i for i, there in zip(shelf.ids, alive, strict=True) if there] == ["b", "c", "d"]
    assert shelf.passing(Filter(most_price=2)).tolist() == [False, True, False, False]
