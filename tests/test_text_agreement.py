"""What people of the user's taste say: by hand, in any order, and without who left."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from feature_worlds import KINDS, RATINGS, TEMPLATES, LogRow, ask, catalogue, log
from m6rec.data.requests import Requests
from m6rec.records import Event, Request
from m6rec.text import judgements
from m6rec.text.agreement import agreement, worth, worths
from m6rec.text.feature_state import FeatureState
from m6rec.text.features import CrossFeatures
from m6rec.text.judgements import Judged, Judgements
from m6rec.text.past import read

Said = tuple[int, int, float, float]
"""user, item, worth, time"""
FILMS = catalogue(a=None, b=None, c=None, d=None)


def held(said: list[Said], begin: int = 0) -> Judgements:
    """The first `begin` at once, the rest one by one."""
    made = Judgements()
    names = ("user", "item", "worth", "time")
    events = pl.DataFrame(said[:begin], schema=names, orient="row") if begin else None
    if events is not None:
        events = events.with_columns(judged=pl.lit(1.0), tells=pl.lit(True))
        made.begin(events, pl.Series([f"u{n}" for n in range(9)]))
    for user_code, item_code, share, at in said[begin:]:
        made.add(user_code, f"u{user_code}", item_code, (1.0, share), True, at)
    return made


def by_hand(
    said: list[Said], user: int, item_N: list[int]
) -> tuple[list[float], list[float], float]:
    """The formula of the module, with loops over everything."""
    value = np.array([one[2] for one in said])
    mean, spread = value.mean(), value.std()
    pairs: dict[tuple[int, int], list[float]] = {}
    for who, what, share, _ in said:
        pairs.setdefault((who, what), []).append(share)

    def lean(place: int, code: int) -> float:
        own = [one[2] - mean for one in said if one[place] == code]
        return sum(own) / (len(own) + 5)

    def surprise(who: int, what: int) -> float:
        return float(np.mean(pairs[who, what])) - mean - lean(0, who) - lean(1, what)

    def weight(what: int) -> float:
        return float(1 / np.sqrt(sum(w == what for _, w in pairs) + 25))

    mine = {
        w: float(np.mean(v)) - mean - lean(1, w) for (who, w), v in pairs.items() if who == user
    }
    own_lean = sum(mine.values()) / (len(mine) + 5)
    scores = []
    for item in item_N:
        total = 0.0
        for other in {who for who, what in pairs if what == item and who != user}:
            agree = sum(
                surprise(other, i) * (beyond - own_lean) * weight(i)
                for i, beyond in mine.items()
                if (other, i) in pairs
            )
            total += surprise(other, item) * agree * weight(item)
        scores.append(5 * total / spread**3)
    return scores, [lean(1, item) / spread for item in item_N], own_lean / spread


SAID = st.tuples(
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from((-0.75, -0.5, -0.25, 0.0, 0.25)),
    st.integers(0, 9).map(float),
)


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(
    said=st.lists(SAID, min_size=2, max_size=30), begin=st.integers(0, 30), user=st.integers(0, 4)
)
def test_agreement_is_the_formula(said: list[Said], begin: int, user: int) -> None:
    made = held(said, min(begin, len(said)))
    found = agreement(made, made.of_user(user), user, np.array([0, 1, 2, 3, 4]))
    if np.ptp([one[2] for one in said]) == 0:
        assert np.isnan(found.score).all()
        return
    scores, items, own = by_hand(said, user, [0, 1, 2, 3, 4])
    assert found.score.tolist() == pytest.approx(scores, abs=1e-7)
    assert found.item.tolist() == pytest.approx(items, abs=1e-7)
    assert found.user.tolist() == pytest.approx([own] * 5, abs=1e-7)


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(
    said=st.lists(SAID, max_size=40),
    begin=st.integers(0, 40),
    gone=st.integers(0, 4),
    read_between=st.booleans(),
    back=st.lists(SAID, max_size=5),
)
def test_whoever_left_leaves_what_a_new_count_without_them_finds(
    said: list[Said], begin: int, gone: int, read_between: bool, back: list[Said]
) -> None:
    """Also where an item is read in part, and whoever left comes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judgements, "READ_OF_ITEM", 2)
        patch.setattr(judgements, "READ_OF_USER", 3)
        made = held(said, min(begin, len(said)))
        items = np.arange(5)
        if read_between:
            agreement(made, made.of_user(0), 0, items)
        made.forget(gone)
        for user, item, share, at in back:
            made.add(user, f"u{user}", item, (1.0, share), True, at)
        anew = held([*(one for one in said if one[0] != gone), *back])
        np.testing.assert_array_equal(made.everybody, anew.everybody)
        for user in range(5):
            found, wanted = (agreement(one, one.of_user(user), user, items) for one in (made, anew))
            np.testing.assert_array_equal(found.score, wanted.score)
            np.testing.assert_array_equal(found.item, wanted.item)
            np.testing.assert_array_equal(found.user, wanted.user)


def test_people_are_drawn_alike_for_every_item() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judgements, "READ_OF_ITEM", 3)
        made = held([(user, item, 0.25, 1.0) for user in range(8) for item in range(3)])
        drawn = [set(made.user_P[made.readers(item)].tolist()) for item in range(3)]
    assert len(drawn[0]) == 3
    assert drawn[0] == drawn[1] == drawn[2]


def test_newest_items_are_read_with_all_of_the_oldest_moment() -> None:
    last = np.array([1.0, 2.0, 2.0, *range(3, 51)])
    judged = Judged(np.arange(51), np.zeros(51), last, np.ones(51, dtype=bool))
    assert len(last[judged.newest()]) == 50
    last[0] = 2.0
    assert len(judged.newest()) == 51
    shown = Judged(np.arange(51), np.zeros(51), last, np.arange(51) < 2)
    assert shown.newest().tolist() == [0, 1]


def test_a_judgement_is_worth_how_far_it_lies_from_the_threshold() -> None:
    rows: list[LogRow] = [
        ("u", "a", "rating", float(n), stars, None)
        for n, stars in enumerate((5.0, 4.0, 1.0, 1000.0, None))
    ]
    rows.append(("u", "a", "click", 9.0, None, None))
    assert worths(log(rows), RATINGS, read(log(rows), RATINGS)).tolist() == [
        0.25,
        0,
        -0.75,
        1,
        0,
        0,
    ]
    assert worths(log(rows), KINDS, read(log(rows), KINDS)).tolist() == [0, 0, 0, 0, 0, 1]
    assert [worth(5.0, True, True, RATINGS), worth(None, False, False, RATINGS)] == [0.25, 0]
    assert [worth(None, True, True, KINDS), worth(None, True, False, KINDS)] == [1, 0]


def stars(user: str, **given: float) -> list[LogRow]:
    return [(user, item, "rating", 10.0, value, None) for item, value in given.items()]


ALIKE = [
    *(row for n in range(6) for row in stars(f"left{n}", a=5, b=1, c=5)),
    *(row for n in range(6) for row in stars(f"right{n}", a=1, b=5, c=1)),
    *stars("u", a=5, b=1),
    *stars("v", a=1, b=5),
]


@pytest.mark.parametrize("user", ["u", "nobody"])
def test_people_of_the_same_taste_are_followed_and_others_are_not(user: str) -> None:
    """Of a user whom the log does not know, the history of the request is read."""
    features = CrossFeatures(log(ALIKE), FILMS, RATINGS, TEMPLATES)
    history = (Event("rating", "a", value=5.0), Event("rating", "b", value=1.0))
    requests = [ask("c", "d", user=user, history=history), ask("c", "d", user="v")]
    asked = Requests.of(requests)
    table = features.table(asked.pool, asked.rows)
    likes, new, dislikes, _ = table.numbers["agreement"].tolist()
    assert likes > 0.5
    assert dislikes < -0.5
    assert new == 0
    words = features.words.sentences(table)
    assert any("same taste like it" in text and "more than" in text for text in words[0])
    assert any("same taste like it" in text and "less than" in text for text in words[2])
    assert not any("same taste" in text for text in words[1])


def test_clicks_and_what_was_shown_without_one_are_judgements_too() -> None:
    """Only what was clicked tells of the asking user's taste; what was shown says of others."""
    rows: list[LogRow] = []
    for n in range(8):
        liked = "b" if n % 2 else "c"
        for item in ("a", "b", "c"):
            rows.append((f"p{n}", item, "impression", 5.0, None, f"r{n}"))
        clicked = ("a", "b") if n % 2 else ("c",)
        rows += [(f"p{n}", item, "click", 6.0, None, f"r{n}") for item in clicked]
        assert liked in clicked
    rows.append(("u", "a", "click", 7.0, None, None))
    asked = Requests.of([ask("b", "c")])
    features = CrossFeatures(log(rows), FILMS, KINDS, TEMPLATES)
    b, c = features.table(asked.pool, asked.rows).numbers["agreement"].tolist()
    assert b > 0 > c


@pytest.mark.parametrize("known", [True, False])
def test_what_was_only_shown_tells_nothing_of_the_asking_users_taste(known: bool) -> None:
    """Whether the log knows the user or the history of the request is all there is."""
    rows: list[LogRow] = []
    for n in range(8):
        shown = "abc" if n % 2 else "abcd"
        rows += [(f"p{n}", item, "impression", 5.0, None, f"r{n}") for item in shown]
        rows += [(f"p{n}", item, "click", 6.0, None, f"r{n}") for item in ("ac" if n % 2 else "b")]
    for kind, tells in (("impression", False), ("click", True)):
        said = [("u", "a", kind, 7.0, None, None)] if known else []
        history = () if known else (Event(kind, "a"),)
        requests = Requests.of([ask("b", "c", user="u", history=history)])
        state = FeatureState(FILMS, KINDS, TEMPLATES, log([*rows, *said]))
        whole = CrossFeatures(log([*rows, *said]), FILMS, KINDS, TEMPLATES)
        for features in (state, whole):
            found = features.table(requests.pool, requests.rows).numbers["agreement"]
            assert bool(found.any()) == tells


def test_items_that_only_the_log_knows_are_read_in_histories_from_their_first_moment_on() -> None:
    """And items that nothing knows weigh like those that nobody judged."""
    rows = [(one[0], f"new-{one[1]}", *one[2:]) for one in ALIKE]
    history = tuple(Event("rating", f"new-{item}", value=5.0) for item in "ab")
    requests = [ask("new-c", at=at, user="nobody", history=history) for at in (5.0, 100.0)]
    state = FeatureState(FILMS, RATINGS, TEMPLATES)
    for user, item, kind, at, value, _ in rows:
        state.update(user, Event(kind, item, timestamp=at, value=value))
    asked = Requests.of(requests)
    whole = CrossFeatures(log(rows), FILMS, RATINGS, TEMPLATES)
    found, wanted = (one.table(asked.pool, asked.rows) for one in (state, whole))
    for name in ("agreement", "item_lean", "user_lean"):
        np.testing.assert_array_equal(found.numbers[name], wanted.numbers[name])
    assert np.isnan(found.numbers["user_lean"]).tolist() == [True, False]
    assert found.numbers["user_lean"][1] > 0


def test_the_server_counts_an_event_at_once_and_forgets_a_user() -> None:
    state = FeatureState(FILMS, RATINGS, TEMPLATES, log(ALIKE))
    request: Request = ask("c", user="u")
    asked = Requests.of([request])

    def score() -> float:
        return float(state.table(asked.pool, asked.rows).numbers["agreement"][0])

    before = score()
    state.update("new", Event("rating", "a", timestamp=20.0, value=5.0))
    state.update("new", Event("rating", "c", timestamp=20.0, value=1.0))
    assert score() < before
    state.forget("new")
    assert score() == before
