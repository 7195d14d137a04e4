"""The numbers of the collaborative score."""

from __future__ import annotations

from pydantic import Field

from m6rec.config import Settings

MOST_APART = 10
"""Two choices that lie further apart than so many are no pair."""


class ScoreSettings(Settings):
    """How counts and words are weighed (docs/collaborative.md derives the score).

    distance_decay (τ): a pair that lies one choice further apart counts so much of the nearer one.
    recency_decay (δ): a choice of the history weighs so much of the one that came next.
    shrinkage (λ): an item needs so many counted pairs until they weigh half. prior (μ): so many
    pairs are what the words of two items are worth. ridge (λ_F): of the regression on words.
    best_per_item: pairs of an item that are read, the strongest first; all are kept.
    """

    distance_decay: float = Field(default=0.5, gt=0, le=1)
    recency_decay: float = Field(default=0.6, gt=0, le=1)
    shrinkage: float = Field(default=50.0, gt=0)
    prior: float = Field(default=50.0, ge=0)
    ridge: float = Field(default=3.0, gt=0)
    best_per_item: int = Field(default=300, ge=1)
