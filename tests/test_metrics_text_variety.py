"""Variety, novelty and features of written texts, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.metrics import text_variety as metrics
from m6rec.metrics.text import TextMetricError


def test_usr_counts_texts_that_differ_in_words() -> None:
    texts = ["A dry tent.", "a dry tent", "A dry tent!", "a red tent"]
    assert metrics.unique_sentence_ratio(texts) == 2 / 4


def test_dist_is_over_all_texts_together() -> None:
    texts = ["a dry tent", "a dry lamp"]
    assert metrics.distinct(texts, 1) == 4 / 6
    assert metrics.distinct(texts, 2) == 3 / 4  # "a dry" twice, "dry tent", "dry lamp"
    assert metrics.distinct(texts, 3) == 1
    assert metrics.distinct(texts, 4) == 0


def test_novel_texts_are_none_of_the_known_ones() -> None:
    found = metrics.novel(["Dry tent!", "wet tent"], ["dry tent", "lamp"])
    assert found.tolist() == [False, True]


def test_copied_needs_a_run_longer_than_the_limit_within_one_text() -> None:
    known = ["one two three four", "five six"]
    texts = ["so one two three", "one two", "three four five six", "one two and three four"]
    assert metrics.copied(texts, known, 2).tolist() == [True, False, False, False]
    assert metrics.copied(texts, known, 1).tolist() == [True, True, True, True]


def test_fmr_asks_for_the_feature_of_the_row_only() -> None:
    named = [{"price"}, {"taste", "price"}, set()]
    found = metrics.feature_matching(named, ["price", "fit", None])
    np.testing.assert_equal(found, [1.0, 0.0, np.nan])


def test_fcr_is_the_share_of_features_that_are_named_at_all() -> None:
    assert metrics.feature_coverage([{"a"}, {"a", "b"}, {"x"}], ["a", "b", "c", "d"]) == 0.5
    with pytest.raises(TextMetricError, match="features of the data set"):
        metrics.feature_coverage([{"a"}], [])


def test_div_is_the_mean_over_pairs() -> None:
    named = [{"a", "b"}, {"a"}, {"a", "b", "c"}, set()]
    # pairs: 1, 2, 0, 1, 0, 0 over 6
    diversity = metrics.feature_diversity(named)
    assert diversity(np.ones((1, 4)))[0] == pytest.approx(4 / 6)


def test_div_of_a_draw_makes_no_pair_of_a_text_with_itself() -> None:
    diversity = metrics.feature_diversity([{"a"}, {"a"}, {"b"}])
    # drawn 2, 1, 0 times: pairs of different texts are (0, 1) twice, each sharing one feature
    assert diversity(np.array([[2.0, 1.0, 0.0]]))[0] == pytest.approx(1)
    assert np.isnan(diversity(np.array([[3.0, 0.0, 0.0]]))[0])


def test_round_trip_asks_whether_the_item_is_among_the_found() -> None:
    found = metrics.round_trip([["i1", "i2"], ["i3"], []], ["i2", "i1", "i1"])
    assert found.tolist() == [True, False, False]


def test_nothing_written_is_an_error() -> None:
    with pytest.raises(TextMetricError, match="no texts"):
        metrics.unique_sentence_ratio([])
    with pytest.raises(TextMetricError, match="no texts"):
        metrics.distinct([], 1)
