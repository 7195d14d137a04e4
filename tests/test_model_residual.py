"""The collaborative residual: known items get their vector, the others their text alone."""

from __future__ import annotations

import pytest
import torch

from m6rec.model.residual import ItemResidual


def trained(dropout: float = 0.0) -> ItemResidual:
    """Five items whose vectors are no longer zero."""
    torch.manual_seed(0)
    residual = ItemResidual(items=5, width=6, projection=4, size=3, dropout=dropout)
    with torch.no_grad():
        residual.vectors.weight.normal_()
    return residual


def test_a_new_residual_says_nothing() -> None:
    fresh = ItemResidual(items=5, width=6, projection=4, size=3, dropout=0.3)
    assert fresh.for_segments(torch.tensor([[0, 4, -1]])).count_nonzero() == 0
    assert fresh.for_items(torch.tensor([0, 4, -1])).count_nonzero() == 0


def test_known_items_get_their_vector_and_unknown_ones_zero() -> None:
    residual = trained().eval()
    code_BG = torch.tensor([[2, -1], [-1, 4]])
    out_BGD = residual.for_segments(code_BG)
    vectors = residual.vectors.weight
    assert torch.allclose(out_BGD[0, 0], vectors[2] @ residual.to_state.weight.T)
    assert torch.allclose(out_BGD[1, 1], vectors[4] @ residual.to_state.weight.T)
    assert out_BGD[0, 1].count_nonzero() == out_BGD[1, 0].count_nonzero() == 0
    out_IK = residual.for_items(torch.tensor([3, -1]))
    assert torch.allclose(out_IK[0], vectors[3] @ residual.to_item.weight.T)
    assert out_IK[1].count_nonzero() == 0


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_in_training_a_share_of_items_is_served_by_text_alone(dropout: float) -> None:
    residual = trained(dropout).train()
    code_I = torch.arange(5).repeat(800)
    gone = (residual.for_items(code_I) == 0).all(-1).float().mean().item()
    assert gone == pytest.approx(dropout, abs=0.03)
    out_BGD = residual.for_segments(code_I.view(80, 50))
    assert (out_BGD == 0).all(-1).float().mean().item() == pytest.approx(dropout, abs=0.03)
    kept = residual.for_segments(torch.tensor([[1]]))[0, 0]
    whole = residual.vectors.weight[1] @ residual.to_state.weight.T
    assert kept.count_nonzero() == 0 or torch.allclose(kept, whole)


def test_dropout_is_off_when_answering() -> None:
    residual = trained(1.0).eval()
    assert residual.for_items(torch.arange(5)).abs().sum(-1).min() > 0


def test_unknown_items_give_no_gradient() -> None:
    residual = trained().train()
    residual.for_segments(torch.tensor([[1, -1]])).sum().backward()
    grad = residual.vectors.weight.grad
    assert grad is not None
    assert grad[1].abs().sum() > 0
    assert grad[[0, 2, 3, 4]].count_nonzero() == 0
