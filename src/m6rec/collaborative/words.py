"""What the words of two items say of how often one follows the other: a prior, in closed form.

EASE (Steck, WWW 2019) on text vectors instead of on users: the best linear prediction of each item
from all others, with a ridge. By the Woodbury identity nothing of the size I × I is made:

    M = (ridge · 1 + FᵀF)⁻¹,   prior_ij = f_iᵀ M f_j / (1 - f_jᵀ M f_j) for i ≠ j,   0 for i = j.

The vectors are half-whitened first: directions that all texts share (the language of a catalogue)
count for less, each by the square root of its size.

Legend: I items, N texts, D width of text vectors, B requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST = 1e-6
"""Directions of less than this share of the largest are left out."""


@dataclass(frozen=True)
class HalfWhitening:
    """mean: float32 [D]. turn: float32 [D, D'], directions divided by the square root of their
    size."""

    mean: np.ndarray
    turn: np.ndarray

    @classmethod
    def fit(cls, f_ID: np.ndarray) -> HalfWhitening:
        """F - mean = U S Vᵀ → V S^-½, so that F becomes U √S. Rows of zeros do not count."""
        f_ID = f_ID[f_ID.any(1)]
        mean = f_ID.sum(0, dtype=np.float64) / max(len(f_ID), 1)
        centred = f_ID - mean
        size, v_DD = np.linalg.eigh(centred.T @ centred)
        there = size > (SMALLEST**2) * max(float(size.max(initial=0)), 1e-12)
        turn = v_DD[:, there] / size[there] ** 0.25
        return cls(mean.astype(np.float32), turn.astype(np.float32))

    def __call__(self, f_ND: np.ndarray) -> np.ndarray:
        """Unit vectors [N, D']; a text that is the mean itself becomes zeros, and zeros stay."""
        g_ND = ((f_ND - self.mean) * f_ND.any(1, keepdims=True)) @ self.turn
        length = np.linalg.norm(g_ND, axis=1, keepdims=True)
        return np.asarray(g_ND / np.maximum(length, 1e-9), dtype=np.float32)


@dataclass(frozen=True)
class WordsPrior:
    """The prior of a catalogue: `query` of a history times `keys` of items.

    m_DD: M. whitening: what was done to the vectors before.
    """

    whitening: HalfWhitening
    m_DD: np.ndarray

    @classmethod
    def fit(cls, f_ID: np.ndarray, ridge: float) -> WordsPrior:
        """From the text vectors of a catalogue."""
        whitening = HalfWhitening.fit(f_ID)
        g_ID = whitening(f_ID).astype(np.float64)
        m_DD = np.linalg.inv(ridge * np.eye(g_ID.shape[1]) + g_ID.T @ g_ID)
        return cls(whitening, m_DD.astype(np.float32))

    def own(self, g_ND: np.ndarray) -> np.ndarray:
        """f_jᵀ M f_j of whitened vectors: float32 [N]."""
        return np.asarray(np.einsum("nd,nd->n", g_ND @ self.m_DD, g_ND))

    def keys(self, g_ND: np.ndarray) -> np.ndarray:
        """f_j / (1 - f_jᵀ M f_j), float32 [N, D']: the inner product with `query` is the prior."""
        return np.asarray(g_ND / (1 - self.own(g_ND))[:, None], dtype=np.float32)

    def query(self, x_BN: np.ndarray, g_ND: np.ndarray) -> np.ndarray:
        """M Σ x_i f_i of weighted texts, float32 [B, D']."""
        return np.asarray((x_BN @ g_ND).astype(np.float32) @ self.m_DD)
