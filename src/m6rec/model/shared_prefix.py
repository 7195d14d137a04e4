"""Attention over a prefix that many share, and over one's own rows, joined by log-sum-exp.

Under the UniLM mask every candidate of a request sees the whole source and its own past. So its
softmax falls into two: one over the source, whose keys and values are computed once for all
candidates, and one over its own rows, which no user has a part in and which can be kept with the
item. The two are joined exactly by the logarithms of their denominators (as in FlashAttention,
arXiv 2205.14135, section 3.1, and Hydragen, arXiv 2402.05099).

Legend: B requests, R rows of a source, N candidates, T rows of a candidate, M = N·T, Q rows that
ask, K keys, D width, H query heads, G key-value heads, E head width; I = H·E.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from m6rec.model.attention import bias_of, rotate
from m6rec.model.block import Block


@dataclass(frozen=True)
class Part:
    """Attention over some of the keys: values merged out_BMI, denominators lse_BMH (float32)."""

    out_BMI: Tensor
    lse_BMH: Tensor


@dataclass(frozen=True)
class OwnPart:
    """What a candidate brings to a layer's attention: its queries q_BMI and its own part.

    Queries of a rotary model are turned by the row's place in the candidate; see `begin_at`.
    """

    q_BMI: Tensor
    own: Part


def attend_partly(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Softmax over these keys alone: values [..., Q, E], and log-sum-exp [..., Q] in float32.

    q [..., Q, E], k and v [..., K, E]; bias is added to the logits. The sum of the weights divides
    the values they gave, which are fewer than the weights.
    """
    traced = torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
    if q.dim() == 4 and q.device.type == "cpu" and not (traced or q.requires_grad):
        # PyTorch's own fused kernel, which keeps the denominators; the public call drops them.
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = fused(q, k, v, attn_mask=bias)
        return out, lse
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        logits = logits + bias
    top = logits.amax(-1, keepdim=True)
    weights = (logits - top).exp()
    total = weights.sum(-1, keepdim=True)
    lse = (top.float() + total.float().log()).squeeze(-1)
    return (weights @ v) / total, lse


def join(one: Part, other: Part) -> Tensor:
    """The softmax over the keys of both: [B, M, I]."""
    B, M, H = one.lse_BMH.shape
    share_BMH1 = torch.sigmoid(other.lse_BMH - one.lse_BMH).to(one.out_BMI.dtype)[..., None]
    a, b = (part.out_BMI.reshape(B, M, H, -1) for part in (one, other))
    joined_BMHE: Tensor = a + share_BMH1 * (b - a)
    return joined_BMHE.flatten(-2)


def over_prefix(
    block: Block, q_BMI: Tensor, past: tuple[Tensor, Tensor], bias: Tensor | None
) -> Part:
    """Queries of all candidates over the source's keys and values, [B, G, R, E] each.

    bias: [B, R] for all queries alike, or [B, M, R].
    """
    k_BGRE, v_BGRE = past
    B, M = q_BMI.shape[:2]
    H, G, E = block.attention.heads, block.attention.kv_heads, block.attention.head_dim
    q_BHME = q_BMI.reshape(B, M, H, E).transpose(1, 2)
    # Query heads of one key-value head stand below each other: one multiplication for all.
    q_BGQE = q_BHME.reshape(B, G, (H // G) * M, E)
    if bias is not None:
        bias = bias[:, None, None] if bias.dim() == 2 else bias.repeat(1, H // G, 1)[:, None]
    out_BGQE, lse_BGQ = attend_partly(q_BGQE, k_BGRE, v_BGRE, bias)
    out_BMI = out_BGQE.reshape(B, H, M, E).transpose(1, 2).reshape(B, M, H * E)
    return Part(out_BMI, lse_BGQ.reshape(B, H, M).transpose(1, 2))


def over_own(
    block: Block, z_BNTD: Tensor, place_BNT: Tensor, valid_BNT: Tensor, last: bool
) -> OwnPart:
    """Each candidate over its own past: what the source has no part in.

    z: rows as attention reads them; place: their positions. last: only a candidate's last row
    asks, so M = N.
    """
    attention = block.attention
    B, N, T, _ = z_BNTD.shape
    H, G, E = attention.heads, attention.kv_heads, attention.head_dim
    first = T - 1 if last else 0
    k, v = attention.keys_values(z_BNTD.flatten(1, 2), place_BNT.flatten(1))
    asks = z_BNTD[:, :, first:].flatten(1, 2), place_BNT[:, :, first:].flatten(1)
    q_BHME = attention.queries(*asks)
    M = q_BHME.shape[2]
    k, v = (each.reshape(B, G, 1, N, T, E) for each in (k, v))
    past_TT = torch.ones(T, T, dtype=torch.bool, device=z_BNTD.device).tril()[first:]
    bias = bias_of(valid_BNT[:, :, None, :] & past_TT, z_BNTD.dtype)[:, None, None]
    q_BGXNTE = q_BHME.reshape(B, G, H // G, N, T - first, E)
    out, lse = attend_partly(q_BGXNTE, k, v, bias)
    out_BMI = out.reshape(B, H, M, E).transpose(1, 2).reshape(B, M, H * E)
    q_BMI = q_BHME.transpose(1, 2).reshape(B, M, H * E)
    return OwnPart(q_BMI, Part(out_BMI, lse.reshape(B, H, M).transpose(1, 2)))


def begin_at(block: Block, q_BMI: Tensor, start_B: Tensor) -> Tensor:
    """Queries of candidates that begin at position start: rotary positions add up.

    What a candidate's rows say to each other depends on distances alone, so it stays as it was.
    """
    theta = block.attention.theta
    if theta is None:
        return q_BMI
    B, M = q_BMI.shape[:2]
    q_BHME = q_BMI.reshape(B, M, block.attention.heads, -1).transpose(1, 2)
    turned = rotate(q_BHME, start_B[:, None].expand(B, M), theta)
    return turned.transpose(1, 2).reshape(B, M, -1)
