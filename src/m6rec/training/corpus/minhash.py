"""Near duplicates by MinHash and locality-sensitive hashing, in numpy.

Broder 1997 (doi 10.1109/SEQUEN.1997.666900); banding as in Leskovec et al., Mining of Massive
Datasets, chapter 3. Legend: N texts, P hash functions, G shingles of all texts.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

SHINGLE = 4
"""Words that make a shingle."""
BANDS, ROWS = 8, 4
"""P = BANDS · ROWS; two texts are compared when they agree in all rows of a band."""
SEED = 12


def signatures(texts: Sequence[str]) -> np.ndarray:
    """uint32 [N, P]: smallest hash of the shingles under each of P functions."""
    hashes: list[int] = []
    starts = np.zeros(len(texts), dtype=np.int64)
    for index, text in enumerate(texts):
        starts[index] = len(hashes)
        words = re.findall(r"\w+", text.lower()) or [""]
        for first in range(max(1, len(words) - SHINGLE + 1)):
            hashes.append(zlib.crc32(" ".join(words[first : first + SHINGLE]).encode()))
    shingle_G = np.array(hashes, dtype=np.uint64)
    factors = np.random.default_rng(SEED).integers(1, 2**31, (BANDS * ROWS, 2), dtype=np.uint64)
    out_NP = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    for column, (a, b) in enumerate(factors):
        mixed_G = ((shingle_G * (a | np.uint64(1)) + b) >> np.uint64(13)).astype(np.uint32)
        out_NP[:, column] = np.minimum.reduceat(mixed_G, starts)
    return out_NP


def near_duplicates(texts: Sequence[str], likeness: float = 0.8) -> np.ndarray:
    """bool [N]: True for a text that is (almost) an earlier one.

    likeness: estimated Jaccard similarity of the two sets of shingles.
    """
    repeats_N = np.zeros(len(texts), dtype=bool)
    if not texts:
        return repeats_N
    signature_NP = signatures(texts)
    seen: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(BANDS)]
    for index, row_P in enumerate(signature_NP):
        keys = [row_P[band * ROWS : (band + 1) * ROWS].tobytes() for band in range(BANDS)]
        rivals = sorted({i for table, key in zip(seen, keys, strict=True) for i in table[key][:8]})
        if rivals:
            alike = (signature_NP[rivals] == row_P).mean(1)
            repeats_N[index] = bool((alike >= likeness).any())
        if not repeats_N[index]:
            for table, key in zip(seen, keys, strict=True):
                table[key].append(index)
    return repeats_N
