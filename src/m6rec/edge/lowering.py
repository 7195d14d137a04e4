"""The network's modules as ONNX nodes: one function for each kind of module.

Written by hand rather than traced, so that queries, keys and values are one multiplication, shared
layers one set of weights, and an export takes a second. The parity check holds every graph against
the modules themselves (edge/parity.py).

Legend: B rows of texts or requests, T tokens, Q rows that ask, D width, H heads, E head width, O
outputs, I inputs, V rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from m6rec.edge.graph import EdgeError, Graph
from m6rec.model.block import Block, GeluFFN
from m6rec.model.int8 import MOST, Int8Linear, Int8Table
from m6rec.model.m6 import M6
from m6rec.model.table import TokenTable
from m6rec.model.tuning import Adapter

MIDDLE = MOST + 1
"""Level of an unsigned weight that means zero. Kernels for signed weights add pairs in 16 bits,
which overflows on x86 processors without VNNI; those for unsigned ones are exact everywhere."""


def as_array(value: Tensor) -> np.ndarray:
    """Contiguous, float32 where it is of floats."""
    tensor = value.detach().cpu()
    return np.array((tensor.float() if tensor.is_floating_point() else tensor).numpy(), order="C")


def check_family(model: M6) -> None:
    """Raises EdgeError for a network that these functions do not know."""
    config = model.config
    known = (
        config.norm == "layer"
        and config.norm_position == "post"
        and config.position == "learned"
        and config.ffn == "gelu"
        and config.heads == config.kv_heads
        and not config.qk_norm
        and config.source == "bidirectional"
        and not config.sink
    )
    if not known:
        raise EdgeError(
            "an edge bundle is made of networks of the BERT family (LayerNorm after each part, "
            "learned positions, GELU), such as m6-small or M6-Edge; this one is of another"
        )


def linear(g: Graph, modules: Sequence[nn.Module], x: str) -> str:
    """One or more linear maps of the same input, their outputs side by side."""
    if all(isinstance(module, Int8Linear) for module in modules):
        return _int8_linear(g, [m for m in modules if isinstance(m, Int8Linear)], x)
    weights, biases = [], []
    for module in modules:
        assert isinstance(module, nn.Linear)
        weights.append(as_array(module.weight))
        bias = module.bias
        biases.append(np.zeros(len(weights[-1]), np.float32) if bias is None else as_array(bias))
    y = g.op("MatMul", x, g.constant(np.concatenate(weights).T))
    return g.op("Add", y, g.constant(np.concatenate(biases)))


def _int8_linear(g: Graph, modules: Sequence[Int8Linear], x: str) -> str:
    weight_OI = np.concatenate([as_array(m.weight_OI) for m in modules])
    scale_O = np.concatenate([as_array(m.scale_O) for m in modules])
    bias = g.constant(np.concatenate([as_array(m.bias_O) for m in modules]))
    near = _on_levels(g, modules, x)
    if near == x:
        # Plain arithmetic, which runtimes do once at loading: ONNX Runtime would take a
        # DequantizeLinear here for leave to round the input.
        whole = g.op("Cast", g.constant(weight_OI.T), to=1)
        weight = g.op("Mul", whole, g.constant(scale_O))
    else:
        unsigned_IO = (weight_OI.astype(np.int16) + MIDDLE).astype(np.uint8).T
        middle_O = g.constant(np.full(len(scale_O), MIDDLE, np.uint8))
        parts = g.constant(unsigned_IO), g.constant(scale_O), middle_O
        weight = g.op("DequantizeLinear", *parts, axis=1)
    return g.op("Add", g.op("MatMul", near, weight), bias)


def _on_levels(g: Graph, modules: Sequence[Int8Linear], x: str) -> str:
    """The input rounded to its levels, where the maps round it."""
    if any(m.rows for m in modules):
        raise EdgeError("maps that round each row by its own range are for ExecuTorch only")
    steps = [as_array(m.step) for m in modules if m.step is not None]
    if not steps:
        return x
    levels = {(None if m.step is None else m.step.item(), m.zero) for m in modules}
    if len(levels) > 1:
        raise EdgeError("linear maps of one input must have been calibrated on the same input")
    step, zero = g.constant(steps[0]), g.constant(np.array(modules[0].zero, np.uint8))
    return g.op("DequantizeLinear", g.op("QuantizeLinear", x, step, zero), step, zero)


def table(g: Graph, module: nn.Module, ids: str, most: int | None = None) -> str:
    """Rows of a table, projected up where it is narrow. most: how many rows are needed."""
    if isinstance(module, Int8Table):
        rows = g.op("Gather", g.constant(as_array(module.weight_VD[:most])), ids)
        scale = g.op("Gather", g.constant(as_array(module.scale_V1[:most])), ids)
        x = g.op("Mul", g.op("Cast", rows, to=1), scale)
        up = module.up
    else:
        assert isinstance(module, nn.Embedding)
        x = g.op("Gather", g.constant(as_array(module.weight[:most])), ids)
        up = module.up if isinstance(module, TokenTable) else None
    return x if up is None else linear(g, [up], x)


def norm(g: Graph, module: nn.Module, x: str) -> str:
    """LayerNorm over the width."""
    assert isinstance(module, nn.LayerNorm)
    scale, bias = g.constant(as_array(module.weight)), g.constant(as_array(module.bias))
    return g.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=module.eps)


def feed_forward(g: Graph, module: nn.Module, x: str) -> str:
    """The FFN, and the adapter beside it where there is one."""
    if isinstance(module, Adapter):
        low = g.op("Gelu", linear(g, [module.adapter_down], x))
        added = linear(g, [module.adapter_up], low)
        added = g.op("Mul", added, g.constant(as_array(module.adapter_scale)))
        return g.op("Add", feed_forward(g, module.ffn, x), added)
    assert isinstance(module, GeluFFN)
    return linear(g, [module.down], g.op("Gelu", linear(g, [module.up], x)))


def block(
    g: Graph,
    module: nn.Module,
    x: str,
    bias: str | None,
    asks: str | None = None,
    before: str | None = None,
) -> str:
    """One layer. bias: added to the attention's logits. asks: the rows that are wanted, of x.
    before: rows [1, R, D] whose keys and values stand before those of every x."""
    assert isinstance(module, Block)
    attention = module.attention
    if asks is None and before is None:
        qkv = linear(g, [attention.q, attention.k, attention.v], x)
        q, k, v = g.ops("Split", qkv, outs=g.fresh(3), axis=-1, num_outputs=3)
    else:
        q = linear(g, [attention.q], x if asks is None else asks)
        kv = linear(g, [attention.k, attention.v], x)
        if before is not None:
            shared = linear(g, [attention.k, attention.v], before)
            count = g.op("Concat", g.op("Shape", x, start=0, end=1), g.constant([1, 1]), axis=0)
            kv = g.op("Concat", g.op("Expand", shared, count), kv, axis=1)
        k, v = g.ops("Split", kv, outs=g.fresh(2), axis=-1, num_outputs=2)
    shape = g.constant([0, 0, attention.heads, attention.head_dim])
    q, k, v = (g.op("Reshape", value, shape) for value in (q, k, v))
    q_BHQE, v_BHTE = (g.op("Transpose", value, perm=[0, 2, 1, 3]) for value in (q, v))
    k_BHET = g.op("Transpose", k, perm=[0, 2, 3, 1])
    logits = g.op("Mul", g.op("MatMul", q_BHQE, k_BHET), g.constant(attention.head_dim**-0.5))
    logits = logits if bias is None else g.op("Add", logits, bias)
    out_BHQE = g.op("MatMul", g.op("Softmax", logits, axis=-1), v_BHTE)
    merged = g.op("Transpose", out_BHQE, perm=[0, 2, 1, 3])
    merged = g.op("Reshape", merged, g.constant([0, 0, attention.heads * attention.head_dim]))
    rows = x if asks is None else asks
    h = norm(g, module.attention_norm, g.op("Add", rows, linear(g, [attention.out], merged)))
    return norm(g, module.ffn_norm, g.op("Add", h, feed_forward(g, module.ffn, h)))


def unit(g: Graph, x: str, out: str | None = None) -> str:
    """Vectors of length one along the last axis."""
    length = g.op("ReduceL2", x, g.constant([-1]), keepdims=1)
    return g.op("Div", x, g.op("Max", length, g.constant(1e-12)), out=out)
