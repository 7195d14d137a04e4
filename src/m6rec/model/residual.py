"""The collaborative residual: one small vector per known item, beside its text (opt-in).

Beyond the paper, which leaves collaborative signal open. Legend: B requests, G segments, I items,
M width of the small vector, D network width, K projection width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ItemResidual(nn.Module):
    """A vector per catalogue item, added to its segment states and to its item vector.

    Items without one (never trained, or newer than the table) are served by their text alone; in
    training each item loses its vector with probability `dropout`, so that the text keeps working.
    """

    def __init__(self, items: int, width: int, projection: int, size: int, dropout: float) -> None:
        super().__init__()
        self.vectors = nn.Embedding(items, size)
        self.to_state = nn.Linear(size, width, bias=False)
        self.to_item = nn.Linear(size, projection, bias=False)
        self.dropout = dropout
        nn.init.zeros_(self.vectors.weight)
        nn.init.orthogonal_(self.to_state.weight)
        nn.init.orthogonal_(self.to_item.weight)

    def for_segments(self, code_BG: Tensor) -> Tensor:
        """What is added to segment states: [B, G, D]; zero where code is -1."""
        known_BG = code_BG >= 0
        vector_BGM = self.vectors(code_BG.clamp(min=0)) * self._keep(known_BG)[..., None]
        out: Tensor = self.to_state(vector_BGM)
        return out

    def for_items(self, code_I: Tensor) -> Tensor:
        """What is added to normalised item vectors: [I, K]; zero where code is -1."""
        known_I = code_I >= 0
        out: Tensor = self.to_item(
            self.vectors(code_I.clamp(min=0)) * self._keep(known_I)[..., None]
        )
        return out

    def _keep(self, known: Tensor) -> Tensor:
        if not self.training:
            return known.to(self.vectors.weight.dtype)
        kept = torch.rand(known.shape, device=known.device) >= self.dropout
        return (kept & known).to(self.vectors.weight.dtype)
