"""What a pretraining run is told; a function per size gives a whole recipe."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from m6rec.config import Settings
from m6rec.training.batches import ReadPlan
from m6rec.training.corpus.documents import Kind
from m6rec.training.objectives import JOBS, Job

PAIR_KINDS: dict[Kind, float] = {
    "behaviour": 0.6,
    "item": 0.2,
    "review": 0.12,
    "explanation": 0.08,
}


class PretrainRecipe(Settings):
    """Objectives, mix and schedule.

    plans: one micro-batch of about `tokens` tokens each, in every step. jobs: how often each job is
    drawn (infilling is left out under "summary", which hides the words around a gap). pairs: user
    and item pairs of a step, all of one source, so that telling them apart takes more than the
    domain; `pair_kinds` is the mix by kind of document, `pair_weight` their share in the loss.
    anchor: weight of 1 - cosine between the plain means of segments and those of the start, so that
    what the start knows about texts outlives the learning of a language; over the decay the weight
    rises to `final_anchor`, which brings the means back and costs the losses nothing
    (docs/dev/log.md). online_layers: L - L', one
    drawn for each micro-batch. optimizer: of the layers' matrices (training/optimizers.py); all
    else has AdamW. rate: peak learning rate after `warmup` steps; it stays until the
    decay begins, which lasts `decay_share` of the steps before it and ends at `final_rate` of the
    peak. rare: wordpieces that the corpus writes fewer times than this are no labels and compete in
    no softmax; with a start that writes, all compete. rank: of the low-rank changes that alone are
    trained (model/low_rank.py); 0: all weights. spike: a step whose loss lies so many deviations
    above the running mean is left out.
    """

    name: str = "m6-small"
    plans: tuple[ReadPlan, ...] = ("full", "late", "full", "summary")
    tokens: int = Field(default=1024, ge=16)
    jobs: dict[Job, float]
    pairs: int = Field(default=32, ge=0)
    pair_kinds: dict[Kind, float] = PAIR_KINDS
    pair_weight: float = Field(default=0.5, ge=0)
    anchor: float = Field(default=10.0, ge=0)
    final_anchor: float = Field(default=40.0, ge=0)
    online_layers: tuple[int, ...] = (1, 2)
    infill_share: float = Field(default=0.3, gt=0, lt=1)
    span: float = Field(default=3.0, gt=0)
    optimizer: Literal["muon", "adamw"] = "muon"
    rate: float = Field(default=7e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: int = Field(default=100, ge=0)
    decay_share: float = Field(default=0.15, gt=0, lt=1)
    final_rate: float = Field(default=0.02, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    spike: float = Field(default=6.0, gt=0)
    rare: int = Field(default=3, ge=1)
    rank: int = Field(default=0, ge=0)
    bf16: bool = True
    compile: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _has_jobs(self) -> Self:
        if not self.jobs or min(self.jobs.values()) < 0 or sum(self.jobs.values()) == 0:
            raise ValueError(f"jobs must have weights of which one is above 0: {', '.join(JOBS)}")
        return self


SHOP_JOBS: dict[Job, float] = {
    "infill": 0.12,
    "describe": 0.2,
    "title": 0.06,
    "name": 0.04,
    "review": 0.1,
    "headline": 0.04,
    "reply": 0.08,
    "converse": 0.12,
    "explain": 0.06,
    "next": 0.18,
}


def m6_small() -> PretrainRecipe:
    """22 million parameters on two cores: MiniLM-L6's shape."""
    return PretrainRecipe(jobs=SHOP_JOBS)


def m6_base() -> PretrainRecipe:
    """About 100 million parameters on one GPU: BERT-base's shape."""
    return PretrainRecipe(
        name="m6-base",
        jobs=SHOP_JOBS,
        tokens=32768,
        pairs=512,
        rate=3e-4,
        warmup=500,
        online_layers=(1, 2, 3),
        compile=True,
    )


def m6_base_change() -> PretrainRecipe:
    """What m6-base learns of shops on two cores: a low-rank change of SmolLM2-135M."""
    jobs: dict[Job, float] = {job: w for job, w in SHOP_JOBS.items() if job != "infill"}
    return PretrainRecipe(
        name="m6-base-change",
        jobs=jobs,
        tokens=512,
        pairs=0,
        online_layers=(1, 2, 15),
        optimizer="adamw",
        rate=1e-3,
        weight_decay=0.0,
        warmup=20,
        rank=16,
    )
