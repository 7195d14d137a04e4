"""Losses of pretraining over one batch: writing under a plan, and who belongs to whom.

Legend: B examples or pairs, S segments, N tokens of a segment, M states, D width, K projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model import plans
from m6rec.model.language import full_writing, late_writing
from m6rec.model.m6 import M6
from m6rec.model.plans import FIRST_EVENT_SLOT, SegmentStates, SegmentTokens
from m6rec.tasks.retrieval import UNTRAINED_RECENCY
from m6rec.training.batches import NO_LABEL, PairBatch, WritingBatch
from m6rec.training.cross_entropy import cross_entropy_sum

TEMPERATURE = 0.05


def written_states(model: M6, batch: WritingBatch, lower: int) -> Tensor:
    """States of the rows that foretell a word: [labels, D], in reading order."""
    target = (batch.target_BT, batch.valid_BT)
    if batch.plan == "full":
        h_BTD = full_writing(model, batch.source, target, lower)
    else:
        parts = []
        for tokens in batch.segments:
            states = plans.encode_segments(model, tokens, lower)
            states = plans.summarise(states, 1) if batch.plan == "summary" else states
            parts.append(states.h_SKD.flatten(0, 1))
        h_BTD = late_writing(model, torch.cat(parts), batch.source, target, lower)
    return h_BTD[batch.label_BT != NO_LABEL]


def writing_loss(
    model: M6, batch: WritingBatch, lower: int, words: Tensor | None, low: torch.dtype
) -> Tensor:
    """Sum of -log p over all labels.

    words: ids that compete (None: all). Every label must be among them.
    """
    h_ND = written_states(model, batch, lower)
    head, label_N = model.lm_head, batch.label_BT[batch.label_BT != NO_LABEL]
    h_ND = head.transformed(h_ND)
    weight_VD: Tensor = head.decoder.weight
    bias_V: Tensor | None = head.decoder.bias
    if bias_V is None:
        bias_V = weight_VD.new_zeros(len(weight_VD))
    if words is not None:
        place = torch.full((len(weight_VD),), -1, dtype=torch.long, device=h_ND.device)
        place[words] = torch.arange(len(words), device=h_ND.device)
        label_N = place[label_N]
        weight_VD, bias_V = weight_VD.index_select(0, words), bias_V.index_select(0, words)
    return cross_entropy_sum(h_ND, weight_VD, bias_V, label_N, low)


@dataclass(frozen=True)
class PairLosses:
    """Contrast in the batch: of plain means of last-layer states, and of the trained read tokens.

    plain is how retrieval works before any tuning, so that pretraining never costs it; read is the
    late plan with one summary of each segment (paper section 2). anchor: 1 - cosine between the
    plain means of all segments and those of the start.
    """

    plain: Tensor
    read: Tensor
    anchor: Tensor


def pair_losses(
    model: M6, batch: PairBatch, lower: int, start_SD: Tensor | None = None
) -> PairLosses:
    """Losses of pairs; start_SD: what `plain_means` of the start gives for the batch's segments."""
    low, top = [], []
    for tokens in batch.segments:
        lower_states, upper_states = _both_states(model, tokens, lower)
        low.append(plans.summarise(lower_states, 1).h_SKD)
        top.append(plans.summarise(upper_states, 1).h_SKD[:, 0])
    top_SD = torch.cat(top).float()
    valid = torch.ones(len(top_SD), 1, dtype=torch.bool, device=top_SD.device)
    states = SegmentStates(torch.cat(low), valid)
    plain = contrast(
        _weighted_mean(top_SD, batch),
        top_SD[batch.items.index_BG[:, 0]],
        batch.item_B,
        torch.tensor(1 / TEMPERATURE, device=top_SD.device),
    )
    user_BD = plans.late(model, states, batch.users, lower)[:, 0]
    item_BD = plans.late(model, states, batch.items, lower)[:, 0]
    read = contrast(
        model.project_user(user_BD).float(),
        model.project_item(item_BD).float(),
        batch.item_B,
        model.log_scale.exp().clamp(max=100),
    )
    anchor = top_SD.new_zeros(())
    if start_SD is not None:
        anchor = (1 - F.cosine_similarity(top_SD, start_SD, dim=1)).mean()
    return PairLosses(plain, read, anchor)


@torch.no_grad()
def plain_means(model: M6, batch: PairBatch) -> Tensor:
    """Means of the last layer's states of every segment: [S, D]."""
    layers = model.config.layers
    states = [plans.summarise(plans.encode_segments(model, s, layers), 1) for s in batch.segments]
    return torch.cat([state.h_SKD[:, 0] for state in states]).float()


def contrast(x_BK: Tensor, y_BK: Tensor, item_B: Tensor, scale: Tensor) -> Tensor:
    """Mean InfoNCE of both directions by cosine; rows about the same item are no negatives."""
    logits_BB = scale * (F.normalize(x_BK, dim=1) @ F.normalize(y_BK, dim=1).T)
    same_BB = item_B[:, None] == item_B[None, :]
    same_BB = same_BB & ~torch.eye(len(item_B), dtype=torch.bool, device=item_B.device)
    logits_BB = logits_BB.masked_fill(same_BB, float("-inf"))
    label_B = torch.arange(len(item_B), device=item_B.device)
    return (F.cross_entropy(logits_BB, label_B) + F.cross_entropy(logits_BB.T, label_B)) / 2


def _both_states(
    model: M6, tokens: SegmentTokens, lower: int
) -> tuple[SegmentStates, SegmentStates]:
    """States of segments after layer L' and after the last one."""
    x_SMD, texts = plans.begin_texts(model, tokens)
    where = texts.position_SM, texts.mask_SMM
    low_SMD = model.run(x_SMD, *where, range(lower))
    high_SMD = model.run(low_SMD, *where, range(lower, model.config.layers))
    return texts.states(low_SMD), texts.states(model.finish(high_SMD))


def _weighted_mean(h_SD: Tensor, batch: PairBatch) -> Tensor:
    """Mean of a source's segments, older events weighing less: [B, D]."""
    index_BG, slot_BG = batch.users.index_BG[:, :-1], batch.users.slot_BG[:, :-1]
    age_BG = (slot_BG - FIRST_EVENT_SLOT).clamp(min=0)
    weight_BG = (UNTRAINED_RECENCY * age_BG).exp() * (index_BG >= 0)
    h_BGD = F.embedding(index_BG.clamp(min=0), h_SD)
    return (h_BGD * weight_BG[..., None]).sum(1) / weight_BG.sum(1, keepdim=True)
