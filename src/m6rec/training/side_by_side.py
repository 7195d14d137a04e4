"""Parts of a step in threads side by side, each with gradients of its own.

A step has parts that need nothing of each other. With a thread for each core that computes them one
operation at a time, no operation waits for the slower half of itself: two cores take a step of
m6-small in five sixths of the time (docs/pretraining.md). What a worker computes, and the order in
which gradients are added, is fixed, so a step stays a function of its batches to the bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from m6rec.model.m6 import M6

T = TypeVar("T")
Part = Callable[[M6], T]
"""A part of a step: takes the network it is to use, and leaves gradients in it."""


def workers_for(device: str, parts: int) -> int:
    """Workers on a device: on a CPU one for each thread of PyTorch, at most one for each part."""
    return min(torch.get_num_threads(), parts) if device == "cpu" else 1


class SideBySide(Generic[T]):
    """Workers of a network; a context, which ends their threads.

    The first uses the network itself, the others a twin with the same weights.
    """

    def __init__(self, model: M6, workers: int) -> None:
        self.models = [model, *(twin(model) for _ in range(workers - 1))]
        self._pool: ThreadPoolExecutor | None = None
        if workers > 1:
            each = max(1, torch.get_num_threads() // workers)
            self._pool = ThreadPoolExecutor(workers, "part", torch.set_num_threads, (each,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, parts: Sequence[Part[T]], sizes: Sequence[float]) -> list[T]:
        """Runs all parts; their results in order, and the sum of gradients in the network's.

        sizes: about how long each part takes; the longest are given out first, each to the worker
        that has least.
        """
        if self._pool is None:
            return [part(self.models[0]) for part in parts]
        share = shares(sizes, len(self.models))

        def work(worker: int) -> list[T]:
            return [parts[number](self.models[worker]) for number in share[worker]]

        asked = [self._pool.submit(work, worker) for worker in range(len(self.models))]
        found: dict[int, T] = {}
        for numbers, one in zip(share, asked, strict=True):
            found.update(zip(numbers, one.result(), strict=True))
        self._gather()
        return [found[number] for number in range(len(parts))]

    def _gather(self) -> None:
        for other in self.models[1:]:
            for own, its in zip(self.models[0].parameters(), other.parameters(), strict=True):
                if its.grad is None:
                    continue
                own.grad = its.grad if own.grad is None else own.grad.add_(its.grad)
                its.grad = None


def twin(model: M6) -> M6:
    """A network whose parameters and buffers are the other's, and whose gradients are its own."""
    other = copy.deepcopy(model)
    other.zero_grad(set_to_none=True)
    for own, its in zip(model.parameters(), other.parameters(), strict=True):
        its.data = own.data
    for mine, theirs in zip(model.buffers(), other.buffers(), strict=True):
        theirs.data = mine.data
    return other


def shares(sizes: Sequence[float], workers: int) -> list[list[int]]:
    """Which parts each worker takes: from the longest on, to who has least so far."""
    given: list[list[int]] = [[] for _ in range(workers)]
    load = [0.0] * workers
    for number in sorted(range(len(sizes)), key=lambda n: (-sizes[n], n)):
        least = load.index(min(load))
        given[least].append(number)
        load[least] += sizes[number]
    return given
