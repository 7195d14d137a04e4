"""Gradual magnitude pruning while pretraining goes on (Zhu and Gupta, arXiv 1710.01878).

The share of zeros rises as a cubic curve, fast at first and ever slower; at every step of it the
smallest weights of each matrix go, and none comes back. A row of the table of words that is looked
up a hundred times as often loses as much more by the same cut, so sizes are weighed by how often
words are written. Legend: V words, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from m6rec.model.m6 import M6
from m6rec.model.sparse import prunable
from m6rec.training.edge.student import SMOOTH

Pattern = Literal["free", "2:4"]
TABLES = ("tokens.weight", "positions.weight")
OF_FOUR = 0.5
BY_WRITTEN = 0.25
"""Power of how often a word is written that its weights' sizes are multiplied by. ½ would keep the
squared error over the corpus least; half of that leaves nearly every word something, for texts of
other shops."""


def cubic(done: float, begin: float, end: float, target: float) -> float:
    """The share of zeros when a share `done` of the run is over; begin and end are shares too."""
    through = min(max((done - begin) / (end - begin), 0.0), 1.0)
    return target * (1 - (1 - through) ** 3)


def smallest(weight_RC: Tensor, share: float) -> Tensor:
    """True for the weights that stay when the smallest `share` of a matrix goes: [R, C]."""
    count = int(share * weight_RC.numel())
    if count == 0:
        return torch.ones_like(weight_RC, dtype=torch.bool)
    size_N = weight_RC.detach().abs().flatten()
    return weight_RC.detach().abs() > size_N.kthvalue(count).values


def two_of_four(weight_RC: Tensor, share: float) -> Tensor:
    """The same for 2:4: only the two smallest of each four neighbours in a row may go.

    share: of all weights, at most .5; a matrix whose width is no multiple of four stays whole.
    """
    R, C = weight_RC.shape
    if C % 4:
        return torch.ones_like(weight_RC, dtype=torch.bool)
    size_N4 = weight_RC.detach().abs().view(-1, 4)
    rank_N4 = size_N4.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    may_go_N4 = rank_N4 < 2
    count = int(min(share, OF_FOUR) * weight_RC.numel())
    if count == 0:
        return torch.ones_like(weight_RC, dtype=torch.bool)
    cut = size_N4[may_go_N4].kthvalue(count).values
    goes_N4 = may_go_N4 & (size_N4 <= cut)
    return torch.logical_not(goes_N4).view(R, C)


class Pruner:
    """The masks of a run. `share` of the weights go by `end`; 2:4 holds for linear layers only.

    written_V: how often each word is written; None: a size is a size.
    """

    def __init__(
        self,
        share: float,
        begin: float,
        end: float,
        pattern: Pattern = "free",
        written_V: Tensor | None = None,
    ) -> None:
        self.share, self.begin, self.end, self.pattern = share, begin, end, pattern
        self.written_V = written_V
        self.masks: dict[str, Tensor] = {}
        self.reached = 0.0

    def tighten(self, model: M6, done: float) -> None:
        """Renews the masks for a share `done` of the run and sets what goes to zero."""
        wanted = cubic(done, self.begin, self.end, self.share)
        if wanted <= self.reached:
            return
        self.reached = wanted
        for name, weight in prunable(model).items():
            if self.pattern == "2:4" and name not in TABLES:
                mask = two_of_four(weight, wanted / self.share * OF_FOUR)
            else:
                mask = smallest(self._weighed(name, weight), wanted)
            before = self.masks.get(name)
            self.masks[name] = mask if before is None else mask & before
        self.hold(model)

    def _weighed(self, name: str, weight_RC: Tensor) -> Tensor:
        if name != "tokens.weight" or self.written_V is None:
            return weight_RC
        often_V = (self.written_V.to(weight_RC.device) + SMOOTH).pow(BY_WRITTEN)
        return weight_RC.detach() * often_V[:, None]

    @torch.no_grad()
    def hold(self, model: M6) -> None:
        """What has gone is zero."""
        for name, weight in prunable(model).items():
            if name in self.masks:
                weight.mul_(self.masks[name])

    @torch.no_grad()
    def still(self, model: M6) -> None:
        """No gradient for what has gone, so that it is no part of norms and moments either."""
        for name, weight in prunable(model).items():
            if name in self.masks and weight.grad is not None:
                weight.grad.mul_(self.masks[name])

    def state(self) -> dict[str, Tensor]:
        """Masks, and the share of zeros that they were made for."""
        return {**self.masks, "reached": torch.tensor(self.reached, dtype=torch.float64)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.masks = {name: mask for name, mask in state.items() if name != "reached"}
        self.reached = float(state["reached"])
