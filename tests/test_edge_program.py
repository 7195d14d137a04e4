"""A program of ExecuTorch gives what the network's own modules give, in a checked bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.export import EdgeSettings, export_bundle
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import PROGRAM_FILES, check
from m6rec.edge.parts import Encoder, ItemTower, UserTower
from m6rec.edge.program import (
    EncodeMethod,
    ItemMethod,
    RowNorm,
    UserMethod,
    for_xnnpack,
    has_executorch,
    lengths,
    program,
)
from m6rec.edge.runners import Program
from m6rec.model.int8 import Int8Linear
from model_worlds import close, edge_config, lively
from test_edge_export import CASES, edge_rec, in_int8, some_ids, source_of

RUNS = pytest.mark.skipif(
    not has_executorch(),
    reason="ExecuTorch is not installed (300 MB): pip install 'm6rec[executorch]'",
)
MOST, LONGEST = 9, 20


def newest_last(states_GD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a history of MOST events, and which are there."""
    h_MD, present_M = torch.zeros(MOST, states_GD.shape[1]), torch.zeros(MOST)
    h_MD[-len(states_GD) :], present_M[-len(states_GD) :] = states_GD, 1
    return h_MD, present_M


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_method_gives_what_its_module_gives(case: str) -> None:
    model, lower = CASES[case]()
    ids_SN = some_ids(9)
    states_SD = Encoder(model, lower)(ids_SN)
    assert close(EncodeMethod(model, lower, 9)(ids_SN), states_SD, 2e-6)
    assert close(ItemMethod(model, lower)(states_SD), ItemTower(model, lower)(states_SD), 2e-6)
    for count in (1, 5, MOST):
        states_GD = states_SD[torch.arange(count) % len(states_SD)]
        wanted_K = UserTower(model, lower)(states_GD)
        assert close(UserMethod(model, lower, MOST)(*newest_last(states_GD)), wanted_K, 2e-6)


@torch.no_grad()
def test_a_norm_of_linear_maps_is_a_layer_norm() -> None:
    torch.manual_seed(4)
    norm = nn.LayerNorm(24, eps=1e-5)
    norm.weight.normal_()
    norm.bias.normal_()
    x_BTD = 3 * torch.randn(5, 7, 24) + 2
    x_BTD[0, 0] = 0.001 * x_BTD[0, 0]  # so small that eps counts
    assert close(RowNorm(norm)(x_BTD), norm(x_BTD), 1e-5)
    own = for_xnnpack(lively(edge_config()))
    kinds = [type(module) for module in own.modules()]
    assert RowNorm in kinds and nn.LayerNorm not in kinds


def test_short_texts_have_methods_of_their_own() -> None:
    assert lengths(12) == [12]
    assert lengths(16) == [16]
    assert lengths(66) == [16, 32, 64, 66]


@RUNS
@pytest.mark.parametrize("precision", ["int8", "w8a8"])
@torch.no_grad()
def test_the_program_runs_as_the_modules_do(precision: str, tmp_path: Path) -> None:
    lower = 2
    model = in_int8(lively(edge_config()), lower, "rows" if precision == "w8a8" else "plain")
    path = tmp_path / "model.pte"
    path.write_bytes(program(model, lower, MOST, LONGEST))
    runner = Program(path)
    ids_SN = some_ids(9)
    states_SD = Encoder(model, lower)(ids_SN)
    off = 2e-6 if precision == "int8" else 0.05
    found_SD = runner.run("encode", {"ids": ids_SN.int().numpy()})
    assert close(torch.from_numpy(found_SD), states_SD, off)
    one_SD = runner.run("encode", {"ids": ids_SN[:1].int().numpy()})
    assert np.allclose(one_SD, found_SD[:1], atol=1e-6)
    items_IK = runner.run("item", {"states": states_SD.repeat(10, 1).numpy()})
    assert close(torch.from_numpy(items_IK[:7]), ItemTower(model, lower)(states_SD), off)
    assert np.allclose(items_IK[63:], items_IK[:7], atol=1e-6)
    user_K = runner.run("user", {"states": states_SD[:5].numpy()})
    assert close(torch.from_numpy(user_K), UserTower(model, lower)(states_SD[:5]), off)
    with pytest.raises(EdgeError, match="a history of 10 events: right is 9"):
        runner.run("user", {"states": np.zeros((10, states_SD.shape[1]), np.float32)})
    with pytest.raises(EdgeError, match="texts of 21 tokens: right is 20"):
        runner.run("encode", {"ids": np.ones((1, 21), np.int32)})


@RUNS
@pytest.mark.parametrize("precision", ["int8", "w8a8"])
def test_every_matrix_is_in_the_program_once_and_in_eight_bits(precision: str) -> None:
    model = lively(edge_config(layer_sets=1))
    rounded = in_int8(model, 2, "rows" if precision == "w8a8" else "plain")
    written = program(rounded, 2, MOST, 16)
    maps = [module for module in rounded.modules() if isinstance(module, Int8Linear)]
    assert len(maps) > 6
    assert [written.count(one.weight_OI.numpy().tobytes()) for one in maps] == [1] * len(maps)


@RUNS
def test_a_bundle_for_executorch_ranks_as_one_for_onnx(tmp_path: Path) -> None:
    source = source_of(edge_rec())
    export_bundle(source, tmp_path / "onnx", EdgeSettings(requests=20))
    settings = EdgeSettings(runtime="executorch", requests=20)
    manifest = export_bundle(source, tmp_path / "pte", settings)
    assert set(manifest["files"]) == set(PROGRAM_FILES)
    first, second = (EdgeBundle.open(tmp_path / name) for name in ("onnx", "pte"))
    history = ["red-shoe", "something warm"]
    wanted, found = (opened.rerank(history, k=10) for opened in (first, second))
    assert [r.item_id for r in found] == [r.item_id for r in wanted]
    (tmp_path / "pte" / "model.pte").write_bytes(b"")
    with pytest.raises(EdgeError, match=r"model\.pte is damaged"):
        check(tmp_path / "pte")
