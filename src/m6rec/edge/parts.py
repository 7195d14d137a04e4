"""The late plan in three parts that a device calls: text → state, history → vector, item → vector.

Each is a module of tensors over the one network, and the reference that an exported graph is held
against. A device keeps one state of a segment (k = 1), so a history is one row for each event.

Legend: S segments, N tokens of a segment, G events of a history (oldest first), I items, R rows,
P soft prompts, D width, K projection width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.masks import Layout
from m6rec.model.plans import Rows, SegmentTokens


class Encoder(nn.Module):
    """Layers 1…L' over texts, each alone, and the mean of their states."""

    def __init__(self, model: M6, lower: int) -> None:
        super().__init__()
        self.model, self.lower = model, lower

    def forward(self, ids_SN: Tensor) -> Tensor:
        """Token ids of bracketed texts, padded with [PAD] → states [S, D]."""
        valid_SN = ids_SN != self.model.config.special.pad
        tokens = SegmentTokens(ids_SN.long(), valid_SN)
        h_SND = plans.encode_segments(self.model, tokens, self.lower).h_SKD
        weight_SN1 = valid_SN[..., None].to(h_SND.dtype)
        total_SD: Tensor = (h_SND * weight_SN1).sum(1)
        return total_SD / weight_SN1.sum(1)


class UserTower(nn.Module):
    """Layers L'+1…L over a history, and the unit vector at [EOS']."""

    def __init__(self, model: M6, lower: int) -> None:
        super().__init__()
        self.model, self.lower = model, lower
        prompts_PD, reads_2D = fixed_states(model, lower)
        self.prompts_PD, self.read_D = prompts_PD, reads_2D[plans.READ_SOURCE]

    def forward(self, h_GD: Tensor) -> Tensor:
        """States of events, oldest first → [K]."""
        G = len(h_GD)
        ages = range(G - 1, -1, -1)
        slots = [*(plans.slot("event", age, self.model.config) for age in ages)]
        slot_1R = torch.tensor([[*slots, plans.READ_SOURCE_SLOT]])
        x_1RD = torch.cat([h_GD, self.read_D[None]])[None]
        rows = Rows(x_1RD, slot_1R, _one_region(x_1RD, source=True), torch.tensor([[G]]))
        if self.prompts_PD is not None:
            rows = plans.put_prompts_first(rows, self.prompts_PD)
        read_1QD = plans.run_online(self.model, plans.enter_online(self.model, rows), self.lower)
        return F.normalize(self.model.project_user(read_1QD[0, 0]), dim=-1)


class ItemTower(nn.Module):
    """Layers L'+1…L over items, each alone, and the unit vectors at [EOS]."""

    def __init__(self, model: M6, lower: int) -> None:
        super().__init__()
        self.model, self.lower = model, lower
        self.read_D = fixed_states(model, lower)[1][plans.READ_TARGET]

    def forward(self, h_ID: Tensor) -> Tensor:
        """States of items' texts → [I, K]."""
        x_I2D = torch.stack([h_ID, self.read_D.expand_as(h_ID)], 1)
        slot_I2 = torch.tensor([plans.SLOTS["item"], plans.READ_TARGET_SLOT]).expand(len(h_ID), 2)
        read_I1 = torch.ones(len(h_ID), 1, dtype=torch.long)
        rows = Rows(x_I2D, slot_I2, _one_region(x_I2D, source=False), read_I1)
        read_IQD = plans.run_online(self.model, plans.enter_online(self.model, rows), self.lower)
        return F.normalize(self.model.project_item(read_IQD[:, 0]), dim=-1)


def _one_region(x_BRD: Tensor, source: bool) -> Layout:
    whole_BR = torch.ones(x_BRD.shape[:2], dtype=torch.bool)
    segment_BR = torch.arange(x_BRD.shape[1]).expand(whole_BR.shape)
    group_BR = torch.full(whole_BR.shape, int(not source))
    return Layout(whole_BR, whole_BR if source else ~whole_BR, segment_BR, group_BR)


@torch.no_grad()
def fixed_states(model: M6, lower: int) -> tuple[Tensor | None, Tensor]:
    """After layer L': the soft prompts [P, D] (None without), and both read tokens [2, D]."""
    special = model.config.special
    ids_21 = torch.tensor([[special.eos_source], [special.eos]])
    tokens = SegmentTokens(ids_21, torch.ones(2, 1, dtype=torch.bool))
    return plans.prompt_states(model, lower), plans.encode_segments(model, tokens, lower).h_SKD[
        :, 0
    ]
