"""Low-rank changes of a network's matrices (LoRA, arXiv 2106.09685).

They are trained beside frozen weights, kept in a folder of their own, and added to the weights
where the network is loaded: from there on it is a backbone like any other, and as fast.

Legend: R rank, I inputs, O outputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import Source
from m6rec.model.checkpoint import (
    TASK_WEIGHTS,
    CheckpointError,
    backbone_tensors,
    fingerprint,
    load_task,
    save_task,
)
from m6rec.model.m6 import M6
from m6rec.model.tuning import READOUT, RETRIEVAL_HEAD

TRAINED_TOO = (*READOUT, *RETRIEVAL_HEAD)
"""Where our tasks read and write: no language model brings it."""
DOWN, UP = ".low_down", ".low_up"


class LowRank(nn.Module):
    """`W·x + U·(D·x)` in the place of a linear map W, which is frozen."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.low_down = nn.Parameter(torch.empty(rank, linear.in_features))
        # Nothing is changed at first.
        self.low_up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.normal_(self.low_down, std=linear.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] → [..., O]."""
        out: Tensor = self.linear(x) + F.linear(F.linear(x, self.low_down), self.low_up)
        return out


def begin_change(model: M6, rank: int, seed: int = 0) -> None:
    """Puts a change beside every matrix of the layers, in place, and freezes all else but the
    places where tasks read and write."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parent, name, linear in list(_linears(model)):
            setattr(parent, name, LowRank(linear, rank))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED_TOO) or name.endswith((DOWN, UP)))


def save_change(model: M6, base: str, made_of: str, folder: Path) -> None:
    """Writes what was trained, in bfloat16. base: the start's name; made_of: its fingerprint."""
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    settings = {"base": base, "backbone": made_of, "source": model.config.source}
    save_task(folder, settings, {n: t.to(torch.bfloat16) for n, t in trained.items()})


def base_of(folder: Path) -> str:
    """The name of the start that a folder's change belongs to."""
    base = load_task(folder)[0].get("base")
    if not isinstance(base, str):
        raise CheckpointError(f"{folder} holds a task's adapter, and no change of a backbone")
    return base


def add_change(model: M6, folder: Path) -> M6:
    """Adds a folder's change to the weights, in place. CheckpointError where it does not fit."""
    settings, tensors = load_task(folder)
    if settings.get("backbone") != fingerprint(backbone_tensors(model)):
        raise CheckpointError(
            f"{folder} changes other weights than those of {settings.get('base')!r} as it is here"
        )
    own = dict(model.named_parameters())
    left = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        with torch.no_grad():
            for name in [n.removesuffix(DOWN) for n in left if n.endswith(DOWN)]:
                own[name + ".weight"].add_(left.pop(name + UP) @ left.pop(name + DOWN))
            for name, tensor in left.items():
                own[name].copy_(tensor)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder / TASK_WEIGHTS} does not fit the network: {error}"
        ) from None
    source: Source = settings.get("source", model.config.source)
    model.config = model.config.model_copy(update={"source": source})
    return model


def _linears(model: M6) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for block in model.blocks:
        for parent in block.modules():
            for name, child in parent.named_children():
                if isinstance(child, nn.Linear):
                    yield parent, name, child
