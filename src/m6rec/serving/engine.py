"""The late-interaction engine: users and candidates in, states at their read tokens out.

    engine = Engine({"rank": ranker.model}, lower=5)
    items = engine.candidates("rank", states, packed_items)   # once for a catalogue
    user = engine.sources("rank", states, packed_user)[0]     # once for a request
    answer = engine.answer([Ask("rank", user, items.take(chosen))])[0]

Equal to plans.late to float tolerance, and to what each request gives alone; tests hold both.

Legend: B requests, N candidates, D width, R, T, M, I, H as in serving/prepare.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import ConfigError, Settings
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentStates, SegmentTokens, kept, prompt_states, summarise
from m6rec.model.residual import ItemResidual
from m6rec.model.shared_prefix import OwnPart, Part
from m6rec.serving.online import OnlineBatch
from m6rec.serving.prepare import (
    ROWS_AT_ONCE,
    Candidates,
    First,
    Source,
    join_candidates,
    read_candidates,
    read_source,
    without_source,
)
from m6rec.serving.runtimes.base import Network, Runtime
from m6rec.serving.runtimes.choose import AUTO, make_runtime
from m6rec.serving.segment_rows import MOST_BYTES, SegmentRows


class EngineSettings(Settings):
    """How an engine runs.

    runtime: a name of serving/runtimes/choose.py, or "auto": the fastest by a short measurement.
    exit_layer: the last layer that runs (early exit); None: all. rows_at_once: rows of candidates
    in one call of the runtime; more are cut into several. at_once: threads that may ask at the same
    time without waiting for each other. kept: folder for graphs that the next start can use; None:
    they are made anew.
    """

    runtime: str = AUTO
    exit_layer: int | None = None
    rows_at_once: int = 2048
    at_once: int = 1
    kept: Path | None = None


@dataclass(frozen=True)
class Ask:
    """One request: which task, the user's rows, the candidates' rows."""

    task: str
    source: Source
    candidates: Candidates


@dataclass(frozen=True)
class Answer:
    """States at [EOS'] (source_D) and at each candidate's [EOS] (candidates_ND), float32."""

    source_D: Tensor
    candidates_ND: Tensor


@dataclass(frozen=True)
class _Piece:
    """Some candidates of a request from `start` on, as many as go into one call."""

    request: int
    start: int
    task: int
    source: Source
    candidates: Candidates


class Engine:
    """Tasks that share the layers of one backbone; lower is L'.

    Raises NotSharedError for tasks that tune whole layers beside others, ConfigError for an exit
    that is no online layer.
    """

    def __init__(
        self, tasks: Mapping[str, M6], lower: int, settings: EngineSettings | None = None
    ) -> None:
        self.settings = settings or EngineSettings()
        self.names, models = list(tasks), list(tasks.values())
        self.models, self.lower = dict(tasks), lower
        layers = models[0].config.layers
        last = layers if self.settings.exit_layer is None else self.settings.exit_layer
        if not lower <= last <= layers:
            raise ConfigError(f"exit_layer is {last}; right is {lower} to {layers}")
        self.online_layers = range(lower, last)
        how = self.settings
        network = Network(models[0], models, lower, last, how.at_once, how.kept)
        self.runtime: Runtime = make_runtime(how.runtime, network)
        with torch.no_grad():
            self._prompts = {name: prompt_states(m, lower) for name, m in self.models.items()}

    @torch.no_grad()
    def encode(self, tokens: SegmentTokens, keep: int | None = None) -> SegmentStates:
        """Layers 1…L' over segments; keep: k summary vectors of each, None for all states.

        By the first task's network: a task that was tuned below L' brings states of its own.
        """
        config = next(iter(self.models.values())).config
        states = SegmentStates(self.runtime.encode(tokens), kept(config, tokens.valid_SN))
        return states if keep is None else summarise(states, keep)

    @torch.no_grad()
    def sources(
        self,
        task: str,
        states: SegmentStates,
        packed: Packed,
        residual: ItemResidual | None = None,
    ) -> list[Source]:
        """Users of `packed` (sources alone), read from segment states. residual: of known items."""
        model = self._model(task)
        return read_source(model, states, packed, self._prompts[task], residual)

    @torch.no_grad()
    def candidates(
        self,
        task: str,
        states: SegmentStates,
        packed: Packed,
        *,
        ahead: bool = True,
        residual: ItemResidual | None = None,
        kept: SegmentRows | None = None,
    ) -> Candidates:
        """Candidates of `packed`, one to a row. ahead: with the first online layer prepared.

        kept: what `segment_rows` gave, where candidates of the same segment table are asked for
        time and again; it has a residual of its own.
        """
        model = self._model(task)
        if not ahead or len(self.online_layers) != 1:
            residual = residual if kept is None else kept.residual
            return read_candidates(model, states, packed, self.online_layers, ahead, residual)
        without_source(packed)
        if kept is None:
            kept = self.segment_rows(task, residual)
        size = max(1, ROWS_AT_ONCE // (packed.index_BG.shape[1] * states.h_SKD.shape[1]))
        starts = range(0, len(packed.index_BG), size)
        return join_candidates(
            [kept.candidates(states, packed.rows(slice(start, start + size))) for start in starts]
        )

    def segment_rows(
        self, task: str, residual: ItemResidual | None = None, most_bytes: int = MOST_BYTES
    ) -> SegmentRows:
        """Keeps what the first online layer makes of segments, for `candidates`."""
        first = min(self.online_layers.start, len(self._model(task).blocks) - 1)
        return SegmentRows(self._model(task), first, residual, most_bytes)

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in the order of the asks; several tasks may share one call."""
        pieces = [piece for r, ask in enumerate(asks) for piece in self._pieces(r, ask)]
        parts: list[dict[int, Answer]] = [{} for _ in asks]
        for group in _batches(pieces, self.settings.rows_at_once):
            for piece, source_D, read_ND in zip(
                group, *self.runtime.online(self._lay(group)), strict=True
            ):
                read_ND = read_ND[: len(piece.candidates)]
                parts[piece.request][piece.start] = Answer(source_D, read_ND)
        return [
            Answer(some[0].source_D, torch.cat([some[at].candidates_ND for at in sorted(some)]))
            for some in parts
        ]

    def _model(self, task: str) -> M6:
        if task not in self.models:
            raise ConfigError(f"unknown task {task!r}; this engine has {', '.join(self.names)}")
        return self.models[task]

    def _pieces(self, request: int, ask: Ask) -> list[_Piece]:
        self._model(ask.task)
        task, candidates = self.names.index(ask.task), ask.candidates
        size = max(1, self.settings.rows_at_once // candidates.valid_NT.shape[1])
        if len(candidates) <= size:
            return [_Piece(request, 0, task, ask.source, candidates)]
        return [
            _Piece(request, start, task, ask.source, candidates.take(slice(start, start + size)))
            for start in range(0, len(candidates), size)
        ]

    def _lay(self, group: Sequence[_Piece]) -> OnlineBatch:
        """Pieces side by side, padded in front."""
        if len(group) == 1:
            return _alone(group[0])
        R = max(len(piece.source) for piece in group)
        N = max(len(piece.candidates) for piece in group)
        joined = join_candidates([_filled(piece.candidates, N) for piece in group])
        gaps = [R - len(piece.source) for piece in group]
        source = [
            F.pad(piece.source.rows_RD, (0, 0, gap, 0))
            for piece, gap in zip(group, gaps, strict=True)
        ]
        valid_BR = torch.arange(R) >= torch.tensor(gaps)[:, None]
        task_B = torch.tensor([piece.task for piece in group])
        return _batch(torch.stack(source), valid_BR, joined, task_B)


def _alone(piece: _Piece) -> OnlineBatch:
    source_1RD = piece.source.rows_RD[None]
    task_1 = torch.tensor([piece.task])
    return _batch(source_1RD, None, piece.candidates.take(slice(None)), task_1)


def _batch(
    source_BRD: Tensor, valid_BR: Tensor | None, some: Candidates, task_B: Tensor
) -> OnlineBatch:
    B = len(source_BRD)

    def per_request(value: Tensor) -> Tensor:
        return value.reshape(B, -1, *value.shape[1:])

    first = None
    if some.first is not None:
        parts = (some.first.q_NMI, some.first.own_NMI, some.first.lse_NMH)
        q, own, lse = (per_request(part).flatten(1, 2) for part in parts)
        first = OwnPart(q, Part(own, lse))
    rows, valid = per_request(some.rows_NTD), per_request(some.valid_NT)
    return OnlineBatch(source_BRD, valid_BR, rows, valid, task_B, first)


def _filled(some: Candidates, count: int) -> Candidates:
    """The same and empty candidates behind, in float32."""
    some, missing = some.take(slice(None)), count - len(some)
    if not missing:
        return some

    def behind(value: Tensor) -> Tensor:
        return F.pad(value, (0, 0) * (value.dim() - 1) + (0, missing))

    first = some.first
    if first is not None:
        first = First(behind(first.q_NMI), behind(first.own_NMI), behind(first.lse_NMH))
    return Candidates(behind(some.rows_NTD), behind(some.valid_NT), first)


def _batches(pieces: Sequence[_Piece], rows_at_once: int) -> list[list[_Piece]]:
    """Pieces of like size together, padding counted, in calls of about `rows_at_once` rows."""
    order = sorted(
        pieces, key=lambda piece: (piece.candidates.first is None, len(piece.candidates))
    )
    out: list[list[_Piece]] = []
    for piece in order:
        N, T = piece.candidates.valid_NT.shape
        group = out[-1] if out else None
        alike = group is not None and (group[0].candidates.first is None) == (
            piece.candidates.first is None
        )
        if group is not None and alike and (len(group) + 1) * N * T <= rows_at_once:
            group.append(piece)
        else:
            out.append([piece])
    return out
