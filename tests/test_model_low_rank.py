"""Low-rank changes: nothing at first, alone in what is trained, the same when they are added."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model import plans
from m6rec.model.attention import attend
from m6rec.model.checkpoint import CheckpointError, backbone_tensors, fingerprint, save_task
from m6rec.model.low_rank import DOWN, UP, add_change, base_of, begin_change, save_change
from m6rec.model.m6 import M6
from m6rec.training.cross_entropy import cross_entropy_sum
from model_worlds import CONFIGS, close, lively, pack, random_texts, segments, sink_config


def answers(model: M6) -> Tensor:
    tokens, packed = segments(random_texts(8, 5)), pack([([2, 3, 4], [[5], [6]])], model.config)
    with torch.no_grad():
        return plans.late(model, plans.encode_segments(model, tokens, 2), packed, 2)


@pytest.fixture
def changed(tmp_path: Path) -> tuple[M6, Path]:
    """A network whose change says something, and the folder that it was written to."""
    model = lively(sink_config())
    made_of = fingerprint(backbone_tensors(model))
    begin_change(model, rank=3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
                parameter.copy_(parameter.to(torch.bfloat16).float())
    save_change(model, "somebody", made_of, tmp_path / "change")
    return model, tmp_path / "change"


@pytest.mark.parametrize("family", sorted(set(CONFIGS) - {"edge"}))
def test_a_change_is_nothing_at_first_and_alone_in_what_is_trained(family: str) -> None:
    model = lively(CONFIGS[family]())
    before, weights = answers(model), sum(p.numel() for p in model.parameters())
    begin_change(model, rank=2)
    assert torch.equal(answers(model), before)
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    matrices = {name for name in trained if name.startswith("blocks.")}
    assert matrices and all(name.endswith((DOWN, UP)) for name in matrices)
    assert sum(p.numel() for p in model.parameters()) > weights
    others = set(trained) - matrices
    assert "segments.weight" in others and "tokens.weight" not in trained


def test_a_change_that_is_added_gives_what_was_trained(changed: tuple[M6, Path]) -> None:
    trained, folder = changed
    plain = lively(sink_config())
    before = answers(plain)
    added = add_change(plain, folder)
    assert not close(answers(added), before, 1e-2)
    assert close(answers(added), answers(trained), 1e-5)
    assert set(backbone_tensors(added)) == set(backbone_tensors(lively(sink_config())))
    assert base_of(folder) == "somebody"


def test_a_change_carries_how_the_source_is_read(tmp_path: Path) -> None:
    model = lively(sink_config())
    made_of = fingerprint(backbone_tensors(model))
    model.config = model.config.model_copy(update={"source": "bidirectional"})
    begin_change(model, rank=1)
    save_change(model, "somebody", made_of, tmp_path)
    assert add_change(lively(sink_config()), tmp_path).config.source == "bidirectional"


def test_a_change_of_other_weights_is_refused(changed: tuple[M6, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="changes other weights than those of 'somebody'"):
        add_change(lively(sink_config(), seed=1), changed[1])
    save_task(tmp_path / "task", {"backbone": "x"}, {"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="a task's adapter"):
        base_of(tmp_path / "task")
    model = lively(sink_config())
    made_of = fingerprint(backbone_tensors(model))
    save_task(tmp_path / "odd", {"base": "b", "backbone": made_of}, {"odd": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"task\.safetensors does not fit the network"):
        add_change(model, tmp_path / "odd")


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_attention_with_gradients_equals_pytorchs_for_grouped_queries(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 5, 4, generator=generator) for n in (heads, 2, 2))
    mask = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 5, 5)
    found, gradients = [], []
    for plainly in (True, False):
        parts = [part.clone().requires_grad_() for part in (q, k, v)]
        if plainly:
            out = attend(*parts, mask)
        else:
            out = F.scaled_dot_product_attention(*parts, attn_mask=mask[:, None], enable_gqa=True)
            out = out.transpose(1, 2).flatten(2)
        out.square().sum().backward()
        found.append(out)
        gradients.append([part.grad for part in parts])
    torch.testing.assert_close(*found)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_cross_entropy_leaves_a_frozen_table_without_gradient() -> None:
    h = torch.randn(6, 4, generator=torch.manual_seed(0)).requires_grad_()
    table, bias, label = torch.randn(9, 4), torch.zeros(9), torch.tensor([1, 2, 3, 4, 5, 8])
    cross_entropy_sum(h, table, bias, label, torch.float32).backward()
    ours, h.grad = h.grad, None
    F.cross_entropy(h @ table.T, label, reduction="sum").backward()
    torch.testing.assert_close(ours, h.grad)
    assert table.grad is None
