"""Reasons for what a catalogue answers: what people chose next, else what is nearest by its words.

Legend: B requests, I items, N entries of histories, C items of an answer, K projection width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from m6rec.collaborative.reasons import (
    Carried,
    Name,
    Reason,
    carriers,
    liked_entries,
    reasons,
)
from m6rec.collaborative.sequences import Histories
from m6rec.data.requests import Requests
from m6rec.tasks.catalogue import Catalogue


class CatalogueReasons:
    """Of some requests. people_I: how many chose each item; None without a log."""

    def __init__(
        self, catalogue: Catalogue, asked: Requests, people_I: np.ndarray | None = None
    ) -> None:
        self.catalogue, self.people_I = catalogue, people_I
        if catalogue.chosen is not None:
            self.codes: Mapping[str, int] = catalogue.chosen.score.codes
            self.histories = catalogue.histories(asked)
        else:
            self.codes = {name: place for name, place in catalogue.places.items() if name}
            self.histories = Histories.of(asked, self.codes, 1.0, catalogue.retriever.scale)

    def of(self, places: Sequence[np.ndarray]) -> list[list[Reason | None]]:
        """places: columns of the answers, int64 [C] each. None: there is no reason to tell."""
        chosen = self.catalogue.chosen
        if chosen is None:
            carried = [[Carried()] * len(place_C) for place_C in places]
        else:
            carried = carriers(chosen.score, self.histories, places)
        return [
            self._answer(request, *one)
            for request, one in enumerate(zip(places, carried, strict=True))
        ]

    def _answer(
        self, request: int, place_C: np.ndarray, carried: Sequence[Carried]
    ) -> list[Reason | None]:
        liked = liked_entries(self.histories, request)
        past = [n for n in liked if self._place(n) is not None or self.histories.text[n]]

        def likeness(rows: Sequence[int], entries: Sequence[int]) -> np.ndarray:
            vectors_CK = self.catalogue.vectors_IK[place_C[rows]]
            return np.asarray(vectors_CK @ self._vectors(entries).T)

        def popular(row: int) -> bool:
            return self.people_I is not None and bool(self.people_I[place_C[row]] > 0)

        return reasons(carried, self._named, past, likeness, popular)

    def _vectors(self, entries: Sequence[int]) -> np.ndarray:
        """Of past items, float32 [N, K]; what the catalogue does not have is read as an item."""
        places = [self._place(entry) for entry in entries]
        told = [self.histories.text[n] for n, p in zip(entries, places, strict=True) if p is None]
        texts = [str(text) for text in told]
        read = iter(self.catalogue.retriever.encode_items(texts, [None] * len(texts)))
        return np.stack([next(read) if p is None else self.catalogue.vectors_IK[p] for p in places])

    def _place(self, entry: int) -> int | None:
        code = int(self.histories.code[entry])
        return code if 0 <= code < len(self.catalogue.item_ids) else None

    def _named(self, entry: int) -> Name | None:
        """Of the catalogue, in the user's words, or as the log calls it."""
        place, code = self._place(entry), int(self.histories.code[entry])
        if place is not None:
            item_id = self.catalogue.item_ids[place]
            return self.catalogue.titles[place] or item_id, item_id
        text = self.histories.text[entry]
        if code < 0:
            return (text, None) if text else None
        return text or self._log_ids[code], self._log_ids[code]

    @cached_property
    def _log_ids(self) -> list[str]:
        return list(self.codes)
