"""A source read once: its keys and values, and any number of targets written after it.

Under the UniLM mask no source token sees a target, so what the targets attend to is the same for
all of them. The result equals model/language.py, which reads the source again for every target.

Legend: B sources, R rows of a source, C targets, T tokens of a target, M kept states of all
segments, D network width, G key-value heads, E head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model.attention import attend
from m6rec.model.block import Block
from m6rec.model.language import TARGET_SLOT, SourceRows, prompted, target_states
from m6rec.model.m6 import M6
from m6rec.model.masks import causal, text_mask
from m6rec.model.plans import enter_online, prompt_states

Past = tuple[tuple[Tensor, Tensor], ...]
"""(keys, values) of some layers, [B, G, R, E] each."""


@dataclass(frozen=True)
class Prefix:
    """B sources, ready to be written after.

    past: of all layers under the full plan, of those above L' (= lower) under the late plan.
    valid_BR: False for padding.
    """

    past: Past
    valid_BR: Tensor
    lower: int


def late_prefix(model: M6, kept_MD: Tensor, source: SourceRows, lower: int) -> Prefix:
    """From kept segment states (index_BR: rows of kept_MD)."""
    x_BRD = F.embedding(source.index_BR, kept_MD).to(model.read_token.dtype)
    source, x_BRD = prompted(source, x_BRD, prompt_states(model, lower))
    past = _online(model, x_BRD, source, lower, whole=False)
    return Prefix(past, source.valid_BR, lower)


def full_prefix(model: M6, source: SourceRows, lower: int) -> Prefix:
    """From token ids (index_BR: ids with their brackets), through every layer."""
    source, x_BRD = prompted(source, model.tokens(source.index_BR), model.prompts)
    x_BRD = model.embed_vectors(x_BRD, _source_positions(source))
    x_BRD, below = _read(model, x_BRD, source, range(lower))
    past = (*below, *_online(model, x_BRD, source, lower, whole=True))
    return Prefix(past, source.valid_BR, lower)


def write_late(
    model: M6, prefix: Prefix, owner_C: Tensor, ids_CT: Tensor, valid_CT: Tensor
) -> Tensor:
    """States of targets over late prefixes: [C, T, D].

    owner_C: whose target it is. ids_CT begins with [BOS]; a target that stands there several times
    runs through layers 1…L' once.
    """
    alone, place_C = torch.unique(ids_CT, dim=0, return_inverse=True)
    length_A = valid_CT.new_zeros(len(alone), dtype=torch.long)
    length_A[place_C] = valid_CT.sum(1)
    valid_AT = torch.arange(ids_CT.shape[1], device=ids_CT.device) < length_A[:, None]
    x_CTD = target_states(model, alone, valid_AT, prefix.lower)[place_C]
    return _write(model, prefix, owner_C, x_CTD, valid_CT)


def write_full(
    model: M6, prefix: Prefix, owner_C: Tensor, ids_CT: Tensor, valid_CT: Tensor
) -> Tensor:
    """The same over full prefixes: [C, T, D]."""
    position_CT = _target_positions(prefix, owner_C, valid_CT)
    return _write(model, prefix, owner_C, model.embed(ids_CT, position_CT), valid_CT)


def _online(model: M6, x_BRD: Tensor, source: SourceRows, lower: int, whole: bool) -> Past:
    """Keys and values of layers L'+1…L."""
    rows = enter_online(model, source.rows(x_BRD, whole))
    return _read(model, rows.x_BRD, source, range(lower, model.config.layers))[1]


def _read(model: M6, x_BRD: Tensor, source: SourceRows, layers: range) -> tuple[Tensor, Past]:
    """Some layers over sources alone: their output, and their keys and values."""
    position_BR, past = _source_positions(source), []
    mask_BRR = text_mask(source.valid_BR, model.config.source).expand(-1, x_BRD.shape[1], -1)
    for index in layers:
        block = _block(model, index)
        z_BRD = block.attention_norm(x_BRD) if block.pre else x_BRD
        past.append(block.attention.keys_values(z_BRD, position_BR))
        if index < model.config.layers - 1:  # nobody asks what the last layer says of a source
            q = block.attention.queries(z_BRD, position_BR)
            y_BRD = block.attention.out(attend(q, *past[-1], mask_BRR))
            x_BRD = block.absorb(x_BRD, y_BRD)
    return x_BRD, tuple(past)


def _write(model: M6, prefix: Prefix, owner_C: Tensor, x_CTD: Tensor, valid_CT: Tensor) -> Tensor:
    first = model.config.layers - len(prefix.past)
    position_CT = _target_positions(prefix, owner_C, valid_CT)
    T = valid_CT.shape[1]
    source_CTR = prefix.valid_BR[owner_C][:, None, :].expand(-1, T, -1)
    mask_CTK = torch.cat([source_CTR, causal(valid_CT)], 2)
    for index, past in enumerate(prefix.past, first):
        if index == prefix.lower:
            x_CTD = x_CTD + model.segments.weight[TARGET_SLOT].to(x_CTD.dtype)
        block = _block(model, index)
        z_CTD = block.attention_norm(x_CTD) if block.pre else x_CTD
        own = block.attention.keys_values(z_CTD, position_CT)
        k, v = (torch.cat([p[owner_C], o], 2) for p, o in zip(past, own, strict=True))
        q = block.attention.queries(z_CTD, position_CT)
        x_CTD = block.absorb(x_CTD, block.attention.out(attend(q, k, v, mask_CTK)))
    return model.finish(x_CTD)


def _block(model: M6, index: int) -> Block:
    block = model.blocks[index]
    assert isinstance(block, Block)
    return block


def _source_positions(source: SourceRows) -> Tensor:
    """How many rows stand before each; 0 for padding: [B, R]."""
    return (source.valid_BR.long().cumsum(1) - 1) * source.valid_BR


def _target_positions(prefix: Prefix, owner_C: Tensor, valid_CT: Tensor) -> Tensor:
    """A target goes on where its source ends; 0 for padding: [C, T]."""
    start_C1 = prefix.valid_BR.sum(1)[owner_C][:, None]
    return (start_C1 + torch.arange(valid_CT.shape[1], device=start_C1.device)) * valid_CT
