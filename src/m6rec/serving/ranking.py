"""A tuned ranker behind the engine: the probabilities of `Ranker.predict`, at the engine's speed.

Legend: N candidates of one request, D width, C classes.
"""

from __future__ import annotations

import numpy as np
import torch

from m6rec.config import ConfigError
from m6rec.data.requests import Requests
from m6rec.serving.engine import Ask, Engine, EngineSettings
from m6rec.serving.prepare import split_rows
from m6rec.tasks.ranking import Asked, Ranker

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

    def predict(self, requests: Requests) -> np.ndarray:
        """Probability of a yes for each candidate of every request in order: float32 [N]."""
        asked = self.ranker.pack(requests)
        if not len(asked.evidence_BE):
            return np.zeros(0, dtype=np.float32)
        counts = requests.rows["item_ids"].list.len().to_numpy()
        ends = np.cumsum(counts)
        parts = [
            asked.rows(slice(int(end - count), int(end)))
            for end, count in zip(ends, counts, strict=True)
            if count
        ]
        answers = self.engine.answer([self._ask(part) for part in parts])
        chances = [
            self._chances(part, answer.candidates_ND)
            for part, answer in zip(parts, answers, strict=True)
        ]
        return np.concatenate(chances)

    @torch.no_grad()
    def _ask(self, asked: Asked) -> Ask:
        source, candidates = split_rows(asked.packed.to(self.ranker.table.device))
        states, residual = self.ranker.table.states(), self.ranker.residual
        of_source = of_candidates = None
        if residual is not None:
            of_source = residual.for_segments(source.code_BG)
            of_candidates = residual.for_segments(candidates.code_BG)
        user = self.engine.sources(self.task, states, source, of_source)[0]
        some = self.engine.candidates(self.task, states, candidates, residual_NGD=of_candidates)
        return Ask(self.task, user, some)

    @torch.no_grad()
    def _chances(self, asked: Asked, states_ND: torch.Tensor) -> np.ndarray:
        logits_NC = self.ranker.judge(states_ND, asked.evidence_BE)
        return logits_NC.float().softmax(-1)[:, 1].cpu().numpy()
