"""Cross features: numbers worked by hand, over the log and over a request's own history."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_worlds import (
    CATALOGUE,
    KINDS,
    LOG_ROWS,
    RATINGS,
    REQUESTS,
    TEMPLATES,
    LogRow,
    ask,
    catalogue,
    log,
)
from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.records import Candidate, Event, Request
from m6rec.text.feature_words import coarse
from m6rec.text.features import CrossFeatures
from m6rec.text.phrases import DAY, ago, count_words, percentile_words, share_words
from m6rec.text.templates import Templates

SHOES = catalogue(a1="shoes", a2="shoes", b1="tents", c1=None)


def rows(
    events: Sequence[LogRow] | None,
    request: Request,
    rule: LabelRule = KINDS,
    items: pl.DataFrame = SHOES,
) -> list[dict[str, float]]:
    features = CrossFeatures(None if events is None else log(events), items, rule, TEMPLATES)
    asked = Requests.of([request])
    return features.table(asked.pool, asked.rows).rows()


def column(found: list[dict[str, float]], name: str) -> list[float | None]:
    return [None if math.isnan(row[name]) else round(row[name], 6) for row in found]


def did(user: str, item: str, kind: str = "click", at: float | None = 1.0) -> LogRow:
    return (user, item, kind, at, None, None)


def test_popularity_is_the_share_of_other_items_outdone() -> None:
    """Events: a1 three, a2 one, b1 one, c1 none. Of three items seen, a1 outdoes both others;
    a2 outdoes none and ties with one, which counts half: 0.5 / 2."""
    events = [did("v", "a1"), did("w", "a1"), did("x", "a1"), did("v", "a2"), did("v", "b1")]
    found = rows(events, ask("a1", "a2", "b1", "c1"))
    assert column(found, "percentile") == [1.0, 0.25, 0.25, None]
    assert column(found, "item_count") == [3, 1, 1, 0]
    assert column(found, "new_item") == [0, 0, 0, 1]


def test_popularity_needs_another_item_to_compare_with() -> None:
    assert column(rows([did("v", "a1")], ask("a1")), "percentile") == [None]


def test_impressions_and_searches_choose_nothing() -> None:
    events = [did("u", "a1", "impression"), did("u", "a1", "search"), did("u", "b1", "share")]
    found = rows(events, ask("a1", "b1"))
    assert column(found, "item_count") == [0, 1]
    assert column(found, "new_item") == [1, 0]
    assert column(found, "own_count") == [0, 1]
    assert column(found, "user_count") == [1, 1]


def test_a_category_is_counted_over_all_its_items() -> None:
    """Three clicks on a1 and one on a2, both shoes: "4 times"; brands are a, a, b, c."""
    events = [did("u", "a1", at=float(t)) for t in range(3)] + [did("u", "a2"), did("v", "b1")]
    found = rows(events, ask("a1", "a2", "b1", "c1"))
    assert column(found, "category_count") == [4, 4, 0, None]
    assert column(found, "brand_count") == [4, 4, 0, 0]
    assert column(found, "own_count") == [3, 1, 0, 0]
    sentences = CrossFeatures(log(events), SHOES, KINDS, TEMPLATES)
    asked = Requests.of([ask("a2")])
    assert "the user chose this category 4 times" in sentences.sentences(asked.pool, asked.rows)[0]


def test_of_several_parts_the_best_known_is_counted_and_all_are_judged() -> None:
    """The user clicked Home twice (a1, c1), Garden once (a1), and refused a2 (Garden, Tools)."""
    events = [did("u", "a1"), did("u", "c1"), did("u", "a2", "dislike")]
    (found,) = rows(events, ask("a1"), items=CATALOGUE)
    assert found["category_count"] == 2
    # Home: 2 of 2; Garden: 1 of 2 → 3 of 4, and the user's own rate as three more.
    user = (2 + 5 * 3 / 5) / (3 + 5)
    assert found["category_rate"] == pytest.approx((3 + 3 * user) / (4 + 3))


def test_rates_are_drawn_to_the_average() -> None:
    """u liked a1 and refused b1, v liked a1 twice: the average is (3 + 1) / (4 + 2) = 2/3."""
    events = [did("u", "a1"), did("u", "b1", "impression"), did("v", "a1"), did("v", "a1", at=2.0)]
    found = rows(events, ask("a1", "b1", "c1"))
    item = [(3 + 5 * 2 / 3) / (3 + 5), (0 + 5 * 2 / 3) / (1 + 5)]
    user = (1 + 5 * 2 / 3) / (2 + 5)
    assert column(found, "item_rate") == [round(item[0], 6), round(item[1], 6), None]
    assert column(found, "user_rate") == [round(user, 6)] * 3
    odds = [user / (1 - user) * (p / (1 - p)) / 2 for p in (*item, 2 / 3)]
    assert column(found, "expected") == [round(o / (1 + o), 6) for o in odds]


def test_where_everybody_says_yes_a_rate_says_nothing() -> None:
    found = rows([did("u", "a1"), did("v", "b1")], ask("a1"))
    assert [column(found, name) for name in ("item_rate", "user_rate", "expected")] == [[None]] * 3
    assert column(found, "category_rate") == [None]


def test_ratings_are_judged_by_their_value_and_nan_is_no_rating() -> None:
    events: list[LogRow] = [
        ("u", "a1", "rating", 1.0, 5.0, None),
        ("v", "a1", "rating", 2.0, 3.0, None),
        ("w", "a1", "rating", 2.0, math.nan, None),
        ("x", "a1", "rating", 2.0, None, None),
        ("x", "a1", "click", 2.0, 5.0, None),
    ]
    (found,) = rows(events, ask("a1", user="u"), RATINGS)
    assert found["item_rate"] == pytest.approx((1 + 5 * 2 / 4) / (2 + 5))
    assert found["item_count"] == 5


def test_what_was_shown_and_clicked_in_one_request_is_one_judgement() -> None:
    def shown_and_clicked(request: str | None) -> list[LogRow]:
        return [
            ("u", "a1", "impression", 1.0, None, request),
            ("u", "b1", "impression", 1.0, None, request),
            ("u", "a1", "click", 2.0, None, request),
        ]

    together = rows(shown_and_clicked("r"), ask("a1"))[0]["item_rate"]
    apart = rows(shown_and_clicked(None), ask("a1"))[0]["item_rate"]
    assert together == pytest.approx((1 + 5 * 2 / 4) / (1 + 5))
    assert apart == pytest.approx((1 + 5 * 2 / 5) / (2 + 5))


def test_only_what_is_strictly_earlier_counts() -> None:
    events = [did("u", "a1", at=10.0), did("v", "a1", at=20.0)]
    for at, count, own in ((10.0, 0, 0), (10.1, 1, 1), (20.0, 1, 1), (20.1, 2, 1)):
        (found,) = rows(events, ask("a1", at=at))
        assert (found["item_count"], found["own_count"]) == (count, own)
    assert found["own_seconds"] == pytest.approx(10.1)


def test_events_of_unknown_time_are_not_counted() -> None:
    events = [did("u", "a1", at=None), did("u", "a1", at=math.nan), did("u", "a1", at=1.0)]
    assert rows(events, ask("a1"))[0]["item_count"] == 1


def test_a_user_the_log_does_not_know_is_told_by_the_history() -> None:
    history = [
        Event("click", "a1", timestamp=40.0),
        Event("click", "a2", timestamp=70.0),
        Event("impression", "b1", timestamp=80.0),
        Event("click", "strange"),
    ]
    events = [did("v", "a1"), did("v", "b1", "dislike")]
    found = rows(events, ask("a1", "b1", "strange", user="new", history=history))
    assert column(found, "user_count") == [3, 3, 3]
    assert column(found, "own_count") == [1, 0, 1]
    assert column(found, "own_seconds") == [60, None, None]
    assert column(found, "category_count") == [2, 0, None]
    assert column(found, "recent_likes") == [3, 3, 3]
    assert column(found, "recent_total") == [4, 4, 4]
    # average (1 + 1) / (2 + 2); three yes of four, and five more at the average
    assert column(found, "user_rate") == [round((3 + 2.5) / 9, 6)] * 3


def test_the_log_is_asked_for_its_own_users_and_the_history_for_recent_judgements() -> None:
    history = [Event("click", "a1", timestamp=1.0), Event("dislike", "a2", timestamp=2.0)]
    (found,) = rows([did("u", "b1")], ask("b1", history=history))
    assert found["user_count"] == found["own_count"] == 1
    assert (found["recent_likes"], found["recent_total"]) == (1, 2)


def test_without_a_log_or_a_moment_only_the_history_speaks() -> None:
    history = [Event("click", "a1"), Event("dislike", "b1")]
    for events, at in ((None, 100.0), ([did("u", "a1")], None)):
        (found,) = rows(events, ask("a1", at=at, history=history))
        assert (found["own_count"], found["user_count"]) == (1, 2)
        assert found["new_item"] == found["item_count"] == 0
        assert math.isnan(found["percentile"])
        assert math.isnan(found["own_seconds"])
        assert math.isnan(found["item_rate"])
        assert found["user_rate"] == pytest.approx((1 + 2.5) / 7)


def test_recent_looks_back_on_as_many_judgements_as_the_templates_say() -> None:
    history = [Event("dislike", "a1")] * 3 + [Event("share", "a1")] + [Event("like", "a1")] * 7
    (found,) = rows(None, ask("a1", history=history))
    assert (found["recent_likes"], found["recent_total"]) == (7, 8)


def test_names_that_candidates_share_with_what_was_liked() -> None:
    history = [
        Event("like", text="Sula by Toni Morrison"),
        Event("dislike", text="The Road by Cormac McCarthy"),
    ]
    texts = ("Jazz by Toni Morrison", "Toni's Cormac", "Dune", None)
    found = rows(None, ask(*(Candidate(text=text) for text in texts), history=history))
    assert column(found, "shared_liked") == [2, 0, 0, 0]
    assert column(found, "shared_disliked") == [0, 1, 0, 0]


def test_the_sentences_of_a_candidate() -> None:
    now = 100 * DAY
    events = [
        *(did("u", "a1", at=now - 3 * DAY - i) for i in range(3)),
        did("v", "a1", at=1.0),
        did("v", "b1", at=1.0),
        did("u", "b1", "impression", at=2.0),
    ]
    features = CrossFeatures(log(events), SHOES, KINDS, TEMPLATES)
    asked = Requests.of([ask("a1", "c1", at=now), ask("b1", at=None)])
    known, new, nothing = features.sentences(asked.pool, asked.rows)
    # average (5 + 1) / (6 + 2) = .75; a1: (4 + 3.75) / 9 = .86; u: (3 + 3.75) / 9 = .75
    assert known == [
        "popularity among the top 1 percent",
        "liked by about 85 percent",
        "of all items the user likes about 75 percent",
        "expected to be liked: about 85 percent",
        "the user chose this very item 3 times",
        "the user chose this very item days ago",
        "the user chose this category 3 times",
        "the user chose this brand 3 times",
        "of this category the user likes about 90 percent",
        "of this brand the user likes about 90 percent",
    ]
    assert new == [
        "a new item",
        "of all items the user likes about 75 percent",
        "expected to be liked: about 75 percent",
        "the user chose this brand never",
    ]
    assert nothing == ["the user chose this category never", "the user chose this brand never"]


def test_sentences_are_switched_joined_and_added_by_templates() -> None:
    raw = {
        "features": {
            "separate": False,
            "cross": ["brand", "colour"],
            "sentences": {
                **dict.fromkeys(TEMPLATES.to_dict()["features"]["sentences"], ""),
                "mine": "{{ item_count | number }} sold, {{ recent_rate | share_words }}",
                "maker": "{{ column }} {{ cross_count | count_words }}",
            },
        }
    }
    templates = Templates.from_dict(raw, "here")
    features = CrossFeatures(log([did("u", "a1")]), SHOES, KINDS, templates)
    history = (Event("like", "b1"), Event("dislike", "b1"))
    asked = Requests.of([ask("a1", history=history), ask()])
    # a log where all say yes tells no rates
    assert features.sentences(asked.pool, asked.rows) == [["1 sold,. brand once"]]


def test_numbers_in_one_bucket_are_told_the_same() -> None:
    """A template sees one number for each phrase, so equal phrases are equal segments."""
    counts = np.arange(300.0)
    shares = np.arange(1001) / 1000
    seconds = np.concatenate([np.arange(100) * 60.0, np.arange(1000) * DAY])
    for name, values, words in (
        ("item_count", counts, count_words),
        ("cross_rate", shares, share_words),
        ("percentile", shares, percentile_words),
        ("own_seconds", seconds, ago),
    ):
        lowered = coarse(name, values)
        assert [words(v) for v in lowered] == [words(v) for v in values]
        assert len(set(lowered)) == len({words(v) for v in values})
    assert math.isnan(coarse("percentile", np.array([math.nan]))[0])


def test_no_requests_and_no_candidates_are_no_rows() -> None:
    features = CrossFeatures(log([did("u", "a1")]), SHOES, KINDS, TEMPLATES)
    for requests in ([], [ask()]):
        asked = Requests.of(requests)
        assert features.sentences(asked.pool, asked.rows) == []


@settings(max_examples=60, deadline=None)
@given(
    earlier=st.lists(LOG_ROWS, max_size=20),
    later=st.lists(LOG_ROWS, max_size=20),
    requests=st.lists(REQUESTS, min_size=1, max_size=3),
    rule=st.sampled_from([KINDS, RATINGS]),
)
def test_later_events_never_change_the_features_of_an_earlier_request(
    earlier: list[LogRow], later: list[LogRow], requests: list[Request], rule: LabelRule
) -> None:
    """Events at or after the last request, inserted anywhere in the log."""
    last = max((r.timestamp for r in requests if r.timestamp is not None), default=0.0)
    moved = [(*row[:3], (row[3] or 0.0) + last, *row[4:]) for row in later]
    asked = Requests.of(requests)
    tables = [
        CrossFeatures(log(events), CATALOGUE, rule, TEMPLATES).table(asked.pool, asked.rows)
        for events in (earlier, [*moved[::2], *earlier, *moved[1::2]])
    ]
    for name, before in tables[0].numbers.items():
        np.testing.assert_array_equal(before, tables[1].numbers[name], err_msg=name)
