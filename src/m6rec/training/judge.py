"""Loss on held-out documents, by job: per token and per byte, under a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from m6rec.model.m6 import M6
from m6rec.model.precision import autocast
from m6rec.training.batches import ReadPlan, collate_writing, to_device
from m6rec.training.corpus.documents import Corpus
from m6rec.training.losses import writing_loss
from m6rec.training.objectives import Asker, Example, Job, fits

AT_ONCE = 32
ONLINE_LAYERS = 1


@dataclass(frozen=True)
class Measured:
    """Mean -log p of a job's held-out targets (nats), per token and per byte of text."""

    tokens: int
    nats_per_token: float
    nats_per_byte: float

    @property
    def perplexity(self) -> float:
        """Per token."""
        return math.exp(self.nats_per_token)


TARGET: dict[Job, str] = {
    "describe": "description",
    "title": "title",
    "name": "title",
    "review": "review",
    "headline": "summary",
    "explain": "explanation",
}
"""The part of a document that a job writes."""


class Judge:
    """A fixed set of held-out examples; every word of the vocabulary competes.

    A text that a train document holds word for word is not judged: variants of a product share a
    description, and titles stand in histories. Next events are always of items that were seen.
    """

    def __init__(
        self, corpus: Corpus, asker: Asker, jobs: Sequence[Job], each: int = 48, seed: int = 5
    ) -> None:
        self.examples: dict[Job, list[Example]] = {}
        self._special = asker.tokenizer.special
        seen = {part for document in corpus.train for part in document.parts}
        for number, job in enumerate(jobs):
            rng = np.random.default_rng([seed, number])
            documents = [d for d in corpus.heldout if fits(job, d)]
            if job in TARGET:
                documents = [d for d in documents if d.part(TARGET[job]) not in seen]
            chosen = rng.permutation(len(documents))
            examples: list[Example] = []
            for index in chosen:
                if len(examples) == each:
                    break
                example = asker.ask(job, documents[index], rng)
                if job != "reply" or asker.tokenizer.decode(example.target) not in seen:
                    examples.append(example)
            if examples:
                self.examples[job] = sorted(examples, key=lambda e: e.tokens)

    @torch.no_grad()
    def measure(self, model: M6, plan: ReadPlan = "full") -> dict[Job, Measured]:
        """Losses of every job under a plan, with L - L' = 1."""
        training = model.training
        model.eval()
        out = {job: self._one(model, some, plan) for job, some in self.examples.items()}
        model.train(training)
        return out

    def _one(self, model: M6, examples: list[Example], plan: ReadPlan) -> Measured:
        lower = model.config.layers - ONLINE_LAYERS
        device = model.read_token.device
        loss, tokens, size = 0.0, 0, 0
        for first in range(0, len(examples), AT_ONCE):
            some = examples[first : first + AT_ONCE]
            batch = collate_writing(some, plan, self._special, model.config.sink)
            batch = to_device(batch, device)
            with autocast(device.type):
                loss += writing_loss(model, batch, lower, None, torch.float32).item()
            tokens += int(batch.valid_BT.sum())
            size += batch.target_bytes
        return Measured(tokens, loss / tokens, loss / size)
