"""Eight bits: linear maps and tables whose weights and inputs are rounded, put in by module swap.

A weight has one scale for each output, a table one for each row, both symmetric. Inputs of linear
maps stay as they are, or have one scale and one zero point: of the map, found on calibration texts
and fixed from then on (ONNX calls this static quantisation;
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), or of each row, from
its own least and greatest number (as XNNPACK does). So an answer does not depend on what else is in
the batch.

Legend: O outputs, I inputs, V rows of a table, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.model.m6 import M6
from m6rec.model.table import TokenTable

LEVELS = 255
MOST = 127
Inputs = Literal["plain", "fixed", "rows"]
"""Inputs of linear maps: left as they are, rounded by a fixed range, or each row by its own."""
SMALLEST = 256
"""Maps of fewer weights stay as they are: there is nothing to win."""


def rounded(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [O, I] in -127…127, and the scale of each row, float32 [O]."""
    scale_O = (weight_OI.detach().float().abs().amax(1) / MOST).clamp(min=1e-12)
    return torch.round(weight_OI.detach() / scale_O[:, None]).to(torch.int8), scale_O


@dataclass(frozen=True)
class Range:
    """Least and greatest input that a linear map has met; zero lies inside."""

    low: float = 0.0
    high: float = 0.0

    def wider(self, x: Tensor) -> Range:
        """The range of this and of x."""
        return Range(min(self.low, float(x.min())), max(self.high, float(x.max())))

    @property
    def scale(self) -> float:
        """Size of a step."""
        return max((self.high - self.low) / LEVELS, 1e-12)

    @property
    def zero(self) -> int:
        """The level, 0…255, that means zero."""
        return round(-self.low / self.scale)


class Int8Linear(nn.Module):
    """A linear map over int8 weights; computes what a runtime computes.

    seen: range of the inputs, which are put on 256 levels; None leaves them as they are. rows:
    each row is put on 256 levels of its own range instead.
    """

    def __init__(self, linear: nn.Linear, seen: Range | None, rows: bool = False) -> None:
        super().__init__()
        self.rows = rows
        weight_OI, scale_O = rounded(linear.weight)
        self.register_buffer("weight_OI", weight_OI)
        self.register_buffer("scale_O", scale_O)
        bias = torch.zeros(len(scale_O)) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias_O", bias)
        step = None if seen is None else torch.tensor(seen.scale, dtype=torch.float32)
        self.register_buffer("step", step)
        self.zero = 0 if seen is None else seen.zero

    weight_OI: Tensor
    scale_O: Tensor
    bias_O: Tensor
    step: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] → [..., O].

        Over rounded inputs it rounds where the kernels do, since a last bit that differs decides
        another rounding in the layer above: sums of whole numbers, which float32 holds exactly up
        to 2^24, and then the scales, the last of them with the bias in one rounding.
        """
        if self.step is not None:
            whole, step = whole_numbers(x, self.step, self.zero)
        elif self.rows:
            whole, step = whole_rows(x)
        else:
            return F.linear(x, self.weight_OI.float() * self.scale_O[:, None], self.bias_O)
        sums = F.linear(whole, self.weight_OI.float()) * step
        return (sums.double() * self.scale_O.double() + self.bias_O.double()).float()


def whole_numbers(x: Tensor, step: Tensor, zero: int) -> tuple[Tensor, Tensor]:
    """x as whole numbers of steps, on 256 levels of which `zero` is 0, and the step."""
    level = (torch.round(x / step) + zero).clamp(0, LEVELS)
    return level - zero, step


def whole_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of x as whole numbers of its own step, [..., I], and the steps, [..., 1].

    256 levels between the row's least and greatest number, zero among them, as XNNPACK chooses them
    (`xnn_f32_qd8_asymmetric_quantization_params` in its quantization.h).
    """
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    per_unit = torch.where(low == high, 1.0, LEVELS / (high - low))
    from_low, from_high = -128 - low * per_unit, 127 - high * per_unit
    nearer = (low * per_unit - 128) + (high * per_unit + 127) > 0
    zero = torch.where(nearer, from_low, from_high).clamp(-128, 127).round()
    whole = torch.round(x * per_unit).clamp(-128 - zero, 127 - zero)
    return whole, 1 / per_unit


def rounded_rows(x: Tensor) -> Tensor:
    """Each row of x on 256 levels between its least and greatest number (see `whole_rows`)."""
    whole, step = whole_rows(x)
    return whole * step


class Int8Table(nn.Module):
    """A table of vectors in int8, and what stands behind the look-up (None: nothing)."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        weight_VD, scale_V = rounded(table.weight)
        self.register_buffer("weight_VD", weight_VD)
        self.register_buffer("scale_V1", scale_V[:, None].contiguous())
        self.up: nn.Module | None = table.up if isinstance(table, TokenTable) else None

    weight_VD: Tensor
    scale_V1: Tensor

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids of any shape: [..., D]."""
        x = F.embedding(ids, self.weight_VD).float() * F.embedding(ids, self.scale_V1)
        out: Tensor = x if self.up is None else self.up(x)
        return out


def quantised(model: M6, calibrate: Callable[[M6], object], inputs: Inputs) -> M6:
    """A copy with every large linear map that a device runs in int8, and every table.

    calibrate: runs the given network over typical inputs. What it does not run stays as it is.
    inputs: whether and how inputs of linear maps are rounded too.
    """
    own = copy.deepcopy(model)
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    seen = _ranges(own, calibrate)
    for parent, name, linear in list(_linears(own)):
        if linear in seen:
            fixed = seen[linear] if inputs == "fixed" else None
            setattr(parent, name, Int8Linear(linear, fixed, rows=inputs == "rows"))
    for parent, name in ((own, "tokens"), (own, "positions"), (own, "segments")):
        table = getattr(parent, name)
        if isinstance(table, nn.Embedding):
            setattr(parent, name, Int8Table(table))
    return own


def _ranges(model: M6, calibrate: Callable[[M6], object]) -> dict[nn.Linear, Range]:
    """What went into each large linear map while calibrating."""
    seen: dict[nn.Linear, Range] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Linear)
        seen[module] = seen.get(module, Range()).wider(inputs[0])

    linears = [linear for _, _, linear in _linears(model)]
    hooks = [linear.register_forward_pre_hook(note) for linear in linears]
    try:
        with torch.no_grad():
            calibrate(model)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _linears(model: M6) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Large linear maps with their places; words are never written on a device."""
    for where, parent in model.named_modules():
        if where.startswith("lm_head"):
            continue
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and child.weight.numel() >= SMALLEST:
                yield parent, name, child
