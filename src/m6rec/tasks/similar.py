"""Items like one item: by half-whitened text vectors, or by what people chose after it.

Legend: I items, D' width of whitened vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m6rec.collaborative.score import CollaborativeScore, Embed
from m6rec.collaborative.sequences import Histories
from m6rec.collaborative.words import HalfWhitening
from m6rec.data.requests import Requests
from m6rec.records import Event, Request

Likeness = Literal["next", "alike"]
"""next: what people chose after an item. alike: what reads like it."""


@dataclass(frozen=True)
class AlikeItems:
    """The words of a catalogue. g_ID: float32 [I, D'], unit vectors."""

    whitening: HalfWhitening
    g_ID: np.ndarray
    embed: Embed

    @classmethod
    def fit(cls, texts: Sequence[str], embed: Embed) -> AlikeItems:
        """From the whole texts of the items."""
        f_ID = embed(texts)
        whitening = HalfWhitening.fit(f_ID)
        return cls(whitening, whitening(f_ID), embed)

    @classmethod
    def of(cls, score: CollaborativeScore) -> AlikeItems:
        """Those that a score has already."""
        return cls(score.prior.whitening, score.g_ID, score.embed)

    def __call__(self, item: int | str) -> np.ndarray:
        """Cosine with every item, float32 [I]. item: its place, or the text of an unknown one."""
        g_D = self.g_ID[item] if isinstance(item, int) else self.whitening(self.embed([item]))[0]
        return np.asarray(self.g_ID @ g_D)


def next_scores(score: CollaborativeScore, item: str) -> np.ndarray:
    """The score after a history of this item alone, float32 [I].

    item: an id that catalogue or log know, or the text of an unknown one, which goes by its words.
    """
    event = Event("click", item) if item in score.codes else Event("click", text=item)
    asked = Requests.of([Request((event,))])
    return np.asarray(score(Histories.of(asked, score.codes, 1.0))[0])
