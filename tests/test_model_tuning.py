"""Each tuning method trains what the paper says, nothing else, and starts where it should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import ConfigError, ModelConfig
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.tuning import (
    Adapter,
    Method,
    Tuning,
    branch,
    is_added,
    option_logits,
    prepare,
    tuned_share,
)
from model_worlds import (
    CONFIGS,
    SPECIAL,
    bert_config,
    close,
    lively,
    pack,
    random_texts,
    segments,
)

LOWER = 2
METHODS: tuple[Method, ...] = ("full", "adapter", "prompt", "option", "option-adapter")
READOUT = {"segments.weight", "read_gate", "read_token", "recency"}
HEAD = {
    "project_user.weight",
    "project_user.bias",
    "project_item.weight",
    "project_item.bias",
    "log_scale",
}


def adapters(*layers: int) -> set[str]:
    parts = ("down.weight", "down.bias", "up.weight", "up.bias", "scale")
    return {f"blocks.{layer}.ffn.adapter_{part}" for layer in layers for part in parts}


def whole(model: M6, *prefixes: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def answer(model: M6) -> Tensor:
    """States at the read tokens [B, Q, D] of two requests, with a graph."""
    tokens = segments(random_texts(6, 4))
    packed = pack([([2, 3], [[4]]), ([5], [[6]])], model.config)
    return plans.late(model, plans.encode_segments(model, tokens, LOWER), packed, LOWER)


@pytest.mark.parametrize(
    ("method", "classes", "layers", "expected"),
    [
        ("adapter", 0, "online", READOUT | HEAD | adapters(2)),
        ("adapter", 2, "online", READOUT | {"options"} | adapters(2)),
        ("adapter", 0, "all", READOUT | HEAD | adapters(0, 1, 2)),
        ("prompt", 0, "online", READOUT | HEAD | {"prompts"}),
        ("prompt", 2, "online", READOUT | {"options", "prompts"}),
        ("option", 0, "online", READOUT | HEAD | {"prompts"}),
        ("option", 2, "all", READOUT | {"prompts"}),
        ("option-adapter", 0, "all", READOUT | HEAD | {"prompts"} | adapters(0, 1, 2)),
        ("option-adapter", 2, "online", READOUT | {"prompts"} | adapters(2)),
    ],
)
def test_a_method_trains_exactly_the_named_parameters(
    method: Method, classes: int, layers: str, expected: set[str]
) -> None:
    model = lively(bert_config())
    tuning = Tuning.parse(
        {"method": method, "classes": classes, "layers": layers, "prompts": 3, "rank": 4}, "test"
    )
    assert set(prepare(model, tuning, LOWER)) == expected
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected


def test_full_tuning_trains_all_layers_or_only_the_online_ones() -> None:
    everything, online = lively(bert_config()), lively(bert_config())
    names = set(prepare(everything, Tuning(method="full", classes=2, layers="all"), LOWER))
    assert names == whole(everything, "") - HEAD
    names = set(prepare(online, Tuning(method="full", layers="online"), LOWER))
    assert names == READOUT | HEAD | whole(online, "blocks.2.")


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [0, 2])
def test_gradients_flow_into_what_is_trained_and_nowhere_else(
    family: str, method: Method, classes: int
) -> None:
    model = lively(CONFIGS[family]())
    tuning = Tuning(method=method, classes=classes, prompts=2, rank=4, layers="all")
    trainable = set(prepare(model, tuning, LOWER))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapter_up" in name:  # at the exact start an adapter's other parts get no gradient
                parameter.normal_()
    states_BQD = answer(model)
    if classes:
        loss = F.cross_entropy(
            option_logits(model, states_BQD[:, -1], tuning), torch.tensor([0, 1])
        )
    else:
        x, y = model.project_user(states_BQD[:, 0]), model.project_item(states_BQD[:, 1])
        logits = model.log_scale.exp() * (F.normalize(x) @ F.normalize(y).T)
        loss = F.cross_entropy(logits, torch.tensor([0, 1]))
    loss.backward()
    # The projections never read the LM head; softmax ignores what shifts all keys alike.
    silent = ("lm_head.", "attention.k.bias")
    for name, parameter in model.named_parameters():
        if name not in trainable:
            assert parameter.grad is None, name
        elif not any(part in name for part in silent):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


# Adapters


def test_an_adapter_is_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    adapter = Adapter(torch.nn.Linear(6, 6), width=6, rank=2)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_()
    z = torch.randn(2, 3, 6)
    w1, b1 = adapter.adapter_down.weight.T, adapter.adapter_down.bias
    w2, b2 = adapter.adapter_up.weight.T, adapter.adapter_up.bias
    expected = adapter.ffn(z) + adapter.adapter_scale * (F.gelu(z @ w1 + b1) @ w2 + b2)
    assert close(adapter(z), expected)


@pytest.mark.parametrize("method", ["adapter", "option-adapter"])
@pytest.mark.parametrize("layers", ["all", "online"])
def test_adapters_start_as_identity(method: Method, layers: str) -> None:
    model = lively(bert_config())
    before = answer(model)
    tuning = Tuning.parse({"method": method, "layers": layers}, "test")
    prepare(model, tuning, LOWER)
    assert torch.allclose(answer(model), before, atol=1e-5)
    swapped = [isinstance(block.ffn, Adapter) for block in model.blocks]
    assert swapped == ([True] * 3 if layers == "all" else [False, False, True])


def test_adapters_in_the_online_layers_leave_segment_states_alone() -> None:
    tokens = segments(random_texts(4, 4))
    for layers, same in (("online", True), ("all", False)):
        model = lively(bert_config())
        before = plans.encode_segments(model, tokens, LOWER).h_SKD
        prepare(model, Tuning.parse({"method": "adapter", "layers": layers}, "test"), LOWER)
        with torch.no_grad():
            for block in model.blocks:
                if isinstance(block.ffn, Adapter):
                    block.ffn.adapter_up.weight.normal_()
        after = plans.encode_segments(model, tokens, LOWER).h_SKD
        assert torch.allclose(before, after, atol=1e-5) == same


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("layers", ["all", "online"])
def test_option_adapter_trains_at_most_one_per_cent_of_minilm(classes: int, layers: str) -> None:
    config = ModelConfig.sized(6, 30_522, SPECIAL)
    with torch.device("meta"):
        model = M6(config)
    model.tokens = torch.nn.Embedding(config.vocab_size, config.d_model)
    model.lm_head.decoder.weight = model.tokens.weight
    tuning = Tuning.parse({"classes": classes, "layers": layers, "prompts": 8}, "test")
    prepare(model, tuning, lower=5)
    share = tuned_share(model)
    expected = {  # trained parameters by hand; the backbone has 22.69 M
        (0, "online"): 27_648 + 4 + 768 - 1 + 98_561 + 8 * 384 + 12_689,
        (0, "all"): 27_648 + 4 + 768 - 1 + 98_561 + 8 * 384 + 6 * 12_689,
        (2, "online"): 27_648 + 3 + 768 + 10 * 384 + 12_689,
        (2, "all"): 27_648 + 3 + 768 + 10 * 384 + 6 * 12_689,
    }[classes, layers]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == expected
    assert 0.0005 < share <= 0.01


# Prompts and options


def test_the_last_prompts_are_the_weights_of_the_classifier() -> None:
    model = lively(bert_config())
    tuning = Tuning(method="option", classes=3, prompts=4)
    words = ((10,), (11, 12), (13,))
    prepare(model, tuning, LOWER, words)
    assert model.prompts is not None and model.options is None
    assert model.prompts.shape == (7, 16)
    table = model.tokens.weight
    starts = torch.stack([table[10], table[[11, 12]].mean(0), table[13]])
    assert close(model.prompts[4:], starts)
    state_BD = torch.randn(2, 16)
    assert close(option_logits(model, state_BD, tuning), state_BD @ starts.T / 4)


def test_untied_options_stand_beside_the_prompts() -> None:
    model = lively(bert_config())
    tuning = Tuning(method="prompt", classes=3, prompts=4)
    prepare(model, tuning, LOWER)
    assert model.prompts is not None and model.options is not None
    assert (len(model.prompts), len(model.options)) == (4, 3)
    state_BD = torch.randn(2, 16)
    assert close(option_logits(model, state_BD, tuning), state_BD @ model.options.T / 4)


def test_prompts_start_as_embeddings_of_words() -> None:
    model = lively(bert_config())
    prepare(model, Tuning(method="prompt", prompts=5), LOWER)
    assert model.prompts is not None
    gaps = (model.prompts[:, None] - model.tokens.weight).abs().amax(-1)
    assert gaps.amin(1).max() == 0


def test_a_task_without_classes_and_prompts_has_neither() -> None:
    model = lively(bert_config())
    prepare(model, Tuning(method="option-adapter"), LOWER)
    assert model.prompts is None and model.options is None
    with pytest.raises(ConfigError, match="no options"):
        option_logits(model, torch.zeros(1, 16), Tuning(classes=2, method="full"))


# Refusals


@pytest.mark.parametrize("method", METHODS)
def test_a_tuned_model_is_not_tuned_again(method: Method) -> None:
    model = lively(bert_config())
    tuning = Tuning(method=method, classes=2, prompts=1)
    prepare(model, tuning, LOWER)
    with pytest.raises(ConfigError, match="carries a tuned task already"):
        prepare(model, tuning, LOWER)


def test_class_words_must_fit_the_classes() -> None:
    with pytest.raises(ConfigError, match="1 class words for 2 classes"):
        prepare(lively(bert_config()), Tuning(classes=2), LOWER, ((10,),))


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rank'"):
        Tuning.parse({"rnak": 4}, "test")


# Branches


@pytest.mark.parametrize("method", METHODS)
def test_branches_share_what_is_frozen_and_own_what_they_train(method: Method) -> None:
    backbone = lively(bert_config())
    before = {name: p.clone() for name, p in backbone.named_parameters()}
    tuning = Tuning(method=method, classes=2, prompts=1, layers="all")
    first, second = branch(backbone, tuning, LOWER), branch(backbone, tuning, LOWER)
    theirs = {p.data_ptr() for p in backbone.parameters()}
    own_of_second = {p.data_ptr() for p in second.parameters()}
    for parameter in first.parameters():
        assert (parameter.data_ptr() in theirs) != parameter.requires_grad
        assert (parameter.data_ptr() in own_of_second) != parameter.requires_grad
    unchanged = answer(second).detach()
    with torch.no_grad():
        for parameter in first.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert torch.equal(answer(second), unchanged)
    assert all(torch.equal(p, before[name]) for name, p in backbone.named_parameters())
    assert first.lm_head.decoder.weight is first.tokens.weight
    assert not any(is_added(name) for name, _ in backbone.named_parameters())
