"""The head: a few numbers that join what people chose, what the words say, and what repeats.

A mixture of two conditional logits over the catalogue (latent classes, Kamakura & Russell 1989),
fitted by likelihood on valid requests (head_fit.py). Some choices go by what people chose next,
others by what is alike, or by what many choose:

    p_j = share · softmax_j(choices · x) + (1 - share) · softmax_j(likeness · x)

The parts x of an item j, one number for each in either logit:

    chosen      log(1 + 2λ · score), linear below 0; one counted pair of an unshrunk item is log 3
    similarity  of the two towers, less its mean over the catalogue, by its standard deviation
    popularity  log(1 + people) over its largest value
    repeated, last, new   1 where the item is in the history, is its newest, is new to the log

Nothing in it has a scale of its own, so one set's head is sane on another. One sum of all parts,
without the mixture, has to choose between the first ten and the first hundred; the mixture has
both, since either logit may bring an item (docs/collaborative.md has the figures).

Legend: B requests, I items, F features (FEATURES).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from m6rec.collaborative.sequences import Histories
from m6rec.config import Settings

FEATURES = ("chosen", "similarity", "popularity", "repeated", "last", "new")


class Logit(Settings):
    """One number for each part."""

    chosen: float = 0.0
    similarity: float = 0.0
    popularity: float = 0.0
    repeated: float = 0.0
    last: float = 0.0
    new: float = 0.0

    def weights(self) -> np.ndarray:
        """float32 [F], in the order of FEATURES."""
        return np.array([getattr(self, name) for name in FEATURES], dtype=np.float32)

    @classmethod
    def of(cls, weight_F: np.ndarray) -> Logit:
        """From numbers in the order of FEATURES."""
        named = zip(FEATURES, weight_F, strict=True)
        return cls(**{name: round(float(weight), 4) for name, weight in named})

    def __call__(self, features: Features) -> np.ndarray:
        """Logarithms of probabilities, float32 [B, I]."""
        total_BI = np.zeros_like(features.chosen)
        for weight, part in zip(self.weights(), features.parts(), strict=True):
            if weight:
                total_BI += weight * part
        return log_softmax(total_BI, features.copies)


class Head(Settings):
    """The numbers. The defaults are what stands without a valid part to fit them on.

    choices, likeness, share: see above. emphasis: so much of `chosen` is added to the logarithm of
    the mixture; boost: so much to that of new items (dial.py). Either is normalised again.
    """

    choices: Logit = Logit(chosen=1.5, similarity=0.5, new=0.5)
    likeness: Logit = Logit(similarity=0.7, popularity=2.3, new=0.8)
    share: float = Field(default=0.5, ge=0, le=1)
    emphasis: float = 0.0
    boost: float = 0.0

    def __call__(self, features: Features) -> np.ndarray:
        """Logarithm of the probability that each item is chosen next, float32 [B, I]."""
        classes = ((self.share, self.choices), (1 - self.share, self.likeness))
        logs = [logit(features) + np.float32(np.log(share)) for share, logit in classes if share]
        found_BI = logs[0] if len(logs) == 1 else np.logaddexp(*logs)
        if not self.emphasis and not self.boost:
            return np.asarray(found_BI)
        found_BI += np.float32(self.emphasis) * features.chosen
        found_BI += np.float32(self.boost) * features.new
        return log_softmax(found_BI, features.copies)

    def probabilities(self, features: Features) -> np.ndarray:
        """That each item is chosen next, float32 [B, I]; over the catalogue they sum to 1."""
        return np.asarray(np.exp(self(features)))


COUNTS_ALONE = Head(choices=Logit(chosen=1.0), share=1.0)
SIMILARITY_ALONE = Head(likeness=Logit(similarity=1.0), share=0.0)


@dataclass(frozen=True)
class Features:
    """What the head reads: chosen, similarity, repeated, last float32 [B, I]; popularity, new
    float32 [I].

    copies: float32 [I], how many items of the catalogue each column stands for; None: itself.
    """

    chosen: np.ndarray
    similarity: np.ndarray
    popularity: np.ndarray
    repeated: np.ndarray
    last: np.ndarray
    new: np.ndarray
    copies: np.ndarray | None = None

    def parts(self) -> tuple[np.ndarray, ...]:
        """In the order of FEATURES."""
        return tuple(getattr(self, name) for name in FEATURES)

    def columns(self, column_N: np.ndarray, copies: np.ndarray | None = None) -> Features:
        """Of some items, and how many each stands for."""
        parts = {name: getattr(self, name)[..., column_N] for name in FEATURES}
        return Features(**parts, copies=copies)

    def stacked(self) -> np.ndarray:
        """float32 [B, I, F]."""
        shape = self.chosen.shape
        return np.stack([np.broadcast_to(part, shape) for part in self.parts()], axis=2)


def log_softmax(logit_BI: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """Logarithms of probabilities, float32 [B, I]; those of all copies together are 1."""
    apart_BI = logit_BI - logit_BI.max(axis=1, keepdims=True, initial=-np.inf)
    share_BI = np.exp(apart_BI)
    if copies is not None:
        share_BI *= copies
    return np.asarray(apart_BI - np.log(share_BI.sum(axis=1, keepdims=True)), dtype=np.float32)


def chosen_feature(score_BI: np.ndarray, shrinkage: float) -> np.ndarray:
    """log(1 + 2λ · score), linear below 0: float32."""
    scaled = (2 * shrinkage) * score_BI
    return np.asarray(np.where(scaled > 0, np.log1p(np.maximum(scaled, 0)), scaled), np.float32)


def similarity_feature(similarity_BI: np.ndarray) -> np.ndarray:
    """In standard deviations over the catalogue."""
    spread = similarity_BI.std(axis=1, keepdims=True)
    centred = similarity_BI - similarity_BI.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(spread, 1e-6), dtype=np.float32)


def popularity_feature(people_N: np.ndarray, most: float | None = None) -> np.ndarray:
    """log(1 + people) over its largest value: 0 to 1. most: people of the item that most stand by;
    None: it is among these."""
    logs = np.log1p(people_N.astype(np.float64))
    largest = float(logs.max(initial=0) if most is None else np.log1p(most))
    return np.asarray(logs / max(largest, 1e-9), dtype=np.float32)


def repeat_features(histories: Histories, items: int) -> tuple[np.ndarray, np.ndarray]:
    """1 where an item is in the history, and where it is in its newest basket: [B, I] each."""
    repeated = np.zeros((histories.count, items), dtype=np.float32)
    last = np.zeros_like(repeated)
    here = (histories.code >= 0) & (histories.code < items) & (histories.weight > 0)
    repeated[histories.request[here], histories.code[here]] = 1
    newest = here & (histories.weight == 1)
    last[histories.request[newest], histories.code[newest]] = 1
    return repeated, last
