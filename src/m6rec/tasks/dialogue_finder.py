"""Which item fits into a dialogue: likeness of text, how it went in past dialogues, popularity.

Nothing is trained: vectors are those of the backbone, the rest is counted. An item's score is
log p + likeness · cosine, where p mixes the share of past replies that named it, of those after
dialogues like this one, with the share of all. Without past dialogues the likeness is left.

Legend: A dialogues, I items, C past replies, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import Field

from m6rec.config import Settings
from m6rec.data.talks import Ask
from m6rec.tasks.dialogue_state import State, TitleIndex, replay

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → unit vectors, float32 [N, D]."""


UNSEEN = 0.1
"""Added to every count, so that nothing is impossible."""


class FinderSettings(Settings):
    """Weights of what an item's score is made of.

    turns: newest turns of the user that are read. likeness: of the cosine with what was said and
    liked. rejected: share of the mean vector of what was rejected that is taken off. near: past
    replies that are asked; sharpness: how much nearer ones count for more; local: their share of p.
    """

    turns: int = Field(default=4, ge=1)
    likeness: float = Field(default=3.0, ge=0)
    rejected: float = Field(default=0.3, ge=0)
    near: int = Field(default=200, ge=1)
    sharpness: float = Field(default=10.0, gt=0)
    local: float = Field(default=0.6, ge=0, le=1)


class Finder:
    """Scores the items of a catalogue after a dialogue.

    texts: what is embedded of each item. counts: how often each was recommended (None: unknown).
    past: replies of train, whose items are asked.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        titles: Sequence[str],
        texts: Sequence[str],
        embed: Embed,
        counts: np.ndarray | None = None,
        past: Sequence[Ask] = (),
        settings: FinderSettings | None = None,
    ) -> None:
        self.item_ids, self.titles = list(item_ids), list(titles)
        self.place = {item_id: row for row, item_id in enumerate(self.item_ids)}
        self.settings, self._embed = settings or FinderSettings(), embed
        self.index = TitleIndex(self.titles, None if counts is None else counts.tolist())
        self.vectors_ID = embed(list(texts))
        often_I = np.ones(len(self.item_ids)) if counts is None else counts + UNSEEN
        self.popular_I = often_I / often_I.sum()
        useful = [ask for ask in past if ask.reply is not None and ask.reply.item_ids]
        self._named = [self._rows(ask) for ask in useful]
        self._past_CD = self._queries([self.state(ask) for ask in useful]) if useful else None

    def state(self, ask: Ask) -> State:
        """What a dialogue says so far."""
        return replay(ask.before, self.index, self.place)

    def scores(self, asks: Sequence[Ask]) -> np.ndarray:
        """float64 [A, I]; what was named or rejected is not left out."""
        return self.of([self.state(ask) for ask in asks])

    def of(self, states: Sequence[State]) -> np.ndarray:
        """The same for states: float64 [A, I]."""
        query_AD = self._queries(states)
        like_AI = (query_AD @ self.vectors_ID.T).astype(np.float64)
        return np.asarray(self.settings.likeness * like_AI + np.log(self._chances(query_AD)))

    def _chances(self, query_AD: np.ndarray) -> np.ndarray:
        """p of each item by the past: [A, I]."""
        chance_AI = np.tile(self.popular_I, (len(query_AD), 1))
        if self._past_CD is None:
            return chance_AI
        like_AC = query_AD @ self._past_CD.T
        near = min(self.settings.near, like_AC.shape[1])
        local = self.settings.local
        for row, like_C in enumerate(like_AC):
            chosen = np.argpartition(-like_C, near - 1)[:near]
            weight = np.exp(self.settings.sharpness * (like_C[chosen] - like_C[chosen].max()))
            weight /= weight.sum()
            share_I = np.zeros(chance_AI.shape[1])
            for c, w in zip(chosen.tolist(), weight.tolist(), strict=True):
                share_I[self._named[c]] += w / len(self._named[c])
            chance_AI[row] = (1 - local) * chance_AI[row] + local * share_I
        return chance_AI

    def _queries(self, states: Sequence[State]) -> np.ndarray:
        """Unit vectors of what is wanted: [A, D]."""
        texts = [state.wanted_text(self.settings.turns) for state in states]
        different = list(dict.fromkeys(texts))
        of = dict(zip(different, self._embed(different), strict=True))
        rows = [self._moved(of[text], state) for text, state in zip(texts, states, strict=True)]
        query_AD = np.stack(rows)
        norm = np.linalg.norm(query_AD, axis=1, keepdims=True)
        return np.asarray(query_AD / np.maximum(norm, 1e-9))

    def _moved(self, vector_D: np.ndarray, state: State) -> np.ndarray:
        if state.liked:
            vector_D = vector_D + self.vectors_ID[state.liked].mean(0)
        if state.rejected:
            away_D = self.vectors_ID[state.rejected].mean(0)
            vector_D = vector_D - self.settings.rejected * away_D
        return vector_D

    def _rows(self, ask: Ask) -> list[int]:
        assert ask.reply is not None
        return [self.place[i] for i in dict.fromkeys(ask.reply.item_ids)]
