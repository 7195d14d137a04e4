"""Texts found by their words: BM25 over an inverted index.

Source: Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from m6rec.text.aspects import split, stem

SATURATION, LENGTH = 1.2, 0.75


class TextIndex:
    """N texts, found by the stems of their words."""

    def __init__(self, texts: Sequence[str]) -> None:
        postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = np.ones(len(texts))
        for number, text in enumerate(texts):
            counts = Counter(_stems(text))
            lengths[number] = max(counts.total(), 1)
            for word, count in counts.items():
                postings[word].append((number, count))
        norm_N = SATURATION * (1 - LENGTH + LENGTH * lengths / max(lengths.mean(), 1e-9))
        self.size = len(texts)
        self._postings: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, pairs in postings.items():
            place, count = np.array(pairs).T
            rare = np.log(1 + (len(texts) - len(place) + 0.5) / (len(place) + 0.5))
            weight = rare * count * (SATURATION + 1) / (count + norm_N[place])
            self._postings[word] = (place, weight)

    def scores(self, query: str) -> np.ndarray:
        """How well each text answers: float64 [N], 0 where no word is shared."""
        found = np.zeros(self.size)
        for word, count in Counter(_stems(query)).items():
            if word in self._postings:
                place, weight = self._postings[word]
                found[place] += min(count, 2) * weight
        return found

    def best(self, query: str, k: int = 1) -> list[int]:
        """Numbers of the k best texts, best first; of equals the first. Only those that share a
        word."""
        found = self.scores(query)
        some = np.flatnonzero(found)
        order = some[np.argsort(-found[some], kind="stable")]
        return [int(place) for place in order[:k]]


def _stems(text: str) -> list[str]:
    return [stem(word) for word in split(text) if word[0].isalnum()]
