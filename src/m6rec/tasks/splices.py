"""New texts out of old ones: the beginning of one and the end of another that share a word there.

Of all that can be put together so, those stand out that agree most with the old texts as a whole.

Sources: word graphs of sentences, Filippova, COLING 2010; choosing by expected likeness, Kumar &
Byrne, NAACL 2004. Legend: N texts that were woven, T texts that they were woven from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from m6rec.metrics.text import Gram, grams, words
from m6rec.metrics.text_variety import Runs

RECALL = 2.0
"""How many times as much as precision recall counts: else short texts, which risk little, win."""
LONGER = 1.5
"""A text is at most so much longer than the longer one of the two that it was woven from."""
SIGNS = ",.;:"
OPEN = frozenset("a an and at by for from in of on or the to with x & - – /".split())  # noqa: SIM905
"""No text ends with one of these."""


def woven(texts: Sequence[str], runs: Runs) -> list[str]:
    """Every text that is one of them, the beginning of one, or a beginning and an end of two.

    Each once, in order; none that copies, ends in the middle of something, or opens a bracket
    without closing it.

    >>> woven(["Red Wool Hat for Children", "Blue Wool Scarf"], Runs([], 8))[2:]
    ['Red Wool Scarf', 'Blue Wool Hat for Children']
    """
    parts = [text.split() for text in texts]
    found = [" ".join(_within(part, runs.longest)) for part in parts]
    for here, first in enumerate(parts):
        for there, second in enumerate(parts):
            if here != there:
                found += _spliced(first, second)
    return [text for text in dict.fromkeys(found) if _whole(text) and not runs.copied(text)]


def agreement(found: Sequence[str], texts: Sequence[str], weights: Sequence[float]) -> np.ndarray:
    """How much each woven text has in common with all of `texts`: float64 [N], 0 to 1.

    The weighted mean of F over words and over pairs of neighbours (van Rijsbergen, beta = RECALL).
    """
    weight_T = np.asarray(weights, dtype=np.float64)
    weight_T = weight_T / max(weight_T.sum(), 1e-9)
    old = [_counts(text) for text in texts]
    return np.array([weight_T @ [_f(new, one) for one in old] for new in map(_counts, found)])


def _within(parts: Sequence[str], longest: int) -> list[str]:
    """As many of the first parts as make `longest` words."""
    kept = list(parts)
    while kept and len(words(" ".join(kept))) > longest:
        kept.pop()
    return kept


def _spliced(first: Sequence[str], second: Sequence[str]) -> list[str]:
    places = defaultdict[str, list[int]](list)
    for place, word in enumerate(second):
        places[_plain(word)].append(place)
    most = LONGER * max(len(first), len(second))
    return [
        " ".join((*first[: place + 1], *second[other + 1 :]))
        for place, word in enumerate(first)
        for other in places.get(_plain(word), ())
        if place + len(second) - other <= most
    ]


def _plain(word: str) -> str:
    return word.casefold().strip(SIGNS)


def _whole(text: str) -> bool:
    last = text.split()[-1].casefold() if text else ""
    ends = bool(last) and last not in OPEN and last[-1] not in (",", "(")
    return ends and text.count("(") == text.count(")")


def _counts(text: str) -> tuple[Counter[Gram], Counter[Gram]]:
    found = words(text)
    return Counter(grams(found, 1)), Counter(grams(found, 2))


def _f(new: tuple[Counter[Gram], Counter[Gram]], old: tuple[Counter[Gram], Counter[Gram]]) -> float:
    values, squared = [], RECALL**2
    for ours, theirs in zip(new, old, strict=True):
        both = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
        values.append((1 + squared) * both / max(ours.total() + squared * theirs.total(), 1))
    return sum(values) / len(values)
