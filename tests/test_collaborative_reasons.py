"""What carried an item: parts that add up to the score, by hand, and the words made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from m6rec.collaborative.reasons import Carried, Carrier, Name, carriers, ground_of, reason
from m6rec.collaborative.score import CollaborativeScore, fit_score
from m6rec.collaborative.sequences import Histories
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data.requests import Requests
from m6rec.records import Event, Request

NAMES = list("abcdef")
F_ID = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
PLAIN = ScoreSettings(distance_decay=0.5, recency_decay=0.5, shrinkage=2, prior=0)
CHOSEN = [("u", "ab"), ("v", "ab"), ("w", "acb"), ("x", "dd"), ("y", "dd"), ("z", "az")]


def log() -> pl.DataFrame:
    rows = [(user, item, place) for user, items in CHOSEN for place, item in enumerate(items)]
    users, items, times = zip(*rows, strict=True)
    return pl.DataFrame(
        {"user_id": users, "item_id": items, "event": ["click"] * len(rows), "timestamp": times},
        schema_overrides={"timestamp": pl.Float64()},
    )


def embed(texts: Sequence[str]) -> np.ndarray:
    return np.stack([F_ID[len(text) % len(F_ID)] for text in texts])


def fitted(settings: ScoreSettings = PLAIN) -> CollaborativeScore:
    return fit_score(log(), NAMES, F_ID, embed, settings)


def histories(score: CollaborativeScore, *events: Event) -> Histories:
    asked = Requests.of([Request(events)])
    return Histories.of(asked, score.codes, score.settings.recency_decay)


def clicks(items: str) -> list[Event]:
    return [Event("click", item, timestamp=float(n)) for n, item in enumerate(items)]


def columns(items: str) -> np.ndarray:
    return np.array([NAMES.index(item) for item in items])


def by_letter(score: CollaborativeScore, past: Histories) -> dict[int, str]:
    letters = list(score.codes)
    return {n: letters[code] for n, code in enumerate(past.code.tolist())}


def carrier(entry: int = 0, **changes: object) -> Carrier:
    told = Carrier(entry, counted=1.0, words=0.0, share=1.0, chosen=3.0, again=False, liked=True)
    return replace(told, **changes)  # type: ignore[arg-type]


def titled(entry: int) -> Name | None:
    return {0: ("red shoe", "i0"), 1: ("blue hat", "i1")}.get(entry)


def test_shares_by_hand() -> None:
    score = fitted()
    past = histories(score, *clicks("ca"))
    (found,) = carriers(score, past, [columns("b")])[0]
    # After a: b twice, b once two places on (.5, squared .25), c and z once. After c: b once.
    from_a, from_c = 2.5 / (1 + 1 + 0.25 + 1 + 1 + 2), 0.5 * 1 / (1 + 2)
    assert [one.counted for one in found.carriers] == pytest.approx([from_a, from_c])
    assert found.carriers[0].share == pytest.approx(from_a / (from_a + from_c))
    assert [one.chosen for one in found.carriers] == [2.5, 1.0]
    assert not found.against and ground_of(found.carriers) == "counts"


@pytest.mark.parametrize("best", [300, 1])
def test_parts_add_up_to_the_score_of_every_item(best: int) -> None:
    score = fitted(ScoreSettings(shrinkage=2, prior=3, ridge=0.5, best_per_item=best))
    events = [*clicks("abdaz"), Event("dislike", "e", timestamp=9.0), Event("click", text="new")]
    past = histories(score, *events)
    found = carriers(score, past, [np.arange(6)])[0]
    np.testing.assert_allclose([one.score for one in found], score(past)[0], atol=1e-5)
    for one in found:
        for parts in filter(None, (one.carriers, one.against)):
            assert sum(part.share for part in parts) == pytest.approx(1)
        assert len({part.entry for part in (*one.carriers, *one.against)}) <= 6  # a came twice
    assert any(one.against for one in found) and sum(bool(one.carriers) for one in found) > 2


def test_several_requests_are_answered_apart() -> None:
    score = fitted(ScoreSettings(prior=3, shrinkage=2))
    asked = [Request(tuple(clicks("ab"))), Request(), Request(tuple(clicks("d")))]
    past = Histories.of(Requests.of(asked), score.codes, 0.6)
    found = carriers(score, past, [columns("bc"), columns("a"), columns("de")])
    totals = score(past)
    assert [one.score for one in found[0]] == pytest.approx(totals[0, [1, 2]], abs=1e-5)
    assert found[1] == [Carried()]
    assert [one.score for one in found[2]] == pytest.approx(totals[2, [3, 4]], abs=1e-5)


def test_what_was_disliked_is_no_reason_though_it_carries() -> None:
    score = fitted(ScoreSettings(prior=5, shrinkage=2))
    past = histories(score, Event("dislike", "a", timestamp=1), Event("click", "f", timestamp=2))
    letters = by_letter(score, past)
    found = carriers(score, past, [np.arange(6)])[0]
    assert any(letters[part.entry] == "a" for one in found for part in one.carriers)
    told = [reason(one, lambda entry: (letters[entry], letters[entry])) for one in found]
    assert {one.because for one in told if one is not None} == {"f"}


def test_the_reason_is_in_words_of_what_carried() -> None:
    def text(*carriers: Carrier) -> str | None:
        found = reason(Carried(carriers), titled)
        return None if found is None else found.text

    assert text(carrier()) == "People who chose “red shoe” often chose this next."
    assert text(carrier(chosen=1.0)) == "This was chosen after “red shoe” before."
    assert text(carrier(again=True)) == "People often choose this again."
    assert text(carrier(again=True, chosen=1.0)) == "This was chosen again before."
    words = carrier(counted=0.2, words=0.3)
    assert text(words) == "Its words are near those of “red shoe”."
    # Counts carry most, so the one that they come from is named, not the largest.
    both = carrier(1, counted=0.4, words=0.0)
    assert text(words, both) == "People who chose “blue hat” often chose this next."
    assert text(carrier(2)) is None and text() is None


def test_a_repeat_that_people_make_is_told_as_one() -> None:
    score = fitted()
    past = histories(score, *clicks("d"))
    (found,) = carriers(score, past, [columns("d")])[0]
    told = reason(found, lambda entry: ("d", "d"))
    assert told is not None and told.text == "People often choose this again."
    assert told.because == "d" and told.share == 1


def test_without_an_order_no_reason_says_next_and_nothing_is_older() -> None:
    score = fit_score(log().drop("timestamp"), NAMES, F_ID, embed, PLAIN)
    assert not score.ordered and score.decay == 1.0 and fitted().decay == 0.5
    asked = Requests.of([Request((Event("click", "b"), Event("click", "a")))])
    past = Histories.of(asked, score.codes, score.decay)
    assert past.weight.tolist() == [1.0, 1.0]
    (to_c,) = carriers(score, past, [columns("c")])[0]
    told = [
        reason(replace(to_c, carriers=(replace(one, chosen=chosen),)), titled)
        for one, chosen in ((to_c.carriers[0], 2.0), (to_c.carriers[0], 1.0))
    ]
    words = [one.text.split(" “")[0] + one.text.split("”")[1] for one in told if one is not None]
    assert words == ["People who chose often chose this too.", "This was chosen beside before."]
