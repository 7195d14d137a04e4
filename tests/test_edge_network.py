"""M6-Edge as settings of the one network: shared layers, a narrow table, zeros that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from language_worlds import backbone
from m6rec.config import ConfigError
from m6rec.model.checkpoint import CheckpointError, fingerprint, load_backbone, save_backbone
from m6rec.model.m6 import M6
from m6rec.model.plans import positions_like
from m6rec.model.sharing import givers
from m6rec.model.sparse import keep_zeros, nonzero, packed, prunable, unpacked
from m6rec.model.table import word_vectors
from m6rec.model.tuning import Adapter, Method, Tuning, branch, prepare
from model_worlds import bert_config, close, edge_config, lively


def zeroed(model: M6, share: float = 0.8) -> M6:
    """The smallest of every prunable matrix set to zero."""
    with torch.no_grad():
        for parameter in prunable(model).values():
            cut = parameter.abs().flatten().quantile(share)
            parameter[parameter.abs() <= cut] = 0
    return model


def test_layers_of_a_set_are_neighbours() -> None:
    assert givers(bert_config(layers=6)) == [0, 1, 2, 3, 4, 5]
    assert givers(edge_config(layers=6)) == [0] * 6
    assert givers(edge_config(layers=6, layer_sets=2)) == [0, 0, 0, 3, 3, 3]
    with pytest.raises(ValueError, match=r"layer_sets \(4\) is more than layers \(3\)"):
        edge_config(layer_sets=4)


def test_shared_layers_equal_one_layer_applied_again_and_again() -> None:
    shared = lively(edge_config())
    apart = M6(edge_config(layer_sets=None)).eval()
    state = shared.state_dict()
    apart.load_state_dict(state)
    ids_BT = torch.randint(6, 60, (2, 7), generator=torch.Generator().manual_seed(0))
    states = shared(ids_BT, positions_like(ids_BT), None)
    assert torch.equal(states, apart(ids_BT, positions_like(ids_BT), None))
    one = sum(p.numel() for p in shared.blocks[0].parameters())
    sizes = [sum(p.numel() for p in model.parameters()) for model in (apart, shared)]
    assert sizes[0] - sizes[1] == 2 * one


def test_a_narrow_table_is_projected_up_and_the_head_down_to_it() -> None:
    model = lively(edge_config(lm_head="transform"))
    up = model.tokens.up
    assert up is not None and model.lm_head.down is not None
    table_VD = model.tokens.weight @ up.weight.T + up.bias
    assert model.tokens.weight.shape == (60, 6)
    assert close(model.tokens(torch.arange(60)), table_VD)
    assert close(word_vectors(model.tokens), table_VD)
    assert model.lm_head.decoder.weight is model.tokens.weight
    h_BTD = torch.randn(2, 3, 16)
    dense, norm = model.lm_head.dense, model.lm_head.norm
    assert dense is not None and norm is not None
    narrow = norm(F.gelu(dense(h_BTD))) @ model.lm_head.down.weight.T
    assert close(model.lm_head(h_BTD), narrow @ model.tokens.weight.T + model.lm_head.decoder.bias)


def test_a_table_whose_gradient_is_added_in_place_learns_its_projection_too() -> None:
    sums = []
    for in_place in (False, True):
        model = lively(edge_config())
        model.tokens.in_place = in_place
        model.tokens(torch.tensor([[7, 8, 7]])).pow(2).sum().backward()
        assert model.tokens.up is not None
        sums.append((model.tokens.weight.grad, model.tokens.up.weight.grad))
    assert close(sums[0][0], sums[1][0])
    assert torch.equal(sums[0][1], sums[1][1])


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    model, words = backbone(layers=3)
    config = model.config.model_copy(update={"layer_sets": 1, "table_width": 4})
    edge = lively(config)
    save_backbone(edge, words, tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert any(name.startswith("blocks.0.") for name in names)
    assert not any(name.startswith(("blocks.1.", "blocks.2.")) for name in names)
    again, _ = load_backbone(tmp_path)
    assert again.blocks[2].ffn.up.weight is again.blocks[0].ffn.up.weight
    for (name, old), new in zip(
        edge.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(old, new), name


@pytest.mark.parametrize("make", [prepare, branch])
@pytest.mark.parametrize("lower", [1, 2])
def test_full_tuning_of_online_layers_leaves_the_layers_below(make: object, lower: int) -> None:
    model = lively(edge_config())
    tuning = Tuning(method="full", classes=2)
    if make is prepare:
        own, names = model, prepare(model, tuning, lower)
    else:
        own = branch(model, tuning, lower)
        names = [n for n, p in own.named_parameters() if p.requires_grad]
    assert f"blocks.{lower}.ffn.up.weight" in names
    assert not any(name.startswith("blocks.0.") for name in names)
    assert own.blocks[lower].ffn.up.weight is own.blocks[2].ffn.up.weight
    assert own.blocks[lower].ffn.up.weight is not own.blocks[0].ffn.up.weight
    assert torch.equal(own.blocks[lower].ffn.up.weight, own.blocks[0].ffn.up.weight)
    assert not own.blocks[0].ffn.up.weight.requires_grad


def test_an_adapter_stands_in_one_of_the_layers_that_share() -> None:
    model = lively(edge_config())
    prepare(model, Tuning(method="option-adapter", classes=2, rank=3), 2)
    assert [isinstance(block.ffn, Adapter) for block in model.blocks] == [False, False, True]
    assert model.prompts is not None and model.prompts.shape == (2, 16)


@pytest.mark.parametrize("method", ["full", "adapter", "prompt", "option", "option-adapter"])
def test_zeros_of_a_pruned_network_survive_every_way_of_tuning(method: Method) -> None:
    model = zeroed(lively(edge_config(sparsity=0.8)))
    own = branch(model, Tuning(method=method, classes=2, layers="all"), 1)
    before = {name: p.detach().clone() for name, p in prunable(own).items()}
    trained = [p for p in own.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.1)
    ids_BT = torch.randint(6, 60, (2, 7), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        states = own(ids_BT, positions_like(ids_BT), None)
        (states.pow(3).sum() + sum(p.sum() for p in trained)).backward()
        optimizer.step()
    moved = 0
    for name, parameter in prunable(own).items():
        assert torch.equal(parameter == 0, before[name] == 0), name
        moved += int(not torch.equal(parameter, before[name]))
    assert (moved > 5) == (method == "full")


def test_zeros_of_a_network_that_is_not_pruned_may_move() -> None:
    model = zeroed(lively(edge_config()))
    keep_zeros(model)
    model(torch.tensor([[7, 8]]), torch.tensor([[0, 1]]), None).pow(3).sum().backward()
    weight = model.blocks[0].ffn.up.weight
    assert weight.grad is not None and bool((weight.grad[weight == 0] != 0).any())


def test_every_table_and_linear_layer_is_prunable_but_what_tasks_fill_in() -> None:
    names = set(prunable(M6(edge_config(lm_head="transform"))))
    assert {"tokens.weight", "tokens.up.weight", "positions.weight"} <= names
    assert {"lm_head.dense.weight", "lm_head.down.weight", "project_user.weight"} <= names
    assert {f"blocks.0.attention.{part}.weight" for part in ("q", "k", "v", "out")} <= names
    assert not any("segments" in name or "norm" in name or "bias" in name for name in names)


def test_a_pruned_checkpoint_is_small_and_comes_back_to_the_bit(tmp_path: Path) -> None:
    model, words = backbone()
    sizes = []
    for share in (0.0, 0.8):
        config = model.config.model_copy(update={"sparsity": share, "layer_sets": 1})
        edge = zeroed(lively(config))
        save_backbone(edge, words, tmp_path / str(share))
        sizes.append((tmp_path / str(share) / "model.safetensors").stat().st_size)
    assert sizes[1] < 0.45 * sizes[0]
    again, _ = load_backbone(tmp_path / "0.8")
    for (name, old), new in zip(
        edge.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(old, new), name
    assert nonzero(again) == nonzero(edge) < 0.4 * sum(p.numel() for p in edge.parameters())


def test_packing_as_worked_by_hand() -> None:
    matrix = torch.tensor([[0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, -3.0]])
    stored = packed({"m": matrix, "v": torch.zeros(4), "full": torch.ones(2, 2)})
    assert set(stored) == {"m#bits", "m#values", "m#shape", "v", "full"}
    assert stored["m#bits"].tolist() == [2, 2]  # weight 1, then weight 9
    assert stored["m#values"].tolist() == [2.0, -3.0]
    assert torch.equal(unpacked(stored)["m"], matrix)


def test_a_damaged_packing_is_named(tmp_path: Path) -> None:
    model, words = backbone()
    edge = zeroed(lively(model.config.model_copy(update={"sparsity": 0.8})))
    save_backbone(edge, words, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["tokens.weight#values"] = tensors["tokens.weight#values"][1:].clone()
    save_file(tensors, path, metadata={"fingerprint": fingerprint(tensors)})
    with pytest.raises(CheckpointError, match=r"'tokens.weight' is packed, but its bits"):
        load_backbone(tmp_path)
    del tensors["tokens.weight#values"]
    save_file(tensors, path, metadata={"fingerprint": fingerprint(tensors)})
    with pytest.raises(CheckpointError, match="but not all of #bits, #values"):
        load_backbone(tmp_path)


def test_a_table_wider_than_the_network_is_refused() -> None:
    with pytest.raises((ConfigError, ValueError), match="more than d_model"):
        edge_config(table_width=17)
