"""Cross-entropy over a large vocabulary without keeping all logits: fused and in chunks.

The backward pass is done with the forward one, chunk by chunk (as in Liger, arXiv 2410.10989).
Legend: N rows, V words, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 1024


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, label_N: Tensor, low: torch.dtype
    ) -> Tensor:
        trains = ctx.needs_input_grad[1]  # a frozen table needs no gradient, a third of the work
        grad_h = torch.empty_like(h_ND)
        grad_w = torch.zeros_like(weight_VD, dtype=torch.float32) if trains else None
        grad_b = torch.zeros_like(bias_V, dtype=torch.float32)
        loss_N = torch.empty(len(h_ND), dtype=torch.float32, device=h_ND.device)
        weight = weight_VD.to(low)
        for first in range(0, len(h_ND), CHUNK):
            part = slice(first, first + CHUNK)
            h, label = h_ND[part].to(low), label_N[part]
            surprise = torch.log_softmax(h @ weight.T + bias_V.float(), 1)
            rows = torch.arange(len(label), device=label.device)
            loss_N[part] = -surprise[rows, label]
            chance = surprise.exp_()
            chance[rows, label] -= 1
            grad_b += chance.sum(0)
            chance = chance.to(low)
            grad_h[part] = (chance @ weight).to(grad_h.dtype)
            if grad_w is not None:
                grad_w += chance.T @ h
        ctx.save_for_backward(grad_h, grad_b, *([] if grad_w is None else [grad_w]))
        return loss_N.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_h, grad_b, *of_weight), (scale,) = ctx.saved_tensors, grads
        grad_w = of_weight[0] * scale if of_weight else None
        return grad_h * scale.to(grad_h.dtype), grad_w, grad_b * scale, None, None


def cross_entropy_sum(
    h_ND: Tensor, weight_VD: Tensor, bias_V: Tensor, label_N: Tensor, low: torch.dtype
) -> Tensor:
    """Sum of -log softmax(h Wᵀ + b)[label] over the rows, a scalar in float32.

    low: the type of the three matrix products (bfloat16, or float32 for exactness).
    """
    out: Tensor = _Fused.apply(h_ND, weight_VD, bias_V, label_N, low)  # type: ignore[no-untyped-call]
    return out
