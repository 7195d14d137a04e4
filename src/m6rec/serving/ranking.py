"""A tuned ranker behind the engine: the probabilities of `Ranker.predict`, at the engine's speed.

Legend: R requests, N candidates of all requests in order, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from m6rec.config import ConfigError
from m6rec.data.requests import Requests
from m6rec.model.plans import SegmentStates
from m6rec.serving.engine import Ask, Engine, EngineSettings
from m6rec.tasks.packing import pack
from m6rec.tasks.ranking import Parts, Ranker, probabilities_of

TASK = "rank"


class FastRanker:
    """Predicts as the ranker does, each source read once; `name` and `predict` as there.

    engine: one that several tasks share and has this ranker's model under `task`; else its own.
    Raises ConfigError for a ranker of the full plan.
    """

    def __init__(
        self,
        ranker: Ranker,
        settings: EngineSettings | None = None,
        engine: Engine | None = None,
        task: str = TASK,
    ) -> None:
        if ranker.settings.plan != "late":
            raise ConfigError("the engine runs the late plan; this ranker was tuned for the full")
        self.ranker, self.task, self.name = ranker, task, ranker.name
        self.engine = engine or Engine({task: ranker.model}, ranker.table.lower, settings)
        self.kept = self.engine.segment_rows(task, ranker.residual)

    @torch.no_grad()
    def warm(self, item_ids: Sequence[str]) -> None:
        """Encodes the texts of items that may be asked for."""
        packer, nothing = self.ranker.packer, [None] * len(item_ids)
        self.ranker.table.states(packer.candidates(item_ids, nothing).index)

    @torch.no_grad()
    def predict(self, requests: Requests) -> np.ndarray:
        """Probability of a yes for each candidate of every request in order: float32 [N]."""
        return self.begin(requests)()

    @torch.no_grad()
    def begin(self, requests: Requests) -> Callable[[], np.ndarray]:
        """What is left of `predict` once texts are encoded and features counted: the online layers.

        One thread at a time may begin; what is returned may run beside it and others.
        """
        parts = self.ranker.parts(requests)
        if not len(parts.candidates):
            return lambda: np.zeros(0, dtype=np.float32)
        return partial(self._end, parts, self.ranker.table.states(_rows_of(parts)))

    @torch.no_grad()
    def _end(self, parts: Parts, states: SegmentStates) -> np.ndarray:
        answers = self.engine.answer(self._asks(parts, states))
        states_ND = torch.cat([answer.candidates_ND for answer in answers])
        logits_NC = self.ranker.judge(states_ND, parts.evidence_BE)
        return probabilities_of(logits_NC, parts.refused_B)

    def _asks(self, parts: Parts, states: SegmentStates) -> list[Ask]:
        """One for each request that has candidates."""
        device = self.ranker.table.device
        asking, counts = np.unique(parts.of_request_B, return_counts=True)
        packed = pack([parts.source.repeat(asking)]).to(device)
        users = self.engine.sources(self.task, states, packed, self.ranker.residual)
        packed = pack([parts.candidates], first_group=1).to(device)
        some = self.engine.candidates(self.task, states, packed, kept=self.kept)
        stops = np.cumsum(counts).tolist()
        return [
            Ask(self.task, user, some.take(slice(stop - count, stop)))
            for user, count, stop in zip(users, counts.tolist(), stops, strict=True)
        ]


def _rows_of(parts: Parts) -> np.ndarray:
    """Rows of the segment table that some requests read; -1 is none."""
    return np.concatenate([parts.source.index.ravel(), parts.candidates.index.ravel()])
