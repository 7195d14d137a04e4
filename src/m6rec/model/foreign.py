"""A network of another library, whatever file it came in, as one of ours.

Every row of the embedding keeps its meaning; special tokens are chosen in hf_special.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m6rec.config import ModelConfig
from m6rec.model.checkpoint import CONFIG, CheckpointError, backbone_tensors, load_tensors
from m6rec.model.hf_families import TOKEN_TYPES, Family, family_of, need
from m6rec.model.hf_special import ForeignVocabulary, add_rows, begin_like_newline, choose
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

TRUNK = ("tokens.", "positions.", "embed_norm.", "blocks.", "final_norm.", "lm_head.")
"""What a language model brings; the rest of the backbone is where our tasks read and write."""


@dataclass(frozen=True)
class Foreign:
    """What was read: settings (Hugging Face's config.json), tensors under Hugging Face's names,
    the tokenizer's definition (tokenizer.json), and what tokenizer_config.json says.

    origin: the file or folder, for errors. where: the place of the settings in it.
    """

    origin: Path
    raw: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    definition: str
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Where the settings stand."""
        return str(self.origin / CONFIG) if self.origin.is_dir() else str(self.origin)


def assemble(foreign: Foreign) -> tuple[M6, Tokenizer]:
    """The network as float32, and its tokenizer; the same input always gives the same model.

    `kept_as` of the network is the type of the file's matrices. Raises CheckpointError naming what
    is wrong, missing or not supported.
    """
    raw, where, origin = foreign.raw, foreign.where, foreign.origin
    family = family_of(raw, where)
    tensors = family.rename(foreign.tensors, str(origin))
    rows = _embedding_rows(tensors, raw, foreign)
    vocabulary = ForeignVocabulary(foreign.definition, origin, rows)
    special = choose(raw, foreign.said, vocabulary)
    tokenizer = vocabulary.check(special)
    _fold_token_types(tensors)
    add_rows(tensors, max(rows, *(number + 1 for number in special.model_dump().values())))
    begin_like_newline(tensors, tokenizer, vocabulary)
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
        if config.writes:  # both projections begin as one and the same
            nn.init.orthogonal_(model.project_user.weight)
            model.project_item.weight.data.copy_(model.project_user.weight)
    load_tensors(model, _complete(tensors, model, family.zero_biases(raw), origin), origin)
    halves = {tensor.dtype for tensor in foreign.tensors.values()} & {torch.bfloat16}
    model.kept_as = torch.bfloat16 if halves else torch.float32
    return model.eval(), tokenizer


def _embedding_rows(tensors: Mapping[str, Tensor], raw: Mapping[str, Any], foreign: Foreign) -> int:
    if "tokens.weight" not in tensors:
        raise CheckpointError(f"{foreign.origin} lacks the token embedding")
    rows, said = len(tensors["tokens.weight"]), need(raw, "vocab_size", foreign.where)
    if rows != said:
        raise CheckpointError(
            f"{foreign.origin}: the token embedding has {rows} rows, but {Path(foreign.where).name}"
            f" says vocab_size {said}"
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
