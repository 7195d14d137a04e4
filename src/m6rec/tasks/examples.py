"""Titles of a catalogue that read most like what is known of a user: by words and by meaning.

Words: BM25 over all that the catalogue says of an item. Meaning: cosine of text vectors of titles
and of what was done. Neither alone was as near to what people chose (docs/dev/log.md).

Legend: I items, N examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from m6rec.data.passages import Passage
from m6rec.tasks.grounds import Grounds
from m6rec.text.text_index import TextIndex

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → vectors of unit length [N, D]."""
NEWEST = 3
"""Events by which examples are found."""
MEANING = 3.0
"""Weight of a cosine, beside words of which the best match counts 1."""


class Examples:
    """Items that read most like what is known of a user. ids: those that may be examples."""

    def __init__(self, grounds: Grounds, ids: Sequence[str], embed: Embed) -> None:
        self.grounds, self.ids, self.embed = grounds, ids, embed

    def nearest(self, passage: Passage, most: int, category: str = "") -> list[tuple[str, float]]:
        """Items and how near they are, best first, each title once; of a category, if one is named.

        None of the history, and none where nothing is known. Of a passage of which people's text is
        known, that text is none.
        """
        if not most or not self.ids:
            return []
        seen = {event.item_id for event in passage.history}
        titles = {self.grounds.title(item) for item in seen} | {*passage.references, ""}
        near_I = self._near(passage)
        if near_I.max() <= 0:
            return []
        found: list[tuple[str, float]] = []
        for number in np.argsort(-near_I, kind="stable"):
            item = self.ids[number]
            title = self.grounds.title(item)
            if category and self.grounds.category(item) != category:
                continue
            if title not in titles:
                titles.add(title)
                found.append((item, float(near_I[number])))
            if len(found) == most:
                break
        return found

    def _near(self, passage: Passage) -> np.ndarray:
        words, meaning = told_of(passage, self.grounds), meant_by(passage, self.grounds)
        near_I = self._index.scores(words)
        near_I /= max(near_I.max(), 1e-9)
        if meaning:
            near_I += MEANING * (self._title_vectors @ self.embed([meaning])[0])
        return near_I

    @cached_property
    def _index(self) -> TextIndex:
        return TextIndex([self.grounds.item_text(item) for item in self.ids])

    @cached_property
    def _title_vectors(self) -> np.ndarray:
        return self.embed([self.grounds.title(item) for item in self.ids])


def told_of(passage: Passage, grounds: Grounds) -> str:
    """What the newest events and the profile say, as words to search by."""
    newest = passage.history[-NEWEST:]
    said = [text for e in passage.history for text in (e.query, e.text) if text]
    items = [grounds.item_text(event.item_id) for event in newest]
    return " ".join((*said[-NEWEST:], *items, passage.profile or ""))


def meant_by(passage: Passage, grounds: Grounds) -> str:
    """The newest searches and titles, and the profile."""
    told = [
        text
        for event in passage.history[-NEWEST:]
        for text in (event.query, event.text, grounds.title(event.item_id))
        if text
    ]
    return " ".join((*told, passage.profile or "")).strip()
