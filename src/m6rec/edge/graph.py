"""ONNX graphs, written node by node; all graphs of a bundle share one file of weights.

Needs the extra `edge`. Source: https://onnx.ai/onnx/intro/concepts.html, "External data".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from m6rec.records import M6Error

OPSET, IR_VERSION = 20, 9
SMALL = 256
"""Tensors of fewer bytes stand in the graph itself."""
ALIGNED = 64
WEIGHTS = "weights.bin"


class EdgeError(M6Error):
    """A model, a bundle or a library that can not be used on a device."""


def need(library: str) -> Any:
    """A library of the extra `edge`; EdgeError says how to install it where it is missing."""
    try:
        return import_module(library)
    except ImportError as error:
        raise EdgeError(
            f"this needs the library {library!r}: pip install 'm6rec[edge]' ({error})"
        ) from None


class Weights:
    """The bytes of tensors, each distinct one once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._place: dict[str, int] = {}

    def put(self, array: np.ndarray) -> tuple[int, int]:
        """Offset and length."""
        body = array.tobytes()
        key = hashlib.sha256(body).hexdigest()
        if key not in self._place:
            self.data += b"\0" * (-len(self.data) % ALIGNED)
            self._place[key] = len(self.data)
            self.data += body
        return self._place[key], len(body)


class Graph:
    """Nodes and constants of one graph; values are named by strings."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.name, self.weights = name, weights
        self._onnx = need("onnx")
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, str, tuple[int, ...]], str] = {}
        self._tensors: list[Any] = []

    def constant(self, value: np.ndarray | float | int | Sequence[int]) -> str:
        """A tensor; lists and whole numbers are int64, other numbers float32."""
        array = np.asarray(value)
        if not isinstance(value, np.ndarray):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        array = np.array(array, order="C")
        key = (hashlib.sha256(array.tobytes()).hexdigest(), str(array.dtype), array.shape)
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = name
            self._tensors.append(self._tensor(name, array))
        return self._constants[key]

    def _tensor(self, name: str, array: np.ndarray) -> Any:
        if array.nbytes < SMALL:
            return self._onnx.numpy_helper.from_array(array, name)
        offset, length = self.weights.put(array)
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = self._onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        for key, told in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(told))
        return tensor

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Adds a node of one output; returns its name."""
        return self.ops(kind, *inputs, outs=[out or f"v{len(self._nodes)}"], **attributes)[0]

    def ops(self, kind: str, *inputs: str, outs: Sequence[str], **attributes: Any) -> list[str]:
        """Adds a node of several outputs."""
        node = self._onnx.helper.make_node(kind, list(inputs), list(outs), **attributes)
        self._nodes.append(node)
        return list(outs)

    def fresh(self, count: int) -> list[str]:
        """Names for the outputs of the next node."""
        return [f"v{len(self._nodes)}_{n}" for n in range(count)]

    def serialised(
        self, inputs: Mapping[str, tuple[str, list[Any]]], outputs: Mapping[str, list[Any]]
    ) -> bytes:
        """The model's bytes, checked. inputs: name → (type, shape); outputs are float32."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        taken = [
            helper.make_tensor_value_info(name, getattr(types, kind), shape)
            for name, (kind, shape) in inputs.items()
        ]
        given = [
            helper.make_tensor_value_info(name, types.FLOAT, shape)
            for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self._nodes, self.name, taken, given, self._tensors)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="m6rec")
        model.ir_version = IR_VERSION
        body: bytes = model.SerializeToString()
        return body
