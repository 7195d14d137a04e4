"""The token table's gradient in place is the gradient."""

from __future__ import annotations

import pytest
import torch

from m6rec.model.table import TokenTable


def gradient(in_place: bool, calls: int) -> torch.Tensor:
    torch.manual_seed(0)
    table = TokenTable(7, 3)
    table.in_place = in_place
    ids = torch.tensor([[1, 5, 1], [0, 1, 6]])
    weight = torch.arange(18.0).reshape(2, 3, 3)
    for _ in range(calls):
        read = (table(ids) * weight).sum() + (table(ids[0]) ** 2).sum()
        written = (table.weight[:4] @ torch.ones(3)).exp().sum()
        (read + written).backward()
    assert table.weight.grad is not None
    return table.weight.grad


@pytest.mark.parametrize("calls", [1, 3])
def test_lookups_that_add_in_place_give_the_same_gradient(calls: int) -> None:
    torch.testing.assert_close(gradient(True, calls), gradient(False, calls))


def test_a_table_that_is_only_looked_up_gets_its_gradient() -> None:
    table = TokenTable(4, 2)
    table.in_place = True
    table(torch.tensor([2, 2])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[0, 0], [0, 0], [2, 2], [0, 0]]


def test_a_frozen_table_gets_none() -> None:
    table = TokenTable(4, 2).requires_grad_(False)
    table.in_place = True
    assert not table(torch.tensor([2])).requires_grad
    assert table.weight.grad is None
