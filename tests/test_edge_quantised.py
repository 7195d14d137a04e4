"""A student that is trained rounded: the same numbers as a device, gradients as if nothing was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from m6rec.edge.parts import Encoder
from m6rec.model.int8 import quantised
from m6rec.model.sparse import prunable
from m6rec.training.edge.quantised import Rounder
from m6rec.training.edge.recipe import edge_recipe
from model_worlds import close, edge_config, lively
from test_edge_distill import batches, lesson, writer
from test_edge_export import some_ids

LOWER = 2


@pytest.mark.parametrize("inputs", [False, True])
def test_a_rounded_student_computes_what_the_device_computes(inputs: bool) -> None:
    model = lively(edge_config())
    own = {name: value.clone() for name, value in model.state_dict().items()}
    ids_SN, how = some_ids(4), "rows" if inputs else "plain"
    device = quantised(model, lambda network: Encoder(network, LOWER)(ids_SN), how)
    with torch.no_grad():
        plain, wanted = (Encoder(net, LOWER)(ids_SN) for net in (model, device))
        rounder = Rounder(inputs)
        rounder.put_in(model)
        rounder.put_in(model)
        found = Encoder(model, LOWER)(ids_SN)
        rounder.take_out(model)
    assert close(found, wanted, 1e-5) and not close(plain, wanted, 1e-3)
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(Encoder(model, LOWER)(ids_SN), plain)


@pytest.mark.parametrize("inputs", [False, True])
def test_gradients_reach_the_weights_as_if_nothing_was_rounded(inputs: bool) -> None:
    model = lively(edge_config()).requires_grad_(True)
    rounder, ids_SN, grads = Rounder(inputs), some_ids(4), []
    for rounds in (False, True):
        model.zero_grad()
        if rounds:
            rounder.put_in(model)
        Encoder(model, LOWER)(ids_SN).square().sum().backward()
        rounder.take_out(model)
        found = [p.grad for p in prunable(model).values() if p.grad is not None]
        grads.append(torch.cat([grad.flatten() for grad in found]))
    alike = torch.nn.functional.cosine_similarity(grads[0], grads[1], dim=0)
    assert 0.9 < float(alike) < 1 - 1e-7


def test_zeros_stay_zeros() -> None:
    model = lively(edge_config())
    with torch.no_grad():
        for weight in prunable(model).values():
            weight[weight.abs() < 0.05] = 0
    zeros = {name: weight == 0 for name, weight in prunable(model).items()}
    Rounder(False).put_in(model)
    for name, weight in prunable(model).items():
        assert bool((weight[zeros[name]] == 0).all())


def test_a_lesson_rounds_from_its_share_of_the_time_on_and_remembers_it() -> None:
    teacher, words = writer()
    told: dict[str, Any] = {"quantise": "w8a8", "quantise_from": 0.5, "teaching": "none"}
    student, _ = writer(seed=1)
    student.requires_grad_(True)
    first = lesson(teacher, **told)
    (batch, *_), _ = batches(words)
    used = torch.arange(student.config.vocab_size)
    own = student.tokens.weight.detach().clone()

    def moved(one: Any) -> bool:
        one.writing(student, batch, 2, used, torch.float32, np.random.default_rng(0)).backward()
        rounded = not torch.equal(student.tokens.weight, own)
        one.before_update(student)
        assert torch.equal(student.tokens.weight, own)
        return rounded

    assert not moved(first)
    first.after_update(student, 0, 0.49)
    assert not moved(first)
    first.after_update(student, 1, 0.5)
    assert moved(first)
    again = lesson(teacher, **told)
    again.restore(first.state())
    assert moved(again)


def test_a_run_without_rounding_is_told_as_before() -> None:
    assert "quantise" not in edge_recipe("m6-edge-2m").model_dump(mode="json")
    assert edge_recipe("m6-edge-2m", quantise="int8").model_dump()["quantise_from"] == 0.8
