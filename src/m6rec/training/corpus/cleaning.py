"""What a text must be to be learned from: words without markup, in English, not too short."""

from __future__ import annotations

import re

from m6rec.text.hygiene import clean_markup

LONGEST = 4000
"""Characters of a part; the rest is cut."""
BOILERPLATE = re.compile(
    r"(?:product description|from the manufacturer|amazon\.com|read more|see more product details|"
    r"show more|show less|click here|\[\[(?:videoid|asin):[^\]]*\]\]|prop(?:osition)? 65 warning)"
    r"\s*[:.]?\s*",
    re.IGNORECASE,
)
AT_EDGE = re.compile(rf"^(?:{BOILERPLATE.pattern})+|(?:{BOILERPLATE.pattern})+$", re.IGNORECASE)
MEDIA = re.compile(r"\[\[(?:videoid|asin):[^\]]*\]\]|https?://\S+", re.IGNORECASE)
COMMON = frozenset(
    (
        *("the", "a", "an", "and", "or", "of", "to", "in", "is", "it", "for", "with", "on", "that"),
        *("this", "i", "you", "are", "be", "as", "at", "by", "my", "was", "not", "have", "your"),
    )
)
"""Words that English text of any kind is full of."""
JUDGED_FROM = 12
"""Words from which on the share of COMMON words says something about the language."""
FEWEST_COMMON = 0.06
FEWEST_ASCII = 0.9


def clean_part(text: str | None, longest: int = LONGEST) -> str:
    """One part of a document: no markup, links, media marks or boilerplate at its edges."""
    if not text:
        return ""
    return AT_EDGE.sub("", MEDIA.sub("", clean_markup(text, longest))).strip()


def is_english(text: str) -> bool:
    """Whether letters are Latin and, in a text long enough to tell, words are English."""
    letters = [c for c in text if c.isalpha()]
    if not letters or sum(c.isascii() for c in letters) < FEWEST_ASCII * len(letters):
        return False
    words = re.findall(r"[a-z']+", text.lower())
    if len(words) < JUDGED_FROM:
        return True
    return sum(word in COMMON for word in words) >= FEWEST_COMMON * len(words)


def unglue(brand: str, description: str) -> str:
    """Without a brand that a scraper has glued to the first word ("AcmeThis hammer …")."""
    rest = description.removeprefix(brand)
    return rest if brand and rest != description and rest[:1].isupper() else description
