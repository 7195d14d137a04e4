"""How varied, new and true a set of written texts is.

Most of these are figures of the whole set: adding one text changes what every other one counts,
so they have no sum over texts. Where a figure of a draw makes sense (DIV), it is a function of
weights.

Sources: USR, FMR, FCR and DIV, Li et al. (NETE, CIKM 2020; PETER, ACL 2021); Dist-n, Li et al.,
NAACL 2016. Legend: N texts, F features, B draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from m6rec.metrics.text import Gram, TextMetricError, grams, words

Features = Sequence[Collection[str]]
"""Features that each text names."""


def unique_sentence_ratio(written: Sequence[str]) -> float:
    """USR: distinct texts (by their words) / texts.

    >>> unique_sentence_ratio(["Good tea.", "good tea", "A warm hat."])
    0.6666666666666666
    """
    _require_some(written)
    return len({tuple(words(text)) for text in written}) / len(written)


def distinct(written: Sequence[str], n: int) -> float:
    """Dist-n: distinct groups of n words / all groups of n words, over all texts together.

    0 where no text has n words. It falls with the number of texts: compare equal numbers only.
    """
    _require_some(written)
    found = [gram for text in written for gram in grams(words(text), n)]
    return len(set(found)) / len(found) if found else 0.0


def novel(written: Sequence[str], known: Iterable[str]) -> np.ndarray:
    """Whether each text is none of the known ones, compared by its words: bool [N]."""
    there = {tuple(words(text)) for text in known}
    return np.array([tuple(words(text)) not in there for text in written], dtype=bool)


class Runs:
    """Rows of words that stand in known texts. longest: words of a row that may be taken over."""

    def __init__(self, texts: Iterable[str], longest: int) -> None:
        self.longest = longest
        self._runs: set[Gram] = set()
        for text in texts:
            self._runs.update(grams(words(text), longest + 1))

    def copied(self, text: str) -> bool:
        """Whether more words in a row than `longest` stand in one known text."""
        return any(run in self._runs for run in grams(words(text), self.longest + 1))


def copied(written: Sequence[str], known: Iterable[str], longest: int) -> np.ndarray:
    """Whether each text has a run of more than `longest` words that stands in one known text.

    bool [N].
    """
    runs = Runs(known, longest)
    return np.array([runs.copied(text) for text in written], dtype=bool)


def feature_matching(named: Features, wanted: Sequence[str | None]) -> np.ndarray:
    """FMR is the mean: whether each text names the feature it is about: float64 [N], nan where
    there is none to name."""
    return np.array(
        [
            np.nan if feature is None else float(feature in found)
            for found, feature in zip(named, wanted, strict=True)
        ]
    )


def feature_coverage(named: Features, features: Collection[str]) -> float:
    """FCR: distinct features that the texts name / all features of the data set."""
    if not features:
        raise TextMetricError("feature coverage needs the features of the data set")
    return len(set().union(*named) & set(features)) / len(features)


def feature_diversity(named: Features) -> Callable[[np.ndarray], np.ndarray]:
    """DIV as a function of weights [B, N] → [B]: features that two texts share, mean over pairs.

    The lower, the more each text says something of its own. A text drawn twice makes no pair with
    itself. nan where there is no pair.
    """
    place = {name: i for i, name in enumerate(sorted(set().union(*named)))}
    has_NF = np.zeros((len(named), len(place)))
    for row, found in enumerate(named):
        has_NF[row, [place[name] for name in found]] = 1.0
    size_N = has_NF.sum(1)

    def diversity(weights_BN: np.ndarray) -> np.ndarray:
        count_BF = weights_BN @ has_NF
        shared_B = (count_BF**2).sum(1) - weights_BN**2 @ size_N
        pairs_B = weights_BN.sum(1) ** 2 - (weights_BN**2).sum(1)
        out = np.full(len(weights_BN), np.nan)
        np.divide(shared_B, pairs_B, out=out, where=pairs_B > 0)
        return out

    return diversity


def round_trip(found: Sequence[Sequence[str]], about: Sequence[str]) -> np.ndarray:
    """Whether a search with each query found the item it was written for: bool [N].

    found: item ids of each search, the first ten or as many as count.
    """
    return np.array([item in ids for ids, item in zip(found, about, strict=True)], dtype=bool)


def _require_some(written: Sequence[str]) -> None:
    if not written:
        raise TextMetricError("there are no texts to judge")
