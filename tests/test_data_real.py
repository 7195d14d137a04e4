"""Real data sets load, pass the check and split as their protocols say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from m6rec.data.check import check
from m6rec.data.labels import LabelRule
from m6rec.data.splits import Split, few_shot, make_split
from m6rec.data.tables import load

Folder = Callable[[str], Path]


def counts(split: Split, *names: str) -> tuple[int, ...]:
    return tuple(split.card.counts[name] for name in names)


def test_amazon_industrial_has_its_published_requests(shared_data: Folder) -> None:
    folder = shared_data("amazon_industrial")
    assert check(folder).problems == ()
    split = make_split(load(folder), method="published")
    assert counts(split, "train", "valid", "test", "items") == (36382, 4532, 4533, 3686)
    assert counts(split, "train_events", "test_targets_not_in_train") == (44076, 131)
    assert max(len(request.history) for request in split.test) == 10


def test_online_retail_meets_new_items_after_the_cut(shared_data: Folder) -> None:
    folder = shared_data("online_retail")
    report = check(folder)
    assert [(p.column, p.problem, p.count) for p in report.problems] == [
        ("", "a copy of another event", 8353),
        ("user_id", "one user did much of what there is", 2),
        ("item_id", "spaces at the ends", 1),
    ]
    assert report.exit_code == 0
    split = make_split(load(folder), method="temporal")
    assert counts(split, "train", "valid", "test") == (332937, 48111, 49892)
    assert counts(split, "items_in_train", "test_targets_not_in_train") == (4029, 9953)
    assert split.train_events["timestamp"].max() < split.valid.rows["timestamp"].min()  # type: ignore[operator]
    assert split.valid.rows["timestamp"].max() < split.test.rows["timestamp"].min()  # type: ignore[operator]
    assert split.card.notes[0].endswith("exclude")  # invoices are baskets


def test_tallrec_book_is_learnt_from_a_few_shots(shared_data: Folder) -> None:
    folder = shared_data("tallrec_book")
    assert check(folder).problems == ()
    split = make_split(load(folder), "rank", "published")
    assert counts(split, "train", "valid", "test", "test_labels_positive") == (2427, 0, 2427, 1054)
    shots = few_shot(split, 16, seed=0)
    assert len(shots.train) == 16 and shots.card.split_hash == split.card.split_hash


def test_ml100k_is_judged_by_ratings_of_4_and_more(shared_data: Folder) -> None:
    folder = shared_data("ml100k")
    assert check(folder).problems == ()
    rule = LabelRule(event="rating", threshold=4)
    split = make_split(load(folder), "rank", "temporal", label=rule)
    assert counts(split, "train", "valid", "test") == (79999, 10001, 10000)
    assert counts(split, "test_labels_positive", "test_users") == (5629, 166)


def test_mind_is_judged_by_what_was_shown(shared_data: Folder) -> None:
    folder = shared_data("mind_sample")
    assert check(folder).problems == ()
    split = make_split(load(folder), "rank")
    assert split.card.split.startswith("temporal")
    assert sum(counts(split, "train", "valid", "test")) == 5310  # all that were shown
    assert counts(split, "valid", "test", "test_labels_positive") == (529, 535, 13)
    assert "impression" not in set(split.test.pool["event"])


@pytest.mark.parametrize("name", ["amazon14_beauty", "amazon_reviews_text", "redial", "xrec"])
def test_other_real_sets_can_be_used(shared_data: Folder, name: str) -> None:
    report = check(shared_data(name))
    assert report.exit_code < 2
    assert all(table.rejected * 100 <= table.rows for table in report.tables)
