"""Numbers in words: the whole tables, at and around every bound."""

from __future__ import annotations

import math

import pytest

from m6rec.text import phrases
from m6rec.text.phrases import DAY, HOUR, MINUTE


@pytest.mark.parametrize(
    ("least", "below", "phrase"),
    [
        (0, MINUTE, "moments ago"),
        (MINUTE, HOUR, "minutes ago"),
        (HOUR, 2 * HOUR, "an hour ago"),
        (2 * HOUR, DAY, "hours ago"),
        (DAY, 2 * DAY, "yesterday"),
        (2 * DAY, 7 * DAY, "days ago"),
        (7 * DAY, 14 * DAY, "last week"),
        (14 * DAY, 30 * DAY, "weeks ago"),
        (30 * DAY, 60 * DAY, "last month"),
        (60 * DAY, 365 * DAY, "months ago"),
        (365 * DAY, 730 * DAY, "last year"),
        (730 * DAY, 9e9, "years ago"),
    ],
)
def test_recency_has_twelve_phrases(least: float, below: float, phrase: str) -> None:
    assert phrases.ago(least) == phrases.ago(math.nextafter(below, 0)) == phrase


def test_the_future_is_now() -> None:
    assert phrases.ago(-5) == "moments ago"
    assert phrases.ago_exact(-5) == "now"


@pytest.mark.parametrize(
    ("seconds", "phrase"),
    [
        (0, "now"),
        (1, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
        (29 * DAY, "29 days ago"),
        (30 * DAY, "1 month ago"),
        (364 * DAY, "12 months ago"),
        (800 * DAY, "2 years ago"),
    ],
)
def test_exact_recency_counts_the_largest_unit(seconds: float, phrase: str) -> None:
    assert phrases.ago_exact(seconds) == phrase


@pytest.mark.parametrize(
    ("least", "below", "phrase"),
    [
        (0.99, 1.1, "among the top 1 percent"),
        (0.95, 0.99, "among the top 5 percent"),
        (0.90, 0.95, "among the top 10 percent"),
        (0.75, 0.90, "among the top 25 percent"),
        (0.50, 0.75, "in the upper half"),
        (0.25, 0.50, "in the lower half"),
        (0.10, 0.25, "among the bottom 25 percent"),
        (0.00, 0.10, "among the bottom 10 percent"),
    ],
)
def test_percentiles_have_eight_phrases(least: float, below: float, phrase: str) -> None:
    assert phrases.percentile_words(least) == phrase
    assert phrases.percentile_words(math.nextafter(below, 0)) == phrase


def test_counts_have_eleven_phrases() -> None:
    said = {count: phrases.count_words(count) for count in range(300)}
    assert [said[c] for c in range(6)] == [
        *("never", "once", "twice", "3 times", "4 times", "5 times")
    ]
    ranges = {
        (6, 10): "6 to 10",
        (11, 20): "11 to 20",
        (21, 50): "21 to 50",
        (51, 100): "51 to 100",
    }
    for (least, most), words in ranges.items():
        assert said[least] == said[most] == f"{words} times"
    assert said[101] == said[299] == "over 100 times"
    assert len(set(said.values())) == 11
    assert phrases.count_words(-3) == "never"


def test_shares_go_by_five_percent_half_up() -> None:
    assert phrases.share_words(0.0) == phrases.share_words(0.0249) == "almost none"
    assert phrases.share_words(0.025) == "about 5 percent"
    assert phrases.share_words(0.5) == "about 50 percent"
    assert phrases.share_words(0.974) == "about 95 percent"
    assert phrases.share_words(0.975) == phrases.share_words(7.0) == "almost all"
    assert phrases.share_words(-1.0) == "almost none"
    assert len({phrases.share_words(i / 1000) for i in range(1001)}) == 21


def test_ratings_are_verbs_on_any_scale() -> None:
    verbs = ["hated", "disliked", "disliked", "found okay", "found okay"]
    verbs += ["liked", "liked", "loved", "loved"]
    halves = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    assert [phrases.rating_words(value) for value in halves] == verbs
    assert [phrases.rating_words(2 * value, 10) for value in halves] == verbs


def test_numbers_have_no_needless_fraction() -> None:
    said = [phrases.number(value) for value in (4.0, 12.75, -0.5, 1e6, 0.1 + 0.2, 7)]
    assert said == ["4", "12.75", "-0.5", "1000000", "0.3", "7"]
    assert [phrases.number(v) for v in (math.nan, math.inf, -math.inf)] == ["", "", ""]
