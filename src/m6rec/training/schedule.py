"""How far a pretraining run is, and what its rate and its anchor are there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from m6rec.training import state as run_state
from m6rec.training.recipe import PretrainRecipe


@dataclass
class PretrainProgress(run_state.Progress):
    """Counters of a run. level, spread: running mean and variance of the loss of a step.

    decay_from: step at which the decay began (-1: not yet), decay_steps: how long it lasts.
    """

    tokens: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    level: float = 0.0
    spread: float = 0.0
    decay_from: int = -1
    decay_steps: int = 0


def rate_scale(progress: PretrainProgress, recipe: PretrainRecipe) -> float:
    """Share of the peak rate: warm-up, stable, then 1 - √t down to `final_rate` (2405.18392)."""
    if progress.decay_from >= 0:
        done = _decayed(progress)
        return recipe.final_rate + (1 - recipe.final_rate) * (1 - math.sqrt(done))
    return min(1.0, (progress.step + 1) / (recipe.warmup + 1))


def anchor_weight(progress: PretrainProgress, recipe: PretrainRecipe) -> float:
    """`anchor`, rising in a straight line to `final_anchor` over the decay."""
    return recipe.anchor + _decayed(progress) * (recipe.final_anchor - recipe.anchor)


def _decayed(progress: PretrainProgress) -> float:
    """Share of the decay that is done: 0 before it begins."""
    if progress.decay_from < 0:
        return 0.0
    return min(1.0, (progress.step - progress.decay_from) / progress.decay_steps)
