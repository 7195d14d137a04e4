"""What share of a catalogue's texts the vocabulary of a backbone can read.

A vocabulary of English wordpieces has no piece for most of Chinese, Thai or emoji: such words all
become one unknown token, so that texts of them look alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.text.tokenizer import CHARS_PER_TOKEN, Tokenizer

WARN_FROM = 0.05
"""Share of unreadable characters above which people are warned."""
LOOKED_AT = 2000
"""Most texts that are looked at, spread evenly over all."""
LONGEST = 32 * CHARS_PER_TOKEN


@dataclass(frozen=True)
class Readability:
    """Of the characters of some texts (spaces left out), the share that a backbone can not read.

    backbone: its name. texts: how many were looked at; wholly: those without any known word.
    """

    backbone: str
    texts: int
    wholly: int
    unread: float

    @property
    def warns(self) -> bool:
        """Whether so much is unreadable that answers suffer."""
        return self.unread > WARN_FROM

    def __str__(self) -> str:
        read = f"{self.backbone} reads {100 * (1 - self.unread):.1f} % of the items' titles"
        read += f" ({self.texts:,} looked at)"
        if not self.warns:
            return read
        return (
            f"{read}: the other words all look alike to it, and {self.wholly:,} titles have no "
            "word that it knows; such items are ordered by what people chose, not by text; right "
            "is a backbone whose vocabulary has this language (m6rec convert-hf)"
        )

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "backbone": self.backbone,
            "texts": self.texts,
            "wholly_unreadable": self.wholly,
            "unreadable_share": round(self.unread, 4),
        }


def readability(tokenizer: Tokenizer, texts: Sequence[str], backbone: str) -> Readability:
    """Looks at LOOKED_AT texts at most, always the same ones."""
    step = max(1, -(-len(texts) // LOOKED_AT))
    some = [text[:LONGEST] for text in texts[::step]]
    unread, total = tokenizer.unread_characters(some)
    wholly = sum(
        tokenizer.tells_nothing(tokenizer.encode(text, LONGEST))
        for text, characters in zip(some, unread.tolist(), strict=True)
        if characters
    )
    return Readability(backbone, len(some), wholly, float(unread.sum() / max(total.sum(), 1)))
