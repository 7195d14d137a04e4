"""The exact index: every vector is compared. The default below about 50,000 items.

Legend: Q queries, N vectors, K hits, D dim.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m6rec.stores.vector_slots import Slots, chosen_attributes, left_out, newest
from m6rec.stores.vector_snapshot import SnapshotReader, SnapshotWriter
from m6rec.stores.vectors import (
    Attributes,
    Filter,
    Found,
    VectorError,
    VectorIndex,
    check_queries,
    check_vectors,
)

KIND = "exact"
SCORES_AT_ONCE = 1 << 24
GATHERED = 4
"""Rows are gathered before they are compared where less than one in so many passes."""


class ExactIndex(VectorIndex):
    """Vectors in one float32 array."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._slots = Slots()
        self._h_ND = np.zeros((self._slots.room, dim), dtype=np.float32)
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._slots)

    def put(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        attributes: Sequence[Attributes] | None = None,
    ) -> None:
        """See VectorIndex."""
        h_ND = check_vectors(ids, vectors, self.dim)
        kept = newest(ids)
        told = chosen_attributes(ids, attributes, kept)
        with self._lock:
            slots_N, _ = self._slots.take([ids[n] for n in kept], told)
            if len(self._h_ND) < self._slots.room:
                larger = np.zeros((self._slots.room, self.dim), dtype=np.float32)
                larger[: len(self._h_ND)] = self._h_ND
                self._h_ND = larger
            self._h_ND[slots_N] = h_ND[kept]

    def remove(self, ids: Sequence[str]) -> int:
        """See VectorIndex."""
        with self._lock:
            slots_N = self._slots.give_back(ids)
            self._h_ND[slots_N] = 0
        return len(slots_N)

    def search_many(
        self, vectors_QD: np.ndarray, k: int, where: Filter | None = None
    ) -> list[Found]:
        """See VectorIndex."""
        q_QD = check_queries(vectors_QD, self.dim, k)
        with self._lock:
            rows_N = self._rows(where)
            return search_rows(q_QD, self._h_ND[: self._slots.size], rows_N, k, self._slots.ids)

    def _rows(self, where: Filter | None) -> np.ndarray:
        """bool [N]: what may be found."""
        slots = self._slots
        passes = None if where is None else slots.passing(where)
        rows_N = slots.columns.alive[: slots.size].copy() if passes is None else passes
        if where is not None:
            rows_N[slots.of(left_out(where))] = False
        return rows_N

    def save(self, folder: str | Path, journal_number: int, journal: str = "") -> None:
        """See VectorIndex."""
        with self._lock:
            writer = SnapshotWriter(Path(folder))
            try:
                writer.array("vectors", self._h_ND[: self._slots.size])
                write_slots(writer, self._slots)
                about = {"kind": KIND, "dim": self.dim, "count": len(self)}
                writer.finish({**about, "journal": journal, "journal_number": journal_number})
            except OSError as error:
                writer.give_up()
                raise VectorError(f"{folder}: the snapshot was not written: {error}") from error

    @classmethod
    def restored(cls, reader: SnapshotReader) -> ExactIndex:
        """From a snapshot."""
        made = cls(reader.about["dim"])
        made._slots = read_slots(reader)
        made._h_ND = reader.array("vectors")
        return made


def search_rows(
    q_QD: np.ndarray, h_ND: np.ndarray, rows_N: np.ndarray, k: int, ids: list[str]
) -> list[Found]:
    """The best k of the rows that may be found. h_ND: float32; rows_N: bool."""
    chosen = np.flatnonzero(rows_N)
    if len(chosen) == 0:
        return [Found([], np.zeros(0, dtype=np.float32)) for _ in q_QD]
    gathered = len(chosen) * GATHERED < len(rows_N)
    if gathered:
        h_ND = h_ND[chosen]
    found: list[Found] = []
    step = max(1, SCORES_AT_ONCE // len(h_ND))
    for first in range(0, len(q_QD), step):
        for score_N in q_QD[first : first + step] @ h_ND.T:
            score_N = score_N if gathered else score_N[chosen]
            best = top(score_N, k)
            found.append(Found([ids[n] for n in chosen[best].tolist()], score_N[best]))
    return found


def top(score_N: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest, largest first; of equal ones the first comes first."""
    if k >= len(score_N):
        return np.argsort(-score_N, kind="stable")
    part = np.sort(np.argpartition(-score_N, k)[:k])
    found: np.ndarray = part[np.argsort(-score_N[part], kind="stable")]
    return found


def write_slots(writer: SnapshotWriter, slots: Slots) -> None:
    """Ids and attributes."""
    writer.words("ids", slots.ids)
    writer.words("categories", list(slots.categories))
    for name, array in slots.arrays().items():
        writer.array(name, array)


def read_slots(reader: SnapshotReader) -> Slots:
    """What `write_slots` wrote."""
    names = ("alive", "category", "price", "available")
    arrays = {name: reader.array(name) for name in names}
    return Slots.restored(reader.words("ids"), reader.words("categories"), arrays)
