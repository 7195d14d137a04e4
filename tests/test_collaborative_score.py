"""The score against its formula written out with dense matrices, and the prior against EASE."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from m6rec.collaborative import sequences
from m6rec.collaborative.counts import count
from m6rec.collaborative.matrix import transition_matrix
from m6rec.collaborative.repeats import Repeats
from m6rec.collaborative.score import CollaborativeScore
from m6rec.collaborative.sequences import Histories, sequences_of
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import HalfWhitening, WordsPrior
from m6rec.data.requests import Requests
from m6rec.records import Event, Request

RNG = np.random.default_rng(5)
F_ID = RNG.normal(size=(7, 5)).astype(np.float32)
NAMES = list("abcdefg")
CODES = {name: code for code, name in enumerate(NAMES)}
CHOSEN = [("u", "abcab"), ("v", "bcd"), ("w", "abdea"), ("x", "ee")]
REPEATS = Repeats(rate=0.1, strength=4)
NUMBERS = ScoreSettings(distance_decay=0.7, recency_decay=0.6, shrinkage=2, prior=3, ridge=0.5)


def log() -> pl.DataFrame:
    rows = [(user, item, place) for user, items in CHOSEN for place, item in enumerate(items)]
    users, items, times = zip(*rows, strict=True)
    return pl.DataFrame(
        {"user_id": users, "item_id": items, "event": ["click"] * len(rows), "timestamp": times},
        schema_overrides={"timestamp": pl.Float64()},
    )


def ease(g_ID: np.ndarray, ridge: float) -> np.ndarray:
    """EASE on words, by the inverse of I × I (Steck 2019): B_ij = -P_ij / P_jj."""
    p_II = np.linalg.inv(g_ID @ g_ID.T + ridge * np.eye(len(g_ID)))
    b_II = -p_II / np.diag(p_II)[None]
    np.fill_diagonal(b_II, 0)
    return b_II


def embed(texts: list[str]) -> np.ndarray:
    return np.stack([F_ID[len(text) % len(F_ID)] for text in texts])


def score(best: int = 300) -> CollaborativeScore:
    counts = count([sequences_of(log(), CODES)], len(NAMES))
    matrix = transition_matrix(counts, NUMBERS.distance_decay, best)
    prior = WordsPrior.fit(F_ID, NUMBERS.ridge)
    return CollaborativeScore(
        NUMBERS, CODES, matrix, prior, prior.whitening(F_ID), embed, True, REPEATS
    )


def test_the_prior_is_ease_on_half_whitened_words() -> None:
    prior = WordsPrior.fit(F_ID, 0.5)
    g_ID = prior.whitening(F_ID)
    u, s, _ = np.linalg.svd(F_ID - F_ID.mean(0), full_matrices=False)
    half = u * np.sqrt(s)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    np.testing.assert_allclose(g_ID @ g_ID.T, half @ half.T, atol=1e-5)
    found = prior.query(np.eye(7), g_ID) @ prior.keys(g_ID).T
    np.fill_diagonal(found, 0)
    np.testing.assert_allclose(found, ease(g_ID.astype(np.float64), 0.5), atol=1e-5)


def test_the_score_is_its_formula() -> None:
    g_ID = HalfWhitening.fit(F_ID)(F_ID).astype(np.float64)
    r_II, a_I = np.zeros((7, 7)), np.zeros(7)
    for _, items in CHOSEN:
        for i, one in enumerate(items):
            for j, other in enumerate(items[i + 1 : i + 11], i + 1):
                r_II[CODES[one], CODES[other]] += 0.7 ** (j - i - 1)
                a_I[CODES[one]] += 0.7 ** (2 * (j - i - 1))
    full_II = (r_II + 3 * ease(g_ID, 0.5)) / (a_I + 2)[:, None]
    np.fill_diagonal(full_II, (np.minimum(np.diag(r_II), a_I) + 4 * 0.1) / (a_I + 4))
    history = tuple(Event("click", item, timestamp=n) for n, item in enumerate("dab"))
    requests = Requests.of([Request(history), Request()])
    found = score()(Histories.of(requests, CODES, NUMBERS.recency_decay))
    wanted = 0.36 * full_II[3] + 0.6 * full_II[0] + full_II[1]
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    assert not found[1].any()


def test_an_item_without_a_number_speaks_by_its_words() -> None:
    requests = Requests.of([Request((Event("click", "new", text="abc"),))])
    found = score()(Histories.of(requests, CODES, 0.6))[0]
    prior = WordsPrior.fit(F_ID, NUMBERS.ridge)
    g_ID = prior.whitening(F_ID)
    wanted = 3 / 2 * (g_ID[3] @ prior.m_DD) @ prior.keys(g_ID).T
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_events_of_one_moment_weigh_the_same() -> None:
    history = tuple(
        Event("click", item, timestamp=time)
        for item, time in zip("abcd", (1, 2, 2, 3), strict=True)
    )
    weight = Histories.of(Requests.of([Request(history)]), CODES, 0.5).weight
    assert weight.tolist() == [0.25, 0.5, 0.5, 1.0]


def test_events_of_unknown_time_are_one_after_the_other() -> None:
    history = tuple(Event("click", item) for item in "abc")
    weight = Histories.of(Requests.of([Request(history)]), CODES, 0.5).weight
    assert weight.tolist() == [0.25, 0.5, 1.0]


def test_what_is_a_no_or_was_taken_back_is_counted_nowhere() -> None:
    events = pl.DataFrame(
        {
            "user_id": ["u"] * 5,
            "item_id": ["a", "b", "c", "b", "d"],
            "event": ["purchase", "purchase", "dislike", "refund", "impression"],
            "timestamp": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    assert sequences_of(events, CODES).item_E.tolist() == [0]


def test_copies_in_a_basket_are_one_and_a_log_without_order_is_sets() -> None:
    events = pl.DataFrame(
        {
            "user_id": ["v", "u", "u", "u"],
            "item_id": ["a", "b", "b", "c"],
            "event": ["click"] * 4,
            "timestamp": [1.0, 2.0, 2.0, 2.0],
        }
    )
    found = sequences_of(events, CODES)
    assert found.item_E.tolist() == [1, 2, 0] and found.basket_E.tolist() == [0, 0, 1]
    plain = sequences_of(events.drop("timestamp"), CODES)
    assert not plain.ordered and plain.person_B.tolist() == [0, 1]


def test_what_the_user_is_against_takes_off_what_its_words_say_of_itself_too() -> None:
    history = (Event("like", "a"), Event("dislike", "c"))
    found = score()(Histories.of(Requests.of([Request(history), Request(history[:1])]), CODES, 0.6))
    prior = WordsPrior.fit(F_ID, NUMBERS.ridge)
    g_ID = prior.whitening(F_ID)
    less = 0.5 * 3 / 2 * (g_ID[2] @ prior.m_DD) @ prior.keys(g_ID).T
    np.testing.assert_allclose(found[1] - found[0], less, atol=1e-5)
    assert found[0, 2] < found[1, 2]


def some_history(draw: np.random.Generator) -> tuple[Event, ...]:
    """Kinds, names, words and times of every sort; times may be equal or missing."""
    kinds = ["click", "purchase", "dislike", "return", "impression", "search"]
    return tuple(
        Event(
            kinds[draw.integers(len(kinds))],
            str(draw.choice([*NAMES, "unknown"])) if draw.random() < 0.8 else None,
            text="a thing" if draw.random() < 0.3 else None,
            timestamp=None if draw.random() < 0.2 else float(draw.integers(6)),
        )
        for _ in range(draw.integers(9))
    )


def test_few_entries_are_read_as_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(7)
    for _ in range(40):
        asked = Requests.of([Request(some_history(draw)) for _ in range(draw.integers(5))])
        found = []
        for few in (sequences.FEW, 0):
            monkeypatch.setattr(sequences, "FEW", few)
            found.append(Histories.of(asked, CODES, 0.6, most=4))
            monkeypatch.undo()
        few_entries, many = found
        assert few_entries.request.tolist() == many.request.tolist()
        assert few_entries.code.tolist() == many.code.tolist()
        assert few_entries.weight.tolist() == many.weight.tolist()
        assert few_entries.text == many.text and few_entries.count == many.count == len(asked)
