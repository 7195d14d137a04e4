"""The one network: embeddings, layers, and the places where tasks read and write.

Legend: B batch, T tokens, D width, V vocabulary, P soft prompts, C classes, K projection width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import ModelConfig
from m6rec.model.block import Block, make_norm
from m6rec.model.sharing import givers, share_layers
from m6rec.model.table import TokenTable

PROJECTION_TEMPERATURE = 0.07


class LMHead(nn.Module):
    """Next-token logits. "transform" is BERT's masked-language head: dense, gelu, norm, decoder.

    Before the words of a factorised table stands a projection down to its width.
    """

    def __init__(self, config: ModelConfig, embedding: nn.Embedding) -> None:
        super().__init__()
        transform = config.lm_head == "transform"
        self.dense = nn.Linear(config.d_model, config.d_model) if transform else None
        self.norm = make_norm(config) if transform else None
        width = config.table_width
        self.down = None if width is None else nn.Linear(config.d_model, width, bias=False)
        self.decoder = nn.Linear(width or config.d_model, config.vocab_size, bias=transform)
        if config.tie_embeddings:
            self.decoder.weight = embedding.weight

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        out: Tensor = self.decoder(self.transformed(h_BTD))
        return out

    def transformed(self, h_BTD: Tensor) -> Tensor:
        """What the decoder multiplies; for callers to whom some of its words are enough."""
        out: Tensor = h_BTD
        if self.dense is not None and self.norm is not None:
            out = self.norm(F.gelu(self.dense(out)))
        return out if self.down is None else self.down(out)


class M6(nn.Module):
    """One Transformer under the UniLM mask (paper section 1); execution plans live in plans.py.

    What tasks add has a place here from the start, so that tuning only fills it in:
    segments       learned segment embedding, added where cached states are laid side by side
    read_gate      how a read token enters the online layers: (region's mean, its own state)
    read_token     one vector for [EOS'] and one for [EOS], added there too
    project_user   state at [EOS'] → K;   project_item   state at [EOS] → K (paper section 2)
    recency        logarithm of the weight that a region's mean loses with each event of age
    log_scale      logarithm of 1/τ of the contrastive loss
    prompts        soft prompts [P, D] or None;   options [C, D] or None: classifier weights

    kept_as: the type of the weights in files; the network itself computes with what it is given.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        D = config.d_model
        self.tokens = TokenTable(config.vocab_size, D, config.table_width)
        learned = config.position == "learned"
        self.positions = nn.Embedding(config.max_positions, D) if learned else None
        self.embed_norm = make_norm(config) if config.norm_position == "post" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        share_layers(self.blocks, givers(config))
        self.final_norm = make_norm(config) if config.norm_position == "pre" else None
        self.lm_head = LMHead(config, self.tokens)
        self.segments = nn.Embedding(config.segment_slots, D)
        self.read_gate = nn.Parameter(torch.tensor([1.0, 0.1]))
        self.read_token = nn.Parameter(torch.zeros(2, D))
        self.recency = nn.Parameter(torch.tensor(-0.223))
        self.project_user = nn.Linear(D, config.projection)
        self.project_item = nn.Linear(D, config.projection)
        self.log_scale = nn.Parameter(torch.tensor(1 / PROJECTION_TEMPERATURE).log())
        self.prompts: nn.Parameter | None = None
        self.options: nn.Parameter | None = None
        self.kept_as = torch.float32
        self.reset()

    def reset(self) -> None:
        """Random start: normal with σ = 0.02 for matrices, zero for biases and segments."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.segments.weight)

    def embed(self, ids_BT: Tensor, position_BT: Tensor) -> Tensor:
        """Token ids and positions (both [B, T], positions from 0) → [B, T, D]."""
        return self.embed_vectors(self.tokens(ids_BT), position_BT)

    def embed_vectors(self, x_BTD: Tensor, position_BT: Tensor) -> Tensor:
        """The same for vectors that stand where token embeddings would: soft prompts."""
        if self.positions is not None:
            x_BTD = x_BTD + self.positions(position_BT)
        return x_BTD if self.embed_norm is None else self.embed_norm(x_BTD)

    def run(
        self, x_BTD: Tensor, position_BT: Tensor, mask_BQK: Tensor | None, layers: range
    ) -> Tensor:
        """The given layers over all rows, without the final norm: [B, T, D]."""
        for index in layers:
            x_BTD = self.blocks[index](x_BTD, position_BT, mask_BQK)
        return x_BTD

    def finish(self, h_BTD: Tensor) -> Tensor:
        """The final norm of the pre-norm family (nothing for the post-norm family)."""
        return h_BTD if self.final_norm is None else self.final_norm(h_BTD)

    def forward(self, ids_BT: Tensor, position_BT: Tensor, mask_BQK: Tensor | None) -> Tensor:
        """All layers over plain tokens, as in language modelling: states [B, T, D]."""
        h = self.embed(ids_BT, position_BT)
        return self.finish(self.run(h, position_BT, mask_BQK, range(self.config.layers)))
