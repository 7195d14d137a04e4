"""Which item fits into a dialogue: likeness of text, how it went in past dialogues, popularity.

Nothing is trained: vectors are those of the backbone, the rest is counted. An item's score is
log p + likeness · cosine + words · BM25, where p mixes the share of past replies that named it, of
those after dialogues like this one, with the share of all. Without past dialogues the likeness and
the words are left. How much shared words say depends on how people ask (for a thing by its name, or
for a film by another one), so their weight is what makes past replies the likeliest.

Legend: A dialogues, I items, C past replies, D width.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from m6rec.config import Settings
from m6rec.data.talks import Ask
from m6rec.tasks.dialogue_state import State, TitleIndex, replay
from m6rec.text.text_index import TextIndex

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → unit vectors, float32 [N, D]."""


UNSEEN = 0.1
"""Added to every count, so that nothing is impossible."""
WORDS = 0.15
WEIGHTS_OF_WORDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
ASKED = 300
"""Past replies that the weight of words is chosen by."""


class FinderSettings(Settings):
    """Weights of what an item's score is made of.

    turns: newest turns of the user that are read. likeness: of the cosine with what was said and
    liked. rejected: share of the mean vector of what was rejected that is taken off. near: past
    replies that are asked; sharpness: how much nearer ones count for more; local: their share of p.
    together: share of p of what past dialogues name beside what this one names. words: of BM25,
    which is a sum of log odds; None: what suits past replies, WORDS without any.
    """

    turns: int = Field(default=4, ge=1)
    likeness: float = Field(default=3.0, ge=0)
    rejected: float = Field(default=0.3, ge=0)
    near: int = Field(default=200, ge=1)
    sharpness: float = Field(default=10.0, gt=0)
    local: float = Field(default=0.25, ge=0, le=1)
    together: float = Field(default=0.5, ge=0, le=1)
    words: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.local + self.together > 1:
            raise ValueError("local and together: right is 1 or less, both together")
        return self


class Company:
    """Which items past dialogues name together. dialogues: rows that each of them names."""

    def __init__(self, dialogues: Iterable[Iterable[int]], items: int) -> None:
        self._items = items
        self._dialogues = Counter[int]()
        self._beside: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for dialogue in dialogues:
            named = list(dict.fromkeys(dialogue))
            self._dialogues.update(named)
            for row in named:
                self._beside[row].update(other for other in named if other != row)

    def chances(self, rows: Sequence[int]) -> np.ndarray | None:
        """p of each item beside some rows: float64 [I]; None where no dialogue can tell.

        A row counts for the share of its dialogues that name the other one too, a row that few
        dialogues name for less.
        """
        found_I = np.zeros(self._items)
        for row in rows:
            beside = self._beside.get(row)
            if beside:
                places = np.fromiter(beside.keys(), np.int64)
                often = np.fromiter(beside.values(), np.float64)
                found_I[places] += often / (self._dialogues[row] + 1)
        total = found_I.sum()
        return found_I / total if total else None


class Finder:
    """Scores the items of a catalogue after a dialogue.

    texts: what is embedded of each item. counts: how often each was recommended (None: unknown).
    past: replies of train, whose items are asked. dialogues: ids that each dialogue of train names.
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
        dialogues: Iterable[Iterable[str]] = (),
    ) -> None:
        self.item_ids, self.titles = list(item_ids), list(titles)
        self.place = {item_id: row for row, item_id in enumerate(self.item_ids)}
        self.settings, self._embed = settings or FinderSettings(), embed
        self.index = TitleIndex(self.titles, None if counts is None else counts.tolist())
        self.vectors_ID = embed(list(texts))
        often_I = np.ones(len(self.item_ids)) if counts is None else counts + UNSEEN
        self.popular_I = often_I / often_I.sum()
        known = ([self.place[i] for i in ids if i in self.place] for ids in dialogues)
        self._company = Company(known, len(self.item_ids))
        useful = [ask for ask in past if ask.reply is not None and ask.reply.item_ids]
        self._named = [self._rows(ask) for ask in useful]
        self._by_words = TextIndex(texts)
        states = [self.state(ask) for ask in useful]
        self._past_CD = self._queries(states) if useful else None
        self.words = self._weight_of_words(states)

    def state(self, ask: Ask) -> State:
        """What a dialogue says so far."""
        return replay(ask.before, self.index, self.place)

    def scores(self, asks: Sequence[Ask]) -> np.ndarray:
        """float64 [A, I]; what was named or rejected is not left out."""
        return self.of([self.state(ask) for ask in asks])

    def of(self, states: Sequence[State]) -> np.ndarray:
        """The same for states: float64 [A, I]."""
        query_AD = self._queries(states)
        found_AI = self._like(query_AD) + np.log(self._chances(states, query_AD))
        if self.words:
            found_AI += self.words * self._shared_words(states)
        return np.asarray(found_AI)

    def _like(self, query_AD: np.ndarray) -> np.ndarray:
        """The share of likeness in the scores: float64 [A, I]."""
        like_AI = (query_AD @ self.vectors_ID.T).astype(np.float64)
        return np.asarray(self.settings.likeness * like_AI)

    def _shared_words(self, states: Sequence[State]) -> np.ndarray:
        """BM25 of what is wanted against the items' texts: [A, I]."""
        wanted = [state.wanted_text(self.settings.turns) for state in states]
        return np.stack([self._by_words.scores(text) for text in wanted])

    def _weight_of_words(self, states: Sequence[State]) -> float:
        """The weight under which the items that past replies named are the likeliest, the rest of
        the past left aside, which knows these very replies."""
        if self.settings.words is not None:
            return self.settings.words
        if self._past_CD is None:
            return WORDS
        chosen = np.linspace(0, len(states) - 1, min(ASKED, len(states))).round().astype(int)
        plain_AI = self._like(self._past_CD[chosen]) + np.log(self.popular_I)
        words_AI = self._shared_words([states[n] for n in chosen])
        named = [(row, i) for row, n in enumerate(chosen) for i in self._named[n]]
        rows, items = np.array(named).T

        def likely(weight: float) -> float:
            score_AI = plain_AI + weight * words_AI
            whole_A = np.logaddexp.reduce(score_AI, axis=1)
            return float((score_AI[rows, items] - whole_A[rows]).mean())

        return max(WEIGHTS_OF_WORDS, key=likely)

    def _chances(self, states: Sequence[State], query_AD: np.ndarray) -> np.ndarray:
        """p of each item by the past: [A, I]. Who can not tell leaves a share to popularity."""
        near_AI = self._near(query_AD)
        local = 0.0 if near_AI is None else self.settings.local
        chance_AI = np.empty((len(states), len(self.item_ids)))
        for row, state in enumerate(states):
            beside_I = self._company.chances(state.mentioned)
            together = 0.0 if beside_I is None else self.settings.together
            chance_AI[row] = (1 - local - together) * self.popular_I
            if near_AI is not None:
                chance_AI[row] += local * near_AI[row]
            if beside_I is not None:
                chance_AI[row] += together * beside_I
        return chance_AI

    def _near(self, query_AD: np.ndarray) -> np.ndarray | None:
        """p of each item by what was recommended in the nearest places of the past: [A, I]."""
        if self._past_CD is None:
            return None
        like_AC = query_AD @ self._past_CD.T
        near = min(self.settings.near, like_AC.shape[1])
        share_AI = np.zeros((len(query_AD), len(self.item_ids)))
        for row, like_C in enumerate(like_AC):
            chosen = np.argpartition(-like_C, near - 1)[:near]
            weight = np.exp(self.settings.sharpness * (like_C[chosen] - like_C[chosen].max()))
            weight /= weight.sum()
            for c, w in zip(chosen.tolist(), weight.tolist(), strict=True):
                share_AI[row, self._named[c]] += w / len(self._named[c])
        return share_AI

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
