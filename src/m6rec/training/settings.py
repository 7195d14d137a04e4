"""What a training run is told; every field is stored beside its result."""

from __future__ import annotations

from pydantic import Field

from m6rec.config import Settings


class TrainSettings(Settings):
    """One run of the loop.

    rate: peak learning rate, reached after `warmup` (share of all steps) and decayed linearly to
    `final_rate` of it. table_rate: the same for per-item tables (collaborative residual), which
    see each row seldom. batch: examples of one optimiser step, computed in `accumulate` parts.
    average: share that the running means of the parameters keep at each step; the means are what is
    validated and kept, since they vary less than where the last steps led (0: the parameters).
    patience: epochs without a better validation score before the run ends early (0: never).
    minutes: budget after which the run ends, in the middle of an epoch if need be (0: none).
    """

    rate: float = Field(default=1e-3, gt=0)
    table_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    final_rate: float = Field(default=0.02, ge=0, le=1)
    epochs: int = Field(default=6, ge=1)
    batch: int = Field(default=256, ge=1)
    accumulate: int = Field(default=1, ge=1)
    clip: float = Field(default=1.0, gt=0)
    average: float = Field(default=0.995, ge=0, lt=1)
    bf16: bool = True
    patience: int = Field(default=2, ge=0)
    minutes: float = Field(default=0.0, ge=0)
    save_seconds: float = Field(default=60.0, ge=0)
    seed: int = 0
