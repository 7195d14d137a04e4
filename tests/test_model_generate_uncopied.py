"""Texts that copy nobody: what is held back, and that nothing else is."""

from __future__ import annotations

import random

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


def accepts(held: Uncopied, text: str) -> bool:
    state = held.start()
    for token in WORDS.write(text):
        if token not in held.allowed(state):
            return False
        state = held.step(state, token)
    return held.eos in held.allowed(state)


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for", "tent for good lamp", "red tent the good phone of", "the non-slip", ""),
        *("phone of the tent", "for phone good of", "4.5 tents", "blue lamp of the green shoe"),
    ],
)
def test_short_runs_and_new_orders_of_words_may_be_written(held: Uncopied, text: str) -> None:
    assert accepts(held, text)


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for good", "RED TENT, FOR GOOD", "a lamp: tent for good phone", KNOWN[0]),
        *("the non-slip lamp", "4.5 red tents", "red tents of wifi", "reads the blue review"),
    ],
)
def test_longer_runs_may_not_whatever_their_capitals_and_signs(held: Uncopied, text: str) -> None:
    assert not accepts(held, text)


def test_no_walk_along_the_known_texts_is_a_copy(held: Uncopied) -> None:
    """Walks that would rather go on as a known text does than anywhere else."""
    known = [WORDS.write(text) for text in KNOWN if text]
    refused = 0
    for seed in range(300):
        draws, state, ids = random.Random(seed), held.start(), list[int]()
        source, at = draws.choice(known), 0
        for _ in range(40):
            allowed = set(held.allowed(state).tolist())
            assert allowed > {held.eos}
            if at == len(source) or draws.random() < 0.05:
                source, at = draws.choice(known), 0
            token = source[at]
            if token not in allowed:
                refused += 1
                token = draws.choice(sorted(allowed - {held.eos}))
            at += 1
            ids.append(token)
            state = held.step(state, token)
        text = WORDS.decode(ids)
        assert not copied([text], KNOWN, LONGEST).any(), text
    assert refused > 100
