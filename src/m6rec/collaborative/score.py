"""How likely each item is chosen next, from what people chose so far and from what the words say.

    score_j = Σ_i  w_i / (a_i + λ) · ( R_ij + μ · prior_ij )

i runs over a history, w_i is its weight, R_ij how often j was chosen after i (a nearer pair counts
more), a_i the same with squared weights, summed over all pairs that i begins. prior: see words.py.
Towards itself an item has w_i · rate_i, how often people choose it again (repeats.py).
It is the first Jacobi step of a ridge regression of the next item (TALE, arXiv 2412.07382) towards
a prior of words (L3AE, arXiv 2508.13500); where i was never chosen, the prior alone speaks.
A sum over the history, so what carried an item can be said exactly. What a user said no to takes
off what its words say, of itself too: counts of yes are no evidence against anything.

Legend: B requests, I items of the catalogue, N entries of histories, D width of whitened vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from m6rec.collaborative.counts import count
from m6rec.collaborative.matrix import TransitionMatrix, transition_matrix
from m6rec.collaborative.repeats import Repeats, repeats_of
from m6rec.collaborative.sequences import Histories, blocks_of, codes_of, sequences_of
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import WordsPrior

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → vectors float32 [N, width of the backbone]."""


@dataclass(frozen=True)
class CollaborativeScore:
    """Counts and prior over one catalogue.

    codes: number of each item; those of the catalogue come first, 0 to I - 1. g_ID: whitened text
    vectors of the catalogue. transitions: rows of items beyond it are read, columns are not.
    ordered: whether the log tells what came first; else nothing in a history is older. repeats: of
    the log; None: an item is chosen again as its own counts say, like any other pair.
    """

    settings: ScoreSettings
    codes: Mapping[str, int]
    transitions: TransitionMatrix
    prior: WordsPrior
    g_ID: np.ndarray
    embed: Embed
    ordered: bool = True
    repeats: Repeats | None = None

    @property
    def decay(self) -> float:
        """What a choice of a history weighs of the one that came next."""
        return self.settings.recency_decay if self.ordered else 1.0

    def __call__(self, histories: Histories) -> np.ndarray:
        """float32 [B, I]; 0 where the history is empty."""
        counted, words = self.parts(histories)
        return np.asarray(counted + words)

    def parts(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """What counts say, and what words say: float32 [B, I] each; their sum is the score."""
        x_N = self.weights(histories)
        return self._counted(histories, x_N), self._words(histories, x_N)

    def again(self, histories: Histories) -> np.ndarray:
        """w_i · rate_i of each entry, what was counted of an item towards itself: float64 [N]."""
        own_I, norm_I = self.transitions.own_I, self.transitions.norm_I
        known = (histories.code >= 0) & (histories.code < len(norm_I)) & (histories.weight > 0)
        again_N = np.zeros(len(known))
        code = histories.code[known]
        if self.repeats is None:
            again_N[known] = own_I[code] / (norm_I[code] + self.settings.shrinkage)
        else:
            again_N[known] = self.repeats.of(own_I[code], norm_I[code])
        return np.where(known, histories.weight, 0.0) * again_N

    def weights(self, histories: Histories) -> np.ndarray:
        """w_i / (a_i + λ) of each entry, float64 [N]; of a no w_i / λ, below 0."""
        norm_N = np.where(histories.weight > 0, self._norm(histories.code), 0.0)
        return np.asarray(histories.weight / (norm_N + self.settings.shrinkage))

    def _norm(self, code_N: np.ndarray) -> np.ndarray:
        """a_i by entry; 0 of an item without a number."""
        norm = self.transitions.norm_I
        known = (code_N >= 0) & (code_N < len(norm))
        return np.where(known, norm[np.where(known, code_N, 0)] if len(norm) else 0.0, 0.0)

    def _counted(self, histories: Histories, x_N: np.ndarray) -> np.ndarray:
        items, rows = len(self.g_ID), self.transitions
        scores_BI = np.zeros((histories.count, items), dtype=np.float32)
        again_N = self.again(histories)
        for n in np.flatnonzero((histories.weight > 0) & (histories.code >= 0)).tolist():
            request, code = histories.request[n], histories.code[n]
            if code < len(rows.norm_I):
                later, weight = rows.row(code)
                other = (later < items) & (later != code)
                scores_BI[request, later[other]] += x_N[n] * weight[other]
                if code < items:
                    scores_BI[request, code] += again_N[n]
        return scores_BI

    @cached_property
    def _keys(self) -> np.ndarray:
        """What a query is compared with: float32 [I, D]. Made once."""
        return self.prior.keys(self.g_ID)

    @cached_property
    def _own(self) -> np.ndarray:
        """What the words of an item say of itself: float32 [I]. Made once."""
        return self.prior.own(self.g_ID)

    def _words(self, histories: Histories, x_N: np.ndarray) -> np.ndarray:
        g_ID, mu = self.g_ID, self.settings.prior
        scores_BI = np.zeros((histories.count, len(g_ID)), dtype=np.float32)
        g_ND, own = self.vectors(histories)
        query_BD = np.zeros((histories.count, g_ID.shape[1]), dtype=np.float64)
        np.add.at(query_BD, histories.request, x_N[:, None] * g_ND)
        scores_BI[:] = mu * ((query_BD.astype(np.float32) @ self.prior.m_DD) @ self._keys.T)
        own &= histories.weight > 0  # a no is about the item itself, too
        if own.any():  # an item is no evidence of itself
            code = histories.code[own]
            self_I = self._own
            less = mu * x_N[own] * self_I[code] / (1 - self_I[code])
            np.subtract.at(scores_BI, (histories.request[own], code), less.astype(np.float32))
        return scores_BI

    def vectors(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Whitened vectors of the entries [N, D], and which are items of the catalogue."""
        own = (histories.code >= 0) & (histories.code < len(self.g_ID))
        g_ND = np.zeros((len(own), self.g_ID.shape[1]), dtype=np.float32)
        g_ND[own] = self.g_ID[histories.code[own]]
        told = [n for n in np.flatnonzero(~own).tolist() if histories.text[n]]
        if told:
            texts = [str(histories.text[n]) for n in told]
            g_ND[told] = self.prior.whitening(self.embed(texts))
        return g_ND, own


def fit_score(
    events: pl.DataFrame,
    item_ids: Sequence[str],
    f_ID: np.ndarray,
    embed: Embed,
    settings: ScoreSettings | None = None,
) -> CollaborativeScore:
    """Counts a log over a catalogue. f_ID: text vectors of the items, as `embed` makes them."""
    settings = settings or ScoreSettings()
    codes = codes_of(item_ids, events)
    sequences = sequences_of(events, codes)
    counts = count(blocks_of(sequences), len(codes))
    matrix = transition_matrix(counts, settings.distance_decay, settings.best_per_item)
    prior = WordsPrior.fit(f_ID, settings.ridge)
    g_ID = prior.whitening(f_ID)
    repeats = repeats_of(matrix.own_I, matrix.norm_I, settings.shrinkage)
    ordered = sequences.ordered
    return CollaborativeScore(settings, codes, matrix, prior, g_ID, embed, ordered, repeats)
