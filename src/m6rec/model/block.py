"""One Transformer layer: attention and FFN with the norm before or after.

Legend: B batch, T tokens, Q rows that are wanted, D width, F inner width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import ModelConfig
from m6rec.model.attention import Attention


def make_norm(config: ModelConfig) -> nn.Module:
    """LayerNorm or RMSNorm over the width."""
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.d_model, eps=config.norm_eps)


class GeluFFN(nn.Module):
    """The BERT family's feed-forward: W2·gelu(W1·x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D]."""
        out: Tensor = self.down(F.gelu(self.up(x_BTD)))
        return out


class SwigluFFN(nn.Module):
    """The Llama family's feed-forward: W2·(silu(Wg·x) ⊙ W1·x) (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D]."""
        out: Tensor = self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))
        return out


class Block(nn.Module):
    """One layer. `ffn` is the place where adapters are swapped in (model/tuning.py)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre = config.norm_position == "pre"
        self.attention = Attention(config)
        self.attention_norm = make_norm(config)
        self.ffn: nn.Module = GeluFFN(config) if config.ffn == "gelu" else SwigluFFN(config)
        self.ffn_norm = make_norm(config)

    def forward(
        self,
        x_BTD: Tensor,
        position_BT: Tensor,
        mask_BQK: Tensor | None,
        rows_BQ: Tensor | None = None,
    ) -> Tensor:
        """The layer's output at `rows_BQ` (all rows if None): [B, Q, D].

        In the last layer only the rows that are read need queries, FFN and output; mask_BQK is
        already restricted to those rows by the caller.
        """
        source_BTD = self.attention_norm(x_BTD) if self.pre else x_BTD
        query_BQD, residual_BQD, query_position = source_BTD, x_BTD, position_BT
        if rows_BQ is not None:
            query_BQD, residual_BQD = take_rows(source_BTD, rows_BQ), take_rows(x_BTD, rows_BQ)
            query_position = position_BT.gather(1, rows_BQ)
        y = self.attention(query_BQD, source_BTD, (query_position, position_BT), mask_BQK)
        return self.absorb(residual_BQD, y)

    def absorb(self, x_BQD: Tensor, y_BQD: Tensor) -> Tensor:
        """What follows attention: its output y joins the rows x, then the FFN. [B, Q, D]."""
        if self.pre:
            h_BQD = x_BQD + y_BQD
            result: Tensor = h_BQD + self.ffn(self.ffn_norm(h_BQD))
        else:
            h_BQD = self.attention_norm(x_BQD + y_BQD)
            result = self.ffn_norm(h_BQD + self.ffn(h_BQD))
        return result


def take_rows(x_BTD: Tensor, rows_BQ: Tensor) -> Tensor:
    """x at chosen rows: [B, Q, D]."""
    return torch.take_along_dim(x_BTD, rows_BQ[..., None], dim=1)
