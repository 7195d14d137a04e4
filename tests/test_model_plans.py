"""Full, late and cached plans: what must be equal is equal, and each step by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.masks import REQUEST, Layout, text_mask
from m6rec.model.plans import (
    FIRST_EVENT_SLOT,
    READ_SOURCE_SLOT,
    READ_TARGET_SLOT,
    SLOTS,
    Packed,
    Rows,
    SegmentStates,
    SegmentTokens,
    positions_like,
)
from model_worlds import (
    CONFIGS,
    SPECIAL,
    Request,
    bert_config,
    close,
    lively,
    neutral,
    pack,
    qwen_config,
    random_texts,
    segments,
)

Kept = int | Literal["all"]
LOWER = 2
REQUESTS: list[Request] = [
    ([2, 3, 4], [[5], [6, 7]]),
    ([8], [[9]]),
    ([3, 2], [[7], [5], [2]]),
]


@pytest.fixture(params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> M6:
    """A lively model of each family."""
    return lively(CONFIGS[request.param]())


@pytest.fixture
def tokens() -> SegmentTokens:
    """Eight segments of 1 to 5 tokens."""
    return segments(random_texts(8, 5))


def encode(model: M6, tokens: SegmentTokens, kept: Kept, lower: int = LOWER) -> SegmentStates:
    states = plans.encode_segments(model, tokens, lower)
    return states if kept == "all" else plans.summarise(states, kept)


def run(model: M6, plan: str, tokens: SegmentTokens, packed: Packed, lower: int = LOWER) -> Tensor:
    if plan == "full":
        return plans.full(model, tokens, packed, lower)
    return plans.late(model, encode(model, tokens, "all", lower), packed, lower)


def alone(model: M6, tokens: SegmentTokens, kept: Kept) -> SegmentStates:
    """Every segment encoded by itself, without padding, as a store would hold it."""
    parts = []
    for s, length in enumerate(tokens.valid_SN.sum(1).tolist()):
        one = SegmentTokens(tokens.ids_SN[s : s + 1, :length], tokens.valid_SN[s : s + 1, :length])
        parts.append(encode(model, one, kept))
    K = max(part.h_SKD.shape[1] for part in parts)
    h_SKD = torch.zeros(len(parts), K, model.config.d_model)
    valid_SK = torch.zeros(len(parts), K, dtype=torch.bool)
    for s, part in enumerate(parts):
        h_SKD[s, : part.h_SKD.shape[1]] = part.h_SKD[0]
        valid_SK[s, : part.h_SKD.shape[1]] = part.valid_SK[0]
    return SegmentStates(h_SKD, valid_SK)


# Plans against each other


@pytest.mark.parametrize("kept", [1, 2, 3, "all"])
def test_cached_equals_late(model: M6, tokens: SegmentTokens, kept: Kept) -> None:
    packed = pack(REQUESTS, model.config)
    late = plans.late(model, encode(model, tokens, kept), packed, LOWER)
    cached = plans.late(model, alone(model, tokens, kept), packed, LOWER)
    assert late.shape == (3, 4, 16)
    assert close(cached, late)


def test_states_kept_as_float16_change_little(model: M6, tokens: SegmentTokens) -> None:
    packed = pack(REQUESTS, model.config)
    states = encode(model, tokens, 1)
    halved = replace(states, h_SKD=states.h_SKD.half().float())
    gap = plans.late(model, halved, packed, LOWER) - plans.late(model, states, packed, LOWER)
    assert gap.abs().max() < 0.02


@pytest.mark.parametrize("lower", [0, 1, 2, 3])
def test_full_is_the_plain_network_where_nothing_is_added_online(model: M6, lower: int) -> None:
    texts = random_texts(3, 5)
    neutral(model)
    packed = pack([([2, 3], [[4]])], model.config)
    states = plans.full(model, segments(texts), packed, lower)

    between = [SPECIAL.eos_source] if model.config.separates else []
    ids = [SPECIAL.bos_source, *texts[0], *between, *texts[1], SPECIAL.eos_source]
    P = len(ids)
    ids += [SPECIAL.bos, *texts[2], SPECIAL.eos]
    ids_BT = torch.tensor([ids])
    source_BT = torch.arange(len(ids))[None] < P
    layout = Layout(torch.ones_like(source_BT), source_BT, source_BT.long(), (~source_BT).long())
    mask = REQUEST[model.config.source](layout)
    plain = model(ids_BT, positions_like(ids_BT), mask)
    assert close(states[0], plain[0, [P - 1, -1]])


def test_late_is_the_plain_network_over_one_segment_where_nothing_is_online(model: M6) -> None:
    """L' = L: a segment's states are those of the network over its text alone."""
    tokens = segments(random_texts(4, 5))
    states = plans.encode_segments(model, tokens, model.config.layers)
    for s, length in enumerate(tokens.valid_SN.sum(1).tolist()):
        ids_BT = tokens.ids_SN[s : s + 1, :length]
        h = model.embed(ids_BT, positions_like(ids_BT))
        mask = text_mask(torch.ones_like(ids_BT, dtype=torch.bool), model.config.source)
        h = model.run(h, positions_like(ids_BT), mask, range(model.config.layers))
        if model.config.sink and length > 1:  # the first state is not kept
            h, length = h[:, 1:], length - 1
        elif model.config.sink:
            continue
        assert states.valid_SK[s].sum() == length
        assert close(states.h_SKD[s, :length], h[0])


def test_late_equals_full_where_one_segment_is_all_there_is() -> None:
    """Rotary positions, L' = 0, a segment without its closing bracket: the same rows, so equal."""
    model = lively(qwen_config())
    tokens = segments(random_texts(1, 5))
    packed = pack([([2], [])], model.config)
    full = plans.full(model, tokens, packed, 0)
    valid_SN = tokens.valid_SN.clone()
    valid_SN[2, int(valid_SN[2].sum()) - 1] = False
    late = plans.late(model, encode(model, replace(tokens, valid_SN=valid_SN), "all", 0), packed, 0)
    assert close(late, full)


def test_the_plans_differ_where_segments_meet_below_the_online_layers(model: M6) -> None:
    tokens = segments(random_texts(4, 5))
    packed = pack([([2, 3, 4], [[5]])], model.config)
    gap = run(model, "late", tokens, packed) - run(model, "full", tokens, packed)
    assert gap.abs().max() > 1e-3


# What else is in the batch changes nothing


@pytest.mark.parametrize("plan", ["full", "late"])
def test_a_candidate_in_a_batch_is_answered_as_if_alone(
    model: M6, tokens: SegmentTokens, plan: str
) -> None:
    source, candidates = [2, 3, 4], [[5], [6, 7], [8], [9, 2]]
    together = run(model, plan, tokens, pack([(source, candidates)], model.config))
    for c, candidate in enumerate(candidates):
        single = run(model, plan, tokens, pack([(source, [candidate])], model.config))
        assert close(together[0, [0, c + 1]], single[0])


@pytest.mark.parametrize("plan", ["full", "late"])
def test_the_source_is_read_the_same_whatever_the_candidates(
    model: M6, tokens: SegmentTokens, plan: str
) -> None:
    bare = run(model, plan, tokens, pack([([2, 3], [])], model.config))
    asked = run(model, plan, tokens, pack([([2, 3], [[5], [6]])], model.config))
    assert close(bare[0, 0], asked[0, 0])


@pytest.mark.parametrize("plan", ["full", "late"])
def test_a_request_with_fewer_candidates_repeats_its_last_answer(
    model: M6, tokens: SegmentTokens, plan: str
) -> None:
    states = run(model, plan, tokens, pack(REQUESTS, model.config))
    assert close(states[1, 1], states[1, 2])
    assert not close(states[0, 1], states[0, 2], 1e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    shapes=st.lists(
        st.tuples(st.integers(1, 4), st.lists(st.integers(1, 2), max_size=3)),
        min_size=1,
        max_size=3,
    ),
    extra=st.integers(0, 4),
    holes=st.integers(0, 3),
    family=st.sampled_from(sorted(CONFIGS)),
    plan=st.sampled_from(["full", "late"]),
)
def test_padding_changes_nothing(
    seed: int,
    shapes: list[tuple[int, list[int]]],
    extra: int,
    holes: int,
    family: str,
    plan: str,
) -> None:
    """Wider segments, empty columns before and after, other requests beside: the same answers."""
    model = lively(CONFIGS[family]())
    texts = random_texts(6, 4, seed)
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> list[int]:
        return (2 + torch.randint(len(texts), (count,), generator=generator)).tolist()

    requests = [(some(n), [some(m) for m in parts]) for n, parts in shapes]
    packed = pack(requests, model.config)
    B, _ = packed.index_BG.shape
    before = torch.zeros(B, holes, dtype=torch.int64)
    padded = Packed(
        torch.cat([before - 1, packed.index_BG], 1),
        torch.cat([before + SLOTS["profile"], packed.slot_BG], 1),
        torch.cat([before, packed.group_BG], 1),
        packed.read_BQ + holes,
        torch.cat([before - 1, packed.code_BG], 1),
    )
    wide = segments(texts, width=6 + extra)
    batch = run(model, plan, wide, padded)
    for b, (source, candidates) in enumerate(requests):
        single = run(model, plan, segments(texts), pack([(source, candidates)], model.config))
        assert close(batch[b, : len(candidates) + 1], single[0], 2e-5)


# Steps by hand


def states_of(values: list[list[float]], width: int) -> SegmentStates:
    """One-dimensional states, padded to a width."""
    h_SKD = torch.full((len(values), width, 1), 99.0)
    valid_SK = torch.zeros(len(values), width, dtype=torch.bool)
    for s, row in enumerate(values):
        h_SKD[s, : len(row), 0] = torch.tensor(row)
        valid_SK[s, : len(row)] = True
    return SegmentStates(h_SKD, valid_SK)


def test_summaries_are_means_of_almost_equal_runs() -> None:
    states = states_of([[1, 2, 3, 4, 5], [1, 2, 3, 4], [7, 9], [6]], 5)
    one = plans.summarise(states, 1)
    assert one.h_SKD[:, 0, 0].tolist() == [3, 2.5, 8, 6]
    assert one.valid_SK.all()
    two = plans.summarise(states, 2)
    assert two.h_SKD[:3, :, 0].tolist() == [[2, 4.5], [1.5, 3.5], [7, 9]]
    assert two.valid_SK.tolist() == [[True, True]] * 3 + [[True, False]]
    three = plans.summarise(states, 3)
    assert three.h_SKD[0, :, 0].tolist() == [1.5, 3.5, 5]
    assert three.valid_SK[2].tolist() == [True, True, False]


def test_more_summaries_than_tokens_keep_every_token() -> None:
    states = states_of([[1, 2, 3]], 3)
    kept = plans.summarise(states, 8)
    assert kept.h_SKD[0, :3, 0].tolist() == [1, 2, 3]
    assert kept.valid_SK.tolist() == [[True] * 3 + [False] * 5]


def test_read_tokens_take_in_their_region_as_worked_by_hand() -> None:
    """Source: events of age 1 and 0 and a prompt; one candidate with two rows."""
    config = bert_config(d_model=2, heads=1, kv_heads=1, head_dim=2)
    model = M6(config)
    with torch.no_grad():
        model.read_gate.copy_(torch.tensor([2.0, 0.5]))
        model.read_token.copy_(torch.tensor([[10.0, 0.0], [20.0, 0.0]]))
        model.recency.copy_(torch.tensor(0.5).log())
        model.segments.weight.zero_()
        model.segments.weight[READ_SOURCE_SLOT] = torch.tensor([0.0, 4.0])
        model.segments.weight[FIRST_EVENT_SLOT] = torch.tensor([0.0, 1.0])
    event, read, target = FIRST_EVENT_SLOT, READ_SOURCE_SLOT, READ_TARGET_SLOT
    slots = [SLOTS["prompt"], event + 1, event, read, SLOTS["item"], SLOTS["item"], target]
    x_BRD = torch.tensor([[50.0, 3.0, 6.0, 8.0, 1.0, 2.0, 100.0]])[..., None] * torch.tensor([1, 0])
    group_BR = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    valid_BR = torch.tensor([[1, 1, 1, 1, 1, 1, 1]]).bool()
    segment_BR = torch.tensor([[-1, 0, 1, 2, 3, 4, 5]])
    layout = Layout(valid_BR, group_BR == 0, segment_BR, group_BR)
    rows = Rows(x_BRD, torch.tensor([slots]), layout, torch.tensor([[3, 6]]))

    out = plans.enter_online(model, rows).x_BRD[0]
    # Mean of the source: ages 1 and 0 weigh 0.5 and 1, the prompt nothing: (1.5 + 6) / 1.5 = 5.
    # 2·5 + 0.5·8 + 10 = 24, and half of the segment embedding of [EOS'].
    assert torch.allclose(out[3], torch.tensor([24.0, 2.0]))
    # Candidate: the mean of 1 and 2, 2·1.5 + 0.5·100 + 20.
    assert torch.allclose(out[6], torch.tensor([73.0, 0.0]))
    assert torch.allclose(out[2], torch.tensor([6.0, 1.0]))
    assert out[[0, 1, 4, 5], 0].tolist() == [50, 3, 1, 2]

    residual_BGD = torch.zeros(1, 6, 2)
    residual_BGD[0, 1] = torch.tensor([3.0, 0.0])
    moved = plans.enter_online(model, rows, residual_BGD).x_BRD[0]
    assert torch.allclose(moved[2], torch.tensor([9.0, 1.0]))
    assert torch.allclose(moved[3], torch.tensor([24.0 + 2 * 3.0 / 1.5, 2.0]))


def test_a_region_of_nothing_but_its_read_token_stays_finite(model: M6) -> None:
    tokens = segments(random_texts(1, 3))
    packed = pack([([], [[2]])], model.config)
    for plan in ("full", "late"):
        assert torch.isfinite(run(model, plan, tokens, packed)).all()


def test_slots_of_events_are_their_ages_and_the_oldest_share_one() -> None:
    config = bert_config(segment_slots=16)
    slots = [plans.slot("event", age, config) for age in (0, 1, 7, 8, 500)]
    assert slots == [8, 9, 15, 15, 15]
    assert plans.slot("item", 3, config) == SLOTS["item"]


def test_the_last_layer_over_read_rows_equals_all_rows_then_gather(
    model: M6, tokens: SegmentTokens
) -> None:
    packed = pack(REQUESTS, model.config)
    rows = plans.lay_side_by_side(encode(model, tokens, 2), packed, None)
    rows = plans.enter_online(model, rows)
    mask = REQUEST[model.config.source](rows.layout)
    position = plans.seen_positions(rows.layout, mask)
    everything = model.finish(
        model.run(rows.x_BRD, position, mask, range(LOWER, model.config.layers))
    )
    picked = torch.take_along_dim(everything, rows.read_BQ[..., None], dim=1)
    assert close(plans.run_online(model, rows, LOWER), picked)


def test_no_online_layer_gives_the_read_rows_as_they_entered(
    model: M6, tokens: SegmentTokens
) -> None:
    lower = model.config.layers
    packed = pack(REQUESTS, model.config)
    rows = plans.lay_side_by_side(encode(model, tokens, 1, lower), packed, None)
    rows = plans.enter_online(model, rows)
    picked = torch.take_along_dim(rows.x_BRD, rows.read_BQ[..., None], dim=1)
    assert close(plans.run_online(model, rows, lower), model.finish(picked))


# Soft prompts


def with_prompts(model: M6, count: int) -> M6:
    generator = torch.Generator().manual_seed(9)
    prompts = 0.5 * torch.randn(count, model.config.d_model, generator=generator)
    model.prompts = torch.nn.Parameter(prompts)
    return model


def test_soft_prompts_are_a_segment_like_any_other(model: M6) -> None:
    """Prompts that are the embeddings of a text do what that text does as a segment of slot 0."""
    tokens = segments([[10, 11, 12], *random_texts(3, 4)])
    packed = pack([([3, 4], [[5]])], model.config)
    as_segment = pack([([2, 3, 4], [[5]])], model.config)
    slot_BG = as_segment.slot_BG.clone()
    slot_BG[0, 0] = SLOTS["prompt"]
    as_segment = replace(as_segment, slot_BG=slot_BG)
    expected = run(model, "late", tokens, as_segment)
    first = int(model.config.sink)  # then nothing is kept of the opening bracket
    model.prompts = torch.nn.Parameter(model.tokens(tokens.ids_SN[2])[first:5].detach())
    assert close(run(model, "late", tokens, packed), expected)


@pytest.mark.parametrize("plan", ["full", "late"])
def test_soft_prompts_reach_every_answer(model: M6, tokens: SegmentTokens, plan: str) -> None:
    packed = pack(REQUESTS, model.config)
    bare = run(model, plan, tokens, packed)
    prompted = run(with_prompts(model, 3), plan, tokens, packed)
    gap_BQ = (prompted - bare).abs().amax(-1)
    assert gap_BQ.min() > 1e-4
    single = run(model, plan, tokens, pack(REQUESTS[1:2], model.config))
    assert close(prompted[1, :2], single[0])


# Errors


def test_source_segments_come_first() -> None:
    group_BG = torch.tensor([[1, 0]])
    with pytest.raises(ValueError, match="source segments must come before"):
        Packed(group_BG, group_BG, group_BG, group_BG, group_BG)


def test_a_request_that_outgrows_the_positions_says_what_to_do() -> None:
    model = lively(bert_config(max_positions=16))
    tokens = segments([[9] * 8, [9] * 4])
    fits = pack([([2], [[3], [3], [3]])], model.config)  # 10 of the source, 6 of each candidate
    assert torch.isfinite(plans.full(model, tokens, fits, 1)).all()
    beside = pack([([2], [[3]]), ([3], [])], model.config)  # padding takes no position
    assert torch.isfinite(plans.full(model, tokens, beside, 1)).all()
    too_long = pack([([2, 2], [])], model.config)
    with pytest.raises(ValueError, match="18 tokens does not fit the 16 positions"):
        plans.full(model, tokens, too_long, 1)
    with_prompts(model, 1)
    with pytest.raises(ValueError, match="17 tokens"):
        plans.full(model, tokens, fits, 1)
