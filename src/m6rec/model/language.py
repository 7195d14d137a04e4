"""Writing: the states from which a target text is predicted, token by token, under either plan.

Legend: B texts to write, R rows of a source, T tokens of a target, M kept states of all segments,
D network width, N tokens of a segment, S segments.

The target is `[BOS] text`; its row t foretells token t + 1 (the last one [EOS]). Source rows and
the read token [EOS'] are what retrieval and ranking see as well, so that a cached source can be
written from. Under the late plan the target's layers 1…L' are causal within the target alone, with
positions from 0; then it joins the source under the UniLM mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model.m6 import M6
from m6rec.model.masks import REQUEST, Layout, causal
from m6rec.model.plans import (
    SLOTS,
    Rows,
    enter_online,
    positions_like,
    prompt_states,
    put_prompts_first,
    run_online,
    seen_positions,
)

TARGET_SLOT = SLOTS["item"]
TARGET_SEGMENT = 1 << 20
"""A segment number that no source segment has."""


@dataclass(frozen=True)
class SourceRows:
    """What stands before the target, padding at the end: all [B, R], read_B1 the column of [EOS'].

    index_BR: under the full plan token ids (with the brackets); under the late plan rows of the
    kept segment states.
    """

    index_BR: Tensor
    valid_BR: Tensor
    slot_BR: Tensor
    segment_BR: Tensor
    read_B1: Tensor

    def rows(self, x_BRD: Tensor, whole: bool) -> Rows:
        """The source alone, with its vectors, as the plans of reading lay it out."""
        group_BR = torch.zeros_like(self.segment_BR)
        layout = Layout(self.valid_BR, group_BR == 0, self.segment_BR, group_BR)
        return Rows(x_BRD, self.slot_BR, layout, self.read_B1, whole)


def prompted(
    source: SourceRows, x_BRD: Tensor, prompts_PD: Tensor | None
) -> tuple[SourceRows, Tensor]:
    """Soft prompts before the source, as in the plans of reading: its rows, and their vectors.

    index_BR says nothing of the prompts (zero).
    """
    if prompts_PD is None:
        return source, x_BRD
    rows = put_prompts_first(source.rows(x_BRD, whole=False), prompts_PD)
    valid_BR, segment_BR = rows.layout.valid_BT, rows.layout.segment_BT
    index_BR = F.pad(source.index_BR, (len(prompts_PD), 0))
    return SourceRows(index_BR, valid_BR, rows.slot_BR, segment_BR, rows.read_BQ), rows.x_BRD


def target_states(model: M6, ids_BT: Tensor, valid_BT: Tensor, lower: int) -> Tensor:
    """Layers 1…L' of the late plan over targets alone: [B, T, D]."""
    position_BT = positions_like(ids_BT)
    return model.run(model.embed(ids_BT, position_BT), position_BT, causal(valid_BT), range(lower))


def late_writing(
    model: M6, kept_MD: Tensor, source: SourceRows, target: tuple[Tensor, Tensor], lower: int
) -> Tensor:
    """States of the target's rows over kept segment states: [B, T, D].

    target: ids_BT (beginning with [BOS]) and valid_BT.
    """
    ids_BT, valid_BT = target
    states_BRD = F.embedding(source.index_BR, kept_MD)
    source, source_BRD = prompted(source, states_BRD, prompt_states(model, lower))
    h_BTD = target_states(model, ids_BT, valid_BT, lower)
    x_BRD = torch.cat([source_BRD.to(h_BTD.dtype), h_BTD], 1)
    return _online(model, x_BRD, source, valid_BT, lower, whole=False)


def full_writing(
    model: M6, source: SourceRows, target: tuple[Tensor, Tensor], lower: int
) -> Tensor:
    """The same under the full plan: layers 1…L' over source and target at once. [B, T, D]."""
    ids_BT, valid_BT = target
    source, x_BRD = prompted(source, model.tokens(source.index_BR), model.prompts)
    layout = _layout(source, valid_BT)
    mask_BRR = REQUEST[model.config.source](layout)
    position_BR = seen_positions(layout, mask_BRR)
    x_BRD = torch.cat([x_BRD, model.tokens(ids_BT)], 1)
    x_BRD = model.embed_vectors(x_BRD, position_BR)
    h_BRD = model.run(x_BRD, position_BR, mask_BRR, range(lower))
    return _online(model, h_BRD, source, valid_BT, lower, whole=True)


def _layout(source: SourceRows, target_valid_BT: Tensor) -> Layout:
    valid_BR = torch.cat([source.valid_BR, target_valid_BT], 1)
    in_source_BR = torch.cat(
        [torch.ones_like(source.valid_BR), torch.zeros_like(target_valid_BT)], 1
    )
    segment_BT = torch.full_like(target_valid_BT, 1, dtype=torch.long) * TARGET_SEGMENT
    segment_BR = torch.cat([source.segment_BR, segment_BT], 1)
    return Layout(valid_BR, in_source_BR, segment_BR, (~in_source_BR).long())


def _online(
    model: M6,
    x_BRD: Tensor,
    source: SourceRows,
    target_valid_BT: Tensor,
    lower: int,
    whole: bool,
) -> Tensor:
    B, T = target_valid_BT.shape
    slot_BT = source.slot_BR.new_full((B, T), TARGET_SLOT)
    slot_BR = torch.cat([source.slot_BR, slot_BT], 1)
    rows = Rows(x_BRD, slot_BR, _layout(source, target_valid_BT), source.read_B1, whole)
    rows = enter_online(model, rows)
    first = source.slot_BR.shape[1]
    wanted_BT = torch.arange(first, first + T, device=slot_BR.device).expand(B, T)
    return run_online(model, Rows(rows.x_BRD, rows.slot_BR, rows.layout, wanted_BT), lower)
