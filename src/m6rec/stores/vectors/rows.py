"""Where the vectors of an index lie, by slot; and the exact form, which compares every one.

Legend: Q queries, N vectors, K hits, D dim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from m6rec.stores.vectors.snapshot import SnapshotReader, SnapshotWriter

Hits = tuple[np.ndarray, np.ndarray]
"""Slots and scores of one query, best first."""
SCORES_AT_ONCE = 1 << 24
GATHERED = 4
"""Rows are gathered before they are compared where less than one in so many passes."""


class Rows(ABC):
    """Vectors by slot."""

    kind: str

    @abstractmethod
    def put(self, slots_N: np.ndarray, h_ND: np.ndarray) -> None:
        """Adds or replaces; slots are all different. h_ND: float32."""

    @abstractmethod
    def remove(self, slots_N: np.ndarray) -> None:
        """Takes out what is there."""

    @abstractmethod
    def search(self, q_QD: np.ndarray, k: int, passes_N: np.ndarray | None) -> list[Hits]:
        """The best k of each query. passes_N: bool by slot, of slots that are held; None: all."""

    @abstractmethod
    def compare(self, q_D: np.ndarray, slots_N: np.ndarray) -> np.ndarray:
        """Inner products of one query with the vectors of slots that are held: float32 [N]."""

    @abstractmethod
    def save(self, writer: SnapshotWriter) -> None:
        """Writes itself into a snapshot."""


class ExactRows(Rows):
    """One float32 array."""

    kind = "exact"

    def __init__(self, dim: int, room: int = 1024) -> None:
        self._h_ND = np.zeros((room, dim), dtype=np.float32)
        self._there_N = np.zeros(room, dtype=bool)

    def put(self, slots_N: np.ndarray, h_ND: np.ndarray) -> None:
        """See Rows."""
        self._grow(int(slots_N.max(initial=-1)) + 1)
        self._h_ND[slots_N] = h_ND
        self._there_N[slots_N] = True

    def _grow(self, rows: int) -> None:
        room, dim = self._h_ND.shape
        if rows <= room:
            return
        larger_ND = np.zeros((max(rows, 2 * room), dim), dtype=np.float32)
        larger_ND[:room] = self._h_ND
        there_N = np.zeros(len(larger_ND), dtype=bool)
        there_N[:room] = self._there_N
        self._h_ND, self._there_N = larger_ND, there_N

    def remove(self, slots_N: np.ndarray) -> None:
        """See Rows."""
        self._h_ND[slots_N] = 0
        self._there_N[slots_N] = False

    def search(self, q_QD: np.ndarray, k: int, passes_N: np.ndarray | None) -> list[Hits]:
        """See Rows."""
        chosen = np.flatnonzero(self._there_N if passes_N is None else passes_N)
        if len(chosen) == 0:
            nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
            return [nothing for _ in q_QD]
        h_ND = self._h_ND[: int(chosen[-1]) + 1]
        gathered = len(chosen) * GATHERED < len(h_ND)
        if gathered:
            h_ND = h_ND[chosen]
        found: list[Hits] = []
        step = max(1, SCORES_AT_ONCE // len(h_ND))
        for first in range(0, len(q_QD), step):
            for score_N in q_QD[first : first + step] @ h_ND.T:
                score_N = score_N if gathered else score_N[chosen]
                best = top(score_N, k)
                found.append((chosen[best], score_N[best]))
        return found

    def compare(self, q_D: np.ndarray, slots_N: np.ndarray) -> np.ndarray:
        """See Rows."""
        size = int(slots_N.max(initial=-1)) + 1
        if len(slots_N) * GATHERED < size:
            return np.asarray(self._h_ND[slots_N] @ q_D)
        return np.asarray((self._h_ND[:size] @ q_D)[slots_N])

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots that are held, and their vectors."""
        slots_N = np.flatnonzero(self._there_N)
        return slots_N, self._h_ND[slots_N]

    def save(self, writer: SnapshotWriter) -> None:
        """See Rows."""
        size = int(self._there_N.nonzero()[0].max(initial=-1)) + 1
        writer.array("vectors", self._h_ND[:size])
        writer.array("there", self._there_N[:size])

    @classmethod
    def restored(cls, reader: SnapshotReader, dim: int) -> ExactRows:
        """From a snapshot."""
        made = cls(dim, room=1)
        h_ND = reader.array("vectors")
        if len(h_ND):
            made._h_ND, made._there_N = h_ND, reader.array("there")
        return made


def top(score_N: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest, largest first; of equal ones the first comes first."""
    if k >= len(score_N):
        return np.argsort(-score_N, kind="stable")
    part = np.sort(np.argpartition(-score_N, k)[:k])
    found: np.ndarray = part[np.argsort(-score_N[part], kind="stable")]
    return found
