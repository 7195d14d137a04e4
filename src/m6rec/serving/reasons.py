"""Why an item is recommended: written by a tuned task, or what of the history is nearest to it.

What the user is against, or took back, is never a reason (data/verdicts.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m6rec.collaborative.reasons import Carried, Name, Reason, liked_entries
from m6rec.collaborative.reasons import reasons as reasons_of
from m6rec.collaborative.sequences import Histories
from m6rec.data.requests import Requests
from m6rec.records import Event, Request
from m6rec.serving.live import LiveModel


def reasons(
    model: LiveModel, item_ids: Sequence[str], history: Sequence[Event], user_id: str | None
) -> dict[str, Reason]:
    """A reason for each item that is there and has one."""
    there = [item_id for item_id in item_ids if item_id in model.shown]
    if "explain" in model.face.tasks:
        return {
            item_id: Reason(
                model.writer().explain(item_id, history, user_id=user_id).text, written=True
            )
            for item_id in there
        }
    past = _Past(model, history, user_id)
    counts_I, place_C = model.popularity(), model.shelf.places(there)

    def likeness(rows: Sequence[int], entries: Sequence[int]) -> np.ndarray:
        vectors_CK = model.item_vectors([there[row] for row in rows])
        return np.asarray(vectors_CK @ past.vectors(entries).T)

    def popular(row: int) -> bool:
        return 0 <= place_C[row] < len(counts_I) and bool(counts_I[place_C[row]] > 0)

    carried = [Carried()] * len(there)
    found = reasons_of(carried, past.named, past.described(), likeness, popular)
    return {item_id: why for item_id, why in zip(there, found, strict=True) if why is not None}


class _Past:
    """One history, its items numbered in order."""

    def __init__(self, model: LiveModel, history: Sequence[Event], user_id: str | None) -> None:
        self.model = model
        self.ids = list(dict.fromkeys(e.item_id for e in history if e.item_id is not None))
        codes = {item_id: code for code, item_id in enumerate(self.ids)}
        asked = Requests.of([Request(tuple(history), user_id)])
        self.histories = Histories.of(asked, codes, 1.0, model.retriever.scale)

    def item_id(self, entry: int) -> str | None:
        code = int(self.histories.code[entry])
        return self.ids[code] if code >= 0 else None

    def described(self) -> list[int]:
        """Entries that the user is for and that words describe, newest first."""
        liked, texts = liked_entries(self.histories, 0), self.histories.text
        return [n for n in liked if self.item_id(n) in self.model.shown or texts[n]]

    def named(self, entry: int) -> Name | None:
        """In the words of the catalogue, in the user's, or by its id."""
        item_id, text = self.item_id(entry), self.histories.text[entry]
        shown = None if item_id is None else self.model.shown.get(item_id)
        title = (shown.title if shown is not None else text) or item_id
        return None if title is None else (title, item_id)

    def vectors(self, entries: Sequence[int]) -> np.ndarray:
        """Unit vectors of described entries: float32 [N, K]."""
        found = []
        for entry in entries:
            item_id, text = self.item_id(entry), self.histories.text[entry]
            if item_id in self.model.shown:
                found.append(self.model.item_vectors([str(item_id)]))
            else:
                found.append(self.model.retriever.encode_items([str(text)], [None]))
        return np.concatenate(found)
