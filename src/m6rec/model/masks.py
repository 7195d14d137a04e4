"""Who may attend to whom. A mask is a predicate over token pairs; predicates are combined.

Legend: B batch, Q query tokens, K key tokens (Q = K = T here).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from m6rec.config import Source


@dataclass(frozen=True)
class Layout:
    """What the masks need to know about each token of a batch; all tensors are [B, T].

    valid: False for padding. source: in the bidirectional region. segment: which piece of text a
    token came from. group: 0 for the source, 1… for each candidate answered in the same pass
    (candidates never see each other).
    """

    valid_BT: Tensor
    source_BT: Tensor
    segment_BT: Tensor
    group_BT: Tensor


Predicate = Callable[[Layout], Tensor]
"""Layout → bool tensor broadcastable to [B, Q, K]; True where q may attend to k."""


def key_is_valid(layout: Layout) -> Tensor:
    """k is not padding."""
    return layout.valid_BT[:, None, :]


def key_in_source(layout: Layout) -> Tensor:
    """k lies in the bidirectional region."""
    return layout.source_BT[:, None, :]


def key_not_later(layout: Layout) -> Tensor:
    """k ≤ q in the order of the sequence."""
    T = layout.valid_BT.shape[1]
    order = torch.arange(T, device=layout.valid_BT.device)
    return (order[None, :] <= order[:, None])[None]


def same_segment(layout: Layout) -> Tensor:
    """q and k come from the same piece of text."""
    return layout.segment_BT[:, :, None] == layout.segment_BT[:, None, :]


def same_group(layout: Layout) -> Tensor:
    """q and k belong to the same candidate (or both to the source)."""
    return layout.group_BT[:, :, None] == layout.group_BT[:, None, :]


def all_of(*predicates: Predicate) -> Predicate:
    """True where every predicate is."""

    def combined(layout: Layout) -> Tensor:
        out = predicates[0](layout)
        for predicate in predicates[1:]:
            out = out & predicate(layout)
        return out

    return combined


def any_of(*predicates: Predicate) -> Predicate:
    """True where at least one predicate is."""

    def combined(layout: Layout) -> Tensor:
        out = predicates[0](layout)
        for predicate in predicates[1:]:
            out = out | predicate(layout)
        return out

    return combined


unilm: Predicate = all_of(key_is_valid, any_of(key_in_source, all_of(same_group, key_not_later)))
"""UniLM (paper section 1): `k < P or k <= q`; the source must come first. A candidate's past ends
where the candidate begins."""

causal_source: Predicate = all_of(key_is_valid, key_not_later, any_of(key_in_source, same_group))
"""The same where the source, too, sees only what stands before it."""

REQUEST: dict[Source, Predicate] = {"bidirectional": unilm, "causal": causal_source}
"""The mask of whole requests, by how the source is read."""

within_segment: Predicate = all_of(key_is_valid, same_segment)
"""The first L' layers of the late plan (paper section 3): each segment sees only itself."""


def causal(valid_BT: Tensor) -> Tensor:
    """Each token sees itself and what stands before it: [B, T, T]."""
    T = valid_BT.shape[1]
    past_TT = torch.ones(T, T, dtype=torch.bool, device=valid_BT.device).tril()
    return valid_BT[:, None, :] & past_TT


def text_mask(valid_BT: Tensor, source: Source) -> Tensor:
    """Who sees whom within one text of a source: broadcastable to [B, T, T]."""
    return causal(valid_BT) if source == "causal" else valid_BT[:, None, :]
