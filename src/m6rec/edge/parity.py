"""The check of a bundle: do its parts rank as PyTorch's network does?

Histories and 50 candidates are drawn from texts of the catalogue, and both sides' first ten are
compared, order and all.

Legend: S texts, N tokens of a text, G events of a history, D width, K projection width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m6rec.edge.parts import Encoder, ItemTower, UserTower
from m6rec.edge.runners import Runner, open_runner
from m6rec.model.m6 import M6

TEXTS_AT_ONCE = 64
ASKED, FIRST = 50, 10
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of a history and rows of candidates, both among the texts → scores of the candidates."""


@dataclass(frozen=True)
class Texts:
    """Token ids of some items' texts and of the same items' events, [S, N] each."""

    items_SN: Tensor
    events_SN: Tensor


@dataclass(frozen=True)
class Seen:
    """Item vectors [S, K], and states of events [S, D], of the texts for a check."""

    items_SK: np.ndarray
    events_SD: np.ndarray
    user: Callable[[np.ndarray], np.ndarray]

    def score(self, history: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """See Score."""
        found: np.ndarray = self.items_SK[asked] @ self.user(self.events_SD[history])
        return found


@dataclass(frozen=True)
class Drawing:
    """How requests are drawn. most: events of the longest history."""

    requests: int
    most: int
    seed: int = 0


@torch.no_grad()
def run_over(model: M6, lower: int, texts: Texts) -> Seen:
    """All parts of a network over the texts."""
    encode, user, item = (part(model, lower) for part in (Encoder, UserTower, ItemTower))

    def states(ids_SN: Tensor) -> Tensor:
        return torch.cat([encode(part) for part in torch.split(ids_SN, TEXTS_AT_ONCE)])

    def ask(h_GD: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = user(torch.from_numpy(h_GD)).numpy()
            return found

    events_SD = states(texts.events_SN).numpy()
    for count in (1, 3, 8):  # while ranges are being found, histories of several lengths
        ask(events_SD[:count])
    return Seen(item(states(texts.items_SN)).numpy(), events_SD, ask)


def run_by(runner: Runner, texts: Texts) -> Seen:
    """The same by what a device runs."""

    def states(ids_SN: Tensor) -> np.ndarray:
        ids = ids_SN.numpy().astype(np.int32)
        parts = [ids[n : n + TEXTS_AT_ONCE] for n in range(0, len(ids), TEXTS_AT_ONCE)]
        return np.concatenate([runner.run("encode", {"ids": part}) for part in parts])

    return Seen(
        runner.run("item", {"states": states(texts.items_SN)}),
        states(texts.events_SN),
        lambda h_GD: runner.run("user", {"states": h_GD}),
    )


@dataclass(frozen=True)
class Compared:
    """Share of requests with the same first ten in the same order; with the same ten in any; the
    largest difference of a score."""

    order: float
    items: float
    off: float


def compare(ours: Score, theirs: Score, count: int, drawing: Drawing) -> Compared:
    """Two sides over drawn requests. count: S."""
    draw, order, items, off = np.random.default_rng(drawing.seed + 1), 0, 0, 0.0
    for _ in range(drawing.requests):
        history = draw.integers(0, count, draw.integers(1, drawing.most + 1))
        asked = draw.permutation(count)[:ASKED]
        scores = [side(history, asked) for side in (ours, theirs)]
        tens = [np.argsort(-one, kind="stable")[:FIRST] for one in scores]
        order += np.array_equal(tens[0], tens[1])
        items += set(tens[0].tolist()) == set(tens[1].tolist())
        off = max(off, float(np.abs(scores[0] - scores[1]).max()))
    return Compared(order / drawing.requests, items / drawing.requests, off)


def parity(
    model: M6, lower: int, files: Mapping[str, bytes], texts: Texts, drawing: Drawing
) -> float:
    """Share of drawn requests for which a bundle's graphs or program rank as PyTorch does."""
    ours = run_over(model, lower, texts)
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), files)
        theirs = run_by(open_runner(Path(name)), texts)
        return compare(ours.score, theirs.score, len(texts.events_SN), drawing).order


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Name → bytes, into a folder."""
    for name, body in files.items():
        (folder / name).write_bytes(body)
