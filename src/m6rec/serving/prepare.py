"""Segment states → rows of the online layers, source and candidates apart.

What a candidate brings to the first online layer knows nothing of the user: the row that is read,
its queries, and attention over its own rows. So it can be computed once for a catalogue and kept.

Legend: B requests, S segments, G segments of a request, N candidates, R rows of a source, T rows of
a candidate, M rows that ask in the first online layer, D width, H query heads, I = H·(head width).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates, enter_online, lay_side_by_side
from m6rec.model.residual import ItemResidual
from m6rec.model.shared_prefix import over_own
from m6rec.records import M6Error

ROWS_AT_ONCE = 16_384


class PackingError(M6Error, ValueError):
    """Requests that are not laid out as the engine reads them."""


@dataclass(frozen=True)
class Source:
    """A user as the online layers read them: valid rows only, [EOS'] last. rows_RD."""

    rows_RD: Tensor

    def __len__(self) -> int:
        return len(self.rows_RD)


@dataclass(frozen=True)
class First:
    """What candidates bring to the first online layer: q_NMI, own_NMI, and lse_NMH (float32)."""

    q_NMI: Tensor
    own_NMI: Tensor
    lse_NMH: Tensor


@dataclass(frozen=True)
class Candidates:
    """Candidates as the online layers read them, [EOS] last, padding first: rows_NTD, valid_NT.

    first: prepared ahead, or None. With it and one online layer only the read row is kept.
    """

    rows_NTD: Tensor
    valid_NT: Tensor
    first: First | None = None

    def __len__(self) -> int:
        return len(self.rows_NTD)

    def take(self, index: Tensor | slice) -> Candidates:
        """The chosen candidates, in float32."""
        rows, first = _chosen(self.rows_NTD, index).float(), self.first
        if first is not None:
            parts = (first.q_NMI, first.own_NMI, first.lse_NMH)
            first = First(*(_chosen(part, index).float() for part in parts))
        return Candidates(rows, _chosen(self.valid_NT, index), first)

    def keep_as(self, dtype: torch.dtype) -> Candidates:
        """The same in fewer bytes; log-sum-exps stay float32."""
        first = self.first
        if first is not None:
            first = replace(first, q_NMI=first.q_NMI.to(dtype), own_NMI=first.own_NMI.to(dtype))
        return Candidates(self.rows_NTD.to(dtype), self.valid_NT, first)

    def bytes_each(self) -> float:
        """Memory of one candidate."""
        first = self.first
        parts = [] if first is None else [first.q_NMI, first.own_NMI, first.lse_NMH]
        total = sum(part.nbytes for part in (self.rows_NTD, self.valid_NT, *parts))
        return total / max(1, len(self))


def read_source(
    model: M6,
    states: SegmentStates,
    packed: Packed,
    prompts_PD: Tensor | None,
    residual: ItemResidual | None = None,
) -> list[Source]:
    """Sources of B requests that have no candidates, each by itself. prompts: after layer L'.

    Raises PackingError where something else than [EOS'] stands last.
    """
    if bool((packed.group_BG != 0).any()):
        raise PackingError("a source has segments of group 0 only; split candidates off first")
    rows_BRD, valid_BR = _enter(model, states, packed, prompts_PD, residual)
    return [Source(row[valid]) for row, valid in zip(rows_BRD, valid_BR, strict=True)]


def read_candidates(
    model: M6,
    states: SegmentStates,
    packed: Packed,
    online: range,
    ahead: bool = True,
    residual: ItemResidual | None = None,
) -> Candidates:
    """N candidates, one to a row of `packed`, each of one group and without a source.

    online: the layers that will run over them. ahead: prepares the first of them; where it is the
    only one, serving/segment_rows.py does that.
    """
    without_source(packed)
    width = packed.index_BG.shape[1] * states.h_SKD.shape[1]
    size = max(1, ROWS_AT_ONCE // width)
    parts = []
    for start in range(0, len(packed.index_BG), size):
        some = slice(start, start + size)
        rows_NTD, valid_NT = _enter(model, states, packed.rows(some), None, residual)
        part = Candidates(rows_NTD, valid_NT)
        parts.append(_ahead(model, part, online) if ahead and len(online) > 1 else part)
    return join_candidates(parts)


def without_source(packed: Packed) -> None:
    """Raises PackingError for what is no candidates alone."""
    if not len(packed.index_BG):
        raise PackingError("there is no candidate")
    if bool((packed.group_BG == 0).any()):
        raise PackingError("a candidate has no segments of group 0; split the source off first")


def _ahead(model: M6, some: Candidates, online: range) -> Candidates:
    block = model.blocks[online.start]
    assert isinstance(block, Block)
    x_NTD = some.rows_NTD
    z_1NTD = (block.attention_norm(x_NTD) if block.pre else x_NTD)[None]
    valid_1NT = some.valid_NT[None]
    place_1NT = (valid_1NT.long().cumsum(2) - 1).clamp(min=0)
    mine = over_own(block, z_1NTD, place_1NT, valid_1NT, last=False)
    parts = (mine.q_BMI, mine.own.out_BMI, mine.own.lse_BMH)
    first = First(*(part[0].reshape(len(some), -1, part.shape[-1]) for part in parts))
    return Candidates(x_NTD, some.valid_NT, first)


def _enter(
    model: M6,
    states: SegmentStates,
    packed: Packed,
    prompts_PD: Tensor | None,
    residual: ItemResidual | None,
) -> tuple[Tensor, Tensor]:
    """Rows as they enter the online layers, valid ones at the right end: [B, R, D], [B, R]."""
    residual_BGD = None if residual is None else residual.for_segments(packed.code_BG)
    used = torch.unique(packed.index_BG.clamp(min=0))
    some = SegmentStates(states.h_SKD[used].float(), states.valid_SK[used])
    place = torch.searchsorted(used, packed.index_BG.clamp(min=0))
    packed = replace(packed, index_BG=torch.where(packed.index_BG >= 0, place, -1))
    rows = enter_online(model, lay_side_by_side(some, packed, prompts_PD), residual_BGD)
    valid_BR = rows.layout.valid_BT
    R = valid_BR.shape[1]
    at_R = torch.arange(R, device=valid_BR.device)
    last_B = torch.where(valid_BR, at_R, -1).amax(1)
    if not torch.equal(last_B, rows.read_BQ[:, -1]):
        raise PackingError("the read token must be the last segment of a region, and be there")
    order_BR = torch.sort(valid_BR.long(), dim=1, stable=True).indices
    order_BR = order_BR[:, R - int(valid_BR.sum(1).max()) :]
    x_BRD = torch.take_along_dim(rows.x_BRD, order_BR[..., None], 1)
    return x_BRD, valid_BR.gather(1, order_BR)


def join_candidates(parts: list[Candidates]) -> Candidates:
    """Candidates below each other; shorter ones get padding in front."""
    T = max(part.valid_NT.shape[1] for part in parts)
    rows = torch.cat([_pad_front(part.rows_NTD, T) for part in parts])
    valid = torch.cat([_pad_front(part.valid_NT, T) for part in parts])
    firsts = [part.first for part in parts if part.first is not None]
    if not firsts:
        return Candidates(rows, valid)
    if len(firsts) != len(parts):
        raise PackingError("candidates prepared ahead and others do not mix")
    M = max(first.q_NMI.shape[1] for first in firsts)
    q, own, lse = (
        torch.cat([_pad_front(getattr(first, name), M) for first in firsts])
        for name in ("q_NMI", "own_NMI", "lse_NMH")
    )
    return Candidates(rows, valid, First(q, own, lse))


def _chosen(value: Tensor, index: Tensor | slice) -> Tensor:
    """Rows of a tensor; ten times as fast as indexing with brackets."""
    return value[index] if isinstance(index, slice) else value.index_select(0, index)


def _pad_front(value: Tensor, width: int) -> Tensor:
    """Zeros before the second axis."""
    missing = width - value.shape[1]
    return value if not missing else F.pad(value, (0, 0) * (value.dim() - 2) + (missing, 0))


def split(packed: Packed, request: int = 0) -> tuple[Packed, Packed]:
    """One request of `packed` as its source [1, G] and its candidates, one to a row."""
    row = packed.rows(slice(request, request + 1))
    groups_G = row.group_BG[0]
    groups = sorted(set(groups_G.tolist()) - {0})
    found = [torch.nonzero(groups_G == group)[:, 0] for group in groups]
    source = _columns(row, torch.nonzero(groups_G == 0)[:, 0])
    parts = [_columns(row, columns[row.index_BG[0, columns] >= 0]) for columns in found]
    return source, _stack([part for part in parts if part.index_BG.shape[1]])


def _columns(packed: Packed, columns_G: Tensor) -> Packed:
    """Some columns, the last of them read."""
    read_BQ = torch.full((len(packed.index_BG), 1), len(columns_G) - 1)
    index, slot, group, code = (
        value[:, columns_G]
        for value in (packed.index_BG, packed.slot_BG, packed.group_BG, packed.code_BG)
    )
    return Packed(index, slot, group, read_BQ.to(index.device), code)


def _stack(parts: list[Packed]) -> Packed:
    """Candidates of one row each → rows; empty columns stand in front of the shorter ones."""
    G = max(part.index_BG.shape[1] for part in parts)

    def stacked(name: str, fill: int) -> Tensor:
        values = [getattr(part, name) for part in parts]
        return torch.cat([F.pad(v, (G - v.shape[1], 0), value=fill) for v in values])

    group_BG = stacked("group_BG", 1).clamp(max=1)
    read_BQ = torch.full((len(parts), 1), G - 1, device=group_BG.device)
    return Packed(
        stacked("index_BG", -1), stacked("slot_BG", 0), group_BG, read_BQ, stacked("code_BG", -1)
    )
