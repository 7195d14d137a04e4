"""Several tasks over one set of layers: their adapters stacked, each row meets its own task's.

Legend: A tasks, B requests, M rows, D width, W adapter rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.tuning import Adapter
from m6rec.records import M6Error


class NotSharedError(M6Error):
    """A task that changed the layers themselves, so that it can not run over the others' layers."""


class StackedAdapters(nn.Module):
    """The adapters of A tasks at one layer, as wide as the widest; narrower ones end in zeros."""

    def __init__(self, adapters: Sequence[Adapter | None], width: int) -> None:
        super().__init__()
        ranks = [0 if a is None else a.adapter_down.out_features for a in adapters]
        A, W = len(adapters), max(1, *ranks)
        tables = {
            "down_ADW": torch.zeros(A, width, W),
            "down_bias_AW": torch.zeros(A, W),
            "up_AWD": torch.zeros(A, W, width),
            "up_bias_AD": torch.zeros(A, width),
        }
        for a, (adapter, rank) in enumerate(zip(adapters, ranks, strict=True)):
            if adapter is None:
                continue
            scale = adapter.adapter_scale.detach()
            tables["down_ADW"][a, :, :rank] = adapter.adapter_down.weight.detach().T
            tables["down_bias_AW"][a, :rank] = adapter.adapter_down.bias.detach()
            tables["up_AWD"][a, :rank] = scale * adapter.adapter_up.weight.detach().T
            tables["up_bias_AD"][a] = scale * adapter.adapter_up.bias.detach()
        for name, table in tables.items():
            self.register_buffer(name, table)

    def forward(self, z_BMD: Tensor, task_B: Tensor) -> Tensor:
        """What request b's own adapter adds to the FFN of its rows: [B, M, D]."""
        down_ADW, up_AWD = self.get_buffer("down_ADW"), self.get_buffer("up_AWD")
        low_BMW = z_BMD @ down_ADW[task_B] + self.get_buffer("down_bias_AW")[task_B][:, None]
        return F.gelu(low_BMW) @ up_AWD[task_B] + self.get_buffer("up_bias_AD")[task_B][:, None]


def without_adapter(ffn: nn.Module) -> nn.Module:
    """The FFN that stood there before tuning."""
    return ffn.ffn if isinstance(ffn, Adapter) else ffn


def stack(tasks: Sequence[M6], layers: range) -> list[StackedAdapters | None]:
    """Adapters of the tasks at each layer; None at a layer where no task has one.

    Raises NotSharedError where the tasks differ in anything but their adapters.
    """
    norms = [task.final_norm for task in tasks if task.final_norm is not None]
    _check_shared(norms, "at the final norm")
    found: list[StackedAdapters | None] = []
    for index in layers:
        blocks = [_block(task, index) for task in tasks]
        _check_shared(blocks, f"at layer {index + 1}")
        adapters = [b.ffn if isinstance(b.ffn, Adapter) else None for b in blocks]
        any_there = any(adapter is not None for adapter in adapters)
        width = tasks[0].config.d_model
        found.append(StackedAdapters(adapters, width) if any_there else None)
    return found


def _block(model: M6, index: int) -> Block:
    block = model.blocks[index]
    assert isinstance(block, Block)
    return block


def _check_shared(modules: Sequence[nn.Module], where: str) -> None:
    first = _own_weights(modules[0]) if modules else {}
    for module in modules[1:]:
        for name, weight in _own_weights(module).items():
            same = weight.data_ptr() == first[name].data_ptr() or torch.equal(weight, first[name])
            if not same:
                raise NotSharedError(
                    f"the tasks have different weights {where} ({name}); tasks that tune whole "
                    "layers need an engine each"
                )


def _own_weights(module: nn.Module) -> dict[str, Tensor]:
    """Weights of a layer or norm without its adapter, by their names in the backbone."""
    return {
        name.replace("ffn.ffn.", "ffn."): weight
        for name, weight in module.named_parameters()
        if ".adapter_" not in name
    }
