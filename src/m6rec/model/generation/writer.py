"""Writing texts after sources: greedy, beams or samples, with or without constraints, streaming.

A source is read once (model/prefix.py); then each token costs one row in every layer (cache.py) and
the words that compete (head.py). What is written equals what the full pass of model/language.py
would write.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from m6rec.config import ConfigError
from m6rec.model.generation.beam import search
from m6rec.model.generation.cache import Cache
from m6rec.model.generation.constrain import Constraint
from m6rec.model.generation.decoding import GREEDY, Decoding, Written
from m6rec.model.generation.head import Head, Words
from m6rec.model.generation.job import Given, Job, check_given, limit
from m6rec.model.generation.lanes import Lanes, Piece
from m6rec.model.generation.steering import Steering
from m6rec.model.language import SourceRows
from m6rec.model.m6 import M6
from m6rec.model.prefix import Prefix, full_prefix, late_prefix
from m6rec.text.tokenizer import Tokenizer


class Stream(Iterator[Piece]):
    """Pieces of the texts of a batch, as they come. Closing it ends all of them."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._pieces: Generator[Piece, None, None] = lanes.run()

    def __next__(self) -> Piece:
        return next(self._pieces)

    def cancel(self, request: int | None = None) -> None:
        """Ends one request (None: all) before its next token; its last piece says "cancelled"."""
        every = range(len(self._lanes.lanes))
        self._lanes.cancelled.update(every if request is None else [request])

    def close(self) -> None:
        """Writes no more; nothing else is given out."""
        self._pieces.close()


class Writer:
    """A network that writes, under one plan.

    lower: L', as the sources are read. ids: those that the checkpoint has learned to write (None:
    all that the tokenizer can write). bf16: whether the network is copied to bfloat16, which is
    two to three times faster on CPUs that know the type, and about 1 % off.
    """

    def __init__(
        self,
        model: M6,
        tokenizer: Tokenizer,
        lower: int,
        plan: Literal["late", "full"] = "late",
        ids: Sequence[int] | None = None,
        bf16: bool = False,
    ) -> None:
        self.tokenizer, self.lower, self.plan = tokenizer, lower, plan
        if plan not in ("late", "full"):
            raise ConfigError(f"plan {plan!r} is unknown; right is 'late' or 'full'")
        self.model = copy.deepcopy(model).to(torch.bfloat16) if bf16 else model
        self.words = Words(tokenizer, model.config.vocab_size, ids)
        self._head = Head(self.model, self.words)

    @torch.inference_mode()
    def read(self, source: SourceRows, kept_MD: Tensor | None = None) -> Prefix:
        """Sources, to be written after any number of times.

        kept_MD: under the late plan the states of segments after L' ("all" or k of each), live or
        from a cache; source.index_BR are rows of it. Under the full plan they are token ids.
        """
        if self.plan == "full":
            return full_prefix(self.model, source, self.lower)
        if kept_MD is None:
            raise ConfigError("the late plan reads states of segments: kept_MD is missing")
        return late_prefix(self.model, kept_MD, source, self.lower)

    def write(
        self,
        prefix: Prefix,
        decoding: Decoding = GREEDY,
        *,
        seeds: Sequence[int] | None = None,
        constraints: Sequence[Constraint | None] | Constraint | None = None,
        given: Sequence[Sequence[int]] | None = None,
    ) -> list[list[Written]]:
        """`decoding.n` texts for each source, best first (samples: in the order of their draws).

        seeds, constraints, given: one for each source; one constraint may serve all. given: ids
        that a text begins with, of which log p counts nothing. A request's texts do not depend on
        what else is in the batch, to float tolerance. Under a constraint there may be fewer texts.
        Raises ConfigError where arguments do not fit, or a text could outgrow the positions.
        """
        job = self._job(prefix, decoding, seeds, constraints, given)
        if job is None:
            return []
        if decoding.method == "beam":
            return search(job)
        found: list[list[Written]] = [[] for _ in range(len(job.cache))]
        pieces = [piece for piece in Lanes(job).run() if piece.written is not None]
        for piece in sorted(pieces, key=lambda piece: piece.lane):
            assert piece.written is not None
            found[piece.request].append(piece.written)
        return found

    def stream(
        self,
        prefix: Prefix,
        decoding: Decoding = GREEDY,
        *,
        seeds: Sequence[int] | None = None,
        constraints: Sequence[Constraint | None] | Constraint | None = None,
        given: Sequence[Sequence[int]] | None = None,
    ) -> Stream:
        """The same texts, piece by piece; a beam search has no pieces (ConfigError)."""
        if decoding.method == "beam":
            raise ConfigError("a beam search can not stream; use method = 'greedy' or 'sample'")
        job = self._job(prefix, decoding, seeds, constraints, given)
        if job is None:
            raise ConfigError("there is no source to write after")
        return Stream(Lanes(job, streams=True))

    @torch.inference_mode()
    def _job(
        self,
        prefix: Prefix,
        decoding: Decoding,
        seeds: Sequence[int] | None,
        constraints: Sequence[Constraint | None] | Constraint | None,
        given: Sequence[Sequence[int]] | None,
    ) -> Job | None:
        B = len(prefix.valid_BR)
        if prefix.lower != self.lower:
            raise ConfigError(f"the sources were read with L' = {prefix.lower}, not {self.lower}")
        if constraints is None or isinstance(constraints, Constraint):
            constraints = [constraints] * B
        seeds = [decoding.seed] * B if seeds is None else seeds
        told: list[Given] = [()] * B if given is None else [tuple(ids) for ids in given]
        for name, value in (("seeds", seeds), ("constraints", constraints), ("given", told)):
            if len(value) != B:
                raise ConfigError(f"{name}: {len(value)} of them for {B} sources")
        if not B:
            return None
        check_given(told, self.words)
        steering = Steering(decoding, self.words, self.tokenizer.marker_ids)
        for constraint in {id(c): c for c in constraints if c is not None}.values():
            steering.check(constraint)
        steps = max(limit(decoding, c, ids) for c, ids in zip(constraints, told, strict=True))
        cache = Cache(self.model, prefix, decoding.lanes, steps, self.plan == "late")
        parts = (self.tokenizer, decoding, self.words, self._head, cache, steering)
        return Job(*parts, constraints, told, seeds)
