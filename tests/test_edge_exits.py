"""Early exit: a view of the first layers, chosen by what it costs or by how sure it is."""

from __future__ import annotations

import pytest
import torch

from m6rec.config import ConfigError
from m6rec.model import plans
from m6rec.model.exits import (
    exit_weights,
    late_exits,
    lower_of,
    shallow,
    when_sure,
    within_budget,
)
from m6rec.model.m6 import M6
from m6rec.model.plans import positions_like
from model_worlds import CONFIGS, close, edge_config, lively, pack, random_texts, segments


def test_weights_of_exits_as_worked_by_hand() -> None:
    assert exit_weights(3) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert sum(exit_weights(24)) == pytest.approx(1)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_an_exit_is_the_network_without_its_later_layers(family: str) -> None:
    model = lively(CONFIGS[family]())
    cut = M6(CONFIGS[family](layers=2)).eval()
    kept = {n: t for n, t in model.state_dict().items() if not n.startswith("blocks.2.")}
    cut.load_state_dict(kept)
    view = shallow(model, 2)
    ids_BT = torch.tensor([[7, 8, 9]])
    assert torch.equal(
        view(ids_BT, positions_like(ids_BT), None), cut(ids_BT, positions_like(ids_BT), None)
    )


def test_an_exit_is_over_the_same_parameters_and_leaves_the_network_whole() -> None:
    model = lively(edge_config(layer_sets=None))
    before = list(model.state_dict())
    view = shallow(model, 1)
    assert {id(p) for p in view.parameters()} < {id(p) for p in model.parameters()}
    view.prompts = torch.nn.Parameter(torch.zeros(1, 16))
    assert model.prompts is None
    assert list(model.state_dict()) == before and model.config.layers == 3
    assert shallow(model, 3) is model
    for depth in (0, 4):
        with pytest.raises(ConfigError, match=f"no exit at layer {depth}: right is 1 to 3"):
            shallow(model, depth)


@pytest.mark.parametrize("online", [1, 2])
@pytest.mark.parametrize("kept", [None, 1])
def test_exits_one_after_the_other_equal_each_by_itself(online: int, kept: int | None) -> None:
    model = lively(edge_config())
    tokens = segments(random_texts(6, 5))
    packed = pack([([2, 3], [[4], [5]]), ([6], [[7]])], model.config)
    seen = []
    for depth, ask in late_exits(model, tokens, packed, [1, 2, 3], online, kept):
        view, lower = shallow(model, depth), lower_of(depth, online)
        states = plans.encode_segments(view, tokens, lower)
        states = states if kept is None else plans.summarise(states, kept)
        alone = plans.late(view, states, packed, lower)
        assert close(ask(torch.tensor([0, 1])), alone)
        assert close(ask(torch.tensor([1])), alone[1:])
        seen.append(alone)
    assert not close(seen[0], seen[2], 1e-2)


def test_the_deepest_exit_within_the_budget_is_taken_else_the_cheapest() -> None:
    cost = {1: 4.0, 2: 7.5, 4: 15.0}
    assert [within_budget(cost, ms) for ms in (100, 15, 14.9, 7.5, 4, 1)] == [4, 4, 2, 2, 1, 1]


def test_requests_leave_where_they_are_sure() -> None:
    """Two classes; logits whose likeliest class has .73, .88 and .95."""
    asked = []
    table = {
        1: torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 0.0]]),
        2: torch.tensor([[0.0, 2.0], [9.0, 9.0], [0.5, 0.0]]),
        3: torch.tensor([[9.0, 9.0], [9.0, 9.0], [1.0, 0.0]]),
    }

    def exits() -> object:
        for depth, logits in table.items():

            def ask(chosen: torch.Tensor, logits: torch.Tensor = logits) -> torch.Tensor:
                asked.append(chosen.tolist())
                return logits[chosen]

            yield depth, ask

    left = when_sure(exits(), 3, 0.85)  # type: ignore[arg-type]
    assert left.depth_B.tolist() == [2, 1, 3]
    assert left.logits_BC.tolist() == [[0.0, 2.0], [3.0, 0.0], [1.0, 0.0]]
    assert asked == [[0, 1, 2], [0, 2], [2]]
    with pytest.raises(ValueError, match="no exit"):
        when_sure(iter(()), 2, 0.5)


def test_a_threshold_of_nothing_leaves_at_once_and_nobody_runs_deeper() -> None:
    asked = []

    def ask(chosen: torch.Tensor) -> torch.Tensor:
        asked.append(len(chosen))
        return torch.zeros(len(chosen), 2)

    left = when_sure(iter([(1, ask), (2, ask)]), 4, 0.0)
    assert left.depth_B.tolist() == [1] * 4
    assert asked == [4]
