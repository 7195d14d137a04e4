"""OpenVINO on CPUs: float32, bfloat16, and int8 weights with activations rounded as they come.

int8 here needs no calibration: each weight matrix keeps a scale for every output channel, and the
plugin quantises activations row by row in groups (dynamic quantisation). Needs the `serve` extra.
Source: https://docs.openvino.ai, "Dynamic Quantization" and "Precision Control".

Legend: O outputs, D inputs of a matrix.
"""

from __future__ import annotations

import threading
import warnings
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.model.plans import SegmentTokens
from m6rec.serving.online import OnlineBatch
from m6rec.serving.runtimes.base import Network, Runtime, RuntimeMissingError
from m6rec.serving.runtimes.kept_graphs import find, keep, key_of

SHAPES_KEPT = 8
"""Shapes that are kept prepared; each takes megabytes, and requests come in ever new shapes. The
library's own bound is 5,000, which is gigabytes."""
INT8_GROUP = 128
"""Activations that share a scale; the plugin takes divisors of the width."""
TRACER = "openvino.frontend.pytorch.ts_decoder"
SMALLEST = 4096
"""Matrices of fewer weights stay as they are: there is nothing to win."""


def openvino() -> Any:
    """The library. Raises RuntimeMissingError with the command to run where it is missing."""
    try:
        return import_module("openvino")
    except ImportError as error:
        raise RuntimeMissingError(
            f"this runtime needs OpenVINO ({error}); run: pip install 'm6rec[serve]'"
        ) from error


class OpenVinoRuntime(Runtime):
    """Graphs traced once; shapes stay free. precision: "f32", "bf16" or "int8".

    Raises RuntimeMissingError without the library, and for a network that is not on the CPU.
    """

    def __init__(self, network: Network, name: str, precision: str) -> None:
        device = network.backbone.read_token.device.type
        if device != "cpu":
            raise RuntimeMissingError(f"{name} runs on CPUs; this model is on {device}")
        self.name, self.precision = name, precision
        self._core = openvino().Core()
        self._encoder_module, self._online_module = network.encoder(), network.online()
        self._streams, self._kept = network.at_once, network.kept
        self._graphs: dict[tuple[str, ...], Any] = {}
        self._compiling, self._own = threading.Lock(), threading.local()

    def encode(self, tokens: SegmentTokens) -> Tensor:
        named = {"ids_SN": tokens.ids_SN, "valid_SN": tokens.valid_SN}
        return self._run(self._encoder_module, named)[0]

    def online(self, batch: OnlineBatch) -> tuple[Tensor, Tensor]:
        source_BD, read_BND = self._run(self._online_module, batch.named())
        return source_BD, read_BND

    def _run(self, module: nn.Module, named: dict[str, Tensor]) -> list[Tensor]:
        inputs = [np.ascontiguousarray(tensor.detach().numpy()) for tensor in named.values()]
        out = self._request(module, named).infer(inputs, share_inputs=True)
        return [torch.from_numpy(out[place]) for place in range(len(out))]

    def _request(self, module: nn.Module, named: dict[str, Tensor]) -> Any:
        """This thread's own request to the graph of these inputs."""
        key = tuple(named)
        requests = self._own.__dict__.setdefault("requests", {})
        if key not in requests:
            with self._compiling:
                if key not in self._graphs:
                    self._graphs[key] = self._compile(module, named)
                requests[key] = self._graphs[key].create_infer_request()
        return requests[key]

    def _compile(self, module: nn.Module, named: dict[str, Tensor]) -> Any:
        settings = {
            "NUM_STREAMS": str(self._streams),
            "INFERENCE_NUM_THREADS": torch.get_num_threads() * self._streams,
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_RUNTIME_CACHE_CAPACITY": str(SHAPES_KEPT),
            "INFERENCE_PRECISION_HINT": "f32" if self.precision == "f32" else "bf16",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(INT8_GROUP if self.precision == "int8" else 0),
        }
        return self._core.compile_model(self._graph(module, named), "CPU", settings)

    def _graph(self, module: nn.Module, named: dict[str, Tensor]) -> Any:
        """Converted, or as an earlier start kept it."""
        folder = self._kept
        key = None if folder is None else key_of(module, named, self.precision, version("openvino"))
        if folder is None or key is None:
            return self._converted(module, named)
        found = find(self._core, folder, key)
        if found is None:
            found = self._converted(module, named)
            keep(openvino().save_model, found, folder, key)
        return found

    def _converted(self, module: nn.Module, named: dict[str, Tensor]) -> Any:
        """Traced on the first batch of its kind; every axis may change afterwards."""
        ov = openvino()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OpenVINO still traces; PyTorch calls that deprecated
            example = {name: tensor.clone() for name, tensor in named.items()}
            traced = import_module(TRACER).TorchScriptPythonDecoder(
                module, example_input=example, trace_kwargs={"check_trace": False}
            )  # a test compares what is traced; checking it at each start takes seconds
            graph = ov.convert_model(traced, example_input=example)
        by_name = {name: port for port in graph.inputs for name in port.get_names()}
        free = {by_name[n]: ov.PartialShape([-1] * t.dim()) for n, t in named.items()}
        graph.reshape(free)
        if self.precision == "int8":
            weights_to_int8(graph)
        return graph


def weights_to_int8(graph: Any) -> int:
    """Every large constant matrix becomes int8 times a scale per output; returns how many."""
    openvino()
    ops = import_module("openvino.opset13")
    changed = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        weight = node.input_value(1).get_node()
        if weight.get_type_name() != "Constant" or weight.get_output_partial_shape(0).rank != 2:
            continue
        transposed = bool(node.get_attributes()["transpose_b"])
        weight_OD = weight.get_data() if transposed else weight.get_data().T
        if weight_OD.size < SMALLEST:
            continue
        int8_OD, scale_O1 = rounded(np.asarray(weight_OD, np.float32))
        whole = ops.multiply(ops.convert(ops.constant(int8_OD), "f32"), ops.constant(scale_O1))
        replaced = ops.matmul(
            node.input_value(0), whole, bool(node.get_attributes()["transpose_a"]), True
        )
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(replaced.output(0))
        changed += 1
    return changed


def rounded(weight_OD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [O, D] and the scale of each output, float32 [O, 1]."""
    scale_O1 = np.maximum(np.abs(weight_OD).max(1, keepdims=True) / 127, 1e-12)
    return np.round(weight_OD / scale_O1).astype(np.int8), scale_O1.astype(np.float32)
