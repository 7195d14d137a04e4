"""What people chose next, as a bundle carries it: the collaborative score on a device.

    score_j = Σ_e x_e · ( R_ej + μ · prior_ej ),   x_e = w_e / (a_e + λ)

(collaborative/score.py). e runs over a history, R holds the strongest pairs of each item. The
prior reads the item vectors that the bundle has anyway, half-whitened: g = unit((v - mean) · turn),
turned so that M is a diagonal m. So it costs one product with each int8 vector, and a free text has
its prior by its own vector:

    z = Σ_e x_e · turn · (m ∘ g_e),   Σ_e x_e · prior_ej = (z·v_j - z·mean) · key_j,
    key_j = 1 / (|(v_j - mean) · turn| · (1 - g_jᵀ M g_j))

(less the share that j has of itself, where the history holds it). A tuned retriever joins in by
its head (collaborative/head.py), for which `popularity` is its part of each item, 0 of new ones.
edge-web/src/transitions.ts is the same in the browser. The file, little-endian:

    norm, key, popularity [I], mean [K],               float32 (turn by direction)
      turn [D, K], m [D]
    pairs of each item [I]                             uint16
    level of each pair [W]                             uint8: R = 2^(low + step · level)
    later items, row by row, ascending                 varints: distance from the one before, less 1
                                                       (of the first: from -1), low seven bits first

Legend: I items, W pairs, N entries of a history, A items that are asked about, K projection width,
D directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from m6rec.collaborative.head import (
    Features,
    Head,
    chosen_feature,
    similarity_feature,
)
from m6rec.config import Settings
from m6rec.edge.graph import EdgeError

TRANSITIONS = "transitions.bin"
LEVELS = 255
MOST_PAIRS = 65_535
"""Pairs of an item that the file can number."""
NO_LENGTH = 1e-6
"""A whitened vector that is shorter has no direction: the text is the mean of all."""


class TransitionsConfig(Settings):
    """What has to be known of the file, and of the score.

    best_per_item: pairs kept of an item; pairs: of all. directions: D. low, step: of levels.
    recency_decay, shrinkage, prior: δ, λ and μ of ScoreSettings. max_history: newest entries read.
    parity: share of drawn requests with the first ten of numpy's score over the same numbers.
    head: of a tuned retriever; None: the score alone orders.
    """

    best_per_item: int
    pairs: int
    directions: int
    low: float
    step: float
    recency_decay: float
    shrinkage: float
    prior: float
    max_history: int = Field(default=50, ge=1)
    parity: float
    requests: int
    head: Head | None = None


@dataclass(frozen=True)
class Transitions:
    """The numbers of the file. start: int64 [I + 1]; later_W: int64, ascending in a row; level_W:
    uint8; the others float32, shapes as above."""

    norm_I: np.ndarray
    key_I: np.ndarray
    popularity_I: np.ndarray
    mean_K: np.ndarray
    turn_DK: np.ndarray
    m_D: np.ndarray
    start: np.ndarray
    later_W: np.ndarray
    level_W: np.ndarray

    def pack(self) -> bytes:
        """transitions.bin."""
        floats = (
            self.norm_I,
            self.key_I,
            self.popularity_I,
            self.mean_K,
            self.turn_DK,
            self.m_D,
        )
        parts = [np.ascontiguousarray(part, "<f4").tobytes() for part in floats]
        size_I = np.diff(self.start)
        first = np.zeros(len(self.later_W), dtype=bool)
        first[self.start[:-1][size_I > 0]] = True
        before = np.where(first, -1, np.roll(self.later_W, 1))
        parts += [size_I.astype("<u2").tobytes(), self.level_W.astype(np.uint8).tobytes()]
        return b"".join([*parts, packed_numbers(self.later_W - before - 1)])

    @classmethod
    def unpack(cls, body: bytes, config: TransitionsConfig, items: int, width: int) -> Transitions:
        """Of I items and K = width. EdgeError for a file that does not fit the settings."""
        directions = config.directions
        shapes = (*[(items,)] * 3, (width,), (directions, width), (directions,))
        at, floats = 0, []
        if len(body) < 4 * sum(int(np.prod(shape)) for shape in shapes) + 2 * items + config.pairs:
            raise EdgeError(f"{TRANSITIONS} is too short for {items} items; export it again")
        for shape in shapes:
            count = int(np.prod(shape))
            floats.append(np.frombuffer(body, "<f4", count, at).reshape(shape))
            at += 4 * count
        size_I = np.frombuffer(body, "<u2", items, at).astype(np.int64)
        at += 2 * items
        level_W = np.frombuffer(body, np.uint8, config.pairs, at)
        gap_W = unpacked_numbers(body[at + config.pairs :])
        if not len(gap_W) == size_I.sum() == config.pairs:
            raise EdgeError(f"{TRANSITIONS} does not hold the {config.pairs} pairs that it should")
        start = np.concatenate([[0], np.cumsum(size_I)])
        run_W = np.cumsum(gap_W + 1)
        before_I = np.concatenate([[0], run_W])[start[:-1]]
        later_W = run_W - np.repeat(before_I, size_I) - 1
        norm_I, key_I, popularity_I, mean_K, turn_DK, m_D = floats
        return cls(norm_I, key_I, popularity_I, mean_K, turn_DK, m_D, start, later_W, level_W)


def packed_numbers(number_N: np.ndarray) -> bytes:
    """Whole numbers from 0 on: seven bits a byte, the low ones first; the top bit: more follow."""
    number_N = number_N.astype(np.int64)
    size_N = np.ones(len(number_N), dtype=np.int64)
    for bits in range(7, 35, 7):
        size_N += number_N >= 1 << bits
    begin_N = np.cumsum(size_N) - size_N
    body = np.zeros(int(size_N.sum()), dtype=np.uint8)
    for place in range(int(size_N.max(initial=0))):
        there = size_N > place
        more = (size_N[there] > place + 1).astype(np.int64) << 7
        body[begin_N[there] + place] = (number_N[there] >> 7 * place) & 127 | more
    return body.tobytes()


def unpacked_numbers(body: bytes) -> np.ndarray:
    """What `packed_numbers` wrote: int64 [N]."""
    byte = np.frombuffer(body, np.uint8).astype(np.int64)
    if not len(byte):
        return byte
    begin = np.flatnonzero(np.concatenate([[True], byte[:-1] < 128]))
    place = np.arange(len(byte)) - np.repeat(begin, np.diff(begin, append=len(byte)))
    return np.asarray(np.add.reduceat((byte & 127) << 7 * place, begin))


def levels_of(weight_W: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Weights above 0 → uint8 [W], low and step: the nearest of 256 powers at even distances.

    Between 2^-9 and 2^12, which is a wide range, a weight is off by 3 % at most.
    """
    if not len(weight_W):
        return np.zeros(0, np.uint8), 0.0, 1.0
    power_W = np.log2(weight_W.astype(np.float64))
    low, high = float(power_W.min()), float(power_W.max())
    step = (high - low) / LEVELS or 1.0
    return np.round((power_W - low) / step).astype(np.uint8), low, step


def weights_of(level_W: np.ndarray, low: float, step: float) -> np.ndarray:
    """The weights that levels stand for: float64 [W]."""
    return np.asarray(2.0 ** (low + step * level_W))


@dataclass(frozen=True)
class Entries:
    """A history, oldest first. code_N: the item's place, -1 for a free text. x_N: float64, weight
    over norm and shrinkage. z_NK: turn · (m ∘ g). own_N: gᵀ M g of items, 0 of texts."""

    code_N: np.ndarray
    x_N: np.ndarray
    z_NK: np.ndarray
    own_N: np.ndarray


class NextChoice:
    """The score over a catalogue whose vectors a device has: vectors_IK int8, scale_I."""

    def __init__(
        self,
        config: TransitionsConfig,
        numbers: Transitions,
        vectors_IK: np.ndarray,
        scale_I: np.ndarray,
    ) -> None:
        self.config, self.numbers = config, numbers
        self.vectors_IK, self.scale_I = vectors_IK, scale_I
        self._weight_W = weights_of(numbers.level_W, config.low, config.step)
        self._turn_DK, self._m_D = (
            part.astype(np.float64) for part in (numbers.turn_DK, numbers.m_D)
        )
        self._mean_K = numbers.mean_K.astype(np.float64)

    def entries(self, codes: Sequence[int | None], told_NK: np.ndarray) -> Entries:
        """Of a history, oldest first. told_NK: item vectors of its entries, float64."""
        code_N = np.array([-1 if code is None else code for code in codes], dtype=np.int64)
        there = code_N >= 0
        norm_N = np.where(there, self.numbers.norm_I[code_N], 0).astype(np.float64)
        age_N = np.arange(len(code_N) - 1, -1, -1)
        x_N = self.config.recency_decay**age_N / (norm_N + self.config.shrinkage)
        g_ND = (told_NK - self._mean_K) @ self._turn_DK.T
        length_N1 = np.linalg.norm(g_ND, axis=1, keepdims=True)
        g_ND = np.where(length_N1 < NO_LENGTH, 0, g_ND / np.maximum(length_N1, NO_LENGTH))
        own_N = np.where(there, (g_ND**2) @ self._m_D, 0)
        return Entries(code_N, x_N, (g_ND * self._m_D) @ self._turn_DK, own_N)

    def scores(self, entries: Entries) -> np.ndarray:
        """float64 [I]."""
        every = np.arange(len(self.scale_I))
        score_I = self._words((entries.x_N @ entries.z_NK)[None], every)[0]
        for code, x, own in zip(entries.code_N, entries.x_N, entries.own_N, strict=True):
            if code >= 0:
                row = slice(self.numbers.start[code], self.numbers.start[code + 1])
                score_I[self.numbers.later_W[row]] += x * self._weight_W[row]
                score_I[code] -= x * self.config.prior * own / (1 - own)
        return np.asarray(score_I)

    def shares(self, entries: Entries, asked_A: np.ndarray) -> np.ndarray:
        """What each entry has of the score of some items: float64 [N, A]."""
        share_NA = self._words(entries.x_N[:, None] * entries.z_NK, asked_A)
        for n, (code, x, own) in enumerate(
            zip(entries.code_N, entries.x_N, entries.own_N, strict=True)
        ):
            if code >= 0:
                row = slice(self.numbers.start[code], self.numbers.start[code + 1])
                found = dict(zip(self.numbers.later_W[row], self._weight_W[row], strict=True))
                share_NA[n] += x * np.array([found.get(item, 0.0) for item in asked_A])
                share_NA[n, asked_A == code] -= x * self.config.prior * own / (1 - own)
        return share_NA

    def logits(self, score_A: np.ndarray) -> np.ndarray:
        """log(1 + 2λ · score), linear below 0."""
        scaled_A = 2 * self.config.shrinkage * score_A
        return np.asarray(np.where(scaled_A > 0, np.log1p(np.maximum(scaled_A, 0)), scaled_A))

    def joined(self, entries: Entries, similarity_I: np.ndarray) -> np.ndarray:
        """Logarithms of the head's probabilities: [I]. similarity_I: of the two towers. Only with a
        head."""
        assert self.config.head is not None
        repeated_I, last_I = np.zeros((2, len(similarity_I)), dtype=np.float32)
        there = entries.code_N >= 0
        repeated_I[entries.code_N[there]] = 1
        if len(there) and there[-1]:
            last_I[entries.code_N[-1]] = 1
        features = Features(
            chosen_feature(self.scores(entries)[None], self.config.shrinkage),
            similarity_feature(similarity_I[None]),
            self.numbers.popularity_I,
            repeated_I[None],
            last_I[None],
            (self.numbers.popularity_I == 0).astype(np.float32),
        )
        return np.asarray(self.config.head(features)[0])

    def _words(self, z_RK: np.ndarray, asked_A: np.ndarray) -> np.ndarray:
        """μ times the prior: float64 [R, A]."""
        product_RA = z_RK @ self.vectors_IK[asked_A].T.astype(np.float64) * self.scale_I[asked_A]
        moved_RA = product_RA - (z_RK @ self._mean_K)[:, None]
        return np.asarray(self.config.prior * moved_RA * self.numbers.key_I[asked_A])
