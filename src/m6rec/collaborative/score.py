"""How likely each item is chosen next, from what people chose so far and from what the words say.

    score_j = Σ_i  w_i / (a_i + λ) · ( R_ij + μ · prior_ij )

i runs over a history, w_i is its weight, R_ij how often j was chosen after i (a nearer pair counts
more), a_i the same with squared weights, summed over all pairs that i begins. prior: see words.py.
It is the first Jacobi step of a ridge regression of the next item (TALE, arXiv 2412.07382) towards
a prior of words (L3AE, arXiv 2508.13500); where i was never chosen, the prior alone speaks.
A sum over the history, so what carried an item can be said exactly.

Legend: B requests, I items of the catalogue, N entries of histories, D width of whitened vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.collaborative.matrix import TransitionMatrix
from m6rec.collaborative.sequences import Histories
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import WordsPrior

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts → vectors float32 [N, width of the backbone]."""


@dataclass(frozen=True)
class CollaborativeScore:
    """Counts and prior over one catalogue.

    g_ID: whitened text vectors of the items. transitions: rows of items that have a number of I
    or more (none of the catalogue) are read, columns are not.
    """

    settings: ScoreSettings
    transitions: TransitionMatrix
    prior: WordsPrior
    g_ID: np.ndarray
    embed: Embed

    def __call__(self, histories: Histories) -> np.ndarray:
        """float32 [B, I]; 0 where the history is empty."""
        counted, words = self.parts(histories)
        return np.asarray(counted + words)

    def parts(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """What counts say, and what words say: float32 [B, I] each; their sum is the score."""
        x_N = histories.weight / (self._norm(histories.code) + self.settings.shrinkage)
        return self._counted(histories, x_N), self._words(histories, x_N)

    def _norm(self, code_N: np.ndarray) -> np.ndarray:
        """a_i by entry; 0 of an item without a number."""
        norm = self.transitions.norm_I
        known = (code_N >= 0) & (code_N < len(norm))
        return np.where(known, norm[np.where(known, code_N, 0)] if len(norm) else 0.0, 0.0)

    def _counted(self, histories: Histories, x_N: np.ndarray) -> np.ndarray:
        items, rows = len(self.g_ID), self.transitions
        scores_BI = np.zeros((histories.count, items), dtype=np.float32)
        for request, code, x in zip(
            histories.request.tolist(), histories.code.tolist(), x_N.tolist(), strict=True
        ):
            if 0 <= code < len(rows.norm_I):
                later, weight = rows.row(code)
                inside = later < items
                scores_BI[request, later[inside]] += x * weight[inside]
        return scores_BI

    def _words(self, histories: Histories, x_N: np.ndarray) -> np.ndarray:
        g_ID, mu = self.g_ID, self.settings.prior
        scores_BI = np.zeros((histories.count, len(g_ID)), dtype=np.float32)
        g_ND, own = self._vectors(histories)
        query_BD = np.zeros((histories.count, g_ID.shape[1]), dtype=np.float64)
        np.add.at(query_BD, histories.request, x_N[:, None] * g_ND)
        keys_ID = self.prior.keys(g_ID)
        scores_BI[:] = mu * ((query_BD.astype(np.float32) @ self.prior.m_DD) @ keys_ID.T)
        if own.any():  # an item is no evidence of itself
            code = histories.code[own]
            self_I = self.prior.own(g_ID)
            less = mu * x_N[own] * self_I[code] / (1 - self_I[code])
            np.subtract.at(scores_BI, (histories.request[own], code), less.astype(np.float32))
        return scores_BI

    def _vectors(self, histories: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Whitened vectors of the entries [N, D], and which are items of the catalogue."""
        own = (histories.code >= 0) & (histories.code < len(self.g_ID))
        g_ND = np.zeros((len(own), self.g_ID.shape[1]), dtype=np.float32)
        g_ND[own] = self.g_ID[histories.code[own]]
        told = [n for n in np.flatnonzero(~own).tolist() if histories.text[n]]
        if told:
            texts = [str(histories.text[n]) for n in told]
            g_ND[told] = self.prior.whitening(self.embed(texts))
        return g_ND, own
