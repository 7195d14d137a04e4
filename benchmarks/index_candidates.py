"""What bench_index.py compares: faiss, usearch and hnswlib behind one small face, and made-up data.

Legend: Q queries, N vectors, D dim.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

DIM = 128
CATEGORIES, FAMILIES = 500, 50
"""Families of products in a category."""
SPREAD_FAMILY, SPREAD_ITEM, DECAY = 0.8, 0.6, 0.3


def catalogue(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors [N, D] in clusters within clusters, as catalogues have them.

    An item is its category's centre + 0.8 × its family's + 0.6 × its own, all Gaussian; categories
    have unequal sizes (1 / rank^0.7); dimension d is scaled by (d + 1)^-0.3, as spectra of text
    embeddings fall; then all are made to length 1.
    """
    rng = np.random.default_rng(seed)
    scale_D = (np.arange(DIM) + 1.0) ** -DECAY
    centre_CD = rng.normal(size=(CATEGORIES, DIM))
    share_C = (np.arange(CATEGORIES) + 1.0) ** -0.7
    category_N = rng.choice(CATEGORIES, count, p=share_C / share_C.sum())
    family_CFD = rng.normal(size=(CATEGORIES, FAMILIES, DIM)).astype(np.float32)
    family_N = rng.integers(0, FAMILIES, count)
    h_ND = rng.standard_normal(size=(count, DIM), dtype=np.float32) * SPREAD_ITEM
    h_ND += SPREAD_FAMILY * family_CFD[category_N, family_N]
    h_ND += centre_CD.astype(np.float32)[category_N]
    h_ND *= scale_D.astype(np.float32)
    h_ND /= np.linalg.norm(h_ND, axis=1, keepdims=True)
    return h_ND


def shoppers(h_ND: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """Queries [Q, D]: the mean of 1 to 8 items near each other or not, and noise of length 0.3."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        first = h_ND[rng.integers(len(h_ND))]
        others = h_ND[rng.integers(0, len(h_ND), 64)]
        near = others[np.argsort(-(others @ first))[: rng.integers(0, 8)]]
        noise = rng.normal(size=DIM) * 0.3 / np.sqrt(DIM)
        made.append(np.vstack([first[None], near]).mean(0) + noise)
    q_QD = np.array(made, dtype=np.float32)
    return q_QD / np.linalg.norm(q_QD, axis=1, keepdims=True)


def truth(h_ND: np.ndarray, q_QD: np.ndarray, k: int) -> np.ndarray:
    """Rows of the exact k best: [Q, K]."""
    found = np.empty((len(q_QD), k), dtype=np.int64)
    for q in range(0, len(q_QD), 8):
        score_QN = q_QD[q : q + 8] @ h_ND.T
        found[q : q + 8] = np.argpartition(-score_QN, k, axis=1)[:, :k]
    return found


class Candidate(ABC):
    """An index to be measured. efforts: what its dial for searching is tried at."""

    efforts: tuple[int, ...]

    @abstractmethod
    def build(self, h_ND: np.ndarray, threads: int) -> None:
        """Makes it, of vectors with ids 0, 1, …"""

    @abstractmethod
    def effort(self, value: int) -> None:
        """Sets the dial for searching, and one thread."""

    @abstractmethod
    def search(self, q_D: np.ndarray, k: int) -> np.ndarray:
        """Ids of the k best."""

    @abstractmethod
    def add(self, h_ND: np.ndarray, ids_N: np.ndarray) -> None:
        """Adds some more."""

    @abstractmethod
    def delete(self, ids_N: np.ndarray) -> None:
        """Takes some out."""


class Faiss(Candidate):
    """An index of faiss by its factory's words."""

    def __init__(self, words: str, efforts: tuple[int, ...], trained_on: int = 100_000) -> None:
        import faiss

        self.faiss, self.words, self.trained_on = faiss, words, trained_on
        self.efforts = efforts
        self.index: Any = None

    def build(self, h_ND: np.ndarray, threads: int) -> None:
        """See Candidate."""
        self.faiss.omp_set_num_threads(threads)
        self.index = self.faiss.index_factory(DIM, self.words, self.faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        if not self.index.is_trained:
            some = rng.choice(len(h_ND), min(self.trained_on, len(h_ND)), replace=False)
            self.index.train(h_ND[some])
        if self.words.startswith("HNSW"):
            self.index.hnsw.efConstruction = 128
        if self.words.startswith("IVF") and "fs" not in self.words:
            self.index.set_direct_map_type(self.faiss.DirectMap.Hashtable)
        for start in range(0, len(h_ND), 50_000):
            self.add(
                h_ND[start : start + 50_000],
                np.arange(start, min(start + 50_000, len(h_ND))),
            )

    def effort(self, value: int) -> None:
        """See Candidate."""
        self.faiss.omp_set_num_threads(1)
        if self.words.startswith("HNSW"):
            self.index.hnsw.efSearch = value
        elif "Refine" in self.words:
            self.index.k_factor = 4
            self.faiss.extract_index_ivf(self.index).nprobe = value
        else:
            self.index.nprobe = value

    def search(self, q_D: np.ndarray, k: int) -> np.ndarray:
        """See Candidate."""
        found: np.ndarray = self.index.search(q_D[None], k)[1][0]
        return found

    def add(self, h_ND: np.ndarray, ids_N: np.ndarray) -> None:
        """See Candidate."""
        if self.words.startswith("IVF") and "fs" not in self.words:
            self.index.add_with_ids(h_ND, ids_N)
        else:
            self.index.add(h_ND)

    def delete(self, ids_N: np.ndarray) -> None:
        """See Candidate. A graph of faiss, and packed codes with a refinement, can not delete."""
        if not self.words.startswith("IVF") or "fs" in self.words:
            raise NotImplementedError(self.words)
        self.index.remove_ids(self.faiss.IDSelectorArray(ids_N))


class Usearch(Candidate):
    """A graph of usearch, of one form of numbers."""

    efforts = (100, 150, 200, 300, 400, 600)

    def __init__(self, dtype: str, connectivity: int = 16) -> None:
        from usearch.index import Index

        self.index = Index(
            ndim=DIM, metric="ip", dtype=dtype, connectivity=connectivity, expansion_add=128
        )
        self.threads = 1

    def build(self, h_ND: np.ndarray, threads: int) -> None:
        """See Candidate."""
        self.threads = threads
        self.add(h_ND, np.arange(len(h_ND)))
        self.threads = 1

    def effort(self, value: int) -> None:
        """See Candidate."""
        self.index.expansion_search = value

    def search(self, q_D: np.ndarray, k: int) -> np.ndarray:
        """See Candidate."""
        found: np.ndarray = self.index.search(q_D, k, threads=1).keys
        return found

    def add(self, h_ND: np.ndarray, ids_N: np.ndarray) -> None:
        """See Candidate."""
        self.index.add(ids_N, h_ND, threads=self.threads)

    def delete(self, ids_N: np.ndarray) -> None:
        """See Candidate."""
        self.index.remove(ids_N)


class Hnswlib(Candidate):
    """A graph of hnswlib, float32."""

    efforts = (100, 150, 200, 300, 400, 600)

    def __init__(self, links: int = 16) -> None:
        import hnswlib

        self.index, self.links = hnswlib.Index(space="ip", dim=DIM), links

    def build(self, h_ND: np.ndarray, threads: int) -> None:
        """See Candidate."""
        room = len(h_ND) + 20_000
        self.index.init_index(room, M=self.links, ef_construction=128, allow_replace_deleted=True)
        self.index.add_items(h_ND, np.arange(len(h_ND)), num_threads=threads)

    def effort(self, value: int) -> None:
        """See Candidate."""
        self.index.set_ef(value)
        self.index.set_num_threads(1)

    def search(self, q_D: np.ndarray, k: int) -> np.ndarray:
        """See Candidate."""
        found: np.ndarray = self.index.knn_query(q_D, k, num_threads=1)[0][0]
        return found

    def add(self, h_ND: np.ndarray, ids_N: np.ndarray) -> None:
        """See Candidate."""
        self.index.add_items(h_ND, ids_N, num_threads=1)

    def delete(self, ids_N: np.ndarray) -> None:
        """See Candidate."""
        for one in ids_N.tolist():
            self.index.mark_deleted(one)


def candidates(lists: int) -> dict[str, Any]:
    """Name → how to make it. lists: of an inverted file."""
    probes = (8, 16, 24, 32, 48, 64, 96, 128)
    return {
        "faiss IVF SQ8": lambda: Faiss(f"IVF{lists},SQ8", probes),
        "faiss IVF fp16": lambda: Faiss(f"IVF{lists},SQfp16", probes),
        "faiss IVF PQ64x4fs + fp16": lambda: Faiss(f"IVF{lists},PQ64x4fs,Refine(SQfp16)", probes),
        "faiss HNSW32 SQ8": lambda: Faiss("HNSW32_SQ8", (100, 200, 400)),
        "usearch f16": lambda: Usearch("f16"),
        "usearch i8": lambda: Usearch("i8"),
        "hnswlib f32": Hnswlib,
    }
