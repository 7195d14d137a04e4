"""Texts that copy nobody: what is held back, and that nothing else is."""

from __future__ import annotations

import pytest

import language_worlds
from m6rec.metrics.text_variety import copied
from m6rec.model.generation.uncopied import Uncopied

KNOWN = (
    "Red tent for good phone of the shoe",
    "the non-slip lamp, 4.5 red TENTS of WiFi",
    "Zoë reads the blue review of 日本 tent and 12 shoes",
    "red",
    "",
)
LONGEST = 3
WORDS = language_worlds.tokenizer()


@pytest.fixture(scope="module")
def held() -> Uncopied:
    return Uncopied(KNOWN, LONGEST, WORDS)


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for", "tent for good lamp", "red tent the good phone of", "the non-slip", ""),
        *("phone of the tent", "for phone good of", "4.5 tents", "blue lamp of the green shoe"),
    ],
)
def test_short_runs_and_new_orders_of_words_may_be_written(held: Uncopied, text: str) -> None:
    assert language_worlds.accepts(held, WORDS.write(text))


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for good", "RED TENT, FOR GOOD", "a lamp: tent for good phone", KNOWN[0]),
        *("the non-slip lamp", "4.5 red tents", "red tents of wifi", "reads the blue review"),
    ],
)
def test_longer_runs_may_not_whatever_their_capitals_and_signs(held: Uncopied, text: str) -> None:
    assert not language_worlds.accepts(held, WORDS.write(text))


def test_no_walk_along_the_known_texts_is_a_copy(held: Uncopied) -> None:
    known = [WORDS.write(text) for text in KNOWN if text]
    refused = 0
    for seed in range(300):
        ids, times = language_worlds.walk_along(held, known, length=40, seed=seed)
        refused += times
        text = WORDS.decode(ids)
        assert not copied([text], KNOWN, LONGEST).any(), text
    assert refused > 100
