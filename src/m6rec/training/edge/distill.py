"""A run that makes M6-Edge: a small student is pretrained under a teacher, and pruned meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from m6rec.config import ModelConfig
from m6rec.model.checkpoint import backbone_tensors, load_tensors
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.beginning import COLD, Beginning, is_begun, remember
from m6rec.training.corpus.documents import read_corpus
from m6rec.training.edge.lesson import EdgeLesson
from m6rec.training.edge.recipe import EdgeRecipe, EdgeSize, edge_config, edge_recipe
from m6rec.training.edge.student import begin_student
from m6rec.training.loop import TrainingError
from m6rec.training.objectives import Asker
from m6rec.training.pretrain import Check, Pace, Pretrained, kept_counts, pretrain
from m6rec.training.start import cold

PACE = Pace()


@dataclass(frozen=True)
class EdgeRun:
    """What is made. teacher, start: a model by name or a folder; start None: from the teacher.

    start may be an earlier student, say one to be pruned, or "cold": random weights. recipe and
    shape: changes of the size's own (EdgeRecipe, ModelConfig).
    """

    size: EdgeSize = "m6-edge-10m"
    teacher: str = "m6-small"
    start: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=dict)


def distill(
    run: EdgeRun,
    corpus: Path,
    out: Path,
    *,
    minutes: float = 0.0,
    max_steps: int = 0,
    check: Check | None = None,
    pace: Pace = PACE,
    tensorboard: bool = False,
    device: str = "cpu",
    console: Console | None = None,
) -> Pretrained:
    """Trains a student on a corpus folder; arguments and folder as in `pretrain`.

    Raises TrainingError, CorpusError, ConfigError or CheckpointError with what is wrong.
    """
    recipe = edge_recipe(run.size, **run.recipe)
    if recipe.sparsity and not recipe.prune_steps and not minutes:
        raise TrainingError(
            "pruning follows the planned time: give minutes, or prune_steps, or sparsity=0"
        )
    teacher, tokenizer = load_start(run.teacher)
    teacher = teacher.to(device)
    marks = {"size": run.size, "shape": run.shape}
    asker = Asker(tokenizer, recipe.infill_share, recipe.span)
    written_V = kept_counts(read_corpus(corpus), corpus, asker, teacher.config.vocab_size)
    lesson = EdgeLesson(recipe, teacher, marks, written_V)
    begin = _begin(run, recipe, teacher, tokenizer, written_V, is_begun(out))
    out.mkdir(parents=True, exist_ok=True)
    source = begin.model if run.start not in (None, COLD) else teacher
    remember(out, Beginning(recipe, source, tokenizer, begin.start))
    return pretrain(
        recipe,
        corpus,
        out,
        (begin.model, tokenizer),
        minutes=minutes,
        max_steps=max_steps,
        check=check,
        pace=pace,
        tensorboard=tensorboard,
        device=device,
        console=console,
        lesson=lesson,
    )


def _begin(
    run: EdgeRun,
    recipe: EdgeRecipe,
    teacher: M6,
    tokenizer: Tokenizer,
    written_V: np.ndarray,
    goes_on: bool,
) -> Beginning:
    if run.start is not None and run.start != COLD:
        model, words = load_start(run.start)
        if words.writable_ids != tokenizer.writable_ids or words.special != tokenizer.special:
            raise TrainingError(f"{run.start} has other words than its teacher {run.teacher}")
        changes = {"sparsity": max(recipe.sparsity, model.config.sparsity), **run.shape}
        config = ModelConfig.parse({**model.config.model_dump(), **changes}, "the start's shape")
        fresh = cold(config, recipe.seed)
        load_tensors(fresh, backbone_tensors(model), Path(run.start))
        return Beginning(recipe, fresh, tokenizer, run.start)
    config = edge_config(run.size, teacher.config, recipe.sparsity, **run.shape)
    if goes_on or run.start == COLD:  # what goes on has its weights from the run's state
        return Beginning(recipe, cold(config, recipe.seed), tokenizer, run.start or run.teacher)
    model = begin_student(config, teacher.to("cpu"), written_V, recipe.seed)
    return Beginning(recipe, model, tokenizer, run.teacher)
