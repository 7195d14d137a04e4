"""Weaving: what can be put together, what is held back, what agrees most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m6rec.metrics.text import words
from m6rec.metrics.text_variety import Runs, copied
from m6rec.tasks.splices import LONGER, agreement, woven

WORDS = st.sampled_from(["red", "Red", "wool", "hat,", "in", "(2", "pack)", "5", "tent"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=9).map(" ".join), max_size=6)


def test_two_texts_are_joined_where_they_share_a_word() -> None:
    free = Runs([], 8)
    assert woven(["Red Wool Hat for Children", "Blue wool, Scarf"], free) == [
        "Red Wool Hat for Children",
        "Blue wool, Scarf",
        "Red Wool Scarf",
        "Blue wool, Hat for Children",
    ]
    assert woven(["Red Hat", "Blue Tent"], free) == ["Red Hat", "Blue Tent"]
    assert woven([], free) == []


def test_what_would_copy_is_cut_or_left_out() -> None:
    known = ["One Two Three Four", "Three Four Five Six"]
    assert woven(known, Runs(known, 3)) == ["One Two Three", "Three Four Five", "Three Four"]
    assert "One Two Three Four Five Six" in woven(known, Runs(known, 4))


def test_nothing_ends_in_the_middle() -> None:
    found = woven(["Hat in Red (Wool, Thick)", "Hat in Blue"], Runs([], 4))
    assert "Hat in Red (Wool," not in found and "Hat in" not in found
    assert woven(["Box of (2", "Box of", "", " "], Runs([], 8)) == []
    assert woven(["20-Volt Drill"], Runs([], 1)) == []  # its first part is two words


def test_agreement_by_hand() -> None:
    # Words: 2 of 2 and 2 of 3; F with beta 2 is 5 * 2 / (2 + 4 * 3); pairs: 1 of 1 and of 2, 5 / 9.
    one = (10 / 14 + 5 / 9) / 2
    assert agreement(["red hat"], ["Red hat, big"], [1.0]) == pytest.approx([one])
    assert agreement(["red hat"], ["Red hat, big", "tent"], [3.0, 1.0]) == pytest.approx(
        [0.75 * one]
    )
    assert agreement(["a b", "c"], ["a b"], [2.0]) == pytest.approx([1.0, 0.0])


@given(TEXTS, st.integers(1, 5))
def test_no_text_copies_and_every_word_is_one_of_theirs(texts: list[str], longest: int) -> None:
    found = woven(texts, Runs(texts, longest))
    assert len(set(found)) == len(found)
    theirs = {word for text in texts for word in words(text)}
    most = LONGER * max((len(text.split()) for text in texts), default=0)
    for text in found:
        assert set(words(text)) <= theirs and len(text.split()) <= most
    assert not found or not copied(found, texts, longest).any()
