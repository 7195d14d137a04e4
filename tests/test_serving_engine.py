"""The engine answers what plans.late answers, alone or beside others, for any shape and task."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m6rec.config import ConfigError
from m6rec.model import plans
from m6rec.model.attention import attend
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates
from m6rec.model.residual import ItemResidual
from m6rec.model.shared_prefix import Part, attend_partly, bias_of, join
from m6rec.model.tuning import Tuning, branch
from m6rec.serving.adapters import NotSharedError
from m6rec.serving.engine import Answer, Ask, Engine, EngineSettings
from m6rec.serving.prepare import PackingError, split
from model_worlds import CONFIGS, Request, close, lively, pack, random_texts, segments

Kept = int | Literal["all"]
TOLERANCE = 2e-5
EAGER = EngineSettings(runtime="torch-fp32")
REQUESTS: list[Request] = [
    ([2, 3, 4], [[5], [6, 7]]),
    ([8], [[9]]),
    ([3, 2], [[7], [5], [2]]),
]


def states_of(model: M6, kept: Kept, lower: int, seed: int = 0, texts: int = 8) -> SegmentStates:
    tokens = segments(random_texts(texts, 5, seed))
    with torch.no_grad():
        states = plans.encode_segments(model, tokens, lower)
        return states if kept == "all" else plans.summarise(states, kept)


def ask(
    engine: Engine,
    task: str,
    states: SegmentStates,
    packed: Packed,
    request: int = 0,
    ahead: bool = True,
    residual: ItemResidual | None = None,
) -> Ask:
    source, candidates = split(packed, request)
    return Ask(
        task,
        engine.sources(task, states, source, residual)[0],
        engine.candidates(task, states, candidates, ahead=ahead, residual=residual),
    )


def late(model: M6, states: SegmentStates, packed: Packed, lower: int, **more: Any) -> Tensor:
    with torch.no_grad():
        return plans.late(model, states, packed, lower, **more)


def equal(answer: Answer, states_QD: Tensor) -> bool:
    n = len(answer.candidates_ND)
    found_QD = torch.cat([answer.source_D[None], answer.candidates_ND])
    return close(found_QD, states_QD[: 1 + n], TOLERANCE)


def tuned(model: M6, lower: int, seed: int, rank: int = 3, prompts: int = 2, **kind: Any) -> M6:
    """A lively branch: adapters, prompts and what every method trains all say something."""
    torch.manual_seed(seed)
    own = branch(model, Tuning(classes=2, rank=rank, prompts=prompts, **kind), lower).eval()
    with torch.no_grad():
        for parameter in own.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return own


# Against plans.late

shapes = st.fixed_dictionaries(
    {
        "family": st.sampled_from(sorted(CONFIGS)),
        "lower": st.integers(0, 3),
        "kept": st.sampled_from([1, 2, "all"]),
        "history": st.integers(1, 9),
        "candidates": st.lists(st.integers(1, 3), min_size=1, max_size=7),
        "method": st.sampled_from(["none", "adapter", "prompt", "option-adapter"]),
        "ahead": st.booleans(),
        "rows_at_once": st.sampled_from([1, 7, 2048]),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_the_engine_equals_the_late_plan_for_any_shape(shape: dict[str, Any]) -> None:
    lower, seed = shape["lower"], shape["seed"]
    model = lively(CONFIGS[shape["family"]](), seed)
    if shape["method"] != "none":
        model = tuned(model, lower, seed, method=shape["method"])
    states = states_of(model, shape["kept"], lower, seed)
    generator = torch.Generator().manual_seed(seed)

    def some(count: int) -> list[int]:
        return torch.randint(2, 10, (count,), generator=generator).tolist()

    request = (some(shape["history"]), [some(parts) for parts in shape["candidates"]])
    packed = pack([request], model.config)
    running = EngineSettings(runtime="torch-fp32", rows_at_once=shape["rows_at_once"])
    engine = Engine({"task": model}, lower, running)
    answer = engine.answer([ask(engine, "task", states, packed, ahead=shape["ahead"])])[0]
    assert equal(answer, late(model, states, packed, lower)[0])


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("kept", [1, "all"])
def test_requests_of_different_size_in_one_call_are_answered_as_alone(
    family: str, kept: Kept
) -> None:
    model = lively(CONFIGS[family]())
    states, packed = states_of(model, kept, 2), pack(REQUESTS, model.config)
    engine = Engine({"task": model}, 2, EAGER)
    asks = [ask(engine, "task", states, packed, request) for request in range(3)]
    together = engine.answer(asks)
    wanted = late(model, states, packed, 2)
    assert [len(answer.candidates_ND) for answer in together] == [2, 1, 3]
    assert all(equal(answer, wanted[b]) for b, answer in enumerate(together))
    for one, answer in zip(asks, together, strict=True):
        assert close(engine.answer([one])[0].candidates_ND, answer.candidates_ND)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_tasks_in_one_batch_are_answered_as_each_task_alone(family: str) -> None:
    backbone, lower = lively(CONFIGS[family]()), 1
    tasks = {
        "bare": tuned(backbone, lower, 1, method="prompt"),
        "wide": tuned(backbone, lower, 2, rank=5, prompts=0, method="adapter"),
        "narrow": tuned(backbone, lower, 3, rank=2, method="option-adapter"),
    }
    states, packed = states_of(backbone, 1, lower), pack(REQUESTS, backbone.config)
    engine = Engine(tasks, lower, EAGER)
    order = ["narrow", "bare", "wide", "narrow"]
    asks = [ask(engine, name, states, packed, b % 3) for b, name in enumerate(order)]
    for b, (name, answer) in enumerate(zip(order, engine.answer(asks), strict=True)):
        assert equal(answer, late(tasks[name], states, packed, lower)[b % 3])
    apart = late(tasks["wide"], states, packed, lower) - late(
        tasks["narrow"], states, packed, lower
    )
    assert apart.abs().max() > 0.1  # the tasks do differ


def test_tasks_that_tune_whole_layers_can_not_share_an_engine() -> None:
    backbone = lively(CONFIGS["bert"]())
    whole = tuned(backbone, 2, 1, method="full")
    with pytest.raises(NotSharedError, match="layer 3"):
        Engine({"a": tuned(backbone, 2, 1, method="adapter"), "b": whole}, 2, EAGER)
    Engine({"b": whole}, 2, EAGER)


def test_tasks_that_tune_the_final_norm_can_not_share_an_engine() -> None:
    backbone = lively(CONFIGS["qwen"]())
    tasks = {name: tuned(backbone, 3, seed, method="full") for seed, name in enumerate("ab")}
    with pytest.raises(NotSharedError, match="at the final norm"):
        Engine(tasks, 3, EAGER)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_an_early_exit_is_the_network_without_its_later_layers(family: str) -> None:
    config = CONFIGS[family]
    model = lively(config())
    short = lively(config(layers=2))
    own = {name: tensor for name, tensor in model.state_dict().items() if "blocks.2" not in name}
    short.load_state_dict(own)
    states, packed = states_of(model, 2, 1), pack(REQUESTS, model.config)
    engine = Engine({"task": model}, 1, EngineSettings(runtime="torch-fp32", exit_layer=2))
    answer = engine.answer([ask(engine, "task", states, packed)])[0]
    assert equal(answer, late(short, states, packed, 1)[0])
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match=f"exit_layer is {wrong}; right is 1 to 3"):
            Engine({"task": model}, 1, EngineSettings(runtime="torch-fp32", exit_layer=wrong))


@pytest.mark.parametrize("lower", [1, 2])
def test_the_collaborative_residual_is_added_as_in_the_plan(lower: int) -> None:
    model = lively(CONFIGS["bert"]())
    packed = pack([([2, 3], [[5], [6], [7], [5]])], model.config)
    packed.code_BG[0] = torch.tensor([1, -1, -1, 0, -1, 2, -1, -1, -1, 1, -1])
    residual = ItemResidual(3, 16, 8, 4, 0.0).eval()
    torch.nn.init.normal_(residual.vectors.weight)
    states = states_of(model, 1, lower)
    engine = Engine({"task": model}, lower, EAGER)
    one = ask(engine, "task", states, packed, residual=residual)
    with torch.no_grad():
        residual_BGD = residual.for_segments(packed.code_BG)
    wanted = late(model, states, packed, lower, residual_BGD=residual_BGD)
    assert equal(engine.answer([one])[0], wanted[0])
    assert (wanted[0, 1] - wanted[0, 4]).abs().max() > 0.01  # the same text, another item


def test_what_is_not_laid_out_for_the_engine_is_refused() -> None:
    model = lively(CONFIGS["bert"]())
    packed, states = pack([([2], [[3]])], model.config), states_of(model, 1, 2)
    engine = Engine({"task": model}, 2, EAGER)
    with pytest.raises(PackingError, match="split candidates off"):
        engine.sources("task", states, packed)
    with pytest.raises(PackingError, match="split the source off"):
        engine.candidates("task", states, packed)
    source, _ = split(packed)
    unread = Packed(
        source.index_BG.flip(1),
        source.slot_BG.flip(1),
        source.group_BG,
        source.read_BQ - 1,
        source.code_BG,
    )
    with pytest.raises(PackingError, match="read token must be the last"):
        engine.sources("task", states, unread)
    one = ask(engine, "task", states, packed)
    with pytest.raises(ConfigError, match="unknown task 'rnak'; this engine has task"):
        engine.answer([Ask("rnak", one.source, one.candidates)])
    for read in (engine.sources, engine.candidates):
        with pytest.raises(ConfigError, match="unknown task 'rnak'"):
            read("rnak", states, source)


# A catalogue prepared ahead


def test_one_online_layer_keeps_a_candidate_in_three_vectors() -> None:
    model = lively(CONFIGS["bert"]())
    states, packed = states_of(model, "all", 2), pack(REQUESTS, model.config)
    engine = Engine({"task": model}, 2, EAGER)
    kept = ask(engine, "task", states, packed).candidates
    assert kept.rows_NTD.shape == (2, 1, 16)
    assert kept.bytes_each() == 4 * 3 * 16 + 4 * 2 + 1
    assert kept.keep_as(torch.float16).bytes_each() == 2 * 3 * 16 + 4 * 2 + 1


def test_a_catalogue_in_float16_changes_little_and_candidates_can_be_taken_from_it() -> None:
    model = lively(CONFIGS["bert"]())
    packed = pack([([2, 3, 4], [[5], [6], [7], [8]])], model.config)
    states = states_of(model, 1, 2)
    engine = Engine({"task": model}, 2, EAGER)
    one = ask(engine, "task", states, packed)
    items = one.candidates.keep_as(torch.float16)
    chosen = engine.answer([Ask("task", one.source, items.take(torch.tensor([3, 1])))])[0]
    whole = engine.answer([one])[0]
    assert (chosen.candidates_ND - whole.candidates_ND[[3, 1]]).abs().max() < 5e-3


# Attention in parts


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 2, 2, 3, 1, 8)])
def test_two_parts_joined_are_one_softmax(shape: tuple[int, ...]) -> None:
    q = torch.randn(*shape)
    k, v = (torch.randn(*shape[:-2], 7, shape[-1]) for _ in range(2))
    seen = torch.rand(*shape[:-2], 1, 7) > 0.3
    seen[..., 0] = seen[..., 4] = True
    parts = []
    for some in (slice(0, 4), slice(4, 7)):
        bias = bias_of(seen[..., some], q.dtype)
        out, lse = attend_partly(q, k[..., some, :], v[..., some, :], bias)
        parts.append(Part(out.reshape(1, -1, shape[-1]), lse.reshape(1, -1, 1)))
    logits = (q @ k.transpose(-1, -2)) * shape[-1] ** -0.5
    wanted = logits.masked_fill(~seen, -torch.inf).softmax(-1) @ v
    assert close(join(*parts), wanted.reshape(1, -1, shape[-1]))
    if len(shape) == 4:
        mask_BQK = seen[:, 0].expand(-1, shape[2], -1)
        assert attend(q, k, v, mask_BQK).shape == (2, 5, 12)


def test_a_part_that_sees_nothing_has_no_say() -> None:
    q, k, v = torch.randn(3, 1, 2, 4, 8)
    out, lse = attend_partly(q, k, v, None)
    blind, blind_lse = attend_partly(q, k, v, bias_of(torch.zeros(1, 1, 1, 4).bool(), q.dtype))
    seeing = Part(out.flatten(1, 2), lse.flatten(1)[..., None])
    joined = join(seeing, Part(blind.flatten(1, 2), blind_lse.flatten(1)[..., None]))
    assert close(joined, out.flatten(1, 2))
