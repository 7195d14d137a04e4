"""A table of vectors whose gradient costs what was looked up, not the whole table.

PyTorch's backward pass of an embedding makes a dense table of zeros for every lookup: with 30,522
words and a dozen lookups in a step of pretraining, an eighth of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, ids: Tensor) -> Tensor:
        ctx.weight_VD = weight_VD
        ctx.save_for_backward(ids)
        return F.embedding(ids, weight_VD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        (ids,) = ctx.saved_tensors
        weight_VD, (grad,) = ctx.weight_VD, grads
        if weight_VD.grad is None:
            weight_VD.grad = torch.zeros_like(weight_VD)
        flat_ND = grad.reshape(-1, weight_VD.shape[1]).to(weight_VD.dtype)
        weight_VD.grad.index_put_((ids.reshape(-1),), flat_ND, accumulate=True)
        return None, None


class TokenTable(nn.Embedding):
    """Token embeddings [V, D], or (width E < D) a factorised table: [V, E], projected up to D.

    in_place: backward() adds to `weight.grad` itself, row by row. The sum is the same, but hooks of
    the weight and torch.autograd.grad do not see it, so a training loop has to ask for it.
    """

    in_place = False

    def __init__(self, words: int, d_model: int, width: int | None = None) -> None:
        super().__init__(words, width or d_model)
        self.up = None if width is None else nn.Linear(width, d_model)

    def forward(self, input: Tensor) -> Tensor:
        """Vectors of ids of any shape: [..., D]."""
        if self.in_place and self.weight.requires_grad and torch.is_grad_enabled():
            x: Tensor = _Lookup.apply(self.weight, input)  # type: ignore[no-untyped-call]
        else:
            x = super().forward(input)
        out: Tensor = x if self.up is None else self.up(x)
        return out


def word_vectors(table: nn.Embedding) -> Tensor:
    """The vectors of all words: [V, D]."""
    up = table.up if isinstance(table, TokenTable) else None
    out: Tensor = table.weight if up is None else up(table.weight)
    return out
