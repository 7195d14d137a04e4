"""The approximate form: an inverted file of faiss, with float16 vectors.

Vectors are kept in lists by their nearest centroid, and a query looks into the lists whose
centroids are nearest to it. With a filter it looks only into lists that hold something that passes,
nearest first, until it has seen as many passing vectors as it would see without one; where few
pass, these are all of them, and the answer is exact. docs/vectors.md tells why this library and
this form (github.com/facebookresearch/faiss/wiki/Faiss-indexes).

Legend: Q queries, N vectors, L lists, D dim.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from m6rec.stores.extras import need
from m6rec.stores.vectors.rows import Hits, Rows
from m6rec.stores.vectors.snapshot import SnapshotReader, SnapshotWriter

log = logging.getLogger(__name__)
SEEN = 24_000
"""Vectors that a query is compared with, at least."""
SEEN_PER_HIT = 64
NOWHERE = -1
TRAINED_ON = 40
"""Vectors for each centroid that it is learned from, at most."""
FILE = "inverted.faiss"


class InvertedRows(Rows):
    """Vectors in lists. index: an IndexIVFScalarQuantizer whose ids are slots. effort: of SEEN."""

    kind = "inverted"

    def __init__(self, index: Any, effort: float = 1.0) -> None:
        self._effort = effort
        self._faiss = need("faiss", "an approximate index")
        self._index = index
        self._index.set_direct_map_type(self._faiss.DirectMap.Hashtable)
        self._centre_LD: np.ndarray = index.quantizer.reconstruct_n(0, index.nlist)
        self._list_N = np.full(1024, NOWHERE, dtype=np.int32)

    @classmethod
    def trained(cls, h_ND: np.ndarray, expected: int, effort: float = 1.0) -> InvertedRows:
        """Empty, with 4 sqrt(expected) centroids learned from vectors like those that come."""
        faiss = need("faiss", "an approximate index")
        lists = max(1, min(lists_for(max(expected, len(h_ND))), len(h_ND) // TRAINED_ON))
        rng = np.random.default_rng(0)
        some = rng.permutation(len(h_ND))[: lists * TRAINED_ON]
        quantizer = faiss.IndexFlatIP(h_ND.shape[1])
        index = faiss.IndexIVFScalarQuantizer(
            quantizer,
            h_ND.shape[1],
            lists,
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
            False,
        )
        index.cp.min_points_per_centroid = 1  # or it writes to stderr
        index.train(h_ND[some])
        log.info("vector index: %d lists learned from %d vectors", lists, len(some))
        return cls(index, effort)

    def put(self, slots_N: np.ndarray, h_ND: np.ndarray) -> None:
        """See Rows."""
        self._grow(int(slots_N.max(initial=-1)) + 1)
        self.remove(slots_N[self._list_N[slots_N] != NOWHERE])
        list_N = np.ascontiguousarray(self._index.quantizer.assign(h_ND, 1)[:, 0])
        pointer = self._faiss.swig_ptr
        self._index.add_core(len(h_ND), pointer(h_ND), pointer(slots_N), pointer(list_N))
        self._list_N[slots_N] = list_N

    def _grow(self, rows: int) -> None:
        room = len(self._list_N)
        if rows > room:
            larger_N = np.full(max(rows, 2 * room), NOWHERE, dtype=np.int32)
            larger_N[:room] = self._list_N
            self._list_N = larger_N

    def remove(self, slots_N: np.ndarray) -> None:
        """See Rows."""
        if len(slots_N):
            self._index.remove_ids(self._faiss.IDSelectorArray(slots_N))
            self._list_N[slots_N] = NOWHERE

    def search(self, q_QD: np.ndarray, k: int, passes_N: np.ndarray | None) -> list[Hits]:
        """See Rows."""
        seen = int(self._effort * max(SEEN, SEEN_PER_HIT * k))
        if passes_N is None:
            return self._everywhere(q_QD, k, seen)
        slots_N = np.flatnonzero(passes_N)
        if len(slots_N) == 0:
            nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
            return [nothing for _ in q_QD]
        count_L = np.bincount(self._list_N[slots_N], minlength=self._index.nlist)
        bits = np.packbits(passes_N, bitorder="little")
        selector = self._faiss.IDSelectorBitmap(bits)
        return [self._among(q_D[None], k, seen, count_L, selector) for q_D in q_QD]

    def _everywhere(self, q_QD: np.ndarray, k: int, seen: int) -> list[Hits]:
        count, lists = self._index.ntotal, self._index.nlist
        probes = min(lists, -(-seen * lists // max(count, 1)))
        score_QK, slot_QK = self._search(q_QD, k, probes)
        if (slot_QK[:, min(k, count) - 1] < 0).any():  # lists of very unequal length
            score_QK, slot_QK = self._search(q_QD, k, lists)
        return [_hits(slot_K, score_K) for slot_K, score_K in zip(slot_QK, score_QK, strict=True)]

    def _search(self, q_QD: np.ndarray, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
        parameters = self._faiss.SearchParametersIVF(nprobe=probes)
        score_QK, slot_QK = self._index.search(q_QD, k, params=parameters)
        return score_QK, slot_QK

    def _among(
        self, q_1D: np.ndarray, k: int, seen: int, count_L: np.ndarray, selector: Any
    ) -> Hits:
        """One query among those that pass: the nearest lists that hold `seen` of them."""
        score_L = (self._centre_LD @ q_1D[0]).astype(np.float32)
        held = np.flatnonzero(count_L)
        order = held[np.argsort(-score_L[held], kind="stable")]
        probes = int(np.searchsorted(np.cumsum(count_L[order]), seen)) + 1
        lists = self._faiss.IDSelectorBitmap(np.packbits(count_L > 0, bitorder="little"))
        parameters = self._faiss.SearchParametersIVF(
            nprobe=min(probes, len(held)),
            sel=selector,
            quantizer_params=self._faiss.SearchParameters(sel=lists),
        )
        score_1K, slot_1K = self._index.search(q_1D, k, params=parameters)
        return _hits(slot_1K[0], score_1K[0])

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots that are held, and their vectors, as float16 keeps them."""
        slots_N = np.flatnonzero(self._list_N != NOWHERE)
        return slots_N, self._index.reconstruct_batch(slots_N)

    def compare(self, q_D: np.ndarray, slots_N: np.ndarray) -> np.ndarray:
        """See Rows."""
        if not len(slots_N):
            return np.zeros(0, dtype=np.float32)
        return np.asarray(self._index.reconstruct_batch(slots_N) @ q_D)

    def save(self, writer: SnapshotWriter) -> None:
        """See Rows."""
        self._faiss.write_index(self._index, str(writer.path / FILE))
        writer.array("lists", self._list_N)

    @classmethod
    def restored(cls, reader: SnapshotReader) -> InvertedRows:
        """From a snapshot."""
        faiss = need("faiss", "an approximate index")
        made = cls(faiss.read_index(str(reader.file(FILE))))
        made._list_N = reader.array("lists")
        return made


def lists_for(count: int) -> int:
    """How many lists suit so many vectors."""
    return int(4 * count**0.5)


def enough_for(count: int) -> int:
    """From how many vectors the lists for `count` of them can be learned."""
    return min(count, TRAINED_ON * lists_for(count))


def _hits(slot_K: np.ndarray, score_K: np.ndarray) -> Hits:
    """Without the places that faiss leaves empty."""
    there = slot_K >= 0
    return slot_K[there], score_K[there]
