"""What runs the parts of a bundle on this machine: ONNX Runtime, or ExecuTorch.

Legend: S texts, N tokens, G events of a history, M most of them, I items, D width, K projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from m6rec.edge.graph import EdgeError, need
from m6rec.edge.program import AT_ONCE, need_executorch, quiet
from m6rec.text.tokenizer import Tokenizer

PROGRAM = "model.pte"
ENCODE = "encode_"


class Runner(Protocol):
    """The parts by name: encode (ids [S, N] → states [S, D]), user (states [G, D] → [K]), item
    (states [I, D] → [I, K]), and for ONNX what else the bundle holds."""

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The one output of a part."""
        ...


class Graphs:
    """The ONNX graphs of a folder, each opened when it is first asked for."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self._sessions: dict[str, Any] = {}

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The one output of a graph."""
        if graph not in self._sessions:
            self._sessions[graph] = session(self.folder / f"{graph}.onnx", self.threads)
        found: np.ndarray = self._sessions[graph].run(None, dict(inputs))[0]
        return found


class Program:
    """A .pte file in ExecuTorch, which takes as many threads as the machine has."""

    def __init__(self, path: Path) -> None:
        with quiet():
            self._program = need_executorch("runtime").Runtime.get().load_program(path)
        names = self._program.method_names
        self._lengths = sorted(int(n.removeprefix(ENCODE)) for n in names if n.startswith(ENCODE))
        self._methods: dict[str, Any] = {}

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """As ONNX graphs do: inputs of any number of rows, in the order of the Runner's words."""
        (given,) = inputs.values()
        if graph == "user":
            return self._user(given)
        if graph == "item":
            return _in_parts(given, lambda part: self._call("item", part))
        if graph == "encode":
            return self._encode(given)
        raise EdgeError(f"a program has no part {graph!r}; right is encode, user or item")

    def _encode(self, ids_SN: np.ndarray) -> np.ndarray:
        tokens = ids_SN.shape[1]
        wide = next((length for length in self._lengths if length >= tokens), None)
        if wide is None:
            raise EdgeError(f"texts of {tokens} tokens: right is {self._lengths[-1]} or fewer")
        padded = np.pad(ids_SN.astype(np.int32), ((0, 0), (0, wide - tokens)))
        return _in_parts(padded, lambda part: self._call(f"{ENCODE}{wide}", part))

    def _user(self, states_GD: np.ndarray) -> np.ndarray:
        most = self._method("user").metadata.input_tensor_meta(0).sizes()[0]
        before = most - len(states_GD)
        if before < 0:
            raise EdgeError(f"a history of {len(states_GD)} events: right is {most} or fewer")
        present_M = np.pad(np.ones(len(states_GD), np.float32), (before, 0))
        return self._call("user", np.pad(states_GD, ((before, 0), (0, 0))), present_M)

    def _method(self, name: str) -> Any:
        if name not in self._methods:
            with quiet():
                self._methods[name] = self._program.load_method(name)
        return self._methods[name]

    def _call(self, name: str, *inputs: np.ndarray) -> np.ndarray:
        given = [torch.from_numpy(np.ascontiguousarray(value)) for value in inputs]
        found: np.ndarray = self._method(name).execute(given)[0].numpy().copy()
        return found


def _in_parts(rows: np.ndarray, call: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.concatenate([call(rows[n : n + AT_ONCE]) for n in range(0, len(rows), AT_ONCE)])


def open_runner(folder: Path, threads: int = 1) -> Runner:
    """What the folder's files need."""
    program = folder / PROGRAM
    return Program(program) if program.is_file() else Graphs(folder, threads)


def encode_texts(
    runner: Runner, part: str, tokenizer: Tokenizer, texts: Sequence[str], budget: int
) -> np.ndarray:
    """States of any number of texts, those of like length together: float32 [S, D]."""
    rows = tokenizer.encode_batch(texts, [budget] * len(texts))
    order = np.argsort([len(row) for row in rows], kind="stable")
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(order), AT_ONCE):
        chosen = order[start : start + AT_ONCE].tolist()
        ids_SN, _ = tokenizer.segments([texts[n] for n in chosen], [budget] * len(chosen))
        found |= dict(zip(chosen, runner.run(part, {"ids": ids_SN.astype(np.int32)}), strict=True))
    return np.stack([found[n] for n in range(len(texts))])


def session(path: Path, threads: int) -> Any:
    """A graph in ONNX Runtime, on the CPU."""
    ort = need("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
