"""Facts and texts without copies over byte-level vocabularies: what they hold back, and no more."""

from __future__ import annotations

import random
import re

import pytest

import language_worlds
from m6rec.config import ConfigError
from m6rec.metrics.text_variety import copied
from m6rec.model.generation.byte_level import ByteFacts, ByteUncopied, facts, uncopied
from m6rec.model.generation.facts import Facts
from m6rec.model.generation.uncopied import Uncopied
from m6rec.text.tokenizer import Tokenizer
from test_model_generate_constrain import ALLOWED, FUNCTION
from test_model_generate_uncopied import KNOWN, LONGEST

MERGED = (*ALLOWED, *FUNCTION, *KNOWN, "The Red Tents are for the phones of WiFi", "NON-SLIP")
WORDS = language_worlds.byte_level(MERGED * 3, 420)
BARE = language_worlds.byte_level(["a"], 270)
TOKENIZERS = {"merged": WORDS, "bytes alone": BARE}


@pytest.fixture(params=sorted(TOKENIZERS))
def words(request: pytest.FixtureRequest) -> Tokenizer:
    """One with words, and one that spells in bytes."""
    return TOKENIZERS[request.param]


def test_every_id_that_is_written_is_known_by_its_bytes(words: Tokenizer) -> None:
    for text in (*MERGED, "naïve — 🙂\t[i] <unk>"):
        ids = words.write(text)
        assert b"".join(words.written_bytes[i] for i in ids).decode() == text
        assert set(ids) <= set(words.writable_ids)
    assert not set(words.writable_ids) & set(words.special.model_dump().values())
    assert language_worlds.tokenizer().written_bytes == {}


@pytest.mark.parametrize(
    "text",
    [
        *ALLOWED,
        *("the tent", "The Red tent is for the phone.", "It's 4.5", "it is 10:30, and 7", "WIFI"),
        *("red-tent", "100% R2D2!", "Zoë\nthe café", "日本", "TENT (red)", "7 7", "the size is 7"),
        *("ZOË, CAFÉ", "'the tent' is 7."),
    ],
)
def test_texts_that_say_nothing_new_can_be_written(words: Tokenizer, text: str) -> None:
    held = ByteFacts(ALLOWED, (*FUNCTION, "it"), words)
    assert language_worlds.accepts(held, words.write(text))


@pytest.mark.parametrize(
    "text",
    [
        *("blue", "the tents", "redtent", "RedTent", "FiWi", "4", "5.4", "4.5.5", "7.7", "12", "3"),
        *("10:3", "1000", "caf", "日", "本日", "Zoé", "R2", "D2", "the $ 7", "", "30:10", "tentë"),
        *("the  tent", "tent's", "4.", "s", "the tent ", "7a", "12/ 3"),
    ],
)
def test_texts_that_say_something_new_can_not(words: Tokenizer, text: str) -> None:
    assert not language_worlds.accepts(
        ByteFacts(ALLOWED, (*FUNCTION, "it"), words), words.write(text)
    )


def test_no_walk_says_anything_new_or_gets_stuck(words: Tokenizer) -> None:
    """Every word of what is written at random is a word of the texts, and numbers are whole."""
    held = ByteFacts(ALLOWED, FUNCTION, words)
    allowed = {w.lower() for t in (*ALLOWED, *FUNCTION) for w in re.findall(r"[^\W_]+", t)}
    numbers = {"4.5", "100", "10:30", "12/3", "7"}
    for seed in range(150):
        draws, state, ids = random.Random(seed), held.start(), list[int]()
        while len(ids) < 25 or (not held.may_end(state) and len(ids) < 99):
            options = held.allowed(state).tolist()
            assert options
            token = draws.choice(options)
            if token != held.eos:
                ids.append(token)
                state = held.step(state, token)
        text = words.decode(ids)
        assert {w.lower() for w in re.findall(r"[^\W_]+", text)} <= allowed, text
        found = {n.rstrip(".:/") for n in re.findall(r"(?<![^\W_])\d[\d.:/]*(?![^\W_])", text)}
        assert found <= numbers, text


def test_facts_need_something_to_say() -> None:
    with pytest.raises(ConfigError, match="nothing may be said"):
        ByteFacts([], [], WORDS)


def test_each_family_gets_its_own_automaton() -> None:
    pieces = language_worlds.tokenizer()
    assert isinstance(facts(ALLOWED, FUNCTION, WORDS), ByteFacts)
    assert isinstance(facts(ALLOWED, FUNCTION, pieces), Facts)
    assert isinstance(uncopied(KNOWN, 3, WORDS), ByteUncopied)
    assert isinstance(uncopied(KNOWN, 3, pieces), Uncopied)


# Texts that copy nobody


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for", "tent for good lamp", "red tent the good phone of", "the non-slip", ""),
        *("phone of the tent", "for phone good of", "4.5 tents", "blue lamp of the green shoe"),
    ],
)
def test_short_runs_and_new_orders_of_words_may_be_written(words: Tokenizer, text: str) -> None:
    assert language_worlds.accepts(ByteUncopied(KNOWN, LONGEST, words), words.write(text))


@pytest.mark.parametrize(
    "text",
    [
        *("Red tent for good", "RED TENT, FOR GOOD", "a lamp: tent for good phone", KNOWN[0]),
        *("the non-slip lamp", "4.5 red tents", "red tents of wifi", "reads the blue review"),
    ],
)
def test_longer_runs_may_not_whatever_their_capitals_and_signs(words: Tokenizer, text: str) -> None:
    assert not language_worlds.accepts(ByteUncopied(KNOWN, LONGEST, words), words.write(text))


def test_no_walk_along_the_known_texts_is_a_copy(words: Tokenizer) -> None:
    held = ByteUncopied(KNOWN, LONGEST, words)
    known = [words.write(text) for text in KNOWN if text]
    refused = 0
    for seed in range(200):
        ids, times = language_worlds.walk_along(held, known, length=60, seed=seed)
        refused += times
        assert not copied([words.decode(ids)], KNOWN, LONGEST).any(), words.decode(ids)
    assert refused > 50
