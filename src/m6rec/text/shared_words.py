"""Names that two texts share: an author, a series, a brand, wherever the text says it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’-](?=\w))*")
BETWEEN = re.compile(r"\.?\s+")
SHORTEST = 3
COMMON = frozenset(
    {"the", "and", "for", "from", "with", "how", "why", "what", "when", "who", "you", "your", "all"}
    | {"not", "its", "his", "her", "out", "new", "one", "two", "best", "first", "last", "great"}
    | {"novel", "book", "books", "story", "stories", "guide", "edition", "volume", "series"}
    | {"paperback", "hardcover", "collection", "complete", "mass", "market", "pack", "set", "inch"}
    | {"der", "die", "das", "und", "ein", "eine", "des", "den", "dem", "von", "les", "roman"}
    | {"movie", "film", "dvd", "men", "women", "kids", "size", "black", "white", "color", "count"}
)
"""Capitalised in so many titles that to share one says nothing."""


LONGEST = 1000
"""Characters of a text that are read."""


@lru_cache(1 << 16)
def names(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Capitalised words, and pairs of them that stand side by side, in lower case.

    >>> sorted(names("Sula, written by Toni Morrison")[1])
    ['toni morrison']
    """
    words: set[str] = set()
    pairs: set[str] = set()
    before: re.Match[str] | None = None
    for match in WORD.finditer(text):
        word = match[0]
        if not word[0].isupper() or word.lower() in COMMON:
            before = None
            continue
        if len(word) >= SHORTEST:
            words.add(word.lower())
            if before is not None and BETWEEN.fullmatch(text, before.end(), match.start()):
                pairs.add(f"{before[0]} {word}".lower())
        before = match
    return frozenset(words), frozenset(pairs)


def shared(text: str, others: Iterable[str]) -> int:
    """2 where a text shares a pair of names with any of the others, 1 for a word, 0 for none."""
    words, pairs = names(text[:LONGEST])
    best = 0
    for other in others:
        other_words, other_pairs = names(other[:LONGEST])
        if pairs & other_pairs:
            return 2
        if words & other_words:
            best = 1
    return best
