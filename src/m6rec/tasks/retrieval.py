"""Retrieval: user text and item text meet in 128 dimensions (paper section 2).

Legend: B users, N items scored, I items of the catalogue, K projection width, D network width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import Settings
from m6rec.data.requests import Requests
from m6rec.data.stances import AGAINST, Stances, stances
from m6rec.data.verdicts import Scale
from m6rec.model.m6 import M6
from m6rec.model.plans import FIRST_EVENT_SLOT, READ_TARGET, Packed
from m6rec.model.residual import ItemResidual
from m6rec.tasks.packing import Packer, join, pack, read_column
from m6rec.tasks.segments import Plan, SegmentTable, below_is_frozen, read

ITEMS_AT_ONCE = 2048
USERS_AT_ONCE = 512
TIE_BREAK = 1e-5
"""Most that popularity adds to a cosine: more than its rounding error, less than any difference."""
SAME = 0.9
"""Cosine from which on an item counts as the very thing that was disliked."""
NAMED = 1.0
"""Taken off the similarity of an item that is disliked by name (id, or the words of its title)."""
UNTRAINED_RECENCY = -0.693
"""ln ½: without training, each event of the history counts half as much as the next one."""


class RetrievalSettings(Settings):
    """What retrieval reads and how.

    plan: late or full. online_layers: L - L' (0: a region is read as the mean of its segments,
    which needs no training). segment_states: k summary vectors or "all".
    max_history: newest events read. profile: whether the user's attributes are read.
    recency: whether events say how long ago they were.
    dropout: on cached states, in training. event_dropout: share of past events left out, in
    training (never the newest). negatives: items beside the batch's own when the catalogue has
    more than `full_softmax` items. new_item_parity: new items are to be found so often, as a share
    of known ones (collaborative/dial.py). text_only: what people chose next is left aside.
    residual: opt-in collaborative residual, with its own `residual_size` and `residual_dropout`.
    """

    plan: Plan = "late"
    online_layers: int = Field(default=1, ge=0)
    segment_states: int | Literal["all"] = 1
    max_history: int = Field(default=20, ge=1)
    profile: bool = False
    recency: bool = False
    dropout: float = Field(default=0.1, ge=0, lt=1)
    event_dropout: float = Field(default=0.0, ge=0, lt=1)
    full_softmax: int = Field(default=6000, ge=1)
    negatives: int = Field(default=2048, ge=0)
    new_item_parity: float = Field(default=0.5, ge=0)
    text_only: bool = False
    residual: bool = False
    residual_size: int = Field(default=64, ge=1)
    residual_dropout: float = Field(default=0.3, ge=0, lt=1)


def contrastive_loss(
    x_BK: Tensor, y_NK: Tensor, target_B: Tensor, log_scale: Tensor, log_q_N: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy of each user's item among N (paper section 2; τ = exp(-log_scale)).

    x and y are unit vectors; target_B counts into N. log_q_N: logarithm of how often each item is
    drawn; subtracting it makes sampled negatives stand for the whole catalogue (logQ correction,
    doi 10.1145/3298689.3346996).
    """
    logits_BN = log_scale.exp() * (x_BK.float() @ y_NK.float().T)
    if log_q_N is not None:
        logits_BN = logits_BN - log_q_N
    return F.cross_entropy(logits_BN, target_B)


class Queries:
    """What R requests look for; vectors are made when they are first asked for.

    encode: histories → unit vectors [R, K].

    The one place that says what a no does to retrieval, for Python, the server and the command
    line.
    """

    def __init__(self, parts: Stances, encode: Callable[[Requests], np.ndarray]) -> None:
        self.parts, self._encode = parts, encode

    def take(self, rows: np.ndarray) -> Queries:
        """Those of some requests."""
        disliked = self.parts.disliked
        disliked = None if disliked is None else disliked.take(rows)
        return Queries(Stances(self.parts.liked.take(rows), disliked), self._encode)

    @cached_property
    def is_blank(self) -> np.ndarray:
        """Whether each user is for nothing: bool [R]."""
        return self.parts.is_blank

    @cached_property
    def is_against(self) -> np.ndarray:
        """Whether each user is against anything: bool [R]."""
        return self.parts.is_against

    @cached_property
    def named(self) -> list[frozenset[str]]:
        """What each user is against by name: ids, and words in lower case."""
        return self.parts.named

    @cached_property
    def liked(self) -> np.ndarray:
        """Unit vectors of what each user is for: float32 [R, K]."""
        return self._encode(self.parts.liked)

    @cached_property
    def disliked(self) -> np.ndarray:
        """The same of what they are against, 0 where that is nothing."""
        rows = np.flatnonzero(self.is_against)
        if self.parts.disliked is None:
            return np.zeros_like(self.liked)
        vector_SK = self._encode(self.parts.disliked.take(rows))
        disliked_RK = np.zeros((len(self.is_against), vector_SK.shape[1]), dtype=np.float32)
        disliked_RK[rows] = vector_SK
        return disliked_RK

    @cached_property
    def vectors(self) -> np.ndarray:
        """Both in one vector: its inner product with an item is the score. float32 [R, K].

        Taken off is what the disliked has beside the liked: what both share speaks for an item as
        much as against it. The whole of it where nothing is liked, else AGAINST of it.
        """
        if not self.is_against.any():
            return self.liked
        shared_R1 = (self.disliked * self.liked).sum(1, keepdims=True)
        share_R1 = np.where(self.is_blank, 1.0, AGAINST).astype(np.float32)[:, None]
        return np.asarray(self.liked - share_R1 * (self.disliked - shared_R1 * self.liked))


class Retriever:
    """Two towers of one network over one segment table."""

    def __init__(
        self,
        model: M6,
        table: SegmentTable,
        packer: Packer,
        settings: RetrievalSettings,
        residual: ItemResidual | None = None,
    ) -> None:
        self.model, self.table, self.packer = model, table, packer
        self.settings, self.residual = settings, residual

    @property
    def scale(self) -> Scale:
        """Of ratings in histories: the one that the templates know."""
        return self.packer.scale

    def pack_users(self, requests: Requests) -> Packed:
        """Source segments and [EOS'] of each request: what its user is for (data/stances.py)."""
        return self._pack(stances(requests, self.scale).liked)

    def _pack(self, requests: Requests) -> Packed:
        return pack([self.packer.source(requests)])

    def pack_items(self, texts: Sequence[str], item_ids: Sequence[str | None]) -> Packed:
        """Text and [EOS] of each item."""
        item = self.packer.items(texts, item_ids)
        return pack([join([item, read_column(len(item), READ_TARGET)])], first_group=1)

    def states(self, packed: Packed) -> Tensor:
        """The network's state at the one read token: [B, D]."""
        training = self.model.training
        residual_BGD = None
        if self.residual is not None:
            residual_BGD = self.residual.for_segments(packed.code_BG.to(self.table.device))
        dropout = self.settings.dropout if training else 0.0
        frozen = below_is_frozen(self.model, self.table.lower)
        out = read(self.table, packed, self.settings.plan, frozen, residual_BGD, dropout)
        return out[:, 0]

    def user_vectors(self, packed: Packed) -> Tensor:
        """Unit vectors [B, K] from the states at [EOS']."""
        if self.model.training and self.settings.event_dropout:
            packed = drop_events(packed, self.settings.event_dropout)
        return F.normalize(self.model.project_user(self.states(packed)).float(), dim=1)

    def item_vectors(self, packed: Packed) -> Tensor:
        """Unit vectors [N, K] from the states at [EOS], the residual added before the last norm."""
        y_NK = F.normalize(self.model.project_item(self.states(packed)).float(), dim=1)
        if self.residual is None:
            return y_NK
        code_N = packed.code_BG[:, 0].to(self.table.device)
        return F.normalize(y_NK + self.residual.for_items(code_N).float(), dim=1)

    def encode_users(self, requests: Requests) -> np.ndarray:
        """What items are searched by, through inner products: float32 [R, K]; see `Queries`."""
        return self.queries(requests).vectors

    def queries(self, requests: Requests) -> Queries:
        """What each user is for and against, each read as a history of its own."""
        return Queries(stances(requests, self.scale), self._encode)

    @torch.no_grad()
    def _encode(self, requests: Requests) -> np.ndarray:
        return self._in_parts(self._pack(requests), self.user_vectors, USERS_AT_ONCE)

    @torch.no_grad()
    def encode_items(self, texts: Sequence[str], item_ids: Sequence[str | None]) -> np.ndarray:
        """float32 [N, K]; zero where nothing of an item can be read, so that its similarity is 0.

        Texts of unknown words alone have one vector in common, which says nothing of the item. An
        item with a collaborative residual has that to go by.
        """
        packed = self.pack_items(texts, item_ids)
        y_NK = self._in_parts(packed, self.item_vectors, ITEMS_AT_ONCE)
        always = self.packer.verbalizer.templates.own_words("item")
        unread_N = self.table.tells_nothing(packed.index_BG[:, 0].numpy(), always)
        y_NK[unread_N & (packed.code_BG[:, 0].numpy() < 0)] = 0
        return y_NK

    def _in_parts(
        self, packed: Packed, vectors: Callable[[Packed], Tensor], size: int
    ) -> np.ndarray:
        total = len(packed.index_BG)
        if 0 < total <= size:
            return vectors(packed).cpu().numpy()
        parts = [vectors(packed.rows(slice(i, i + size))) for i in range(0, total, size)]
        if not parts:
            return np.zeros((0, self.model.config.projection), dtype=np.float32)
        return torch.cat(parts).cpu().numpy()

    @torch.no_grad()
    def start_projections(self, packed_items: Packed) -> None:
        """Starts both projections from the principal components of the items' states.

        The first K directions keep as much of the backbone's own similarity as K dimensions can,
        so training goes on from retrieval that works untrained.
        """
        parts = [
            self.states(packed_items.rows(slice(i, i + ITEMS_AT_ONCE))).float()
            for i in range(0, len(packed_items.index_BG), ITEMS_AT_ONCE)
        ]
        h_ID = torch.cat(parts)
        mean_D = h_ID.mean(0)
        directions = torch.linalg.svd(h_ID - mean_D, full_matrices=False).Vh
        weight_KD = torch.zeros_like(self.model.project_item.weight)
        K = min(len(directions), len(weight_KD))
        weight_KD[:K] = directions[:K]
        for projection in (self.model.project_user, self.model.project_item):
            projection.weight.copy_(weight_KD)
            projection.bias.copy_(-(weight_KD @ mean_D))

    @torch.no_grad()
    def start_untrained(self, packed_items: Packed) -> None:
        """Makes retrieval work with no training at all: means of segment states, then the PCA.

        Read tokens are the plain mean of their region, the weight of an event halving with each
        newer one (chosen on the valid rows of amazon_industrial; docs/tuning.md).
        """
        self.model.read_gate.copy_(torch.tensor([1.0, 0.0]))
        self.model.read_token.zero_()
        self.model.recency.fill_(UNTRAINED_RECENCY)
        self.start_projections(packed_items)


def less_near(share_N: np.ndarray, near_RN: np.ndarray) -> np.ndarray:
    """What most people chose, less what is near something disliked: float32 [R, N].

    share: of all choices; near: similarity to what is disliked, 0 where nothing is. From a
    similarity of SAME on nothing is left, and such an item comes after those that nobody chose.
    """
    left_RN = (1 - near_RN / SAME).clip(0, 1)
    return np.asarray(share_N * left_RN - TIE_BREAK * near_RN.clip(0, 1), dtype=np.float32)


def drop_events(packed: Packed, share: float) -> Packed:
    """Leaves out a random share of past events, never the newest one nor what is no event."""
    older_BG = packed.slot_BG > FIRST_EVENT_SLOT
    gone_BG = older_BG & (torch.rand(packed.slot_BG.shape) < share).to(older_BG.device)
    index_BG = torch.where(gone_BG, -1, packed.index_BG)
    return Packed(index_BG, packed.slot_BG, packed.group_BG, packed.read_BQ, packed.code_BG)
