"""Parts of a step in threads: the gradients of one after the other, and the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from language_worlds import backbone, documents
from m6rec.model.m6 import M6
from m6rec.training.corpus.documents import write_corpus
from m6rec.training.loop import TrainingError
from m6rec.training.pretrain import Pace, Pretrained, pretrain
from m6rec.training.recipe import m6_small
from m6rec.training.side_by_side import SideBySide, shares, twin, workers_for

RECIPE = m6_small().model_copy(
    update={"tokens": 90, "pairs": 4, "warmup": 3, "rate": 3e-3, "rare": 1, "bf16": False}
)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_longest_parts_go_first_to_who_has_least() -> None:
    assert shares([1, 4, 2, 3], 2) == [[1, 0], [3, 2]]
    assert shares([5, 5, 5], 2) == [[0, 2], [1]]
    assert shares([1], 3) == [[0], [], []]


def test_workers_are_threads_on_a_cpu_and_one_on_a_gpu(two_threads: None) -> None:
    assert workers_for("cpu", 5) == 2
    assert workers_for("cpu", 1) == 1
    assert workers_for("cuda", 5) == 1


def test_a_twin_has_the_weights_and_gradients_of_its_own() -> None:
    model, _ = backbone()
    other = twin(model)
    with torch.no_grad():
        model.tokens.weight[7] = 3.0
    assert torch.equal(other.tokens.weight[7], model.tokens.weight[7])
    other.tokens.weight.sum().backward()
    assert model.tokens.weight.grad is None
    assert other.tokens.weight.grad is not None


def test_gradients_are_the_sum_over_all_parts(two_threads: None) -> None:
    model, _ = backbone()

    def part(weight: float) -> object:
        def run(own: M6) -> float:
            (weight * own.tokens.weight.pow(2).sum()).backward()
            return weight

        return run

    with SideBySide[float](model, 2) as parts:
        assert parts.run([part(1.0), part(2.0), part(4.0)], [1, 2, 3]) == [1.0, 2.0, 4.0]
    assert torch.allclose(model.tokens.weight.grad, 14 * model.tokens.weight)


def test_an_error_of_a_part_comes_out(two_threads: None) -> None:
    def fails(model: M6) -> float:
        raise TrainingError("no")

    model, _ = backbone()
    with SideBySide[float](model, 2) as parts, pytest.raises(TrainingError, match="no"):
        parts.run([lambda one: 1.0, fails], [1, 1])


def go(tmp_path: Path, name: str, steps: int) -> Pretrained:
    corpus = tmp_path / "corpus"
    if not corpus.exists():
        write_corpus(corpus, documents(8), {"sources": {}})
    pace, quiet = Pace(save=1e9, check=1e9), Console(quiet=True)
    out = tmp_path / name
    return pretrain(RECIPE, corpus, out, backbone(), max_steps=steps, console=quiet, pace=pace)


def weights(done: Pretrained) -> dict[str, torch.Tensor]:
    return load_file(done.checkpoint / "model.safetensors")


def test_two_threads_learn_what_one_learns(tmp_path: Path) -> None:
    alone = weights(go(tmp_path, "alone", 2))
    torch.set_num_threads(2)
    try:
        both = weights(go(tmp_path, "both", 2))
    finally:
        torch.set_num_threads(1)
    for name, weight in alone.items():
        assert torch.allclose(weight, both[name], atol=2e-4), name


def test_two_threads_killed_and_resumed_equal_never_killed(
    tmp_path: Path, two_threads: None
) -> None:
    whole = weights(go(tmp_path, "whole", 6))
    go(tmp_path, "part", 3)
    again = weights(go(tmp_path, "part", 6))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
