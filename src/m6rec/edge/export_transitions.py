"""A log → the transitions of a bundle, checked against the collaborative score in numpy.

Legend: I items, K projection width, D directions, W pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from m6rec.collaborative.counts import (
    DISTANCE_BITS,
    LATER,
    ROW_SHIFT,
    TransitionCounts,
    count,
)
from m6rec.collaborative.head import Head, popularity_feature
from m6rec.collaborative.matrix import (
    TransitionMatrix,
    norms,
    own_weights,
    transition_matrix,
)
from m6rec.collaborative.pairs import Sequences
from m6rec.collaborative.repeats import repeats_of
from m6rec.collaborative.score import CollaborativeScore
from m6rec.collaborative.sequences import Histories, blocks_of, codes_of, sequences_of
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import WordsPrior
from m6rec.data.verdicts import people as people_of
from m6rec.edge.graph import EdgeError
from m6rec.edge.parity import FIRST, Drawing
from m6rec.edge.transitions import (
    NO_LENGTH,
    NextChoice,
    Transitions,
    TransitionsConfig,
    levels_of,
    weights_of,
)

Scores = Callable[[list[int]], np.ndarray]
"""Places of a history, oldest first → scores of all items [I]."""


@dataclass(frozen=True)
class Log:
    """Events over a catalogue, and how its choices are weighed. head: of a tuned retriever."""

    events: pl.DataFrame
    item_ids: Sequence[str]
    scoring: ScoreSettings
    head: Head | None = None

    def popularity(self) -> np.ndarray:
        """What the head reads of an item, whoever asks: float32 [I], 0 of new ones. 0 of all
        without a head."""
        if self.head is None:
            return np.zeros(len(self.item_ids), np.float32)
        people = dict(people_of(self.events).iter_rows())
        return popularity_feature(np.array([people.get(item_id, 0) for item_id in self.item_ids]))

    @cached_property
    def sequences(self) -> Sequences:
        """The choices of all people, of items that only the log names as well: they lie between
        others. Items of the catalogue have the first codes."""
        return sequences_of(self.events, self._codes)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return codes_of(self.item_ids, self.events)

    @cached_property
    def counts(self) -> TransitionCounts:
        """What was chosen after what."""
        return count(blocks_of(self.sequences), len(self._codes))

    @property
    def choices(self) -> np.ndarray:
        """Codes of the items of the catalogue that were chosen, person by person: int64 [E]."""
        item_E = self.sequences.item_E
        return np.asarray(item_E[item_E < len(self.item_ids)])

    def matrix(self, best: int) -> TransitionMatrix:
        """The strongest pairs of each item of the catalogue with others of it, and its own: so
        much that it is chosen again at its rate. Its norms count all pairs, as those of the
        recommender do."""
        items, decay, counts = len(self.item_ids), self.scoring.distance_decay, self.counts
        earlier_P, later_P = counts.key_P >> ROW_SHIFT, counts.key_P >> DISTANCE_BITS & LATER
        other_P = (earlier_P < items) & (later_P < items) & (earlier_P != later_P)
        others = TransitionCounts(counts.key_P[other_P], counts.count_P[other_P], items)
        norm_I, own_I = norms(counts.by_distance(), decay), own_weights(counts, decay)
        repeats = repeats_of(own_I, norm_I, self.scoring.shrinkage)
        norm_I, own_I = norm_I[:items], own_I[:items]
        again_I = repeats.of(own_I, norm_I) * (norm_I + self.scoring.shrinkage)
        return _with_own(transition_matrix(others, decay, best), norm_I, again_I)


def _with_own(matrix: TransitionMatrix, norm_I: np.ndarray, own_I: np.ndarray) -> TransitionMatrix:
    """Rows that hold the pair of an item with itself, too."""
    items, own = len(norm_I), np.flatnonzero(own_I > 0)
    row_W = np.concatenate([np.repeat(np.arange(items), np.diff(matrix.start)), own])
    later_W = np.concatenate([matrix.later_W, own.astype(np.int32)])
    weight_W = np.concatenate([matrix.weight_W, own_I[own].astype(np.float32)])
    order = np.lexsort((later_W, row_W))
    start = np.concatenate([[0], np.cumsum(np.bincount(row_W, minlength=items))])
    return TransitionMatrix(start, later_W[order], weight_W[order], norm_I, own_I)


@dataclass(frozen=True)
class Shipped:
    """The numbers as a device gets them, and as numpy reads them."""

    numbers: Transitions
    config: TransitionsConfig
    score: CollaborativeScore


def shipped(log: Log, vectors_IK: np.ndarray, scale_I: np.ndarray, best: int) -> Shipped:
    """The `best` pairs of each item in eight bits, and the prior of the bundle's item vectors."""
    exact, scoring = log.matrix(best), log.scoring
    level_W, low, step = levels_of(exact.weight_W)
    weight_W = weights_of(level_W, low, step).astype(np.float32)
    row_W = np.repeat(np.arange(len(exact.norm_I)), np.diff(exact.start))
    own_W = row_W == exact.later_W
    own_I = np.bincount(row_W[own_W], weight_W[own_W], len(exact.norm_I))
    matrix = replace(exact, weight_W=weight_W, own_I=own_I)
    v_IK = (vectors_IK * scale_I[:, None]).astype(np.float32)
    prior = WordsPrior.fit(v_IK, scoring.ridge)
    g_ID = prior.whitening(v_IK)
    m_D, q_DD = np.linalg.eigh(prior.m_DD.astype(np.float64))
    turn_KD = prior.whitening.turn.astype(np.float64) @ q_DD
    length_I = np.linalg.norm((v_IK - prior.whitening.mean) @ turn_KD, axis=1)
    rest_I = np.maximum(length_I, NO_LENGTH) * (1 - prior.own(g_ID))
    numbers = Transitions(
        norm_I=exact.norm_I.astype(np.float32),
        popularity_I=log.popularity(),
        key_I=np.where(length_I < NO_LENGTH, 0, 1 / rest_I).astype(np.float32),
        mean_K=prior.whitening.mean,
        turn_DK=turn_KD.T.astype(np.float32),
        m_D=m_D.astype(np.float32),
        start=exact.start,
        later_W=exact.later_W.astype(np.int64),
        level_W=level_W,
    )
    config = TransitionsConfig(
        best_per_item=best,
        pairs=len(level_W),
        directions=len(m_D),
        low=low,
        step=step,
        recency_decay=scoring.recency_decay if log.sequences.ordered else 1.0,
        shrinkage=scoring.shrinkage,
        prior=scoring.prior,
        parity=0.0,
        requests=0,
        head=log.head,
    )
    ordered = log.sequences.ordered
    score = CollaborativeScore(scoring, {}, matrix, prior, g_ID, _no_texts, ordered)
    return Shipped(numbers, config, score)


def add_transitions(
    log: Log, vectors_IK: np.ndarray, scale_I: np.ndarray, best: int, drawing: Drawing, least: float
) -> tuple[bytes, TransitionsConfig]:
    """The file, and what is to be said of it.

    Raises EdgeError where what is read from the file does not give the first ten of numpy's score.
    """
    made = shipped(log, vectors_IK, scale_I, best)
    body = made.numbers.pack()
    read = Transitions.unpack(body, made.config, *vectors_IK.shape)
    device = on_device(NextChoice(made.config, read, vectors_IK, scale_I))
    found = same_ten(device, in_numpy(made.score), drawn_histories(log.choices, drawing))
    if found.order < least:
        raise EdgeError(
            f"the transitions of the bundle gave the first ten of numpy's score for "
            f"{found.order:.1%} of {drawing.requests} requests; right is {least:.0%} or more, so "
            "no bundle was written"
        )
    told = {"parity": found.order, "requests": drawing.requests}
    return body, made.config.model_copy(update=told)


@dataclass(frozen=True)
class Tens:
    """Share of requests with the same first ten in order, and mean share of the ten that is the
    same."""

    order: float
    overlap: float


def same_ten(ours: Scores, theirs: Scores, histories: Sequence[list[int]]) -> Tens:
    """Two scores over histories; items of a history are not asked for."""
    order, overlap = 0, 0.0
    for history in histories:
        tens = []
        for side in (ours, theirs):
            score_I = side(history).astype(np.float64)
            score_I[history] = -np.inf
            most = min(FIRST, len(score_I) - len(set(history)))
            tens.append(np.argsort(-score_I, kind="stable")[:most].tolist())
        order += tens[0] == tens[1]
        overlap += len(set(tens[0]) & set(tens[1])) / max(len(tens[0]), 1)
    return Tens(order / len(histories), overlap / len(histories))


def drawn_histories(item_E: np.ndarray, drawing: Drawing) -> list[list[int]]:
    """Runs of choices of the log, oldest first."""
    draw = np.random.default_rng(drawing.seed + 2)
    return list(_runs(item_E, draw, drawing))


def _runs(item_E: np.ndarray, draw: np.random.Generator, drawing: Drawing) -> Iterator[list[int]]:
    for _ in range(drawing.requests):
        stop = int(draw.integers(1, len(item_E) + 1))
        yield item_E[max(0, stop - int(draw.integers(1, drawing.most + 1))) : stop].tolist()


def on_device(score: NextChoice) -> Scores:
    """As a bundle asks."""

    def ask(history: list[int]) -> np.ndarray:
        told_NK = score.vectors_IK[history] * score.scale_I[history, None].astype(np.float64)
        return score.scores(score.entries(history, told_NK))

    return ask


def in_numpy(score: CollaborativeScore) -> Scores:
    """As the recommender asks."""

    def ask(history: list[int]) -> np.ndarray:
        age_N = np.arange(len(history) - 1, -1, -1)
        weight_N = score.decay**age_N
        nothing: list[str | None] = [None] * len(history)
        first_N = np.zeros(len(history), dtype=np.int64)
        entries = Histories(first_N, np.array(history, np.int64), weight_N, nothing, 1)
        return np.asarray(score(entries)[0])

    return ask


def whole_score(log: Log, f_ID: np.ndarray) -> CollaborativeScore:
    """The score as the recommender has it: more pairs, not rounded, and the network's own text
    vectors f_ID."""
    scoring = log.scoring
    prior = WordsPrior.fit(f_ID, scoring.ridge)
    matrix = log.matrix(scoring.best_per_item)
    g_ID, ordered = prior.whitening(f_ID), log.sequences.ordered
    return CollaborativeScore(scoring, {}, matrix, prior, g_ID, _no_texts, ordered)


def _no_texts(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError("drawn histories hold items only")
