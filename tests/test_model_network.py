"""Attention, layers and the network itself, by hand and at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.model import plans
from m6rec.model.attention import attend, rotate
from m6rec.model.block import GeluFFN, SwigluFFN
from m6rec.model.m6 import M6
from m6rec.model.plans import positions_like
from model_worlds import (
    CONFIGS,
    VOCABULARY,
    bert_config,
    close,
    lively,
    pack,
    qwen_config,
    random_texts,
    segments,
)


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> M6:
    """A lively model of each family."""
    return lively(CONFIGS[request.param]())


def random_ids(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, VOCABULARY, (batch, length), generator=generator)


def test_attention_is_the_weighted_mean_worked_by_hand() -> None:
    q = torch.tensor([[[[2.0]]]])
    k = torch.tensor([[[[0.0], [math.log(3) / 2]]]])
    v = torch.tensor([[[[1.0], [5.0]]]])
    assert attend(q, k, v, None).item() == pytest.approx((1 + 3 * 5) / 4)
    mask = torch.tensor([[[True, False]]])
    assert attend(q, k, v, mask).item() == pytest.approx(1.0)


def test_heads_of_a_group_share_keys_and_values() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.rand(2, 5, 5) > 0.3
    mask[:, :, 0] = True
    repeated = attend(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), mask)
    assert close(attend(q, k, v, mask), repeated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_with_nothing_to_attend_to_gets_the_mean_never_nan(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 3, 4, dtype=dtype, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[[True, True, False], [False] * 3, [False, False, True]]])
    out = attend(q, k, v, mask)
    mean = v.mean(2).flatten(1)
    assert torch.allclose(out[:, 1], mean, atol=1e-6 if dtype == torch.float32 else 2e-2)
    out.sum().backward()
    for part in (q, k, v):
        assert part.grad is not None
        assert torch.isfinite(part.grad).all()


def test_rotation_turns_pairs_by_the_angle_of_their_position() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4)
    turned = rotate(x, torch.tensor([[3]]), theta=100.0)[0, 0, 0]
    # The pair (0, 2) turns by 3, the pair (1, 3) by 3 · 100^(-2/4) = 0.3.
    expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3)]
    assert turned.tolist() == pytest.approx(expected)


def test_rotary_scores_depend_on_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(at: int, other: int) -> float:
        here, there = torch.tensor([[at]]), torch.tensor([[other]])
        return float((rotate(q, here, 1e4) * rotate(k, there, 1e4)).sum())

    assert score(7, 4) == pytest.approx(score(103, 100), abs=1e-4)
    assert score(7, 4) != pytest.approx(score(7, 5), abs=1e-2)


def test_feed_forwards_are_their_formulas() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 3, 16)
    gelu = GeluFFN(bert_config())
    expected = F.gelu(z @ gelu.up.weight.T + gelu.up.bias) @ gelu.down.weight.T + gelu.down.bias
    assert close(gelu(z), expected)
    gated = SwigluFFN(qwen_config())
    inner = F.silu(z @ gated.gate.weight.T) * (z @ gated.up.weight.T)
    assert close(gated(z), inner @ gated.down.weight.T)


def test_a_layer_over_chosen_rows_equals_all_rows_then_chosen(model: M6) -> None:
    torch.manual_seed(0)
    x_BTD = torch.randn(2, 6, 16)
    mask = torch.ones(2, 6, 6).tril().bool()
    rows = torch.tensor([[5, 1], [0, 0]])
    block = model.blocks[1]
    whole = block(x_BTD, positions_like(x_BTD), mask)
    mask_BQK = torch.take_along_dim(mask, rows[..., None], dim=1)
    some = block(x_BTD, positions_like(x_BTD), mask_BQK, rows)
    assert close(some, torch.take_along_dim(whole, rows[..., None], dim=1))


def test_norms_stand_after_the_sum_or_before_the_part() -> None:
    """Post-norm rows of BERT have mean 0 and variance 1; the pre-norm stream keeps its input."""
    post = M6(bert_config()).eval()
    ids_BT = random_ids(2, 5)
    states = post(ids_BT, positions_like(ids_BT), None)
    assert close(states.mean(-1), torch.zeros(2, 5))
    assert close(states.var(-1, unbiased=False), torch.ones(2, 5), 1e-3)
    pre = M6(qwen_config()).eval()
    with torch.no_grad():
        for block in pre.blocks:
            block.attention.out.weight.zero_()
            block.ffn.down.weight.zero_()
    embedded = pre.embed(ids_BT, positions_like(ids_BT))
    run = pre.run(embedded, positions_like(ids_BT), None, range(3))
    assert torch.equal(run, embedded)
    assert close(pre.finish(run).pow(2).mean(-1), torch.ones(2, 5), 1e-2)


def test_a_tied_decoder_is_the_embedding_and_an_untied_one_is_not() -> None:
    tied = M6(bert_config(lm_head="transform"))
    assert tied.lm_head.decoder.weight is tied.tokens.weight
    untied = M6(qwen_config(tie_embeddings=False))
    assert untied.lm_head.decoder.weight is not untied.tokens.weight
    h = torch.randn(2, 16)
    assert close(untied.lm_head(h), h @ untied.lm_head.decoder.weight.T)
    assert tied.lm_head(h).shape == (2, VOCABULARY)


def test_a_new_model_starts_with_no_segment_embedding_and_temperature_of_the_paper() -> None:
    model = M6(bert_config())
    assert model.segments.weight.count_nonzero() == 0
    assert (-model.log_scale).exp().item() == pytest.approx(0.07)
    assert model.tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("plan", ["full", "late"])
def test_bfloat16_stays_close_to_float32(model: M6, plan: str) -> None:
    model = lively(model.config, scale=0.1)
    tokens = segments(random_texts(5, 5))
    packed = pack([([2, 3, 4], [[5], [6]])], model.config)

    def answer() -> Tensor:
        if plan == "full":
            return plans.full(model, tokens, packed, 2)
        return plans.late(model, plans.encode_segments(model, tokens, 2), packed, 2)

    exact = answer()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = answer()
    similar = F.cosine_similarity(exact.float(), mixed.float(), dim=-1)
    assert similar.min() > 0.999
    model.bfloat16()
    pure = answer()
    assert pure.dtype == torch.bfloat16
    assert F.cosine_similarity(exact, pure.float(), dim=-1).min() > 0.99
