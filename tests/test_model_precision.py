"""bfloat16 is used where the processor computes in it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from m6rec.model.precision import autocast, computes_bfloat16, low_precision
from m6rec.serving.runtimes.choose import worth_trying


@pytest.fixture(params=[{"avx2": True}, {"avx512_bf16": True}, {"amx_bf16": True}])
def capabilities(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, bool]]:
    computes_bfloat16.cache_clear()
    found: dict[str, bool] = request.param
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    yield found
    computes_bfloat16.cache_clear()


def test_products_are_in_bfloat16_only_where_the_processor_has_it(
    capabilities: dict[str, bool],
) -> None:
    wanted = torch.float32 if "avx2" in capabilities else torch.bfloat16
    a = torch.ones(4, 4)
    with autocast("cpu"):
        assert (a @ a).dtype is wanted
    with autocast("cpu", wanted=False):
        assert (a @ a).dtype is torch.float32
    assert low_precision("cpu") is wanted
    assert any("bf16" in name for name in worth_trying("cpu")) == (wanted is torch.bfloat16)


def test_an_older_torch_that_cannot_tell_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computes_bfloat16.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert low_precision("cpu") is torch.float32
    computes_bfloat16.cache_clear()
