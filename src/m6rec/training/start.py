"""The network that pretraining begins with: a start's weights, made ready to write."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from m6rec.config import ModelConfig
from m6rec.model.checkpoint import backbone_tensors
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

NOISE = 0.5
"""New rows: the mean embedding and this share of the embeddings' spread, at random."""
UNSEEN = 0.1
"""Count that stands for words which the corpus never writes."""


def ready_to_write(start: M6, tokenizer: Tokenizer, written_V: np.ndarray, seed: int) -> M6:
    """A copy of the start with an LM head for written ids, on the same weights.

    A start that writes already is copied as it is. Elsewhere the head gets BERT's transform, begun
    as the identity, and a bias that begins with how often each id is written (written_V: counts,
    int64 [V]). Markers and [BOS], [EOS] get rows of their own: those of unused wordpieces are all
    alike. Both projections begin as one and the same.
    """
    writes = start.config.writes
    config = start.config if writes else start.config.model_copy(update={"lm_head": "transform"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = M6(config)
        _copy(start, model)
        model.kept_as = start.kept_as
        if not writes:
            _begin_head(model, written_V)
            _begin_rows(model, tokenizer)
            nn.init.orthogonal_(model.project_user.weight)
            model.project_item.weight.data.copy_(model.project_user.weight)
    return model


def cold(config: ModelConfig, seed: int) -> M6:
    """The same network from random numbers, to measure a start against."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return M6(config)


@torch.no_grad()
def _copy(start: M6, model: M6) -> None:
    old, new = backbone_tensors(start), backbone_tensors(model)
    for name, tensor in new.items():
        if name in old and old[name].shape == tensor.shape:
            tensor.copy_(old[name])


@torch.no_grad()
def _begin_head(model: M6, written_V: np.ndarray) -> None:
    head = model.lm_head
    assert head.dense is not None
    nn.init.eye_(head.dense.weight)
    counts_V = torch.from_numpy(np.maximum(written_V, UNSEEN)).float()
    head.decoder.bias.copy_((counts_V / counts_V.sum()).log())


@torch.no_grad()
def _begin_rows(model: M6, tokenizer: Tokenizer) -> None:
    special = tokenizer.special
    table_VD = model.tokens.weight
    fresh = torch.tensor([special.bos, special.eos, *tokenizer.marker_ids])
    noise = torch.randn(len(fresh), table_VD.shape[1]) * table_VD.std(0)
    table_VD[fresh] = table_VD.mean(0) + NOISE * noise
