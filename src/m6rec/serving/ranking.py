"""A tuned ranker behind the engine: the probabilities of `Ranker.predict`, at the engine's speed.

Legend: N candidates of one request, D width, C classes.
"""

from __future__ import annotations

import numpy as np
import torch

from m6rec.config import ConfigError
from m6rec.data.requests import Requests
from m6rec.model.plans import Packed
from m6rec.serving.engine import Ask, Engine, EngineSettings
from m6rec.serving.prepare import Candidates, join_candidates, split_rows
from m6rec.tasks.ranking import Asked, Ranker

TASK = "rank"
LEAST_ROOM = 1024


class _Prepared:
    """Candidates by the row of their text, float16: without features in words they are the same
    for all users, so each is prepared once."""

    def __init__(self) -> None:
        self._place = np.full(LEAST_ROOM, -1, dtype=np.int64)
        self._parts: Candidates | None = None
        self._waiting: list[Candidates] = []
        self._count = 0

    def missing(self, rows_N: np.ndarray) -> np.ndarray:
        """Which of the rows were not prepared, each once: positions, int64 [M]."""
        most = int(rows_N.max(initial=0)) + 1
        if most > len(self._place):
            longer = np.full(max(most, 2 * len(self._place)), -1, dtype=np.int64)
            longer[: len(self._place)] = self._place
            self._place = longer
        distinct, first = np.unique(rows_N, return_index=True)
        return np.asarray(first[self._place[distinct] < 0])

    def put(self, rows_M: np.ndarray, made: Candidates) -> None:
        """Keeps what was prepared."""
        self._place[rows_M] = np.arange(self._count, self._count + len(rows_M))
        self._count += len(rows_M)
        self._waiting.append(made.keep_as(torch.float16))

    def take(self, rows_N: np.ndarray) -> Candidates:
        """Candidates in the order of the rows, which are all there."""
        if self._waiting:
            old = [] if self._parts is None else [self._parts]
            self._parts, self._waiting = join_candidates([*old, *self._waiting]), []
        assert self._parts is not None
        return self._parts.take(torch.from_numpy(self._place[rows_N]))


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
        self._kept: _Prepared | None = None
        if not (ranker.settings.features and ranker.features) and ranker.residual is None:
            self._kept = _Prepared()

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
        if self._kept is not None:
            rows_N = candidates.index_BG[:, 0].cpu().numpy()
            fresh_M = self._kept.missing(rows_N)
            if len(fresh_M):
                made = self.engine.candidates(self.task, states, _only(candidates, fresh_M))
                self._kept.put(rows_N[fresh_M], made)
            return Ask(self.task, user, self._kept.take(rows_N))
        some = self.engine.candidates(self.task, states, candidates, residual_NGD=of_candidates)
        return Ask(self.task, user, some)

    @torch.no_grad()
    def _chances(self, asked: Asked, states_ND: torch.Tensor) -> np.ndarray:
        logits_NC = self.ranker.judge(states_ND, asked.evidence_BE)
        return logits_NC.float().softmax(-1)[:, 1].cpu().numpy()


def _only(packed: Packed, rows_M: np.ndarray) -> Packed:
    return packed.rows(torch.from_numpy(rows_M))
