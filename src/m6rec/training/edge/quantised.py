"""The last part of a distillation in eight bits: the student learns to live with its rounding.

Matrices and tables are used rounded, as a device has them (model/int8.py), and so, where asked for,
are the inputs of linear maps, row by row; gradients pass as if nothing was rounded, to weights that
stay float32 (straight-through estimator: Bengio, Léonard and Courville, arXiv 1308.3432; Jacob et
al., arXiv 1712.05877). Zeros stay zeros.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from m6rec.model.int8 import SMALLEST, rounded, rounded_rows
from m6rec.model.m6 import M6
from m6rec.model.sparse import prunable

Quantise = Literal["none", "int8", "w8a8"]
HEAD = "lm_head."
"""Words are never written on a device, so what writes them stays as it is."""


class Rounder:
    """Puts a network's rounded weights in place of its own, and takes them out again.

    inputs: whether inputs of linear maps are rounded too. Between `put_in` and `take_out` the
    network is what a device runs, and gradients gather in its own parameters.
    """

    def __init__(self, inputs: bool) -> None:
        self.inputs = inputs
        self._own: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    @torch.no_grad()
    def put_in(self, model: M6) -> None:
        """Rounds, unless it is done already."""
        if self._own:
            return
        for name, weight in prunable(model).items():
            if name.startswith(HEAD) or weight.numel() < SMALLEST:
                continue
            int8_OI, scale_O = rounded(weight)
            self._own[name] = weight.detach().clone()
            weight.copy_(int8_OI.to(weight.dtype) * scale_O[:, None])
        if self.inputs:
            self._hooks = [
                module.register_forward_pre_hook(_round_input)
                for name, module in model.named_modules()
                if isinstance(module, nn.Linear)
                and not name.startswith(HEAD)
                and module.weight.numel() >= SMALLEST
            ]

    @torch.no_grad()
    def take_out(self, model: M6) -> None:
        """The network's own weights again; gradients stay."""
        for name, weight in prunable(model).items():
            if name in self._own:
                weight.copy_(self._own[name])
        for hook in self._hooks:
            hook.remove()
        self._own, self._hooks = {}, []


def _round_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
    (x,) = inputs
    return (x + (rounded_rows(x.detach()) - x.detach()),)
