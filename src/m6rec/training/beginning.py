"""What a pretraining run begins with: a size, and a start or random weights of its shape."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m6rec.config import ModelConfig
from m6rec.model.checkpoint import backbone_tensors, fingerprint
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.loop import TrainingError
from m6rec.training.pretrain import STATE
from m6rec.training.recipe import PretrainRecipe, m6_base, m6_small
from m6rec.training.start import cold

SizeName = Literal["m6-small", "m6-base"]
RECIPES = {"m6-small": m6_small, "m6-base": m6_base}
COLD = "cold"
BASE_DEPTH = 12
"""The dial of `ModelConfig.sized` that gives BERT-base's shape."""
BEGUN = "start.json"


@dataclass(frozen=True)
class Beginning:
    """A recipe, the network and tokenizer to begin with, and the start's name."""

    recipe: PretrainRecipe
    model: M6
    tokenizer: Tokenizer
    start: str


def beginning(size: SizeName, start: str | None, default: str) -> Beginning:
    """The recipe of a size with its start.

    start: see `load_start` (None: `default`, which is of the size of m6-small), or "cold": random
    weights with the tokenizer of `default`, in its shape too, but for m6-base, which has
    BERT-base's. A cold start has nothing to stay near to, so its recipe has no anchor. Raises
    TrainingError where m6-base has no start, CheckpointError where a start is none.
    """
    if start is None and size == "m6-base":
        raise TrainingError(
            "--size m6-base needs a start of that size: --start FOLDER (a model like BERT-base), "
            f"or --start {COLD}"
        )
    recipe, start = RECIPES[size](), start or default
    if start != COLD:
        return Beginning(recipe, *load_start(start), start)
    recipe = recipe.model_copy(update={"anchor": 0.0, "final_anchor": 0.0})
    model, tokenizer = load_start(default)
    config = model.config.model_copy(update={"lm_head": "linear"})  # so that the head begins too
    if size == "m6-base":
        config = ModelConfig.sized(BASE_DEPTH, config.vocab_size, config.special)
    return Beginning(recipe, cold(config, recipe.seed), tokenizer, COLD)


def is_begun(run: Path) -> bool:
    """Whether a folder holds the state of a run."""
    return any((run / name).is_dir() for name in (STATE, STATE + ".old"))


def remember(run: Path, begin: Beginning) -> None:
    """Writes down what a run begins with. TrainingError where it began with something else."""
    now = {"start": begin.start, "fingerprint": fingerprint(backbone_tensors(begin.model))}
    path = run / BEGUN
    if is_begun(run) and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["fingerprint"] != now["fingerprint"]:
            raise TrainingError(
                f"{run} holds a run that began with {before['start']!r} (now: {begin.start!r}, or "
                "other weights of that name); give the same --start, or another --out"
            )
        return
    path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
