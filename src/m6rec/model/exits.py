"""Early exit: the network of the first k layers, which is what exit k means (paper section 5).

A phone with little time runs few layers. Exit k is no second network: it is a view over the same
modules, so every plan, task, engine and writer works on it as on the whole. L is the number of
layers, C of classes, B of requests.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m6rec.config import ConfigError
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates, SegmentTokens


def exit_weights(layers: int) -> list[float]:
    """How much each exit weighs in training: 2k / (L(L + 1)), which grows and sums to one."""
    return [2 * k / (layers * (layers + 1)) for k in range(1, layers + 1)]


def shallow(model: M6, depth: int) -> M6:
    """The network's first `depth` layers, over the same parameters.

    Raises ConfigError where the network has not so many, or depth is below one.
    """
    layers = model.config.layers
    if not 1 <= depth <= layers:
        raise ConfigError(f"no exit at layer {depth}: right is 1 to {layers}")
    if depth == layers:
        return model
    view = copy.copy(model)
    view._modules = dict(model._modules)
    view._parameters = dict(model._parameters)
    view.blocks = nn.ModuleList(model.blocks[:depth])
    view.config = model.config.model_copy(update={"layers": depth})
    return view


def lower_of(depth: int, online: int) -> int:
    """L' of an exit of which the last `online` layers run across segments."""
    return max(depth - online, 0)


def within_budget(cost: Mapping[int, float], budget: float) -> int:
    """The deepest exit that costs no more than the budget, else the cheapest one.

    cost: for each depth what an answer takes, in the unit of the budget (milliseconds, say).
    """
    fitting = [depth for depth, spent in cost.items() if spent <= budget]
    return max(fitting) if fitting else min(cost, key=lambda depth: cost[depth])


@dataclass(frozen=True)
class Left:
    """Answers of requests that left where they were sure, and the exit that each took."""

    logits_BC: Tensor
    depth_B: Tensor


def when_sure(
    exits: Iterator[tuple[int, Callable[[Tensor], Tensor]]], requests: int, threshold: float
) -> Left:
    """Each request leaves at the first exit whose likeliest class has at least `threshold`.

    exits: depths, ascending, each with what gives the logits [n, C] of the chosen requests
    (indices, [n]). Who is never sure gets the answer of the last one. ValueError without an exit.
    """
    waiting_n = torch.arange(requests)
    logits_BC: Tensor | None = None
    depth_B = torch.zeros(requests, dtype=torch.long)
    for depth, ask in exits:
        logits_nC = ask(waiting_n)
        if logits_BC is None:
            logits_BC = logits_nC.new_zeros(requests, logits_nC.shape[-1])
        logits_BC[waiting_n] = logits_nC
        depth_B[waiting_n] = depth
        unsure_n = logits_nC.float().softmax(-1).amax(-1) < threshold
        waiting_n = waiting_n[unsure_n.cpu()]
        if not len(waiting_n):
            break
    if logits_BC is None:
        raise ValueError("there is no exit to leave by")
    return Left(logits_BC, depth_B)


def late_exits(
    model: M6,
    tokens: SegmentTokens,
    packed: Packed,
    depths: Sequence[int],
    online: int = 1,
    kept: int | None = None,
) -> Iterator[tuple[int, Callable[[Tensor], Tensor]]]:
    """Exits of the late plan, each with what gives states at the read tokens: [n, Q, D].

    The layers below are run once for all exits: exit k takes the segments' states after k - online
    layers and goes on across segments. depths must ascend; kept: summary vectors of a segment
    (None: every state).
    """
    h_SMD, texts = plans.begin_texts(model, tokens)
    below = 0
    for depth in depths:
        view, lower = shallow(model, depth), lower_of(depth, online)
        h_SMD = model.run(h_SMD, texts.position_SM, texts.mask_SMM, range(below, lower))
        below = lower
        states = texts.states(h_SMD)
        if kept is not None:
            states = plans.summarise(states, kept)
        yield depth, _Answer(view, states, packed, lower)


class _Answer:
    """States at the read tokens of chosen requests, at one exit."""

    def __init__(self, view: M6, states: SegmentStates, packed: Packed, lower: int) -> None:
        self.view, self.states, self.packed, self.lower = view, states, packed, lower

    def __call__(self, chosen_n: Tensor) -> Tensor:
        return plans.late(self.view, self.states, self.packed.rows(chosen_n), self.lower)
