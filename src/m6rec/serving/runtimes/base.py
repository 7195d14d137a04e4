"""What a runtime is: something that encodes segments and runs the online layers.

Legend: S segments, N tokens of a segment (candidates, in a batch), B requests, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from m6rec.model.m6 import M6
from m6rec.model.plans import SegmentTokens, encode_segments
from m6rec.records import M6Error
from m6rec.serving.online import OnlineBatch, OnlineLayers


class RuntimeMissingError(M6Error):
    """A runtime whose library is not installed, or that this machine has not."""


class Encoder(nn.Module):
    """Layers 1…L' over each segment alone, as one module of tensors: [S, N, D]."""

    def __init__(self, model: M6, lower: int) -> None:
        super().__init__()
        self.model, self.lower = model, lower

    def forward(self, ids_SN: Tensor, valid_SN: Tensor) -> Tensor:
        """States after layer L'."""
        return encode_segments(self.model, SegmentTokens(ids_SN, valid_SN), self.lower).h_SKD


@dataclass(frozen=True)
class Network:
    """What a runtime is made from: a backbone and the tasks that share its layers, float32.

    at_once: threads that may run the online layers side by side. kept: folder for what a runtime
    makes of the network and can use at the next start (None: nothing is kept).
    """

    backbone: M6
    tasks: Sequence[M6]
    lower: int
    exit_layer: int | None = None
    at_once: int = 1
    kept: Path | None = None

    def encoder(self) -> Encoder:
        """Layers 1…L' of the backbone."""
        return Encoder(self.backbone, self.lower).eval()

    def online(self) -> OnlineLayers:
        """Layers L'+1…L (or to the early exit) with every task's adapters."""
        return OnlineLayers(self.tasks, self.lower, self.exit_layer).eval()


class Runtime(ABC):
    """Runs one network. Takes and returns float32; what it computes in is its own affair. Threads
    may call it at the same time; more than the network's `at_once` may wait for each other."""

    name: str

    @abstractmethod
    def encode(self, tokens: SegmentTokens) -> Tensor:
        """States after layer L': [S, N, D]."""

    @abstractmethod
    def online(self, batch: OnlineBatch) -> tuple[Tensor, Tensor]:
        """States at [EOS'] and at every candidate's [EOS]: [B, D] and [B, N, D]."""


TOLERANCE = {
    "torch-fp32": 1e-4,
    "torch-bf16": 0.05,
    "torch-compiled": 0.05,
    "openvino-fp32": 1e-3,
    "openvino-bf16": 0.05,
    "openvino-int8": 0.10,
}
"""How far a runtime may be from eager float32: see `distance`."""


def distance(found: Tensor, reference: Tensor) -> float:
    """The worst row's error, as a share of the root mean square of the reference's rows.

    0 is equal; with LayerNorm last, .05 is a cosine of about .9988.
    """
    error = (found.double() - reference.double()).norm(dim=-1)
    scale = reference.double().norm(dim=-1).square().mean().sqrt()
    return float((error / scale).max())


def as_float32(states: Tensor) -> Tensor:
    """For a runtime that computed in another type."""
    return states if states.dtype == torch.float32 else states.float()
