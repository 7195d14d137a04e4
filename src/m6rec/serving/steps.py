"""What the steps of an answer hand to each other, and what they need of an opened model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from m6rec.offers import Filter
from m6rec.records import Request
from m6rec.serving.candidates import Parts, Scores
from m6rec.serving.known import Shown
from m6rec.serving.people import People
from m6rec.serving.ranking import FastRanker
from m6rec.serving.titles import Titles
from m6rec.stores.vectors.base import VectorIndex
from m6rec.tasks.retrieval import Retriever
from m6rec.tasks.shelf import Shelf

EVERYTHING = Filter()


@dataclass(frozen=True)
class Wanted:
    """What one request asks for.

    retrieve: candidates that are fetched; where: which may be; given: candidates by id, instead of
    retrieval. rank: whether a tuned ranker orders them. diversity: 0 is the order of the scores,
    1 as different from each other as can be (maximal marginal relevance).
    """

    request: Request
    k: int = 10
    retrieve: int = 500
    where: Filter = EVERYTHING
    given: tuple[str, ...] | None = None
    rank: bool = True
    diversity: float = 0.0


@dataclass(frozen=True)
class Placed:
    """An item of an answer. score: what it was ordered by; the others where they were computed.

    counted, words: what people chose next, and what words say of it (collaborative/score.py).
    head: what the head read of it (collaborative/head.py)."""

    item_id: str
    score: float
    similarity: float | None = None
    probability: float | None = None
    counted: float | None = None
    words: float | None = None
    head: dict[str, float] | None = None


@dataclass
class Served:
    """An answer. by: what the score is. steps: candidates after each step, best first."""

    placed: list[Placed]
    by: str
    steps: dict[str, list[tuple[str, float]]]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Retrieved:
    """Candidates with their scores, best first. by: what the score is; parts: of what it was made,
    where it is of choices."""

    by: str
    candidates: list[tuple[str, float]]
    parts: Parts | None = None


class Shop(Protocol):
    """What the steps need of an opened model (serving/live.py)."""

    ranker: FastRanker | None
    shelf: Shelf
    shown: dict[str, Shown]
    titles: Titles

    @property
    def retriever(self) -> Retriever: ...
    @property
    def index(self) -> VectorIndex: ...
    @property
    def boost(self) -> float: ...
    @property
    def scores(self) -> Scores | None: ...
    @property
    def people(self) -> People: ...
    def item_vectors(self, item_ids: Sequence[str]) -> np.ndarray: ...


class Clock:
    """Seconds of each step; of a batch, each request has the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times what is inside."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
