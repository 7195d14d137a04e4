"""Pruned weights: which they are, how their zeros are kept, and how they are stored.

A pruned matrix is stored as one bit for each weight and the values of those that are not zero.
Legend: R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from m6rec.model.m6 import M6

BITS, VALUES, SHAPE = "#bits", "#values", "#shape"
PACKED_FROM = 0.25
"""Share of zeros from which a matrix is stored packed."""
KEPT_WHOLE = ("segments.", "lm_head.decoder.")
"""Never pruned: what tasks fill in; the decoder is the table of tokens or belongs with it."""


def prunable(model: M6) -> dict[str, nn.Parameter]:
    """Every table and every matrix of a linear layer of the backbone, shared ones once."""
    holders = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name in holders and not name.startswith(KEPT_WHOLE) and ".adapter_" not in name
    }


def keep_zeros(model: M6) -> None:
    """Weights of a pruned network that are zero stay so, whatever is trained.

    Their gradient is zero, so AdamW neither moves them nor, at zero, decays them.
    """
    if model.config.sparsity == 0:
        return
    for parameter in prunable(model).values():
        if parameter.requires_grad:
            hook = _Masked(parameter.detach() != 0)
            parameter.register_hook(hook)  # type: ignore[no-untyped-call]


class _Masked:
    """A hook that passes the gradient of some weights only."""

    def __init__(self, mask_RC: Tensor) -> None:
        self.mask_RC = mask_RC

    def __call__(self, grad_RC: Tensor) -> Tensor:
        return grad_RC * self.mask_RC


def nonzero(model: M6) -> int:
    """Parameters of the backbone that are not zero; shared ones count once.

    Rows of task-specific parts that no task has filled in are zero and do not count.
    """
    return sum(int(p.detach().count_nonzero()) for p in model.parameters())


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with matrices of many zeros packed: NAME#bits, NAME#values, NAME#shape."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        mask = tensor != 0
        if tensor.ndim != 2 or float(mask.float().mean()) > 1 - PACKED_FROM:
            out[name] = tensor
            continue
        out[name + BITS] = _to_bits(mask.flatten())
        out[name + VALUES] = tensor[mask]
        out[name + SHAPE] = torch.tensor(tensor.shape)
    return out


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `packed`. ValueError where the parts of a matrix do not fit together."""
    parts = (BITS, VALUES, SHAPE)
    out = {name: tensor for name, tensor in tensors.items() if not name.endswith(parts)}
    for name in {key.rsplit("#", 1)[0] for key in tensors if key.endswith(parts)}:
        if not all(name + part in tensors for part in parts):
            raise ValueError(f"{name!r} is packed, but not all of {', '.join(parts)} are there")
        shape = tensors[name + SHAPE].tolist()
        values, size = tensors[name + VALUES], int(torch.tensor(shape).prod())
        bits = tensors[name + BITS]
        mask = _from_bits(bits, size) if len(bits) * 8 >= size else bits.new_zeros(0)
        if len(mask) != size or int(mask.sum()) != len(values):
            raise ValueError(f"{name!r} is packed, but its bits, values and shape do not fit")
        flat = values.new_zeros(size)
        flat[mask] = values
        out[name] = flat.view(shape)
    return out


def _to_bits(mask_N: Tensor) -> Tensor:
    """uint8 [⌈N / 8⌉], the first weight in the lowest bit."""
    padded = torch.nn.functional.pad(mask_N.to(torch.uint8), (0, -len(mask_N) % 8))
    place = (2 ** torch.arange(8)).to(torch.uint8)
    return (padded.view(-1, 8) * place).sum(1).to(torch.uint8)


def _from_bits(bits: Tensor, size: int) -> Tensor:
    """bool [size]."""
    place = torch.arange(8, dtype=torch.uint8)
    return ((bits[:, None] >> place) & 1).bool().flatten()[:size]
