"""What updates which parameter in pretraining, and by how much."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from m6rec.training.optimizers import Optimizers, for_pretraining
from m6rec.training.recipe import m6_small

RATE = 0.01


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {
        "tokens.weight": nn.Parameter(torch.randn(6, 4)),
        "blocks.0.up.weight": nn.Parameter(torch.randn(8, 4)),
        "blocks.0.up.bias": nn.Parameter(torch.randn(8)),
    }


def updated(kind: str, decay: float = 0.0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients, and what one step adds to each parameter."""
    own = parameters()
    told = {"optimizer": kind, "rate": RATE, "weight_decay": decay}
    optimizer = for_pretraining(own, m6_small().model_copy(update=told))
    gradients = {name: torch.randn_like(parameter) for name, parameter in own.items()}
    before = {name: parameter.detach().clone() for name, parameter in own.items()}
    for name, parameter in own.items():
        parameter.grad = gradients[name]
    optimizer.step()
    return gradients, {name: own[name].detach() - before[name] for name in own}


def test_muon_moves_every_direction_of_a_layers_matrix_by_about_the_same() -> None:
    gradients, moved = updated("muon")
    strength = torch.linalg.svdvals(gradients["blocks.0.up.weight"])
    assert strength[0] / strength[-1] > 2
    reached = torch.linalg.svdvals(moved["blocks.0.up.weight"]) / (RATE * 0.2 * math.sqrt(8))
    assert reached.min() > 0.6  # five steps of Newton and Schulz end between .7 and 1.2
    assert reached.max() < 1.3
    assert (moved["blocks.0.up.weight"] * gradients["blocks.0.up.weight"]).sum() < 0


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_tables_and_vectors_have_adamw(kind: str) -> None:
    gradients, moved = updated(kind)
    for name in ("tokens.weight", "blocks.0.up.bias"):
        assert torch.allclose(moved[name], -RATE * gradients[name].sign(), atol=1e-6)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_only_matrices_of_layers_decay(kind: str) -> None:
    start, (_, without), (_, decayed) = parameters(), updated(kind), updated(kind, decay=0.5)
    for name, parameter in start.items():
        shrunk = -RATE * 0.5 * parameter.detach() if name == "blocks.0.up.weight" else 0.0
        assert torch.allclose(decayed[name] - without[name], torch.as_tensor(shrunk), atol=1e-6)


def test_a_parameter_of_no_optimizer_is_an_error() -> None:
    some = parameters()
    optimizer = Optimizers(torch.optim.AdamW([some["tokens.weight"]]))
    with pytest.raises(KeyError, match="no optimizer"):
        optimizer.moments(some["blocks.0.up.bias"])
