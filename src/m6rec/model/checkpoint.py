"""Checkpoints: safetensors plus JSON, fingerprinted; a task's folder holds only what it trained.

A backbone folder: config.json, model.safetensors, tokenizer.json.
A task folder: task.json (the task's settings, the backbone's fingerprint), task.safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from m6rec.config import ModelConfig
from m6rec.model.m6 import M6
from m6rec.model.sharing import givers, is_borrowed
from m6rec.model.sparse import packed, unpacked
from m6rec.model.tuning import is_added
from m6rec.records import M6Error
from m6rec.text.tokenizer import Tokenizer

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TASK_CONFIG, TASK_WEIGHTS = "task.json", "task.safetensors"


DRAWN = (init.normal_, init.uniform_, init.kaiming_uniform_)
"""How networks are begun at random."""


class CheckpointError(M6Error):
    """A checkpoint is missing, damaged, or belongs to another model."""


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits of the names, shapes, types and bytes of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def backbone_tensors(model: M6) -> dict[str, Tensor]:
    """The backbone's own tensors; what is tied or shared once, task parameters not at all."""
    tied, giver = model.config.tie_embeddings, givers(model.config)
    return {
        name.replace(".ffn.ffn.", ".ffn."): tensor
        for name, tensor in model.state_dict().items()
        if not is_added(name)
        and not (tied and name == "lm_head.decoder.weight")
        and not is_borrowed(name, giver)
    }


def save_backbone(
    model: M6, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype | None = None
) -> None:
    """Writes a backbone folder (created if missing).

    dtype: bfloat16 halves the file. None: nothing is lost; each tensor is kept as the file that the
    network was read from kept it, or in float32 where that would round. Weights are read back as
    float32 whatever they were kept in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.write(folder / CONFIG)
    tokenizer.save(folder / TOKENIZER)
    own = backbone_tensors(model)
    tensors = {
        name: (t.to(dtype) if dtype else _unrounded(t, model.kept_as)).detach().contiguous()
        for name, t in own.items()
    }
    if model.config.sparsity:
        tensors = packed(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"fingerprint": fingerprint(tensors)})


def _unrounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor as `dtype`, or as float32 where that would change a value."""
    kept = tensor.to(dtype)
    return kept if torch.equal(kept.to(tensor.dtype), tensor) else tensor.float()


def load_backbone(folder: Path) -> tuple[M6, Tokenizer]:
    """Reads a backbone folder; CheckpointError says which file is wrong and how."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a checkpoint is a folder with {CONFIG}")
    config = ModelConfig.read(folder / CONFIG)
    tensors, metadata = read_tensors(folder / WEIGHTS)
    if metadata.get("fingerprint") != fingerprint(tensors):
        raise CheckpointError(f"{folder / WEIGHTS} does not match its fingerprint: it is damaged")
    with _Blank():
        model = M6(config)
    try:
        tensors = unpacked(tensors)
    except ValueError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: {error}") from None
    halves = any(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
    model.kept_as = torch.bfloat16 if halves else torch.float32
    load_tensors(model, tensors, folder / WEIGHTS)
    tokenizer = Tokenizer.load(folder / TOKENIZER, config.special)
    if tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{folder / TOKENIZER} has {tokenizer.vocab_size} tokens, but the network of "
            f"{folder / CONFIG} knows {config.vocab_size}"
        )
    return model.eval(), tokenizer


class _Blank(TorchFunctionMode):
    """Leaves out the drawing of random weights, which takes longer than reading those of a file and
    would move the caller's seed. What is made under it has to be filled, every tensor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_tensors(model: M6, tensors: Mapping[str, Tensor], origin: Path) -> None:
    """Fills a model with backbone tensors; every name and shape must fit."""
    wanted = backbone_tensors(model)
    for name, tensor in wanted.items():
        if name not in tensors:
            raise CheckpointError(f"{origin} lacks {name!r}")
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{origin}: {name!r} has shape {tuple(tensors[name].shape)}, "
                f"but config.json says {tuple(tensor.shape)}"
            )
    unknown = sorted(set(tensors) - set(wanted))
    if unknown:
        raise CheckpointError(f"{origin} holds tensors that this network has not: {unknown[:3]}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def save_task(folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a task folder. settings must be JSON-ready and name the backbone's fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
    save_file(body, folder / TASK_WEIGHTS, metadata={"fingerprint": fingerprint(body)})
    text = json.dumps(dict(settings), indent=2, ensure_ascii=False)
    (folder / TASK_CONFIG).write_text(text + "\n", encoding="utf-8")


def load_task(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a task folder; CheckpointError says which file is wrong and how."""
    path = folder / TASK_CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; an adapter is a folder written by `m6rec tune`")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    tensors, metadata = read_tensors(folder / TASK_WEIGHTS)
    if metadata.get("fingerprint") != fingerprint(tensors):
        raise CheckpointError(f"{folder / TASK_WEIGHTS} does not match its fingerprint: damaged")
    return settings, tensors


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a safetensors file, or is cut off: {error}") from None
