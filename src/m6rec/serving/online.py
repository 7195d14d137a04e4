"""Layers L'+1…L over a batch of requests: the one computation that a runtime has to make fast.

A request is one source and N candidates. The source's keys and values are computed once; all
candidates attend to them. In the last layer only the read rows are computed. Rows stand at the
right end of their axis, padding before them, so the row that is read is always the last one.

Legend: B requests, R rows of a source, N candidates, T rows of a candidate, M = N·T, D width,
H query heads, I = H·(head width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m6rec.model.attention import bias_of
from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.masks import causal
from m6rec.model.shared_prefix import (
    OwnPart,
    Part,
    begin_at,
    join,
    over_own,
    over_prefix,
)
from m6rec.serving.adapters import stack, without_adapter


@dataclass(frozen=True)
class OnlineBatch:
    """Requests side by side. source_BRD and rows_BNTD are rows as they enter the online layers.

    source_valid_BR: None where no source has padding. task_B: which task each request belongs to.
    first: what the candidates bring to the first online layer, where it was prepared (M = N·T; with
    one online layer T = 1, the read row).
    """

    source_BRD: Tensor
    source_valid_BR: Tensor | None
    rows_BNTD: Tensor
    valid_BNT: Tensor
    task_B: Tensor
    first: OwnPart | None = None

    def named(self) -> dict[str, Tensor]:
        """Arguments of `OnlineLayers.forward`, in its order, without what is not there."""
        begun = None
        if self.first is not None:
            begun = (self.first.q_BMI, self.first.own.out_BMI, self.first.own.lse_BMH)
        found = {
            "source_BRD": self.source_BRD,
            "rows_BNTD": self.rows_BNTD,
            "valid_BNT": self.valid_BNT,
            "task_B": self.task_B,
            "source_valid_BR": self.source_valid_BR,
            **dict(zip(("q_BMI", "own_BMI", "lse_BMH"), begun or (), strict=False)),
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}


class OnlineLayers(nn.Module):
    """The online layers of some tasks that share them, as one module of tensors only.

    exit_layer: the last layer that runs (early exit); the final norm follows it.
    """

    def __init__(self, tasks: Sequence[M6], lower: int, exit_layer: int | None = None) -> None:
        super().__init__()
        last = tasks[0].config.layers if exit_layer is None else exit_layer
        layers = range(lower, last)
        self.blocks = nn.ModuleList(tasks[0].blocks[index] for index in layers)
        self.ffns = nn.ModuleList(without_adapter(_block(b).ffn) for b in self.blocks)
        self.adapters = nn.ModuleList(
            nn.Identity() if adapters is None else adapters for adapters in stack(tasks, layers)
        )
        self.final_norm = tasks[0].final_norm or nn.Identity()
        self.source = tasks[0].config.source

    def forward(
        self,
        source_BRD: Tensor,
        rows_BNTD: Tensor,
        valid_BNT: Tensor,
        task_B: Tensor,
        source_valid_BR: Tensor | None = None,
        q_BMI: Tensor | None = None,
        own_BMI: Tensor | None = None,
        lse_BMH: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """States at [EOS'] and at every candidate's [EOS]: [B, D] and [B, N, D]."""
        _, N, T, D = rows_BNTD.shape
        source_place_BR, place_BNT, start_B = _places(source_BRD, source_valid_BR, valid_BNT)
        bias_BR = None if source_valid_BR is None else bias_of(source_valid_BR, source_BRD.dtype)
        among = bias_BR if self.source == "bidirectional" else _past(source_BRD, source_valid_BR)
        x_BRD, y_BMD = source_BRD, rows_BNTD.flatten(1, 2)
        for index, module in enumerate(self.blocks):
            block, last = _block(module), index == len(self.blocks) - 1
            z_BRD = self._read(block, x_BRD)
            past = block.attention.keys_values(z_BRD, source_place_BR)
            if index == 0 and q_BMI is not None and own_BMI is not None and lse_BMH is not None:
                mine = OwnPart(begin_at(block, q_BMI, start_B), Part(own_BMI, lse_BMH))
                ahead = last  # then only the read rows are there
            else:
                z_BNTD = self._read(block, y_BMD).reshape(-1, N, T, D)
                mine, ahead = over_own(block, z_BNTD, place_BNT, valid_BNT, last), False
            attended_BMI = join(over_prefix(block, mine.q_BMI, past, bias_BR), mine.own)
            asked_BMD = y_BMD.reshape(-1, N, T, D)[:, :, -1] if last and not ahead else y_BMD
            y_BMD = self._absorb(index, asked_BMD, attended_BMI, task_B)
            if last:
                z_BRD, x_BRD = z_BRD[:, -1:], x_BRD[:, -1:]
                source_place_BR = source_place_BR[:, -1:]
            q_BRI = block.attention.queries(z_BRD, source_place_BR).transpose(1, 2).flatten(2)
            attended_BRI = over_prefix(block, q_BRI, past, bias_BR if last else among).out_BMI
            x_BRD = self._absorb(index, x_BRD, attended_BRI, task_B)
        read_BND = y_BMD if len(self.blocks) else rows_BNTD[:, :, -1]
        return self.final_norm(x_BRD[:, -1]), self.final_norm(read_BND)

    @staticmethod
    def _read(block: Block, x: Tensor) -> Tensor:
        """Rows as attention reads them."""
        out: Tensor = block.attention_norm(x) if block.pre else x
        return out

    def _absorb(self, index: int, x_BMD: Tensor, attended_BMI: Tensor, task_B: Tensor) -> Tensor:
        """As `Block.absorb`, every request with its own task's adapter."""
        block = _block(self.blocks[index])
        y_BMD = x_BMD + block.attention.out(attended_BMI)
        h_BMD = y_BMD if block.pre else block.attention_norm(y_BMD)
        z_BMD = block.ffn_norm(h_BMD) if block.pre else h_BMD
        added_BMD = self.ffns[index](z_BMD)
        if not isinstance(self.adapters[index], nn.Identity):
            added_BMD = added_BMD + self.adapters[index](z_BMD, task_B)
        out: Tensor = h_BMD + added_BMD
        return out if block.pre else block.ffn_norm(out)


def _block(module: nn.Module) -> Block:
    assert isinstance(module, Block)
    return module


def _past(source_BRD: Tensor, source_valid_BR: Tensor | None) -> Tensor:
    """What is added to the logits of source rows that see their past alone: [B, R, R]. The last
    row, which is all that the last layer asks for, sees the whole source."""
    if source_valid_BR is None:
        source_valid_BR = torch.ones_like(source_BRD[..., 0], dtype=torch.bool)
    return bias_of(causal(source_valid_BR), source_BRD.dtype)


def _places(
    source_BRD: Tensor, source_valid_BR: Tensor | None, valid_BNT: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of source rows, of candidates' rows, and where candidates begin."""
    if source_valid_BR is None:
        source_valid_BR = torch.ones_like(source_BRD[..., 0], dtype=torch.bool)
    count_BR = source_valid_BR.long().cumsum(1)
    start_B = count_BR[:, -1]
    place_BNT = (valid_BNT.long().cumsum(2) - 1).clamp(min=0) + start_B[:, None, None]
    return (count_BR - 1).clamp(min=0), place_BNT, start_B
