"""A backbone or a tuned retriever, and a catalogue → a bundle, checked against PyTorch.

Legend: S texts, N tokens of a text, I items, G events of a history, D width, K projection width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor

from m6rec.collaborative.head import Head
from m6rec.collaborative.score import Embed
from m6rec.collaborative.settings import ScoreSettings
from m6rec.config import Settings
from m6rec.edge.bundle import BundleConfig, RankConfig, Shelf
from m6rec.edge.export_rank import Wanted, add_ranking
from m6rec.edge.export_transitions import Log, add_transitions
from m6rec.edge.graph import WEIGHTS, EdgeError, Weights
from m6rec.edge.graphs import Maker
from m6rec.edge.manifest import CATALOGUE, CONFIG, TOKENIZER, VECTORS, write_bundle
from m6rec.edge.parity import Drawing, Texts, parity, run_over, write_files
from m6rec.edge.program import program
from m6rec.edge.runners import PROGRAM, encode_texts, open_runner
from m6rec.edge.transitions import MOST_PAIRS, TRANSITIONS
from m6rec.model.int8 import Inputs, quantised, rounded
from m6rec.model.m6 import M6
from m6rec.records import Event
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import RetrievalSettings
from m6rec.text.tokenizer import Tokenizer

Runtime = Literal["onnx", "executorch"]
NOTICE = """\
This bundle was made with m6rec {version} (Apache-2.0; see LICENSE).
Model: {name}, fingerprint {backbone}. m6-small and the networks distilled from it began with the
weights of all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0); they were trained further, and here
rounded to {precision}.
Titles and texts of the catalogue belong to whoever the catalogue came from.
"""


class EdgeSettings(Settings):
    """How a bundle is made.

    runtime: onnx, or executorch (XNNPACK). precision: int8 rounds weights and tables, w8a8
    activations too: with ONNX by ranges found on texts, with ExecuTorch each row by its own.
    event: the kind of event that choosing an item is told as. calibration: texts that the ranges
    of activations are found on, and the check is made with. requests: how many are generated for
    the check against PyTorch; least: share of them that must have the same first ten.
    best_per_item: the strongest pairs of an item that go with it, where there is a log.
    """

    runtime: Runtime = "onnx"
    precision: Literal["int8", "w8a8", "fp32"] = "int8"
    event: str = "click"
    calibration: int = Field(default=200, ge=1)
    requests: int = Field(default=100, ge=1)
    least: float = Field(default=0.99, ge=0, le=1)
    best_per_item: int = Field(default=30, ge=1, le=MOST_PAIRS)
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """What a bundle is made of: a retriever over its catalogue, and titles in its order. ranker: a
    tuned ranking to go with it (None: only retrieval). events: the log, whose transitions go with
    it (None: texts alone rank), weighed by `scoring`; head: joins a tuned retriever. embed: the
    network's text vectors, for the check beside the whole score."""

    catalogue: Catalogue
    titles: Sequence[str]
    name: str
    backbone: str
    ranker: Ranker | None = None
    events: pl.DataFrame | None = None
    scoring: ScoreSettings = field(default_factory=ScoreSettings)
    head: Head | None = None
    embed: Embed | None = None

    def log(self) -> Log | None:
        """The log, where anybody chose anything of the catalogue."""
        if self.events is None:
            return None
        log = Log(self.events, self.catalogue.item_ids, self.scoring, self.head)
        return log if len(log.choices) else None


def export_bundle(source: Source, folder: Path, settings: EdgeSettings) -> dict[str, Any]:
    """Writes a bundle and returns its manifest.

    Raises EdgeError for a task that a device can not run, and where the graphs do not give the
    first ten that PyTorch gives: then nothing is written.
    """
    retriever = source.catalogue.retriever
    reading, lower = retriever.settings, retriever.table.lower
    check_task(reading)
    tokenizer, budgets = retriever.table.tokenizer, budgets_of(source)
    shelf = texts_of(source, settings.event)
    texts = tokenised(tokenizer, shelf, budgets, settings)
    model = retriever.model.cpu().eval()
    model = in_precision(model, lower, texts, settings)
    sizes, weights = (reading.max_history, max(budgets) + 2), Weights()
    graphs = graphs_of(model, lower, sizes, settings.runtime, weights)
    drawing = Drawing(settings.requests, reading.max_history, settings.seed)
    share = parity(model, lower, graphs, texts, drawing)
    if share < settings.least:
        raise EdgeError(
            f"the exported parts gave PyTorch's first ten for {share:.1%} of "
            f"{settings.requests} requests; right is {settings.least:.0%} or more, so no bundle "
            "was written"
        )
    ranked = None
    if source.ranker is not None:
        files, ranked = _ranking(source.ranker, shelf, texts, weights, settings)
        graphs |= files
    vectors_IK, scale_I = _item_vectors(graphs, tokenizer, shelf.texts, budgets[0])
    transitions, log = None, source.log()
    if log is not None:
        graphs[TRANSITIONS], transitions = add_transitions(
            log, vectors_IK, scale_I, settings.best_per_item, drawing, settings.least
        )
    config = BundleConfig(
        name=source.name,
        backbone=source.backbone,
        precision=settings.precision,
        runtime=settings.runtime,
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
        rank=ranked,
        transitions=transitions,
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


def _ranking(
    ranker: Ranker, shelf: Shelf, texts: Texts, weights: Weights, settings: EdgeSettings
) -> tuple[dict[str, bytes], RankConfig]:
    """Graphs and states of the ranking, and the weights that all graphs share."""
    if settings.runtime != "onnx" or settings.precision == "w8a8":
        raise EdgeError(
            "a ranking goes into bundles for ONNX, in int8 or fp32; right is --format onnx "
            "--precision int8"
        )
    chosen = settings.model_dump(include={"precision", "event", "requests", "seed", "least"})
    files, config = add_ranking(ranker, shelf, texts, weights, Wanted(**chosen))
    return {**files, WEIGHTS: bytes(weights.data)}, config


def budgets_of(source: Source) -> tuple[int, int]:
    """Tokens of an item's text and of an event's, between the brackets."""
    packer = source.catalogue.retriever.packer
    return packer.budget("item"), packer.budget("event")


def in_precision(model: M6, lower: int, texts: Texts, settings: EdgeSettings) -> M6:
    """The network as the device computes it: in eight bits, calibrated on texts, or as it is."""
    if settings.precision == "fp32":
        return model
    rounds: Inputs = "rows" if settings.runtime == "executorch" else "fixed"
    inputs = rounds if settings.precision == "w8a8" else "plain"
    return quantised(model, lambda network: run_over(network, lower, texts), inputs)


def graphs_of(
    model: M6, lower: int, sizes: tuple[int, int], runtime: Runtime, weights: Weights
) -> dict[str, bytes]:
    """What computes: the ONNX graphs and their weights, or the program of ExecuTorch.

    sizes: events of the longest history, tokens of the longest text with its brackets.
    """
    if runtime == "executorch":
        return {PROGRAM: program(model, lower, *sizes)}
    maker = Maker(model, lower, *sizes, weights)
    return {**maker.all(), WEIGHTS: bytes(maker.weights.data)}


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


def tokenised(
    tokenizer: Tokenizer, shelf: Shelf, budgets: tuple[int, int], settings: EdgeSettings
) -> Texts:
    """Some texts of the catalogue, as items and as events, on which ranges are found and the check
    is made. No two are read alike: their order would be a matter of the last bit."""
    count = len(shelf.ids)
    draw = np.random.default_rng(settings.seed)
    chosen = draw.permutation(count)[: settings.calibration]
    parts: list[Tensor] = []
    for texts, budget in zip((shelf.texts, shelf.events), budgets, strict=True):
        ids_SN, _ = tokenizer.segments([texts[n] for n in chosen], [budget] * len(chosen))
        if not parts:
            _, first_S = np.unique(ids_SN, axis=0, return_index=True)
            chosen, ids_SN = chosen[np.sort(first_S)], ids_SN[np.sort(first_S)]
        parts.append(torch.from_numpy(ids_SN))
    return Texts(*parts)


def _item_vectors(
    graphs: dict[str, bytes], tokenizer: Tokenizer, texts: Sequence[str], budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """int8 [I, K] and the scale of each item, by the graphs themselves."""
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), graphs)
        runner = open_runner(Path(name))
        states_ID = encode_texts(runner, "encode", tokenizer, texts, budget)
        vectors = torch.from_numpy(runner.run("item", {"states": states_ID}))
    int8_IK, scale_I = rounded(vectors)
    return int8_IK.numpy(), scale_I.numpy()
