"""The segment cache: states after layer L' by what they were made of.

The key of a segment is a hash of everything its states depend on: the weights that act below L'
(the backbone's and any adapter's), the network's shape, L', how many states are kept, in which
form, and the segment's token ids. A changed title or a new model misses by itself, and nothing is
ever invalidated by hand.

Legend: S segments, K states of a segment, D width.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from m6rec.stores.states.base import StateStore
from m6rec.stores.states.codec import VERSION, Form, States, decode, encode

KEY_SIZE = 16


@dataclass(frozen=True)
class StateCache:
    """A store, and the form in which states are written to it.

    int8 takes half the room and changes states a little (docs/cache.md has the figures).
    """

    store: StateStore
    form: Form = "fp16"

    def segments(
        self, fingerprint: str, lower: int, segment_states: int | Literal["all"], width: int
    ) -> SegmentCache:
        """The states of one network after its layer L' = lower. width is D.

        fingerprint: of all that acts below L' and of the network's shape.
        """
        made_of = [VERSION, fingerprint, lower, segment_states, width, self.form]
        scope = hashlib.sha256(json.dumps(made_of).encode()).digest()
        return SegmentCache(self.store, scope, width, self.form)


class SegmentCache:
    """States by token ids, within one scope. hits, misses: segments asked for until now."""

    def __init__(self, store: StateStore, scope: bytes, width: int, form: Form) -> None:
        self.store, self.width, self.form = store, width, form
        self._scope = hashlib.blake2b(scope, digest_size=KEY_SIZE)
        self.hits = self.misses = 0

    def key(self, ids: Sequence[int]) -> bytes:
        """16 bytes for a segment's token ids."""
        made = self._scope.copy()
        made.update(array("i", ids))
        return made.digest()

    def get(self, segments: Sequence[Sequence[int]]) -> States:
        """States of segments, given as token ids, in one transaction; length 0: not there."""
        keys = [self.key(ids) for ids in segments]
        states = decode(keys, self.store.get(keys), self.width)
        hits = int((states.length_S > 0).sum())
        self.hits += hits
        self.misses += len(keys) - hits
        return states

    def put(self, segments: Sequence[Sequence[int]], states: States) -> States:
        """Keeps states in one transaction and returns them as `get` gives them from now on.

        So an answer does not depend on whether a state was cached before. Segments without a state
        or with one that is not finite are not kept, and returned as they are.
        """
        whole_SK = np.isfinite(states.h_SKD).all(2) | ~states.valid_SK
        kept_S = np.flatnonzero(whole_SK.all(1) & (states.length_S > 0))
        if len(kept_S) == 0:
            return states
        keys = [self.key(segments[s]) for s in kept_S.tolist()]
        chosen = States(states.h_SKD[kept_S], states.length_S[kept_S])
        values = encode(keys, chosen, self.form)
        self.store.put(dict(zip(keys, values, strict=True)))
        h_SKD = states.h_SKD.astype(np.float16)
        read_SKD = decode(keys, values, self.width).h_SKD
        h_SKD[kept_S, : read_SKD.shape[1]] = read_SKD
        return States(h_SKD, states.length_S)
