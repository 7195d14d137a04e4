"""Titles woven from those that read most like a user: the beginning of one, the end of another.

What is woven reads as they do, and is new: no more words in a row than allowed stand in one title
of the catalogue. One is drawn of those that agree most with all the near ones, the better ones far
more often, so that users who are told alike are not all told the same.

Legend: C texts of a passage.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from m6rec.data.passages import Passage
from m6rec.metrics.text_variety import Runs
from m6rec.tasks.splices import agreement, woven
from m6rec.tasks.title import TitleForm

NEAR = 20
"""Titles that are woven from."""
SHARPNESS = 7
"""Power of how near a title is, beside the nearest, that makes its weight."""
DRAWN_FROM = 12
"""Texts of which one is drawn: those that agree most."""
TEMPERATURE = 0.02
"""Of the draw, in units of agreement."""
ANY = 1000
"""Words in a row, where any number may be taken over: more than a title has."""


class Weaver:
    """Weaves titles of a form's examples."""

    def __init__(self, form: TitleForm) -> None:
        self.form = form
        self.runs = Runs(form.grounds.titles(), form.settings.longest_copy or ANY)

    def weave(self, passages: Sequence[Passage], n: int = 1, seed: int = 0) -> list[list[str]]:
        """At most n texts for each passage, as the form writes them; none where nothing is known
        of the user, or nothing can be woven. Passages that are alike are drawn for one by one."""
        chosen, asked = [], Counter[int]()
        for texts, agreed_C in (self._texts(passage, max(DRAWN_FROM, n)) for passage in passages):
            number = _number(texts)
            drawn = np.random.default_rng([seed, number, asked[number]])
            asked[number] += 1
            noisy_C = agreed_C / TEMPERATURE + drawn.gumbel(size=len(texts))
            chosen.append([texts[place] for place in np.argsort(-noisy_C)[:n]])
        return chosen

    def _texts(self, passage: Passage, most: int) -> tuple[list[str], np.ndarray]:
        """What agrees most, and how much: float64 [C]."""
        near = self.form.examples.nearest(passage, NEAR, self.form.given(passage))
        titles = [self.form.grounds.title(item) for item, _ in near]
        found = woven(titles, self.runs)
        if not found:
            return [], np.zeros(0)
        closest = max(near[0][1], 1e-9)
        weights = [(max(value, 0.0) / closest) ** SHARPNESS for _, value in near]
        agreed_C = agreement(found, titles, weights)
        best = np.argsort(-agreed_C, kind="stable")[:most]
        category = self._category([item for item, _ in near], weights)
        return [self.form.text(category, found[place]) for place in best], agreed_C[best]

    def _category(self, items: Sequence[str], weights: Sequence[float]) -> str:
        """The one that most of the weight has."""
        votes = defaultdict[str, float](float)
        for item, weight in zip(items, weights, strict=True):
            votes[self.form.grounds.category(item)] += weight
        return max(votes, key=lambda name: votes[name])


def _number(texts: Sequence[str]) -> int:
    """A number for some texts, the same on every machine."""
    digest = hashlib.blake2b("\n".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
