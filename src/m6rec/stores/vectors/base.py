"""Vectors by id, searched by inner product: one interface for exact, approximate and Qdrant.

An index is never the only place where a vector is known: it is saved with the number of the last
journal entry that it holds, and what came after is put in again.

Legend: Q queries, N vectors, K hits, D dim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from m6rec.offers import Filter
from m6rec.records import M6Error

Attributes = Mapping[str, Any]
"""Of an item, as `offers.Offer` has them: category (text, maybe of several parts), price,
available_from (seconds); others are left aside."""


class VectorError(M6Error):
    """An index can not be opened or searched: the message says what would be right."""


@dataclass(frozen=True)
class Found:
    """Hits of one query, best first. scores: inner products, float32."""

    ids: list[str]
    scores: np.ndarray


class VectorIndex(ABC):
    """Vectors of D float32 numbers by id. Safe to use from threads."""

    dim: int

    @abstractmethod
    def put(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        attributes: Sequence[Attributes] | None = None,
    ) -> None:
        """Adds or replaces; the next search sees it. An id given twice: the last one counts.

        vectors: [N, D], finite. attributes: one for each id; None: ids have none.
        Raises VectorError where shapes do not fit.
        """

    @abstractmethod
    def remove(self, ids: Sequence[str]) -> int:
        """Takes ids out; returns how many were there."""

    @abstractmethod
    def search_many(
        self, vectors_QD: np.ndarray, k: int, where: Filter | None = None
    ) -> list[Found]:
        """Up to k hits for each query: fewer only where fewer pass the filter."""

    def search(self, vector: np.ndarray, k: int, where: Filter | None = None) -> Found:
        """Up to k hits for one query [D]."""
        return self.search_many(np.asarray(vector)[None], k, where)[0]

    def compare(self, vector: np.ndarray) -> Found:
        """Every vector's inner product with one query [D], in any order. Between two changes of
        the index the ids may be the very same list: do not change it."""
        return self.search(vector, max(len(self), 1))

    @abstractmethod
    def among(self, vector: np.ndarray, ids: Sequence[str]) -> Found:
        """The inner products of one query [D] with some ids, in any order; what is not there is
        left out."""

    @abstractmethod
    def save(self, folder: str | Path, journal_number: int, journal: str = "") -> None:
        """Writes a snapshot that replaces the last one, all of it or nothing.

        journal: name of the journal that the number is of. `opening.open_index` reads it.
        """

    @abstractmethod
    def __len__(self) -> int:
        """How many vectors are there."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do here
        """Gives back connections; the index is not used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


def check_vectors(ids: Sequence[str], vectors: np.ndarray, dim: int) -> np.ndarray:
    """Vectors as float32 [N, D]. Raises VectorError."""
    h_ND = np.ascontiguousarray(vectors, dtype=np.float32)
    if h_ND.shape != (len(ids), dim):
        raise VectorError(f"vectors of shape {h_ND.shape}: right is ({len(ids)}, {dim})")
    if not np.isfinite(h_ND).all():
        raise VectorError("vectors hold numbers that are not finite")
    return h_ND


def check_queries(vectors: np.ndarray, dim: int, k: int) -> np.ndarray:
    """Queries as float32 [Q, D]. Raises VectorError."""
    q_QD = np.ascontiguousarray(vectors, dtype=np.float32)
    if q_QD.ndim != 2 or q_QD.shape[1] != dim:
        raise VectorError(f"queries of shape {q_QD.shape}: right is (queries, {dim})")
    if not np.isfinite(q_QD).all():
        raise VectorError("queries hold numbers that are not finite")
    if k < 1:
        raise VectorError(f"k of {k}: right is 1 or more")
    return q_QD
