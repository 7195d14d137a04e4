"""How near a written text is to what people wrote: BLEU and ROUGE, as sums that can be resampled.

BLEU is a figure of a whole corpus, made of counts that add up over texts; so what is computed per
text is those counts, and any weighting of texts gives the BLEU of another draw of them.

Sources: BLEU, Papineni et al., ACL 2002, without smoothing, as PETER computes it (Li et al., ACL
2021) and as sacrebleu does with smooth_method="none"; ROUGE, Lin 2004. Its words are ours
(`words`: "don't" and "café" are one word each); the package rouge-score, whose figures many papers
quote, cuts at whatever is no letter from a to z or digit ("don", "t", "caf"). `rouge_ascii` is
theirs, without a stemmer; on plain words both are the same. Legend: N texts, n words of a group.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from m6rec.records import M6Error

MOST = 4
"""Longest groups of words that BLEU counts."""
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
ASCII_WORD = re.compile(r"[a-z0-9]+")
TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")
Gram = tuple[str, ...]


class TextMetricError(M6Error):
    """Texts that can not be compared: the message says how many of which there are."""


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation.

    >>> words("Don't stop: 2 red hats!")
    ["don't", 'stop', '2', 'red', 'hats']
    """
    return WORD.findall(text.casefold())


def ascii_words(text: str) -> list[str]:
    """Words as the package rouge-score cuts them.

    >>> ascii_words("Don't miss the café_bar: 2 red hats!")
    ['don', 't', 'miss', 'the', 'caf', 'bar', '2', 'red', 'hats']
    """
    return ASCII_WORD.findall(text.lower())


def tokens(text: str) -> list[str]:
    """Words, numbers and each mark of punctuation, in lower case.

    >>> tokens("Dry, and warm.")
    ['dry', ',', 'and', 'warm', '.']
    """
    return TOKEN.findall(text.casefold())


def grams(units: Sequence[str], n: int) -> list[Gram]:
    """Groups of n neighbours, in order; none where there are fewer than n."""
    return [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]


def require_pairs(written: Sequence[str], references: Sequence[object]) -> None:
    """Raises TextMetricError where there is nothing to judge, or not one reference for each."""
    if not written:
        raise TextMetricError("there are no texts to judge")
    if len(written) != len(references):
        raise TextMetricError(f"{len(written)} texts, but {len(references)} references")


def bleu_counts(written: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """What BLEU adds up, for each text: float64 [N, 2·MOST + 2].

    Columns: matches of n = 1…MOST, groups of n = 1…MOST, length, length of the reference that is
    nearest in length (of two, the shorter). references: one or several for each text.
    """
    require_pairs(written, references)
    return np.array(
        [
            _bleu_row(tokens(text), [tokens(one) for one in of])
            for text, of in zip(written, references, strict=True)
        ],
        dtype=np.float64,
    )


def _bleu_row(text: list[str], references: list[list[str]]) -> list[int]:
    matches, groups = [], []
    for n in range(1, MOST + 1):
        most: Counter[Gram] = Counter()
        for reference in references:
            most |= Counter(grams(reference, n))
        own = Counter(grams(text, n))
        matches.append((own & most).total())
        groups.append(own.total())
    near = min((abs(len(one) - len(text)), len(one)) for one in references)[1]
    return [*matches, *groups, len(text), near]


def bleu(sums: np.ndarray, most: int = MOST) -> np.ndarray:
    """BLEU-`most` of summed counts [..., 2·MOST + 2]: [...], from 0 to 1.

    Geometric mean of the shares of groups of 1…most words that the references have, each counted
    as often as it stands in one reference, times exp(1 - reference / length) where the texts are
    shorter. 0 where some length of group has no match: nothing is smoothed.
    """
    matches, groups = sums[..., :most], sums[..., MOST : MOST + most]
    length, near = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(matches) - np.log(groups)
        penalty = np.minimum(0.0, 1 - near / length)
        found = np.exp(logs.mean(-1) + penalty)
    return np.where((matches > 0).all(-1), found, 0.0)


def rouge(
    written: Sequence[str],
    references: Sequence[Sequence[str]],
    cut: Callable[[str], list[str]] = words,
) -> dict[str, np.ndarray]:
    """ROUGE-1, -2 and -L (F measure) of each text against its best reference: float64 [N] each.

    "rouge1", "rouge2", "rougeL" count a group as often as it stands in both texts; "rouge1-set"
    and "rouge2-set" count distinct groups, as the code of PETER does. cut: a text → its words.
    """
    require_pairs(written, references)
    rows = [
        np.max([_rouge_row(cut(text), cut(one)) for one in of], axis=0)
        for text, of in zip(written, references, strict=True)
    ]
    names = ("rouge1", "rouge2", "rougeL", "rouge1-set", "rouge2-set")
    return dict(zip(names, np.array(rows).T, strict=True))


def rouge_ascii(
    written: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """ "rouge1-ascii", "rouge2-ascii" and "rougeL-ascii": the figures of the package rouge-score,
    for comparison with papers that quote it."""
    found = rouge(written, references, ascii_words)
    return {f"{name}-ascii": found[name] for name in ("rouge1", "rouge2", "rougeL")}


def _rouge_row(text: list[str], reference: list[str]) -> list[float]:
    row = []
    for n in (1, 2):
        own, other = Counter(grams(text, n)), Counter(grams(reference, n))
        row.append(f_measure((own & other).total(), own.total(), other.total()))
    row.append(f_measure(longest_common(text, reference), len(text), len(reference)))
    for n in (1, 2):
        mine, its = set(grams(text, n)), set(grams(reference, n))
        row.append(f_measure(len(mine & its), len(mine), len(its)))
    return row


def f_measure(shared: int, own: int, other: int) -> float:
    """Harmonic mean of shared / own and shared / other; 0 where nothing is shared.

    >>> f_measure(2, 4, 2)
    0.6666666666666666
    """
    return 2 * shared / (own + other) if shared else 0.0


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence (in order, gaps allowed).

    >>> longest_common("a b c d".split(), "b x d".split())
    2
    """
    row = [0] * (len(other) + 1)
    for a in one:
        before = 0
        for place, b in enumerate(other, start=1):
            kept = row[place]
            row[place] = before + 1 if a == b else max(kept, row[place - 1])
            before = kept
    return row[-1]


def perplexity(nats: float, count: int) -> float:
    """exp of the mean -log p of `count` tokens whose sum is `nats`.

    Comparable only between models that cut texts into the same tokens.
    """
    if count < 1:
        raise TextMetricError("perplexity of no tokens")
    return float(np.exp(nats / count))
