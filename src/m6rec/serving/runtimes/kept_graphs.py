"""Converted graphs, kept beside a server's vectors: making one takes seconds at each start.

A graph is found again by what it was made of: the operations that tracing finds, the weights, the
precision and the release of the library. What is damaged on the disk is made anew.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m6rec.model.checkpoint import fingerprint
from m6rec.stores.disk import sha256_of, write_down

log = logging.getLogger(__name__)

GRAPH, WEIGHTS, DIGESTS = "graph.xml", "graph.bin", "sha256"
MOST = 8
"""Graphs that a folder keeps; the one written first goes first."""
PASSING = re.compile(r"___torch_mangle_\d+\.|(?<=[a-z])\([\d, ]+strides=[^()]*\)")
"""What tracing adds to names that it has met before in the process, and the shapes of the example:
every axis of a graph is free."""
INSIDE = "<Tensor>"
"""A tensor that is neither input nor weight: the operations do not tell what is in it."""


def key_of(module: nn.Module, named: dict[str, Tensor], *told: str) -> str | None:
    """Names what the graph of a module over inputs is made of; None where that can not be said."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as OpenVINO does: PyTorch calls tracing deprecated
        example = {name: tensor.clone() for name, tensor in named.items()}
        trace: Any = torch.jit.trace
        traced = trace(module, example_kwarg_inputs=example, check_trace=False, strict=False)
    operations = PASSING.sub("", str(traced.inlined_graph))
    if INSIDE in operations:
        return None
    made_of = [operations, fingerprint(module.state_dict()), *told]
    return hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:32]


def find(core: Any, folder: Path, key: str) -> Any | None:
    """The graph of that key, or None."""
    kept = folder / key
    if not kept.is_dir():
        return None
    try:
        if _digests(kept) == (kept / DIGESTS).read_text("utf-8"):
            return core.read_model(kept / GRAPH)
    except (OSError, ValueError, RuntimeError) as error:
        log.warning("%s can not be read (%s); it is made anew", kept, error)
    shutil.rmtree(kept, ignore_errors=True)
    return None


def keep(save: Any, graph: Any, folder: Path, key: str) -> None:
    """Writes a graph, whole or not at all. save: the library's function that writes one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="unfinished-") as made:
            unfinished = Path(made) / key
            unfinished.mkdir()
            save(graph, unfinished / GRAPH, compress_to_fp16=False)
            write_down(unfinished / DIGESTS, _digests(unfinished))
            unfinished.replace(folder / key)
        written = sorted(
            (f for f in folder.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime
        )
        for oldest in written[:-MOST]:
            shutil.rmtree(oldest, ignore_errors=True)
    except OSError as error:
        log.warning("a graph is not kept in %s (%s); the next start makes it again", folder, error)


def _digests(folder: Path) -> str:
    return f"{sha256_of(folder / GRAPH)} {sha256_of(folder / WEIGHTS)}\n"
