"""Greedy writing and sampling: lanes that do not look at each other, given out as they grow.

Legend: B requests that are still being written, W lanes of each, N = B·W, V words that compete.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m6rec.model.generation.constrain import State
from m6rec.model.generation.decoding import Finish, Written
from m6rec.model.generation.flow import Flow
from m6rec.model.generation.job import Job
from m6rec.model.generation.sampling import draw, uniforms


@dataclass(frozen=True, slots=True)
class Piece:
    """More of a text. request and lane say of which; written: the whole, with its last piece."""

    request: int
    lane: int
    text: str
    written: Written | None = None


class Lane:
    """One text that is being written. safe: tokens up to where its constraint let it end."""

    def __init__(self, job: Job, request: int, number: int, flow: bool) -> None:
        self._job, self.request, self.number = job, request, number
        self.told = job.given[request]
        self.limit = job.limit(request)
        self.tokens, self.log_p = list[int](), list[float]()
        self.state: State | None = job.first_state(request)
        self.safe = len(self.told)
        self.flow = Flow(job.tokenizer, job.decoding.stop) if flow else None
        self.written: Written | None = None

    def add(self, token: int, log_p: float) -> str:
        """Text that is certain after one more token; `written` is set where it was the last."""
        step, job = len(self.tokens), self._job
        if step >= len(self.told) and token == job.tokenizer.special.eos:
            return self.end("end", log_p)
        self.tokens.append(token)
        self.log_p.append(log_p if step >= len(self.told) else 0.0)
        if self.state is not None:
            self.state = job.next_state(self.request, self.state, token, step)
            if job.can_end(self.request, self.state):
                self.safe = step + 1
        text = "" if self.flow is None else self.flow.push(token)
        if self.flow is not None and self.flow.stopped:
            return text + self.end("stop")
        return text + (self.end("length") if len(self.tokens) == self.limit else "")

    def end(self, finish: Finish, log_p: float = 0.0) -> str:
        """Closes the text; what a constraint would not let stand at its end is taken back."""
        kept, text = len(self.tokens), ""
        if self.state is not None and finish in ("length", "cancelled"):
            kept = self.safe
        flow = self.flow if kept == len(self.tokens) else None
        if flow is not None:
            text = flow.finish()
            finish = "stop" if flow.stopped else finish
        total = sum(self.log_p[:kept]) + log_p
        ids = np.array(self.tokens[:kept], dtype=np.int64)
        self.written = self._job.written(self.request, ids, (total, total), finish, flow)
        if flow is None and self.flow is not None:
            text = self.written.text[len(self.flow.text) :]
        return text


class Lanes:
    """Writes all lanes of a job. `cancelled`: requests that nobody waits for any more."""

    def __init__(self, job: Job, streams: bool = False) -> None:
        self._job, self._streams = job, streams
        B, W = len(job.cache), job.cache.lanes
        flow = streams or bool(job.decoding.stop)
        self.lanes = [[Lane(job, b, w, flow) for w in range(W)] for b in range(B)]
        self.cancelled = set[int]()
        self._rows = np.arange(B)
        steps = job.cache.steps
        draws = job.decoding.method == "sample"
        self._u = uniforms(job.seeds, W, steps).reshape(B, W, steps) if draws else None

    @torch.inference_mode()
    def run(self) -> Generator[Piece, None, None]:
        """Pieces as they come; without `streams` only the last one of each text."""
        job = self._job
        shape = (len(job.cache), job.cache.lanes)
        device = job.head.device
        ids_BW = torch.full(shape, job.tokenizer.special.bos, device=device)
        for step in range(job.cache.steps):
            yield from self._stop_cancelled()
            kept = self._leave_finished()
            if not len(self._rows):
                return
            ids_BW = ids_BW if kept is None else ids_BW[kept]
            log_p_NV = job.head(job.cache.step(ids_BW)).flatten(0, 1)
            tokens_N, log_p_N = self._choose(log_p_NV, step)
            open_lanes = [lane for b in self._rows for lane in self.lanes[b]]
            for number, lane in enumerate(open_lanes):
                if lane.written is not None:
                    continue
                if step < len(lane.told):
                    tokens_N[number] = lane.told[step]
                text = lane.add(tokens_N[number], log_p_N[number])
                if lane.written is not None or (text and self._streams):
                    yield Piece(lane.request, lane.number, text, lane.written)
            ids_BW = torch.tensor(tokens_N, device=device).view(-1, job.cache.lanes)

    def _choose(self, log_p_NV: Tensor, step: int) -> tuple[list[int], list[float]]:
        """The next token of every lane, and the model's log p of it."""
        job, decoding = self._job, self._job.decoding
        lanes = [lane for b in self._rows for lane in self.lanes[b]]
        written_Nt = np.zeros((len(lanes), step), dtype=np.int64)
        for number, lane in enumerate(lanes):
            if lane.written is None:
                written_Nt[number] = lane.tokens
        constraints = [job.constraints[lane.request] for lane in lanes]
        live = [
            lane.state if lane.written is None and step >= len(lane.told) else None
            for lane in lanes
        ]
        told = [len(lane.told) for lane in lanes]
        steered_NV = job.steering(log_p_NV, written_Nt, constraints, live, told)
        if self._u is None:
            word_N = steered_NV.argmax(-1)
        else:
            u_N = torch.from_numpy(self._u[self._rows, :, step].ravel()).to(log_p_NV.device)
            word_N = draw(steered_NV, u_N, decoding.temperature, decoding.top_k, decoding.top_p)
        log_p_N = log_p_NV.gather(1, word_N[:, None])[:, 0]
        return job.words.ids[word_N.cpu().numpy()].tolist(), log_p_N.tolist()

    def _stop_cancelled(self) -> Iterator[Piece]:
        for request in sorted(self.cancelled):
            for lane in self.lanes[request]:
                if lane.written is None:
                    text = lane.end("cancelled")
                    yield Piece(request, lane.number, text, lane.written)
        self.cancelled.clear()

    def _leave_finished(self) -> Tensor | None:
        """Rows of the cache that are kept, once half of them are finished (None: all)."""
        is_open = [any(lane.written is None for lane in self.lanes[b]) for b in self._rows]
        alive = sum(is_open)
        if alive and alive > len(is_open) / 2:
            return None
        place = np.flatnonzero(is_open)
        self._rows = self._rows[place]
        kept = torch.from_numpy(place).to(self._job.head.device)
        if alive:
            self._job.cache.keep(kept)
        return kept
