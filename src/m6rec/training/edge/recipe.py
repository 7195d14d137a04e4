"""What a run of M6-Edge is told: the shape of a student by one dial, and how it is taught."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from m6rec.config import ModelConfig
from m6rec.training.edge.prune import Pattern
from m6rec.training.edge.quantised import Quantise
from m6rec.training.recipe import SHOP_JOBS, PretrainRecipe

EdgeSize = Literal["m6-edge-10m", "m6-edge-2m"]
Teaching = Literal["relation", "logits", "both", "none"]
Exits = Literal["drawn", "all", "last"]
TABLE_WIDTH = 128
SHAPES: dict[EdgeSize, dict[str, Any]] = {
    "m6-edge-10m": {"layers": 3, "d_ff": 6144, "sparsity": 0.0},
    "m6-edge-2m": {"layers": 2, "d_ff": 512, "sparsity": 0.8},
}
"""Layers as wide as those of m6-small over one set of parameters; see docs/edge.md."""


class EdgeRecipe(PretrainRecipe):
    """A recipe of pretraining under a teacher.

    teaching: MiniLM's relation loss, the teacher's softened words, both, or no teacher.
    relation_heads: A. relation_weight: of that loss beside the mean loss of a label. soft_share: of
    the loss of words that is the teacher's; temperature softens both. exits: each batch trains one
    exit, drawn by its weight (so the expected loss is the weighted sum of the paper), or all of
    them, or the last alone. sparsity: share of zeros that is reached; from `prune_from` to
    `prune_until`, shares of the planned minutes, or of `prune_steps` steps where that is above 0;
    every `prune_every` steps. pattern: "2:4" for linear layers where a runtime gains from it.
    quantise: from the share `quantise_from` of the planned minutes on, weights (int8), or inputs of
    linear maps too (w8a8), are used as a device rounds them (training/edge/quantised.py).
    anchor: here the start is the teacher; used where both have the same width.
    """

    optimizer: Literal["muon", "adamw"] = "adamw"
    teaching: Teaching = "relation"
    relation_heads: int = Field(default=12, ge=1)
    relation_weight: float = Field(default=1.0, ge=0)
    soft_share: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    exits: Exits = "drawn"
    sparsity: float = Field(default=0.0, ge=0, lt=1)
    prune_from: float = Field(default=0.1, ge=0, lt=1)
    prune_until: float = Field(default=0.7, gt=0, le=1)
    prune_steps: int = Field(default=0, ge=0)
    prune_every: int = Field(default=10, ge=1)
    pattern: Pattern = "free"
    quantise: Quantise = "none"
    quantise_from: float = Field(default=0.8, ge=0, lt=1)

    @model_serializer(mode="wrap")
    def _told(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A run that rounds nothing is told as those before there was rounding, and goes on."""
        told: dict[str, Any] = write(self)
        if self.quantise == "none":
            del told["quantise"], told["quantise_from"]
        return told

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.prune_from >= self.prune_until:
            raise ValueError("prune_from must be below prune_until")
        return self


def edge_recipe(size: EdgeSize, **changes: Any) -> EdgeRecipe:
    """The recipe of a size; changes are fields of it."""
    given = {"name": size, "jobs": SHOP_JOBS, "sparsity": SHAPES[size]["sparsity"], **changes}
    return EdgeRecipe.parse(given, "the recipe of M6-Edge")


def edge_config(
    size: EdgeSize, teacher: ModelConfig, sparsity: float, **changes: Any
) -> ModelConfig:
    """The student's shape: the teacher's words, the rest by the dial."""
    shape = {
        **ModelConfig.sized(6, teacher.vocab_size, teacher.special).model_dump(),
        "layers": SHAPES[size]["layers"],
        "lm_head": "transform",
        "table_width": TABLE_WIDTH,
        "layer_sets": 1,
        "segment_slots": teacher.segment_slots,
        "projection": teacher.projection,
        "d_ff": SHAPES[size]["d_ff"],
        "sparsity": sparsity,
        **changes,
    }
    return ModelConfig.parse(shape, "the shape of M6-Edge")
