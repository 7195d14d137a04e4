"""Pruning: the curve, the masks and the patterns by hand."""

from __future__ import annotations

import pytest
import torch

from m6rec.model.m6 import M6
from m6rec.model.sparse import prunable
from m6rec.training.edge.prune import Pruner, cubic, smallest, two_of_four
from model_worlds import edge_config, lively


def test_the_curve_is_cubic_and_stays_at_its_end() -> None:
    shares = [cubic(done, 0.2, 0.6, 0.8) for done in (0, 0.2, 0.4, 0.6, 1)]
    assert shares == pytest.approx([0, 0, 0.7, 0.8, 0.8])  # .8 · (1 - .5³) = .7


def test_the_smallest_go() -> None:
    weight = torch.tensor([[1.0, -5.0, 0.5], [2.0, -0.1, 3.0]])
    assert smallest(weight, 0.5).tolist() == [[False, True, False], [True, False, True]]
    assert smallest(weight, 0.0).all()


def test_of_four_neighbours_two_stay() -> None:
    weight = torch.tensor([[4.0, 3.0, 2.0, 1.0, -0.1, 0.2, 0.3, -0.4]])
    whole = two_of_four(weight, 0.5)
    assert whole.tolist() == [[True, True, False, False, False, False, True, True]]
    half = two_of_four(weight, 0.25)  # on the way the smallest of those that may go
    assert half.tolist() == [[True, True, True, True, False, False, True, True]]
    assert two_of_four(torch.ones(2, 6), 0.5).all()  # no multiple of four


def pruned(pattern: str = "free") -> tuple[M6, Pruner]:
    model = lively(edge_config())
    pruner = Pruner(0.8, 0.0, 1.0, pattern)  # type: ignore[arg-type]
    return model, pruner


def test_what_has_gone_never_comes_back() -> None:
    model, pruner = pruned()
    generator = torch.Generator().manual_seed(0)
    gone: dict[str, torch.Tensor] = {}
    for step in range(1, 11):
        pruner.tighten(model, step / 10)
        for name, weight in prunable(model).items():
            zero = weight == 0
            assert int(zero.sum()) == int(cubic(step / 10, 0, 1, 0.8) * weight.numel()), name
            if name in gone:
                assert bool(zero[gone[name]].all()), name
            gone[name] = zero.clone()
        with torch.no_grad():
            for weight in prunable(model).values():
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
        pruner.hold(model)
    assert pruner.reached == pytest.approx(0.8)


def test_two_of_four_is_reached_in_every_linear_layer_and_tables_are_free() -> None:
    model, pruner = pruned("2:4")
    for step in range(1, 6):
        pruner.tighten(model, step / 5)
    for name, weight in prunable(model).items():
        if name in ("tokens.weight", "positions.weight"):
            assert int((weight == 0).sum()) == int(0.8 * weight.numel())
        elif weight.shape[1] % 4 == 0:
            assert ((weight.view(-1, 4) != 0).sum(1) == 2).all(), name


def test_what_has_gone_has_no_gradient() -> None:
    model, pruner = pruned()
    pruner.tighten(model, 1.0)
    model(torch.tensor([[7, 8, 9]]), torch.tensor([[0, 1, 2]]), None).pow(3).sum().backward()
    weight = model.blocks[0].ffn.up.weight
    assert weight.grad is not None and bool((weight.grad[weight == 0] != 0).any())
    pruner.still(model)
    assert not bool((weight.grad[weight == 0] != 0).any())
    assert bool((weight.grad != 0).any())


def test_words_that_are_written_often_lose_less() -> None:
    model = lively(edge_config())
    table = model.tokens.weight
    with torch.no_grad():
        table.fill_(1.0)
        table[0] = 3.0
    written = torch.zeros(len(table))
    written[1] = 255.0  # (255 + 1) ** .25: four times its size, more than three
    share = 1 - 1.5 / len(table)  # what is left is a row and a half
    Pruner(share, 0.0, 1.0, written_V=written).tighten(model, 1.0)
    left = (table != 0).sum(1)
    assert left[1] == table.shape[1] and not left[2:].any()
    other = lively(edge_config())
    Pruner(share, 0.0, 1.0).tighten(other, 1.0)
    for name, weight in prunable(model).items():
        if name != "tokens.weight":  # all others by their size alone
            assert torch.equal(weight, prunable(other)[name]), name


def test_masks_come_back_from_their_state() -> None:
    model, pruner = pruned()
    pruner.tighten(model, 0.5)
    again = Pruner(0.8, 0.0, 1.0)
    again.restore(pruner.state())
    assert again.reached == pruner.reached
    assert all(torch.equal(mask, again.masks[name]) for name, mask in pruner.masks.items())
    again.tighten(model, 0.4)  # an earlier share asks for nothing
    assert again.reached == pruner.reached
