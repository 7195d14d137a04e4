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

from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.shared_prefix import (
    OwnPart,
    Part,
    begin_at,
    bias_of,
    join,
    over_own,
    over_prefix,
)
from m6rec.serving.adapters import stack, without_adapter


@dataclass(frozen=True)
class OnlineBatch:
    """Requests side by side. source_BRD and rows_BNTD are rows as they enter the online layers.

    task_B: which task each request belongs to. first: what the candidates bring to the first
    online layer, where it was prepared (M = N·T; with one online layer T = 1, the read row).
    """

    source_BRD: Tensor
    source_valid_BR: Tensor
    rows_BNTD: Tensor
    valid_BNT: Tensor
    task_B: Tensor
    first: OwnPart | None = None

    def tensors(self) -> tuple[Tensor, ...]:
        """In the order of `OnlineLayers.forward`."""
        own = self.first
        begun = () if own is None else (own.q_BMI, own.own.out_BMI, own.own.lse_BMH)
        source = (self.source_BRD, self.source_valid_BR)
        return (*source, self.rows_BNTD, self.valid_BNT, self.task_B, *begun)


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
        self.rotary = tasks[0].config.position == "rope"

    def forward(
        self,
        source_BRD: Tensor,
        source_valid_BR: Tensor,
        rows_BNTD: Tensor,
        valid_BNT: Tensor,
        task_B: Tensor,
        q_BMI: Tensor | None = None,
        own_BMI: Tensor | None = None,
        lse_BMH: Tensor | None = None,
    ) -> Tensor:
        """States at [EOS'] and at every candidate's [EOS]: [B, 1 + N, D]."""
        source_place_BR, place_BNT, start_B = self._places(source_valid_BR, valid_BNT)
        bias_BR = bias_of(source_valid_BR, source_BRD.dtype)
        x_BRD, y_BNTD = source_BRD, rows_BNTD
        for index, module in enumerate(self.blocks):
            block, last = _block(module), index == len(self.blocks) - 1
            z_BRD, z_BNTD = self._read(block, x_BRD), self._read(block, y_BNTD)
            past = block.attention.keys_values(z_BRD, source_place_BR)
            if index == 0 and q_BMI is not None and own_BMI is not None and lse_BMH is not None:
                own = Part(own_BMI, lse_BMH)
                mine = OwnPart(begin_at(block, q_BMI, start_B), own)
            else:
                mine = over_own(block, z_BNTD, place_BNT, valid_BNT, last)
            attended_BMI = join(over_prefix(block, mine.q_BMI, past, bias_BR), mine.own)
            asked_BNTD = y_BNTD[:, :, -1:] if last else y_BNTD
            y_BMD = self._absorb(index, asked_BNTD.flatten(1, 2), attended_BMI, task_B)
            y_BNTD = y_BMD.unflatten(1, (rows_BNTD.shape[1], -1))
            if last:
                z_BRD, x_BRD = z_BRD[:, -1:], x_BRD[:, -1:]
                source_place_BR = source_place_BR[:, -1:]
            q_BHRE = block.attention.queries(z_BRD, source_place_BR)
            q_BRI = q_BHRE.transpose(1, 2).flatten(2)
            attended_BRI = over_prefix(block, q_BRI, past, bias_BR).out_BMI
            x_BRD = self._absorb(index, x_BRD, attended_BRI, task_B)
        read_BQD = torch.cat([x_BRD[:, -1:], y_BNTD[:, :, -1]], 1)
        out: Tensor = self.final_norm(read_BQD)
        return out

    def _places(
        self, source_valid_BR: Tensor, valid_BNT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of source rows, of candidates' rows, and where candidates begin."""
        start_B = source_valid_BR.long().sum(1)
        source_place_BR = (source_valid_BR.long().cumsum(1) - 1).clamp(min=0)
        place_BNT = (valid_BNT.long().cumsum(2) - 1).clamp(min=0) + start_B[:, None, None]
        return source_place_BR, place_BNT, start_B

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
