"""Multi-head attention: grouped queries, rotary positions and query-key norm are settings.

Legend: B batch, T tokens, D width, H query heads, G key-value heads, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import ModelConfig

Turn = tuple[Tensor, Tensor]


def bias_of(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where seen, else so low that nothing comes through; finite, so that no row is NaN."""
    floor = torch.finfo(dtype).min / 2
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, floor)


def attend(q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor, mask_BQK: Tensor | None) -> Tensor:
    """Softmax attention, heads merged: [B, Tq, H·E].

    The one attention function of the project; model/shared_prefix.py takes it apart for serving.

    mask_BQK: True where q may attend to k (None: everywhere), or finite numbers that are added to
    the logits. A query that may attend to nothing gets the mean of all values, never NaN.
    """
    mask = None if mask_BQK is None else mask_BQK[:, None]
    if mask is not None and mask.dtype == torch.bool:
        mask = bias_of(mask, q_BHTE.dtype)
    grouped = bool(q_BHTE.shape[1] != k_BGTE.shape[1])  # sizes are tensors while tracing
    if q_BHTE.device.type == "cpu" and q_BHTE.requires_grad:
        out_BHTE = _attend_plainly(q_BHTE, k_BGTE, v_BGTE, mask)
    else:
        out_BHTE = F.scaled_dot_product_attention(
            q_BHTE, k_BGTE, v_BGTE, attn_mask=mask, enable_gqa=grouped
        )
    return out_BHTE.transpose(1, 2).flatten(2)


def _attend_plainly(q_BHTE: Tensor, k_BGTE: Tensor, v_BGTE: Tensor, mask: Tensor | None) -> Tensor:
    """Three plain operations: on CPUs the backward pass of PyTorch's fused attention takes about
    four times as long. Query heads of one key-value head stand below each other."""
    B, H, T, E = q_BHTE.shape
    G = k_BGTE.shape[1]
    with torch.autocast("cpu", enabled=False):
        q_BGQE = (q_BHTE * E**-0.5).reshape(B, G, H // G * T, E)
        logits_BGQK = q_BGQE @ k_BGTE.transpose(-1, -2)
        if mask is not None:
            logits_BHTK = logits_BGQK.view(B, H, T, -1) + mask
            logits_BGQK = logits_BHTK.view(logits_BGQK.shape)
        out_BHTE: Tensor = (logits_BGQK.softmax(-1) @ v_BGTE).view(B, H, T, E)
        return out_BHTE


def rotate(x_BHTE: Tensor, position_BT: Tensor, theta: float) -> Tensor:
    """Rotary position embedding in the half-split form that Llama and Qwen use (arXiv 2104.09864).

    position_BT counts from 0.
    """
    return turn(x_BHTE, turning(position_BT, x_BHTE.shape[-1], theta, x_BHTE.dtype))


def turning(position_BT: Tensor, width: int, theta: float, dtype: torch.dtype) -> Turn:
    """Cosines and sines for `turn`, which all layers share: [B, 1, T, E] each."""
    frequency = theta ** (-torch.arange(0, width, 2, device=position_BT.device).float() / width)
    angle_BTE = position_BT[..., None].float() * frequency
    cos = torch.cat([angle_BTE.cos()] * 2, -1)[:, None].to(dtype)
    sin = torch.cat([angle_BTE.sin()] * 2, -1)[:, None].to(dtype)
    return cos, sin


def turn(x_BHTE: Tensor, turned: Turn) -> Tensor:
    """`rotate` with what `turning` gives for the positions."""
    cos, sin = turned
    left, right = x_BHTE.chunk(2, -1)
    return x_BHTE * cos + torch.cat([-right, left], -1) * sin


def _normalise(x_BHTE: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Query-key norm in the type of x: under autocast the weight alone would be float32, which
    keeps torch from its fused kernel."""
    weight_E = norm.weight.to(x_BHTE.dtype)
    return F.rms_norm(x_BHTE, norm.weight.shape, weight_E, norm.eps)


class Attention(nn.Module):
    """Self-attention of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.theta = config.rope_theta if config.position == "rope" else None
        inner, kv_inner = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = nn.Linear(config.d_model, inner, bias=config.qkv_bias)
        self.k = nn.Linear(config.d_model, kv_inner, bias=config.qkv_bias)
        self.v = nn.Linear(config.d_model, kv_inner, bias=config.qkv_bias)
        self.out = nn.Linear(inner, config.d_model, bias=config.bias)
        self.q_norm = nn.RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def queries(self, x_BTD: Tensor, position_BT: Tensor) -> Tensor:
        """[B, H, T, E]."""
        q = self._split(self.q(x_BTD), self.heads, self.q_norm)
        return q if self.theta is None else rotate(q, position_BT, self.theta)

    def keys_values(self, x_BTD: Tensor, position_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors [B, G, T, E]."""
        k = self._split(self.k(x_BTD), self.kv_heads, self.k_norm)
        v = self._split(self.v(x_BTD), self.kv_heads, None)
        return (k if self.theta is None else rotate(k, position_BT, self.theta)), v

    def project(self, x_BTD: Tensor, turned: Turn | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values; `turned` is the `turning` of rotary positions, else None."""
        q = self._split(self.q(x_BTD), self.heads, self.q_norm)
        k = self._split(self.k(x_BTD), self.kv_heads, self.k_norm)
        v = self._split(self.v(x_BTD), self.kv_heads, None)
        return (q, k, v) if turned is None else (turn(q, turned), turn(k, turned), v)

    def _split(self, y_BTI: Tensor, heads: int, norm: nn.RMSNorm | None) -> Tensor:
        """Heads apart, normalised: [B, heads, T, E]."""
        y_BHTE = y_BTI.view(*y_BTI.shape[:2], heads, self.head_dim).transpose(1, 2)
        return y_BHTE if norm is None else _normalise(y_BHTE, norm)

    def forward(
        self, x_BQD: Tensor, z_BKD: Tensor, where: tuple[Tensor, Tensor], mask_BQK: Tensor | None
    ) -> Tensor:
        """Queries from x, keys and values from z; `where` holds their positions. [B, Q, D]."""
        k, v = self.keys_values(z_BKD, where[1])
        out: Tensor = self.out(attend(self.queries(x_BQD, where[0]), k, v, mask_BQK))
        return out
