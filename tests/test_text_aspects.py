"""Aspects, claims and facts, without a language library."""

from __future__ import annotations

import doctest

import pytest

from m6rec.text import aspects
from m6rec.text.aspects import Aspects, claims, facts, learn_aspects, stem, unsupported


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(aspects).failed == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("batteries", "battery"), ("stitched", "stitching"), ("Boxes", "box"), ("tents", "tent's")],
)
def test_forms_of_a_word_have_one_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_a_claim_is_a_run_of_content_words_and_frame_words_are_none() -> None:
    text = "You would enjoy this because it offers fresh al pastor burritos, and great service."
    assert claims(text) == [("fresh", "al", "pastor", "burrito"), ("servic",)]
    assert claims("We suggest this one because you like it.") == []


def test_a_claim_is_borne_out_by_any_form_of_its_words() -> None:
    known = facts(["Packs into its own pocket", "rain jackets"])
    assert unsupported("This rain jacket packs small", known) == [
        ("rain", "jacket", "pack", "small")
    ]
    assert unsupported("A rain jacket with a pocket", known) == []


def test_numbers_are_claims() -> None:
    assert unsupported("It lasts 40 hours", facts(["lasts 30 hours"])) == [("last", "40", "hour")]


def test_aspects_are_learned_from_where_nouns_stand_and_how_often() -> None:
    texts = [
        "The battery life is great and the price is fair.",
        "Great battery life. I ran away.",
        "Its battery life is short, but the price was good.",
        "The price is too high; we ran.",
    ]
    assert learn_aspects(texts, least=3).names == ("battery", "battery life", "life", "price")
    assert learn_aspects(texts, most=1, least=3).names == ("battery",)
    assert learn_aspects(texts, least=5).names == ()


def test_the_same_texts_in_another_order_give_the_same_aspects() -> None:
    texts = [f"The {a} is good and the {b} is bad" for a in "xyz" for b in ("lid", "cup", "pot")]
    assert learn_aspects(texts, least=2).names == learn_aspects(texts[::-1], least=2).names


def test_given_aspects_are_found_in_their_order_and_whatever_their_form() -> None:
    found = Aspects(["weather protection", "weight", "weather"]).find(
        "Low weight? Its Weather-protection no, but weather protections and weights."
    )
    assert found == ["weight", "weather", "weather protection"]
    assert Aspects([]).find("anything") == []


def test_a_text_of_signs_or_nothing_has_no_claims() -> None:
    assert claims("") == claims("!!! [EOS] …"[:3]) == []
    assert claims("[EOS]") == [("eos",)]
