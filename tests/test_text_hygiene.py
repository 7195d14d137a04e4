"""What people and machines leave in titles, and what is left of it."""

from __future__ import annotations

import time

import pytest

from m6rec.text.hygiene import clean, clean_markup


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<b>Tent</b> for <i>two</i>", "Tent for two"),
        ("One<br/>two<p class='x'>three</p>four", "One two three four"),
        ("re<wbr>charge<span>able</span>", "rechargeable"),
        ("<script>alert('x')</script>Lamp<style>b{}</style>", "Lamp"),
        ("Lamp<!-- hidden <b>words</b> -->shade", "Lamp shade"),
        ("Tom &amp; Jerry &#39;s &lt;b&gt;show&lt;/b&gt; &#x1F600;", "Tom & Jerry 's show 😀"),
        ("AT&T & R&D; &nosuch;", "AT&T & R&D; &nosuch;"),
        ("a < b > c <3 <unknown> 5<6", "a < b > c <3 <unknown> 5<6"),
        ("<b unclosed", "<b unclosed"),
    ],
)
def test_markup_goes_and_text_stays(text: str, left: str) -> None:
    assert clean_markup(text, 1000) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\tb\r\n c\u00a0d\u2003e\u2028f\x85g\x1ch", "a b c d e f g h"),
        ("\x00a\x07b\x1b[31mc\x9f", "ab[31mc"),
        ("\ufefftitle\ud800\udfff\uffff", "title"),
        ("in\u00advis\u200bible\u2060", "invisible"),
        ("\u202eevil\u202c \u2066x\u2069 \u200fy\u200e", "evil x y"),
        ("  \n ", ""),
    ],
)
def test_what_nobody_sees_goes(text: str, left: str) -> None:
    assert clean(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧 family 🏳️‍🌈 👍🏽",
        "می‌خواهم کتاب",
        "شاحن سريع للهاتف",
        "אוהל לשני אנשים",
        "क्‍ष",
        "日本語のタイトル",
        "e\u0301te\u0301",
        "[EOS] [BOS]",
    ],
)
def test_every_script_and_emoji_stays_as_it_is(text: str) -> None:
    assert clean(text) == clean_markup(text, 1000) == text


def test_what_is_cut_has_no_space_at_its_end() -> None:
    assert clean("ab cd", 3) == "ab"
    assert clean_markup("ab cd", 4) == "ab c"


@pytest.mark.parametrize(
    "piece", ["word ", "<b>", "<script>", "<!--", "&amp;", "<", "&", "\x00", "\u202e"]
)
def test_a_text_of_a_megabyte_is_fast_and_cut(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    begin = time.perf_counter()
    assert len(clean_markup(text, 576)) <= 576
    assert len(clean(text, 576)) <= 576
    assert time.perf_counter() - begin < 1
