"""Spaces and capitals as people write them: the defaults from which a text seldom departs.

Written text (text/spelling.py) marks only what these rules do not foretell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["sentence", "title", "upper", "lower"]
Case = Literal["lower", "cap", "upper"]
MODES: tuple[Mode, ...] = ("sentence", "title", "upper", "lower")

CLOSING = frozenset(".,;:!?)]}%”™®°…")
"""No space before."""
OPENING = frozenset("([{#$£€“‘@~<")
"""No space after."""
TIGHT = frozenset("-/_^\\`*–—’+")
"""No space on either side."""
IN_NUMBERS = frozenset(".,:")
"""No space after, between two digits."""
SMALL_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to"),
        *("w", "with", "x", "oz", "ft", "lb", "lbs", "mm", "cm", "ml", "kg", "g", "mg", "inch"),
        *("gal", "ga", "sq", "cu", "mah", "ct", "pcs"),
    )
)
"""Lower case in titles."""
RAW = "\0"
"""Stands for a character that is spelled in bytes."""


@dataclass(slots=True)
class Place:
    """Where the writer or the reader of a text stands, after any number of units.

    A unit is a word of ASCII letters and digits, one symbol, or one character in bytes.
    left, before: last character of the last unit, and of the one before it; "" at the start.
    """

    left: str = ""
    before: str = ""
    quote_open: bool = False
    quote_opened_last: bool = False
    sentence_begins: bool = True

    def gap(self, right: str) -> str:
        """The white space that usually stands before a unit that begins with `right`."""
        left = self.left
        if not left or left == RAW or right == RAW:
            return ""
        word_left, word_right = left.isalnum(), right.isalnum()
        if word_left and word_right:
            return " "
        if right in CLOSING or left in OPENING or (left == right and not word_left):
            return ""
        if right == "'" or left == "'":
            return " " if left == "'" and self.before.isdigit() else ""
        if left in TIGHT or right in TIGHT:
            return ""
        if left in IN_NUMBERS and self.before.isdigit() and right.isdigit():
            return ""
        if left == '"':
            return "" if self.quote_opened_last else " "
        if right == '"':
            return "" if self.quote_open or left.isdigit() else " "
        return " "

    def glued(self, gap: str) -> bool:
        """Whether a word after `gap` goes on from a word, or from its apostrophe."""
        if gap:
            return False
        if self.left in ("'", "’"):
            return self.before.isalnum() or self.before == RAW
        return self.left.isalnum() or self.left == RAW

    def case(self, word: str, gap: str, mode: Mode) -> Case:
        """How a word (in lower case) is usually written in a mode."""
        if mode == "upper":
            return "upper"
        if mode == "lower":
            return "lower"
        glued = self.glued(gap)
        if mode == "title":
            small = word in SMALL_WORDS and bool(self.left)
            return "lower" if glued or small or word[0].isdigit() else "cap"
        apart = bool(gap) or not self.left or self.left in OPENING
        begins = "\n" in gap or (self.sentence_begins and apart)
        return "cap" if word == "i" or (begins and not glued) else "lower"

    def advance(self, unit: str, gap: str) -> None:
        """Goes past a unit that stands after `gap` (RAW for a character in bytes)."""
        if unit == '"':
            inches = self.left.isdigit() and not gap and not self.quote_open
            self.quote_opened_last = not inches and not self.quote_open
            self.quote_open = self.quote_opened_last
        if unit[-1].isalnum() or unit == RAW:
            self.sentence_begins = False
        elif unit in ".!?":
            self.sentence_begins = True
        self.before, self.left = self.left, unit[-1]


def in_case(word: str, case: Case) -> str:
    """A word of lower-case letters and digits, written in a case.

    >>> in_case("3d", "cap"), in_case("pvc", "upper")
    ('3D', 'PVC')
    """
    if case == "lower":
        return word
    if case == "upper":
        return word.upper()
    for index, char in enumerate(word):
        if char.isalpha():
            return word[:index] + char.upper() + word[index + 1 :]
    return word
