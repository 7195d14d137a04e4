"""States after layer L' out of a segment cache, and into it (stores/states/cache.py).

Legend: S segments, K states kept of a segment, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch

from m6rec.model.checkpoint import fingerprint
from m6rec.model.m6 import M6
from m6rec.model.plans import SegmentStates
from m6rec.stores.states.cache import SegmentCache
from m6rec.stores.states.codec import States

ROWS_AT_ONCE = 4096
"""Rows that are asked for in one transaction: more than a request has."""
Ids = Sequence[Sequence[int]]


def below_fingerprint(model: M6, lower: int) -> str:
    """Names all that states after layer L' = lower depend on, adapters included.

    That is the tensors of the embedding and of layers 1…L', and the network's settings. Adapters
    in the online layers, prompts and projections make no difference.
    """
    acts = ("tokens.", "positions.", "embed_norm.", *(f"blocks.{index}." for index in range(lower)))
    below = {name: t for name, t in model.state_dict().items() if name.startswith(acts)}
    settings = model.config.model_dump_json()
    return hashlib.sha256(f"{settings} {fingerprint(below)}".encode()).hexdigest()


def recall(
    cache: SegmentCache,
    ids: Ids,
    rows: Sequence[int],
    place: Callable[[Sequence[int], SegmentStates], None],
) -> list[int]:
    """Hands the states that the cache holds to `place`, with their rows; returns the other rows."""
    missing: list[int] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        found = cache.get([ids[row] for row in part])
        there_S = found.length_S > 0
        states = States(found.h_SKD[there_S], found.length_S[there_S])
        place([row for row, there in zip(part, there_S, strict=True) if there], as_tensors(states))
        missing += [row for row, there in zip(part, there_S, strict=True) if not there]
    return missing


def keep(cache: SegmentCache, ids: Ids, rows: Sequence[int], part: SegmentStates) -> SegmentStates:
    """Puts the rows' states into the cache; returns them as it will give them back."""
    h_SKD = part.h_SKD.half().cpu().numpy()
    length_S = part.valid_SK.sum(1).cpu().numpy().astype(np.int64)
    return as_tensors(cache.put([ids[row] for row in rows], States(h_SKD, length_S)))


def as_tensors(states: States) -> SegmentStates:
    """The same for the network."""
    return SegmentStates(torch.from_numpy(states.h_SKD), torch.from_numpy(states.valid_SK))
