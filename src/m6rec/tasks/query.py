"""Search queries: the one that an item should be found by, or the one that a user types next.

Paper section 2: "The user now searches '…'".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from m6rec.data.passages import Passage
from m6rec.data.writing import QueryFrom
from m6rec.records import Candidate, Segment
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.writing import WritingSettings, history_segments
from m6rec.text.prompts import QUERY
from m6rec.text.verbalize import Verbalizer


class QuerySettings(WritingSettings):
    """query_from: whether queries are written for an item or for a user."""

    query_from: QueryFrom = "item"
    budget: int = 24


class QueryForm:
    """What a query is written from."""

    def __init__(self, verbalizer: Verbalizer, grounds: Grounds, settings: QuerySettings) -> None:
        self.verbalizer, self.grounds, self.settings = verbalizer, grounds, settings

    def source(self, passage: Passage) -> list[Segment]:
        """The prompt, and the item, or the user and the history."""
        prompt = Segment(QUERY, "context")
        if self.settings.query_from == "item":
            about = Candidate(passage.item_id, passage.about)
            return [prompt, Segment(self.verbalizer.item(about).text, "item")]
        return [prompt, *history_segments(self.verbalizer, passage, self.settings)]

    def target(self, passage: Passage, reference: str) -> str:
        """The query as it was typed."""
        return reference

    def read(self, text: str) -> str:
        """The query."""
        return text.strip()

    def facts(self, passage: Passage) -> list[str]:
        """What is known of the item, or of the user and the history."""
        return self.grounds.texts(passage)


CHECKED = 16
"""Queries that are written, in words of the item, for one that is checked."""
Search = Callable[[Sequence[str]], list[list[str]]]
"""Queries → ids of the items that a search finds, best first."""


def found_first(
    written: Sequence[Sequence[str]], item_ids: Sequence[str | None], search: Search
) -> list[list[str]]:
    """Each item's queries, in the order of where their search has the item; last, the others."""
    flat = list(dict.fromkeys(query for queries in written for query in queries))
    found = dict(zip(flat, search(flat), strict=True)) if flat else {}

    def place(query: str, item: str | None) -> float:
        return found[query].index(item) if item in found[query] else math.inf

    return [
        sorted(dict.fromkeys(queries), key=lambda query: place(query, item))
        for queries, item in zip(written, item_ids, strict=True)
    ]
