"""A backbone or a tuned retriever, and a catalogue → a bundle, checked against PyTorch.

Legend: S texts, N tokens of a text, I items, G events of a history, D width, K projection width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from m6rec.config import Settings
from m6rec.edge.bundle import (
    CATALOGUE,
    CONFIG,
    TOKENIZER,
    VECTORS,
    BundleConfig,
    Shelf,
    session,
    write_bundle,
)
from m6rec.edge.graph import WEIGHTS, EdgeError
from m6rec.edge.graphs import Maker
from m6rec.edge.int8 import quantised, rounded
from m6rec.edge.parts import Encoder, ItemTower, UserTower
from m6rec.model.m6 import M6
from m6rec.records import Event
from m6rec.tasks.retrieval import Catalogue, RetrievalSettings
from m6rec.text.tokenizer import Tokenizer

TEXTS_AT_ONCE = 64
NOTICE = """\
This bundle was made with m6rec {version} (Apache-2.0; see LICENSE).
Model: {name}, fingerprint {backbone}. m6-small and the networks distilled from it began with the
weights of all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0); they were trained further, and here
rounded to {precision}.
Titles and texts of the catalogue belong to whoever the catalogue came from.
"""


class EdgeSettings(Settings):
    """How a bundle is made.

    precision: int8 rounds weights and tables, w8a8 activations too. event: the kind of event that
    choosing an item is told as. calibration: texts that the ranges of activations are found on.
    requests: how many are generated for the check against PyTorch; least: share of them that must
    have the same first ten.
    """

    precision: Literal["int8", "w8a8", "fp32"] = "int8"
    event: str = "click"
    calibration: int = Field(default=200, ge=1)
    requests: int = Field(default=100, ge=1)
    least: float = Field(default=0.99, ge=0, le=1)
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """What a bundle is made of: a retriever over its catalogue, and titles in its order."""

    catalogue: Catalogue
    titles: Sequence[str]
    name: str
    backbone: str


def export_bundle(source: Source, folder: Path, settings: EdgeSettings) -> dict[str, Any]:
    """Writes a bundle and returns its manifest.

    Raises EdgeError for a task that a device can not run, and where the graphs do not give the
    first ten that PyTorch gives: then nothing is written.
    """
    retriever = source.catalogue.retriever
    reading, lower = retriever.settings, retriever.table.lower
    check_task(reading)
    tokenizer = retriever.table.tokenizer
    shelf = texts_of(source, settings.event)
    budgets = (retriever.packer.budget("item"), retriever.packer.budget("event"))
    texts = _tokenised(tokenizer, shelf, budgets, settings)
    model = retriever.model.cpu().eval()
    if settings.precision != "fp32":
        rounds = settings.precision == "w8a8"
        model = quantised(model, lambda network: run_over(network, lower, texts), rounds)
    maker = Maker(model, lower, reading.max_history, max(budgets) + 2)
    graphs = {**maker.all(), WEIGHTS: bytes(maker.weights.data)}
    share = parity(model, lower, graphs, texts, reading.max_history, settings)
    if share < settings.least:
        raise EdgeError(
            f"the graphs gave PyTorch's first ten for {share:.1%} of {settings.requests} requests; "
            f"right is {settings.least:.0%} or more, so no bundle was written"
        )
    vectors_IK, scale_I = _item_vectors(graphs, tokenizer, shelf.texts, budgets[0])
    config = BundleConfig(
        name=source.name,
        backbone=source.backbone,
        precision=settings.precision,
        layers=model.config.layers,
        lower=lower,
        width=model.config.d_model,
        projection=model.config.projection,
        special=model.config.special,
        item_budget=budgets[0],
        event_budget=budgets[1],
        max_history=reading.max_history,
        event=settings.event,
        parity=share,
        requests=settings.requests,
    )
    shelf = Shelf(
        shelf.ids, shelf.titles, shelf.texts, shelf.events, shelf.prior_I, vectors_IK, scale_I
    )
    licence = distribution("m6rec").read_text("licenses/LICENSE")
    if licence is None:
        raise EdgeError("the licence of m6rec is not installed; install the package again")
    notice = NOTICE.format(version=version("m6rec"), **config.model_dump())
    return write_bundle(
        folder,
        {
            **graphs,
            TOKENIZER: tokenizer.definition.encode(),
            CONFIG: (config.model_dump_json(indent=1) + "\n").encode(),
            CATALOGUE: shelf.to_json().encode(),
            VECTORS: shelf.packed_vectors(),
            "LICENSE": licence.encode(),
            "NOTICE": notice.encode(),
        },
    )


def check_task(reading: RetrievalSettings) -> None:
    """Raises EdgeError for a retriever that reads what a device has not."""
    for name, right in (("plan", "late"), ("segment_states", 1), ("residual", False)):
        if getattr(reading, name) != right:
            raise EdgeError(f"{name} = {getattr(reading, name)!r}: right is {right!r} on a device")


def texts_of(source: Source, event: str) -> Shelf:
    """The words of a catalogue, as yet without vectors."""
    catalogue, verbalizer = source.catalogue, source.catalogue.retriever.packer.verbalizer
    ids = catalogue.item_ids
    events = [verbalizer.event(Event(event, item_id), None, 0).text for item_id in ids]
    nothing = np.zeros((len(ids), 0), np.int8)
    return Shelf(
        list(ids),
        list(source.titles),
        verbalizer.item_texts(),
        events,
        catalogue.prior_I.astype(np.float64),
        nothing,
        np.zeros(len(ids), np.float32),
    )


@dataclass(frozen=True)
class Texts:
    """Token ids of some items' texts and of the same items' events, [S, N] each."""

    items_SN: Tensor
    events_SN: Tensor


def _tokenised(
    tokenizer: Tokenizer, shelf: Shelf, budgets: tuple[int, int], settings: EdgeSettings
) -> Texts:
    count = len(shelf.ids)
    draw = np.random.default_rng(settings.seed)
    chosen = draw.permutation(count)[: settings.calibration]
    parts = []
    for texts, budget in zip((shelf.texts, shelf.events), budgets, strict=True):
        ids_SN, _ = tokenizer.segments([texts[n] for n in chosen], [budget] * len(chosen))
        parts.append(torch.from_numpy(ids_SN))
    return Texts(*parts)


@dataclass(frozen=True)
class Seen:
    """Item vectors [S, K], and states of events [S, D], of the texts for a check."""

    items_SK: np.ndarray
    events_SD: np.ndarray
    user: Callable[[np.ndarray], np.ndarray]


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


def parity(
    model: M6,
    lower: int,
    graphs: dict[str, bytes],
    texts: Texts,
    most: int,
    settings: EdgeSettings,
) -> float:
    """Share of generated requests for which the graphs give PyTorch's first ten, in its order."""
    ours = run_over(model, lower, texts)
    with tempfile.TemporaryDirectory() as name:
        theirs = run_graphs(Path(name), graphs, texts)
        draw = np.random.default_rng(settings.seed + 1)
        count, same = len(ours.events_SD), 0
        for _ in range(settings.requests):
            history = draw.integers(0, count, draw.integers(1, most + 1))
            asked = draw.permutation(count)[:50]
            tens = [
                asked[
                    np.argsort(-(s.items_SK[asked] @ s.user(s.events_SD[history])), kind="stable")
                ]
                for s in (ours, theirs)
            ]
            same += np.array_equal(tens[0][:10], tens[1][:10])
    return same / settings.requests


def run_graphs(folder: Path, graphs: dict[str, bytes], texts: Texts) -> Seen:
    """The same through ONNX Runtime."""
    for name, body in graphs.items():
        (folder / name).write_bytes(body)
    encode, user, item = (session(folder / f"{n}.onnx", 1) for n in ("encode", "user", "item"))

    def states(ids_SN: Tensor) -> np.ndarray:
        ids = ids_SN.numpy().astype(np.int32)
        parts = [ids[n : n + TEXTS_AT_ONCE] for n in range(0, len(ids), TEXTS_AT_ONCE)]
        return np.concatenate([encode.run(None, {"ids": part})[0] for part in parts])

    items_SK: np.ndarray = item.run(None, {"states": states(texts.items_SN)})[0]
    return Seen(
        items_SK,
        states(texts.events_SN),
        lambda h_GD: np.asarray(user.run(None, {"states": h_GD})[0]),
    )


def _item_vectors(
    graphs: dict[str, bytes], tokenizer: Tokenizer, texts: Sequence[str], budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """int8 [I, K] and the scale of each item, by the graphs themselves."""
    with tempfile.TemporaryDirectory() as name:
        for file, body in graphs.items():
            (Path(name) / file).write_bytes(body)
        encode, item = (session(Path(name) / f"{n}.onnx", 1) for n in ("encode", "item"))
        rows = tokenizer.encode_batch(texts, [budget] * len(texts))
        order = np.argsort([len(row) for row in rows], kind="stable")
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[start : start + TEXTS_AT_ONCE].tolist()
            ids_SN, _ = tokenizer.segments([texts[n] for n in chosen], [budget] * len(chosen))
            states = encode.run(None, {"ids": ids_SN.astype(np.int32)})[0]
            found |= dict(zip(chosen, item.run(None, {"states": states})[0], strict=True))
    vectors = torch.from_numpy(np.stack([found[n] for n in range(len(texts))]))
    int8_IK, scale_I = rounded(vectors)
    return int8_IK.numpy(), scale_I.numpy()
