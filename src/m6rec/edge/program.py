"""The parts of edge/parts.py as one ExecuTorch program, run by XNNPACK.

Methods: user, item, and encode_N for texts of N tokens (XNNPACK lets one size vary, and that is
the number of texts). The same arithmetic, written so that torch.export can follow it: masks are
numbers that are added, and a history has a fixed number of rows, of which `present` says which
count. Methods share the program's constants, so a set of shared layers is stored once.
Needs the extra `executorch`. Source: https://docs.pytorch.org/executorch/stable/backends-xnnpack.html

Legend: S texts, N tokens of a text, M most events of a history (newest last), I items, B rows of
requests, T tokens, Q rows that ask, D width, H heads, E head width, P soft prompts, O outputs.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.edge.graph import EdgeError
from m6rec.edge.graphs import UNSEEN
from m6rec.edge.lowering import check_family
from m6rec.edge.parts import fixed_states
from m6rec.model import plans
from m6rec.model.block import Block
from m6rec.model.int8 import Int8Linear
from m6rec.model.m6 import M6

AT_ONCE = 64
"""Most texts, or items, of one call."""
SHORT = 16
"""Token counts of the encode methods: this, its doubles, and the longest text's."""


def need_executorch(module: str) -> Any:
    """A module of ExecuTorch; EdgeError says how to install it where it is missing."""
    try:
        with quiet():
            return import_module(f"executorch.{module}")
    except ImportError as error:
        raise EdgeError(
            f"this needs ExecuTorch: pip install 'm6rec[executorch]' ({error})"
        ) from None


def has_executorch() -> bool:
    """Whether the library is installed (nothing is loaded to find out)."""
    return importlib.util.find_spec("executorch") is not None


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's warnings about its own code to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class EncodeMethod(nn.Module):
    """ids [S, N], padded with [PAD] → states [S, D]; N is fixed."""

    def __init__(self, model: M6, lower: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.embed_norm = model.tokens, model.embed_norm
        self.pad = model.config.special.pad
        self.blocks = layers_of(model, range(lower))
        assert model.positions is not None
        self.register_buffer("position_ND", model.positions(torch.arange(tokens)).detach())

    position_ND: Tensor

    def forward(self, ids_SN: Tensor) -> Tensor:
        """Layers 1…L' over each text alone, and the mean of its states."""
        padding_SN = (ids_SN == self.pad).float()
        x = self.tokens(ids_SN.long()) + self.position_ND
        if self.embed_norm is not None:
            x = self.embed_norm(x)
        bias = (padding_SN * UNSEEN)[:, None, None, :]
        for block in self.blocks:
            x = through(block, x, x, bias)
        weight_SN1 = (1.0 - padding_SN)[..., None]
        states_SD: Tensor = (x * weight_SN1).sum(1) / weight_SN1.sum(1)
        return states_SD


class UserMethod(nn.Module):
    """states [M, D] of events, newest last, and present [M] (0 or 1) → a unit vector [K]."""

    def __init__(self, model: M6, lower: int, most: int) -> None:
        super().__init__()
        self.blocks, self.project = online_layers(model, lower), model.project_user
        prompts_PD, reads_2D = fixed_states(model, lower)
        slot_M = torch.tensor([plans.slot("event", age, model.config) for age in range(most)])
        slot_M = slot_M.flip(0)
        age_M = (slot_M - plans.FIRST_EVENT_SLOT).float()
        with torch.no_grad():
            self.register_buffer("slot_MD", model.segments(slot_M))
            self.register_buffer("weight_M", (age_M * model.recency.float()).exp())
            self.register_buffer("gate", model.read_gate[0].detach().clone())
            own_D = read_state(model, reads_2D, plans.READ_SOURCE, plans.READ_SOURCE_SLOT)
            self.register_buffer("read_D", own_D)
            prompts = torch.zeros(0, model.config.d_model)
            if prompts_PD is not None:
                slot_P = torch.full((len(prompts_PD),), plans.SLOTS["prompt"])
                prompts = prompts_PD + model.segments(slot_P)
            self.register_buffer("prompts_PD", prompts)

    slot_MD: Tensor
    weight_M: Tensor
    gate: Tensor
    read_D: Tensor
    prompts_PD: Tensor

    def forward(self, h_MD: Tensor, present_M: Tensor) -> Tensor:
        """Layers L'+1…L and the projection."""
        weight_M1 = (self.weight_M * present_M)[:, None]
        mean_1D = (weight_M1 * h_MD).sum(0, keepdim=True) / weight_M1.sum()
        asks = (mean_1D * self.gate + self.read_D)[None]
        rows = torch.cat([self.prompts_PD, h_MD + self.slot_MD])[None]
        always = torch.ones_like(self.prompts_PD[:, 0])
        seen = torch.cat([always, present_M, torch.ones_like(present_M[:1])])
        bias = ((1.0 - seen) * UNSEEN)[None, None, None, :]
        asks = online(self.blocks, torch.cat([rows, asks], 1), asks, bias)
        return F.normalize(self.project(asks[0, 0]), dim=-1)


class ItemMethod(nn.Module):
    """states [I, D] of items → unit vectors [I, K]."""

    def __init__(self, model: M6, lower: int) -> None:
        super().__init__()
        self.blocks, self.project = online_layers(model, lower), model.project_item
        reads_2D = fixed_states(model, lower)[1]
        with torch.no_grad():
            own_D = read_state(model, reads_2D, plans.READ_TARGET, plans.READ_TARGET_SLOT)
            self.register_buffer("read_D", own_D)
            self.register_buffer("slot_D", model.segments(torch.tensor(plans.SLOTS["item"])))
            self.register_buffer("gate", model.read_gate[0].detach().clone())
        self.register_buffer("later", torch.tensor([[0.0, UNSEEN], [0.0, 0.0]])[None, None])

    read_D: Tensor
    slot_D: Tensor
    gate: Tensor
    later: Tensor

    def forward(self, h_ID: Tensor) -> Tensor:
        """Layers L'+1…L over each item alone, and the projection."""
        asks = (h_ID * self.gate + self.read_D)[:, None]
        rows = torch.cat([(h_ID + self.slot_D)[:, None], asks], 1)
        asks = online(self.blocks, rows, asks, self.later)
        return F.normalize(self.project(asks[:, 0]), dim=-1)


def read_state(model: M6, reads_2D: Tensor, which: int, slot: int) -> Tensor:
    """What a read token adds to the mean of its region (see `plans.enter_online`): [D]."""
    own_D = reads_2D[which] + model.segments(torch.tensor(slot))
    fixed_D: Tensor = own_D * model.read_gate[1] + model.read_token[which]
    return fixed_D


def layers_of(model: M6, which: range) -> nn.ModuleList:
    """Some layers. A method holds no more of the network than it runs: ExecuTorch would store
    buffers that nothing reads, a second copy of every weight among them."""
    return nn.ModuleList(model.blocks[index] for index in which)


def online_layers(model: M6, lower: int) -> nn.ModuleList:
    """Layers L'+1…L."""
    return layers_of(model, range(lower, model.config.layers))


def online(blocks: nn.ModuleList, x_BTD: Tensor, asks_BQD: Tensor, bias: Tensor) -> Tensor:
    """Rows through the layers; the last row asks and sees what the last row of bias allows."""
    for block in blocks[:-1]:
        x_BTD = through(block, x_BTD, x_BTD, bias)
        asks_BQD = x_BTD[:, -1:]
    if len(blocks):
        asks_BQD = through(blocks[-1], asks_BQD, x_BTD, bias[:, :, -1:])
    return asks_BQD


def through(block: nn.Module, asks_BQD: Tensor, x_BTD: Tensor, bias: Tensor) -> Tensor:
    """One layer for the rows that ask; bias [B, 1, Q, T] is added to the logits."""
    assert isinstance(block, Block)
    attention = block.attention

    H, E = attention.heads, attention.head_dim
    Q, T = asks_BQD.shape[1], x_BTD.shape[1]

    def heads(y_BTD: Tensor, rows: int) -> Tensor:
        y_BHTE = y_BTD.view(-1, rows, H, E).transpose(1, 2)
        return y_BHTE.reshape(-1, rows, E)

    q, k, v = (
        heads(part(y), rows)
        for part, y, rows in (
            (attention.q, asks_BQD, Q),
            (attention.k, x_BTD, T),
            (attention.v, x_BTD, T),
        )
    )
    # bmm: a product of four axes becomes copies of its inputs, and then this.
    logits = torch.bmm(q * E**-0.5, k.transpose(1, 2)).view(-1, H, Q, T) + bias
    out = torch.bmm(logits.softmax(-1).view(-1, Q, T), v).view(-1, H, Q, E)
    return block.absorb(asks_BQD, attention.out(out.transpose(1, 2).reshape(-1, Q, H * E)))


class RowLinear(nn.Module):
    """An Int8Linear that rounds each row, in the operators that XNNPACK knows the pattern of."""

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("weight_OI", linear.weight_OI)
        self.register_buffer("scale_O", linear.scale_O)
        self.register_buffer("zero_O", torch.zeros(len(linear.scale_O), dtype=torch.int64))
        self.register_buffer("bias_O", linear.bias_O)

    weight_OI: Tensor
    scale_O: Tensor
    zero_O: Tensor
    bias_O: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] → [..., O]."""
        ops, kind = torch.ops.quantized_decomposed, torch.int8
        scale, zero = ops.choose_qparams_per_token_asymmetric(x, kind)
        level = ops.quantize_per_token(x, scale, zero, -128, 127, kind)
        near = ops.dequantize_per_token(level, scale, zero, -128, 127, kind, torch.float32)
        weight_OI = ops.dequantize_per_channel(
            self.weight_OI, self.scale_O, self.zero_O, 0, -127, 127, kind
        )
        return F.linear(near, weight_OI, self.bias_O)


class RowNorm(nn.Module):
    """A LayerNorm of operators that XNNPACK has, which has none for it: a mean is a linear map."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("mean_1D", torch.full((1, len(norm.weight)), 1 / len(norm.weight)))

    mean_1D: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        around = x - F.linear(x, self.mean_1D)
        spread = F.linear(around * around, self.mean_1D)
        return around * torch.rsqrt(spread + self.eps) * self.weight + self.bias


def for_xnnpack(model: M6) -> M6:
    """A copy whose norms and row-rounding maps are made of what XNNPACK has."""
    own = copy.deepcopy(model)
    for parent in list(own.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Int8Linear) and child.rows:
                setattr(parent, name, RowLinear(child))
            elif isinstance(child, nn.LayerNorm):
                setattr(parent, name, RowNorm(child))
    return own


def program(model: M6, lower: int, most: int, longest: int) -> bytes:
    """The .pte file. most: events of a history; longest: tokens of a text, brackets included.

    Raises EdgeError for a network of another family, or where ExecuTorch is missing.
    """
    check_family(model)
    exir = need_executorch("exir")
    partition = need_executorch("backends.xnnpack.partition.xnnpack_partitioner")
    own = for_xnnpack(model.eval()).requires_grad_(False)
    D = own.config.d_model
    rows = ({0: torch.export.Dim("rows", min=1, max=AT_ONCE)},)
    methods: dict[str, tuple[nn.Module, tuple[Tensor, ...], Any]] = {
        "user": (UserMethod(own, lower, most), (torch.ones(most, D), torch.ones(most)), None),
        "item": (ItemMethod(own, lower), (torch.ones(3, D),), rows),
    }
    for tokens in lengths(longest):
        ids = torch.ones(3, tokens, dtype=torch.int32)
        methods[f"encode_{tokens}"] = (EncodeMethod(own, lower, tokens), (ids,), rows)
    # Weights that are made from int8 by arithmetic stay int8 in the file and are given to the
    # kernels at each call; XNNPACK has no linear map of 8-bit weights and inputs left as they are.
    options = {"force_non_static_weights_for_f32_linear": True} if _weights_only(own) else {}
    with quiet(), torch.no_grad():
        exported = {
            name: torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
            for name, (module, inputs, shapes) in methods.items()
        }
        lowered = exir.to_edge_transform_and_lower(
            exported,
            partitioner={name: [partition.XnnpackPartitioner(**options)] for name in methods},
            compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
        )
        return bytes(lowered.to_executorch().buffer)


def lengths(longest: int) -> list[int]:
    """Tokens N of the encode methods, ascending."""
    found, tokens = [], SHORT
    while tokens < longest:
        found.append(tokens)
        tokens *= 2
    return [*found, longest]


def _weights_only(model: M6) -> bool:
    return any(isinstance(module, Int8Linear) for module in model.modules())
