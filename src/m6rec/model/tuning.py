"""Tuning with about one per cent of the parameters, by module swap in the one network.

Legend: B batch, T tokens, D width, R adapter rank, P soft prompts, C classes. (paper section 4)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import ConfigError, Settings
from m6rec.model.block import Block
from m6rec.model.m6 import M6
from m6rec.model.sharing import givers, own_layers
from m6rec.model.sparse import keep_zeros
from m6rec.model.table import word_vectors

Method = Literal["full", "adapter", "prompt", "option", "option-adapter"]
READOUT = ("segments.weight", "read_gate", "read_token", "recency")
"""What every method trains: the segment embedding and the special tokens' task-specific part."""
RETRIEVAL_HEAD = ("project_user", "project_item", "log_scale")


class Tuning(Settings):
    """How a task is tuned.

    method: paper section 4. classes: C, or 0 for a task without classes: then the two projections
    stand in for the options. rank: width of the adapters. prompts: soft prompts besides the C
    soft options. layers: tune (or give adapters to) all layers, or only the online ones, so that
    every task shares one segment cache.
    """

    method: Method = "option-adapter"
    classes: int = Field(default=0, ge=0)
    rank: int = Field(default=16, ge=1)
    prompts: int = Field(default=0, ge=0)
    layers: Literal["all", "online"] = "online"

    @property
    def has_adapters(self) -> bool:
        """Whether FFN adapters are swapped in."""
        return self.method in ("adapter", "option-adapter")

    @property
    def has_prompts(self) -> bool:
        """Whether soft prompts stand before the input."""
        return self.method in ("prompt", "option", "option-adapter")

    @property
    def ties_options(self) -> bool:
        """Whether the last C prompts are the classifier's weights."""
        return self.method in ("option", "option-adapter") and self.classes > 0


class Adapter(nn.Module):
    """`FFN(Z) + λ·(σ(Z·W1 + b1)·W2 + b2)`, put where the FFN was (paper section 4)."""

    def __init__(self, ffn: nn.Module, width: int, rank: int) -> None:
        super().__init__()
        self.ffn = ffn
        self.adapter_down = nn.Linear(width, rank)
        self.adapter_up = nn.Linear(rank, width)
        self.adapter_scale = nn.Parameter(torch.tensor(1.0))
        nn.init.normal_(self.adapter_down.weight, std=width**-0.5)
        nn.init.zeros_(self.adapter_down.bias)
        # The adapter says nothing at first, so tuning starts from the backbone's own answer.
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, z_BTD: Tensor) -> Tensor:
        """[B, T, D]."""
        low_BTR = F.gelu(self.adapter_down(z_BTD))
        out: Tensor = self.ffn(z_BTD) + self.adapter_scale * self.adapter_up(low_BTR)
        return out


def prepare(
    model: M6, tuning: Tuning, lower: int, class_words: tuple[tuple[int, ...], ...] = ()
) -> list[str]:
    """Swaps in what the method needs and freezes the rest; returns the trainable names.

    lower is L', the number of layers below the online ones. class_words gives token ids of a word
    or two for each class, whose mean embedding is the start of its option.
    Raises ConfigError when the model was prepared before or the classes do not fit.
    """
    has_vectors = model.prompts is not None or model.options is not None
    if has_vectors or any(isinstance(b.ffn, Adapter) for b in _blocks(model)):
        raise ConfigError("this model carries a tuned task already; start from the backbone")
    if class_words and len(class_words) != tuning.classes:
        raise ConfigError(f"{len(class_words)} class words for {tuning.classes} classes")
    if tuning.has_adapters:
        for index in range(lower if tuning.layers == "online" else 0, len(model.blocks)):
            block = model.blocks[index]
            assert isinstance(block, Block)
            block.ffn = Adapter(block.ffn, model.config.d_model, tuning.rank)
    if tuning.method == "full" and tuning.layers == "online":
        own_layers(model.blocks, givers(model.config), lower)
    _add_prompts(model, tuning, class_words)
    trainable = set(_trainable(model, tuning, lower))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    keep_zeros(model)
    return sorted(trainable)


def branch(
    model: M6, tuning: Tuning, lower: int, class_words: tuple[tuple[int, ...], ...] = ()
) -> M6:
    """A copy of the backbone prepared for one task, which shares every frozen parameter with it.

    So ten tasks cost one backbone and ten times the one per cent. Arguments as in `prepare`.
    """
    # New parameters over the same memory: what is frozen here may well be trained over there.
    shared = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    own = copy.deepcopy(model, memo=dict(shared))
    trainable = prepare(own, tuning, lower, class_words)
    parameters = dict(own.named_parameters())
    frozen = {id(p) for p in shared.values()}
    fresh = {
        id(parameters[name]): nn.Parameter(parameters[name].detach().clone())
        for name in trainable
        if id(parameters[name]) in frozen
    }
    for module in own.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in fresh:
                module._parameters[key] = fresh[id(parameter)]
    keep_zeros(own)
    return own


def _blocks(model: M6) -> Iterator[Block]:
    for block in model.blocks:
        assert isinstance(block, Block)
        yield block


def _add_prompts(model: M6, tuning: Tuning, class_words: tuple[tuple[int, ...], ...]) -> None:
    with torch.no_grad():
        table = word_vectors(model.tokens)
        if class_words:
            rows = [table[list(ids)].float().mean(0) for ids in class_words]
            options_CD = torch.stack(rows)
        else:
            options_CD = table.float().std() * torch.randn(tuning.classes, table.shape[1])
        if tuning.has_prompts:
            picks = torch.randint(table.shape[0], (tuning.prompts,))
            free_PD = table[picks].float()
            tail = options_CD if tuning.ties_options else options_CD[:0]
            prompts = torch.cat([free_PD, tail])
            model.prompts = nn.Parameter(prompts) if len(prompts) else None
        if tuning.classes and not tuning.ties_options:
            model.options = nn.Parameter(options_CD.clone())


def _trainable(model: M6, tuning: Tuning, lower: int) -> Iterator[str]:
    head = () if tuning.classes else RETRIEVAL_HEAD
    extra = ("prompts", "options", *READOUT, *head)
    blocks = tuple(f"blocks.{index}." for index in range(lower))
    below = ("tokens", "positions", "embed_norm", "lm_head", *blocks)
    for name, _ in model.named_parameters():
        is_tuned_layer = tuning.layers == "all" or not name.startswith(below)
        whole = tuning.method == "full" and is_tuned_layer and not name.startswith(RETRIEVAL_HEAD)
        if whole or name.startswith(extra) or ".adapter_" in name:
            yield name


def option_logits(model: M6, state_BD: Tensor, tuning: Tuning) -> Tensor:
    """Scores of the classes at [EOS]: [B, C], scaled by 1/√D.

    With tied options the last C soft prompts are the weights (option tuning, paper section 4).
    """
    weights = model.prompts if tuning.ties_options else model.options
    if weights is None:
        raise ConfigError("this model has no options; prepare it for a task with classes first")
    options_CD = weights[-tuning.classes :]
    logits_BC: Tensor = state_BD.float() @ options_CD.float().T / state_BD.shape[-1] ** 0.5
    return logits_BC


def is_added(name: str) -> bool:
    """Whether a parameter was put in by `prepare` and is no part of the backbone."""
    return name in ("prompts", "options") or ".adapter_" in name


def tuned_share(model: M6) -> float:
    """Trainable parameters as a share of the backbone's own."""
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trainable / sum(size for name, size in sizes.items() if not is_added(name))
