"""What a step of pretraining learns from its batches; a run asks its lesson at a few places."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from m6rec.model.checkpoint import backbone_tensors, fingerprint
from m6rec.model.m6 import M6
from m6rec.training.batches import PairBatch, WritingBatch
from m6rec.training.losses import PairLosses, pair_losses, plain_means, writing_loss


class Lesson(ABC):
    """Losses of a batch, and what happens around an update of the weights.

    A lesson is a function of its arguments and its state alone, so that a run goes on to the bit.
    rng: of this part of the step. side_by_side: whether `writing` and `pairs` may be asked in
    several threads at once, each with a network of its own.
    """

    side_by_side = False

    def settings(self) -> dict[str, Any]:
        """What must be the same when a run goes on, besides the recipe."""
        return {}

    @abstractmethod
    def reference(self, model: M6) -> M6 | None:
        """The network that means of segments are held near (the recipe's anchor), if there is one.

        model: what the run begins with.
        """

    @abstractmethod
    def writing(
        self,
        model: M6,
        batch: WritingBatch,
        lower: int,
        words: Tensor,
        low: torch.dtype,
        rng: np.random.Generator,
    ) -> Tensor:
        """The loss of a batch of writing as a sum over its labels. Arguments as `writing_loss`."""

    @abstractmethod
    def pairs(
        self,
        model: M6,
        batch: PairBatch,
        lower: int,
        reference: M6 | None,
        rng: np.random.Generator,
    ) -> tuple[PairLosses, Tensor | float]:
        """The losses of pairs, and what is added to them."""

    def told(self) -> dict[str, float]:
        """Figures for the log, gathered since the last call."""
        return {}

    def before_update(self, model: M6) -> None:  # noqa: B027 - nothing is a whole answer
        """Called when the gradients are there."""

    def after_update(self, model: M6, step: int, share: float) -> None:  # noqa: B027
        """Called when the weights have changed. step: of the update; share of the planned time."""

    def state(self) -> dict[str, Tensor]:
        """What has to be kept to go on."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Takes back what `state` gave."""


@final
class PlainLesson(Lesson):
    """To write and to tell pairs apart. near: whose means are held near (None: the start's)."""

    side_by_side = True

    def __init__(self, near: M6 | None = None) -> None:
        self.near = near

    def settings(self) -> dict[str, Any]:
        """Whose means, where they are not the start's."""
        return {} if self.near is None else {"near": fingerprint(backbone_tensors(self.near))}

    def reference(self, model: M6) -> M6:
        """The network whose means are held near, or a copy of the start."""
        reference = copy.deepcopy(model) if self.near is None else self.near
        return reference.requires_grad_(False).eval()

    def writing(
        self,
        model: M6,
        batch: WritingBatch,
        lower: int,
        words: Tensor,
        low: torch.dtype,
        rng: np.random.Generator,
    ) -> Tensor:
        """`writing_loss`."""
        return writing_loss(model, batch, lower, words, low)

    def pairs(
        self,
        model: M6,
        batch: PairBatch,
        lower: int,
        reference: M6 | None,
        rng: np.random.Generator,
    ) -> tuple[PairLosses, Tensor | float]:
        """`pair_losses`."""
        start_SD = None if reference is None else plain_means(reference, batch)
        return pair_losses(model, batch, lower, start_SD), 0.0
