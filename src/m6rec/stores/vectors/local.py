"""The embedded index: in this process's memory, exact while it is small.

Below `exact_below` vectors every one is compared. From there on an inverted file takes over, which
learns its lists from what is there.

Legend: Q queries, N vectors, K hits, D dim.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m6rec.offers import Filter
from m6rec.stores.extras import need
from m6rec.stores.vectors.base import (
    Attributes,
    Found,
    VectorError,
    VectorIndex,
    check_queries,
    check_vectors,
)
from m6rec.stores.vectors.inverted import InvertedRows, enough_for
from m6rec.stores.vectors.rows import ExactRows, Hits, Rows
from m6rec.stores.vectors.slots import Slots, chosen_attributes, left_out, newest
from m6rec.stores.vectors.snapshot import SnapshotReader, SnapshotWriter

EXACT_BELOW = 50_000
LEFT_OUT_AFTER = 1_000
"""So many ids are left out of the hits of a longer search; more become part of the filter."""


class LocalIndex(VectorIndex):
    """Vectors of one process. exact_below: None for exact whatever the size.

    expected: how many vectors will come, roughly. effort: share of the vectors that an approximate
    search looks at by default, for who needs the nearest of them above all. Raises StoreError
    where faiss is needed and is not installed.
    """

    def __init__(
        self,
        dim: int,
        exact_below: int | None = EXACT_BELOW,
        expected: int = 0,
        effort: float = 1.0,
    ) -> None:
        if exact_below is not None:
            need("faiss", "an index that grows beyond exact search")
        self.dim, self._exact_below, self._expected = dim, exact_below, expected
        self._effort = effort
        self._slots = Slots()
        self._rows: Rows = ExactRows(dim)
        self._lock = threading.RLock()
        self._held: tuple[np.ndarray, list[str]] | None = None

    @property
    def kind(self) -> str:
        """exact or inverted, as it is now."""
        return self._rows.kind

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
        if len(kept) < len(ids):
            h_ND = h_ND[kept]
        told = chosen_attributes(ids, attributes, kept)
        with self._lock:
            self._held = None
            slots_N = self._slots.take([ids[n] for n in kept], told)
            if len(slots_N):
                self._rows.put(slots_N, h_ND)
                self._rows = self._fitting(self._rows)

    def _fitting(self, rows: Rows) -> Rows:
        """The same vectors in the form for their number."""
        if (
            self._exact_below is None
            or len(self) < max(self._exact_below, enough_for(self._expected))
            or not isinstance(rows, ExactRows)
        ):
            return rows
        slots_N, h_ND = rows.all()
        made = InvertedRows.trained(h_ND, self._expected, self._effort)
        made.put(slots_N, h_ND)
        return made

    def rebuild(self) -> None:
        """Learns the lists anew, for an index that has become many times larger or another."""
        with self._lock:
            if not isinstance(self._rows, InvertedRows):
                return
            rows = ExactRows(self.dim, max(self._slots.size, 1))
            rows.put(*self._rows.all())
            self._rows = self._fitting(rows)

    def remove(self, ids: Sequence[str]) -> int:
        """See VectorIndex."""
        with self._lock:
            self._held = None
            slots_N = self._slots.give_back(ids)
            self._rows.remove(slots_N)
        return len(slots_N)

    def search_many(
        self, vectors_QD: np.ndarray, k: int, where: Filter | None = None
    ) -> list[Found]:
        """See VectorIndex."""
        q_QD = check_queries(vectors_QD, self.dim, k)
        with self._lock:
            if not len(self):
                return [Found([], np.zeros(0, dtype=np.float32)) for _ in q_QD]
            passes_N, gone = self._asked(where)
            hits = self._rows.search(q_QD, min(k + len(gone), len(self)), passes_N)
            return [self._found(one, k, gone) for one in hits]

    def compare(self, vector: np.ndarray) -> Found:
        """See VectorIndex: one product, and nothing is put in order."""
        q_QD = check_queries(np.asarray(vector)[None], self.dim, 1)
        with self._lock:
            if not isinstance(self._rows, ExactRows):
                return super().compare(vector)
            if self._held is None:
                slots_N, names = np.flatnonzero(self._slots.alive()), self._slots.ids
                self._held = slots_N, [names[slot] for slot in slots_N.tolist()]
            slots_N, ids = self._held
            return Found(ids, self._rows.compare(q_QD[0], slots_N))

    def among(self, vector: np.ndarray, ids: Sequence[str]) -> Found:
        """See VectorIndex."""
        q_QD = check_queries(np.asarray(vector)[None], self.dim, 1)
        with self._lock:
            slots = [self._slots.slot_of.get(one, -1) for one in ids]
            slots_N = np.array(slots, dtype=np.int64)
            there = [one for one, slot in zip(ids, slots, strict=True) if slot >= 0]
            return Found(there, self._rows.compare(q_QD[0], slots_N[slots_N >= 0]))

    def _asked(self, where: Filter | None) -> tuple[np.ndarray | None, np.ndarray]:
        """What passes (None: all that is there), and slots that are taken out of the hits."""
        nothing = np.zeros(0, dtype=np.int64)
        if where is None:
            return None, nothing
        passes_N = self._slots.passing(where)
        gone = self._slots.of(left_out(where))
        if passes_N is None and len(gone) <= LEFT_OUT_AFTER:
            return None, gone
        if passes_N is None:
            passes_N = self._slots.alive()
        passes_N[gone] = False
        return passes_N, nothing

    def _found(self, hits: Hits, k: int, gone: np.ndarray) -> Found:
        slot_K, score_K = hits
        if len(gone):
            kept = ~np.isin(slot_K, gone)
            slot_K, score_K = slot_K[kept], score_K[kept]
        ids = self._slots.ids
        return Found([ids[slot] for slot in slot_K[:k].tolist()], score_K[:k])

    def save(self, folder: str | Path, journal_number: int, journal: str = "") -> None:
        """See VectorIndex."""
        about = {"dim": self.dim, "exact_below": self._exact_below, "expected": self._expected}
        with self._lock:
            try:
                writer = SnapshotWriter(Path(folder))
            except OSError as error:
                raise VectorError(f"{folder} can not be written: {error}") from error
            try:
                self._rows.save(writer)
                self._slots.save(writer)
                told = {"kind": self.kind, "count": len(self), "journal": journal, **about}
                writer.finish({**told, "journal_number": journal_number})
            except (OSError, RuntimeError) as error:  # faiss raises the latter
                writer.give_up()
                raise VectorError(f"{folder}: the snapshot was not written: {error}") from error

    @classmethod
    def restored(cls, reader: SnapshotReader) -> LocalIndex:
        """From a snapshot."""
        about = reader.about
        made = cls(about["dim"], about["exact_below"], about["expected"])
        made._slots = Slots.restored(reader)
        if about["kind"] == InvertedRows.kind:
            made._rows = InvertedRows.restored(reader)
        else:
            made._rows = ExactRows.restored(reader, made.dim)
        return made
