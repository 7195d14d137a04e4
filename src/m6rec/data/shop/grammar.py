"""English around a noun: articles, number, capitals, and sentences with gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping

from m6rec.data.shop.vocabulary import Form

SMALL_WORDS = frozenset({"a", "an", "and", "the", "of", "for", "with", "in", "by", "to"})
VOWEL_SOUND = re.compile(r"[ai]|e(?!u)|o(?!ne\b)|u(?!n[aiou]|s[aeiu]|rea|-)|11-|18-|8|LED|SPF")
"""Beginnings that are spoken with a vowel: "an LED lantern", but "a unit"."""


def article(words: str) -> str:
    """ "a" or "an", by how the words are spoken.

    >>> [article(words) for words in ("LED lantern", "18-piece set", "one-pound tin", "U-lock")]
    ['an', 'an', 'a', 'a']
    """
    spoken = VOWEL_SOUND.match(words) or VOWEL_SOUND.match(words.lower())
    return "an" if spoken else "a"


def with_article(words: str, form: Form) -> str:
    return f"{article(words)} {words}" if form == "count" else words


def capital(text: str) -> str:
    """The text with a capital first letter; the rest as it is."""
    return text[:1].upper() + text[1:]


def title_case(text: str) -> str:
    """As shops write titles; words that hold a capital or a digit and a unit stay as they are.

    >>> title_case("two-season sleeping bag"), title_case("28 cm frying pan")
    ('Two-Season Sleeping Bag', '28 cm Frying Pan')
    """
    return " ".join(_title_word(word) for word in text.split())


def _title_word(word: str) -> str:
    if word in SMALL_WORDS or word in ("cm", "ml", "g", "kg"):
        return word
    return "-".join(part if part in SMALL_WORDS else capital(part) for part in word.split("-"))


def number_words(noun: str, form: Form) -> dict[str, str]:
    """The gaps that agree with the noun: this, it, them, is."""
    many = form == "plural"
    return {
        "this_noun": f"{'these' if many else 'this'} {noun}",
        "it": "they" if many else "it",
        "them": "them" if many else "it",
        "is": "are" if many else "is",
    }


def both(first: str, second: str, link: str, again: str) -> str:
    """Two clauses joined; where one has an "and" of its own, the subject is said again.

    >>> both("weighs little", "folds flat", ", and", "it")
    'weighs little and folds flat'
    >>> both("keeps out wind and rain", "folds flat", ", and", "it")
    'keeps out wind and rain, and it folds flat'
    """
    if " and " in first or " and " in second:
        return f"{first}{link} {again} {second}"
    return f"{first} and {second}"


def fill(template: str, words: Mapping[str, str]) -> str:
    """The template with its gaps filled; a gap with a capital begins a sentence."""
    return re.sub(r"\{(\w+)\}", lambda gap: _word(gap[1], words), template)


def _word(name: str, words: Mapping[str, str]) -> str:
    return words[name] if name in words else capital(words[name[0].lower() + name[1:]])
