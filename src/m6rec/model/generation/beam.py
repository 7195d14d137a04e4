"""Beam search: the likeliest beginnings go on, the best whole texts are kept.

Legend: B requests that are still being written, W beams of each, V words that compete, t tokens
written, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.model.generation.constrain import State
from m6rec.model.generation.decoding import Finish, Written
from m6rec.model.generation.flow import Flow
from m6rec.model.generation.job import Job

NOWHERE = float("-inf")


@dataclass(frozen=True, slots=True)
class Beam:
    """A beginning. total: what it is ordered by; log_p: of the model alone, for each token.

    safe: tokens up to where its constraint let it end, and the total there.
    """

    tokens: tuple[int, ...] = ()
    total: float = 0.0
    log_p: tuple[float, ...] = ()
    state: State | None = None
    safe: tuple[int, float] = (0, 0.0)


Next = tuple[float, int, int, float]
"""Total, beam, word (column) and the model's own log p of a candidate."""


class Search:
    """The search for one request."""

    def __init__(self, job: Job, request: int) -> None:
        self._job, self.request = job, request
        self.told, self.limit = job.given[request], job.limit(request)
        start = Beam(state=job.first_state(request), safe=(len(self.told), 0.0))
        self.beams: list[Beam | None] = [start, *[None] * (job.cache.lanes - 1)]
        self.found = list[Written]()
        self.over = False

    def forced(self, step: int) -> list[int]:
        """All beams take a given token; returns the parents."""
        token = self.told[step]
        self.beams = [
            beam and Beam((*beam.tokens, token), 0.0, (*beam.log_p, 0.0), beam.state, beam.safe)
            for beam in self.beams
        ]
        return list(range(len(self.beams)))

    def advance(self, candidates: list[Next], step: int) -> list[int]:
        """Takes the best candidates; returns the parents of the new beams.

        A search that is over stays as it is: what others in its batch still do is not its concern,
        and its candidates are held to nothing any more.
        """
        W, job = len(self.beams), self._job
        if self.over:
            return list(range(W))
        new, parents = list[Beam | None](), list[int]()
        for rank, (total, lane, word, log_p) in enumerate(candidates):
            beam = self.beams[lane]
            if beam is None or total == NOWHERE or len(new) == W:
                continue
            if word == job.words.eos:
                if rank < W:
                    self._keep(beam.tokens, (sum(beam.log_p) + log_p, total), step + 1, "end")
                continue
            after = self._after(beam, int(job.words.ids[word]), total, log_p, step)
            if after is not None:
                new.append(after)
                parents.append(lane)
        missing = W - len(new)
        self.beams = [*new, *[None] * missing]
        self._settle(step)
        return parents + [0] * missing

    def _after(self, beam: Beam, token: int, total: float, log_p: float, step: int) -> Beam | None:
        """The beam with one more token; None where a stop string ends it."""
        job, tokens = self._job, (*beam.tokens, token)
        state = job.next_state(self.request, beam.state, token, step)
        safe = (step + 1, total) if job.can_end(self.request, state) else beam.safe
        after = Beam(tokens, total, (*beam.log_p, log_p), state, safe)
        if job.decoding.stop:
            flow = Flow(job.tokenizer, job.decoding.stop)
            for number in tokens:
                flow.push(number)
            if flow.stopped:
                self._keep(tokens, (sum(after.log_p), total), step + 1, "stop", flow)
                return None
        return after

    def _settle(self, step: int) -> None:
        """Whether the search is over, and what is left of it at the last step."""
        decoding, live = self._job.decoding, [b for b in self.beams if b is not None]
        if step + 1 >= self.limit:
            for beam in live:
                kept, total = (step + 1, beam.total) if beam.state is None else beam.safe
                if kept > len(self.told) or not self.found:
                    sums = sum(beam.log_p[:kept]), total
                    self._keep(beam.tokens[:kept], sums, kept, "length")
            live = []
        if not live:
            self.over = True
            return
        wanted = decoding.beams if decoding.early else decoding.n
        if len(self.found) < wanted:
            return
        best = max(beam.total for beam in live)
        longest = step + 1 if decoding.early else self.limit
        self.over = self.found[wanted - 1].score >= self._worth(best, longest)

    def _worth(self, total: float, length: int) -> float:
        """Score of a text of so many tokens, [EOS] and given ones counted in."""
        own = max(length - len(self.told), 1)
        return float(total / own**self._job.decoding.length_penalty)

    def _keep(
        self,
        tokens: tuple[int, ...],
        sums: tuple[float, float],
        length: int,
        finish: Finish,
        flow: Flow | None = None,
    ) -> None:
        """A whole text takes its place among the best; sums: log p, and the total."""
        if flow is None and self._job.decoding.stop:
            flow = Flow(self._job.tokenizer, self._job.decoding.stop)
            for number in tokens:
                flow.push(number)
            flow.finish()
            finish = "stop" if flow.stopped else finish
        ids = np.array(tokens, dtype=np.int64)
        score = self._worth(sums[1], length)
        self.found.append(self._job.written(self.request, ids, (sums[0], score), finish, flow))
        self.found.sort(key=lambda written: -written.score)
        del self.found[self._job.decoding.beams :]


@torch.inference_mode()
def search(job: Job) -> list[list[Written]]:
    """The n best texts of every request, best first."""
    W, device = job.cache.lanes, job.head.device
    searches = [Search(job, b) for b in range(len(job.cache))]
    rows = list(searches)
    ids_BW = torch.full((len(rows), W), job.tokenizer.special.bos, device=device)
    for step in range(job.cache.steps):
        log_p_BWV = job.head(job.cache.step(ids_BW)).view(len(rows), W, -1)
        candidates = _candidates(job, rows, log_p_BWV, step)
        parents = [
            s.forced(step) if step < len(s.told) else s.advance(c, step)
            for s, c in zip(rows, candidates, strict=True)
        ]
        filler = job.tokenizer.special.bos
        ids = [[b.tokens[-1] if b else filler for b in s.beams] for s in rows]
        ids_BW = torch.tensor(ids, device=device)
        job.cache.reorder(torch.tensor(parents, device=device))
        place = [r for r, s in enumerate(rows) if not s.over]
        if not place:
            break
        if len(place) <= len(rows) / 2:
            kept = torch.tensor(place, device=device)
            job.cache.keep(kept)
            ids_BW, rows = ids_BW[kept], [rows[r] for r in place]
    return [s.found[: job.decoding.n] for s in searches]


def _candidates(job: Job, rows: list[Search], log_p_BWV: Tensor, step: int) -> list[list[Next]]:
    """The 2·W best ways on of every request, best first."""
    B, W, V = log_p_BWV.shape
    beams = [beam for s in rows for beam in s.beams]
    written_Nt = np.zeros((B * W, step), dtype=np.int64)
    for number, beam in enumerate(beams):
        if beam is not None and len(beam.tokens) == step:
            written_Nt[number] = beam.tokens
    constraints = [job.constraints[s.request] for s in rows for _ in range(W)]
    live = [
        beam.state if beam is not None and not s.over and step >= len(s.told) else None
        for s in rows
        for beam in s.beams
    ]
    log_p_NV = log_p_BWV.flatten(0, 1)
    told = [len(s.told) for s in rows for _ in range(W)]
    steered_NV = job.steering(log_p_NV, written_Nt, constraints, live, told)
    totals = [NOWHERE if beam is None else beam.total for beam in beams]
    total_N1 = torch.tensor(totals, device=log_p_NV.device, dtype=torch.float32)[:, None]
    summed_BV = (total_N1 + steered_NV).view(B, W * V)
    value_BC, flat_BC = summed_BV.topk(min(2 * W, W * V), dim=1)
    own_BC = log_p_BWV.view(B, W * V).gather(1, flat_BC)
    lane_BC, word_BC = flat_BC // V, flat_BC % V
    columns = (value_BC.tolist(), lane_BC.tolist(), word_BC.tolist(), own_BC.tolist())
    return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]
