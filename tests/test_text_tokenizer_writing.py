"""Written text comes back as it was; reading is untouched by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language_worlds import SPECIAL, tokenizer
from m6rec.model.hf import minilm_folder
from m6rec.records import M6Error
from m6rec.text.hygiene import clean_markup
from m6rec.text.spelling import MARKERS
from m6rec.text.tokenizer import Tokenizer

WORDS = tokenizer()


def names(text: str, words: Tokenizer = WORDS) -> list[str]:
    """Markers, pieces, and bytes in hexadecimal."""
    spelling = words._spelling
    assert spelling is not None
    out = []
    for number in words.write(text):
        if number in spelling.marker_of:
            out.append(f"<{spelling.marker_of[number]}>")
        elif number in spelling.byte_of:
            out.append(f"{spelling.byte_of[number]:02x}")
        else:
            out.append(spelling.piece_of[number])
    return out


def test_a_sentence_needs_no_marker() -> None:
    assert names("The red non-slip shoe, for the tent.") == [
        *("the", "red", "non", "-", "slip", "shoe", ",", "for", "the", "tent", ".")
    ]


def test_a_title_needs_one_marker() -> None:
    assert names("Red Shoe for the Tent") == ["<title>", "red", "shoe", "for", "the", "tent"]


def test_capitals_and_joints_inside_a_word_are_marked() -> None:
    expected = ["<word lower>", "the", "<word cap>", "wi", "<camel>", "fi", "phone"]
    assert names("the WiFi phone") == expected


def test_all_capitals_are_a_mode() -> None:
    assert names("RED SHOE TENT") == ["<upper>", "red", "shoe", "tent"]


def test_only_departures_from_usual_spacing_are_marked() -> None:
    assert names("Red - blue") == ["red", "<wide>", "-", "blue"]
    assert names("Red&blue") == ["red", "<tight>", "&", "blue"]
    assert names('Red 3.5" tent') == ["red", "3", ".", "5", '"', "tent"]
    assert names("Red\n\nBlue") == ["red", "<newline>", "<newline>", "blue"]
    assert names("Red  tent ") == ["red", "<space>", "<space>", "tent", "<space>"]


def test_what_no_piece_spells_is_bytes() -> None:
    assert names("Red é") == ["red", "<space>", "c3", "a9"]
    assert WORDS.decode(WORDS.write("Pokémon 😀 № Straße 日本")) == "Pokémon 😀 № Straße 日本"


def test_special_tokens_are_never_written() -> None:
    special = set(SPECIAL.model_dump().values())
    for text in ("[SEP] [unused0] [MASK]", "[unused100]", "##s"):
        ids = WORDS.write(text)
        assert special.isdisjoint(ids)
        assert WORDS.decode(ids) == text


def test_special_ids_are_left_out_of_decoded_text() -> None:
    ids = WORDS.write("Red shoe")
    assert WORDS.decode([SPECIAL.bos, *ids, SPECIAL.eos, SPECIAL.pad]) == "Red shoe"


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back(text: str) -> None:
    assert WORDS.decode(WORDS.write(text)) == text


LETTERS = st.text("aZ09 .,\"'-&()\n!?iIé™", max_size=30)


@settings(max_examples=500, deadline=None)
@given(LETTERS)
def test_any_mix_of_capitals_and_signs_comes_back(text: str) -> None:
    assert WORDS.decode(WORDS.write(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, WORDS.vocab_size - 1), max_size=30))
def test_any_ids_give_some_text_piece_by_piece(ids: list[int]) -> None:
    reader = WORDS.reader()
    assert reader is not None
    kept = [i for i in ids if i not in SPECIAL.model_dump().values()]
    assert "".join([reader.push(i) for i in kept]) + reader.finish() == WORDS.decode(ids)


def test_a_reader_gives_words_out_when_the_next_begins() -> None:
    reader = WORDS.reader()
    assert reader is not None
    assert [reader.push(i) for i in WORDS.write("Red shoe.")] == ["", "Red", " shoe"]
    assert reader.finish() == "."


def test_reading_uses_no_marker_and_no_byte() -> None:
    marked = set(WORDS.marker_ids)
    assert len(marked) == len(MARKERS) + 256
    assert marked.isdisjoint(WORDS.encode("The RED WiFi é 😀 – shoe", 99))


def test_a_budget_cuts_at_the_end() -> None:
    ids = WORDS.write("Red shoe for the tent")
    assert WORDS.write("Red shoe for the tent", 3) == ids[:3]


@pytest.fixture(scope="module")
def minilm() -> Tokenizer:
    try:
        return Tokenizer.load(minilm_folder() / "tokenizer.json", SPECIAL)
    except M6Error as error:
        pytest.skip(str(error))


def overhead(words: Tokenizer, texts: list[str]) -> tuple[float, float]:
    """Share of texts that come back, and markers per wordpiece."""
    written = [words.write(text) for text in texts]
    exact = sum(words.decode(ids) == text for ids, text in zip(written, texts, strict=True))
    plain = sum(len(words.encode(text, 10**6)) for text in texts)
    return exact / len(texts), sum(map(len, written)) / plain - 1


def test_titles_come_back_at_a_small_cost(
    minilm: Tokenizer, shared_data: Callable[[str], Path]
) -> None:
    frames = [
        pl.read_parquet(shared_data(name) / "items.parquet")["title"].drop_nulls().head(1500)
        for name in ("home_depot", "amazon_industrial")
    ]
    exact, cost = overhead(minilm, [t for frame in frames for t in frame.to_list()])
    assert exact >= 0.999
    assert 0.05 <= cost <= 0.15


def test_reviews_come_back_at_a_small_cost(
    minilm: Tokenizer, shared_data: Callable[[str], Path]
) -> None:
    frame = pl.read_parquet(shared_data("amazon_reviews_text") / "reviews.parquet")
    texts = [
        clean_markup(t, 4000) for t in frame["text"].drop_nulls().sample(500, seed=1).to_list()
    ]
    exact, cost = overhead(minilm, [text for text in texts if text])
    assert exact >= 0.99
    assert 0.01 <= cost <= 0.08
