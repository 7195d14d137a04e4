"""Layers that share parameters: blocks of their own over the same weights (ALBERT, 1909.11942).

Each layer stays a module of its own, so that an adapter can be put into one of them alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from m6rec.config import ModelConfig


def givers(config: ModelConfig) -> list[int]:
    """For each layer the first one that has the same parameters; its own index if it is that."""
    L, sets = config.layers, config.layer_sets or config.layers
    group = [index * sets // L for index in range(L)]
    return [group.index(number) for number in group]


def share_layers(blocks: nn.ModuleList, giver: Sequence[int], first: int = 0) -> None:
    """Puts each giver's parameters into its takers, from layer `first` on."""
    for index in range(first, len(blocks)):
        if giver[index] != index:
            _put(blocks[giver[index]], blocks[index])


def own_layers(blocks: nn.ModuleList, giver: Sequence[int], lower: int) -> None:
    """Layers from `lower` on get copies of what they share with layers below, in place.

    Among themselves they share as before. So they can be tuned while the layers below, whose
    states are cached, stay as they are.
    """
    for index in range(lower, len(blocks)):
        if giver[index] < lower:
            nearest = next(
                other for other in range(lower, index + 1) if giver[other] == giver[index]
            )
            if nearest == index:
                _copy(blocks[index])
            else:
                _put(blocks[nearest], blocks[index])


def _put(source: nn.Module, target: nn.Module) -> None:
    for one, other in zip(source.modules(), target.modules(), strict=True):
        other._parameters.update(one._parameters)


def _copy(block: nn.Module) -> None:
    for module in block.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().clone())


def is_borrowed(name: str, giver: Sequence[int]) -> bool:
    """Whether a name of the state dict is a layer's that has another one's parameters."""
    parts = name.split(".", 2)
    return parts[0] == "blocks" and giver[int(parts[1])] != int(parts[1])
