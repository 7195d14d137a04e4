"""Recipes: what is trained, at which rate, in which batches."""

from __future__ import annotations

import pytest

from m6rec.config import ConfigError
from m6rec.training.tune import recipe


def test_small_added_parameters_learn_ten_times_as_fast_as_a_whole_layer() -> None:
    _, added = recipe("retrieve", "adapter")
    _, whole = recipe("retrieve", "full")
    assert added.rate == pytest.approx(10 * whole.rate)


@pytest.mark.parametrize(("examples", "batch", "steps"), [(16, 8, 20), (64, 8, 64), (256, 32, 96)])
def test_a_few_examples_are_seen_in_small_batches_and_not_too_often(
    examples: int, batch: int, steps: int
) -> None:
    _, train = recipe("rank", examples=examples)
    assert train.batch == batch
    assert train.epochs * examples // batch == steps


def test_retrieval_has_no_online_layer_unless_it_is_asked_for() -> None:
    spec, train = recipe("retrieve")
    assert (spec.reading.online_layers, train.rate, train.batch) == (0, 1e-3, 512)
    spec, train = recipe("retrieve", online_layers=1)
    assert (spec.reading.online_layers, train.rate, train.batch) == (1, 3e-3, 256)
    assert recipe("rank")[0].reading.online_layers == 1


def test_many_examples_leave_the_recipe_as_it_is() -> None:
    _, train = recipe("rank", examples=50_000)
    assert (train.batch, train.epochs) == (256, 4)


def test_what_is_read_is_checked_by_name() -> None:
    spec, _ = recipe("retrieve", max_history=7)
    assert spec.reading.max_history == 7
    with pytest.raises(ConfigError, match="did you mean 'max_history'"):
        recipe("rank", max_histori=7)
