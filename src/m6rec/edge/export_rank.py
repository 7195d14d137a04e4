"""The ranking of a bundle: its graphs and the states of the catalogue, checked against PyTorch.

Legend: I items, G events of a history, D width, S texts.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from m6rec.edge.bundle import RankConfig, Shelf
from m6rec.edge.graph import WEIGHTS, EdgeError, Weights
from m6rec.edge.graphs import Maker
from m6rec.edge.manifest import STATES
from m6rec.edge.parity import Compared, Drawing, Texts, compare, write_files
from m6rec.edge.parts import Encoder
from m6rec.edge.rank import RankTower, check_ranking, rank_graph
from m6rec.edge.runners import Graphs, encode_texts
from m6rec.model.int8 import quantised
from m6rec.model.m6 import M6
from m6rec.records import Event
from m6rec.tasks.ranking import Ranker


@dataclass(frozen=True)
class Wanted:
    """How a ranking is put into a bundle; the fields as in EdgeSettings."""

    precision: str
    event: str
    requests: int
    seed: int
    least: float


def add_ranking(
    ranker: Ranker, shelf: Shelf, texts: Texts, weights: Weights, wanted: Wanted
) -> tuple[dict[str, bytes], RankConfig]:
    """Files of a ranking, their tensors put among the bundle's weights, and what is to be said.

    Raises EdgeError for a ranking that a device can not run, that reads other words than the
    catalogue of the bundle has, or that does not give PyTorch's first ten.
    """
    check_ranking(ranker.settings)
    check_words(ranker, shelf, wanted.event)
    lower, most = ranker.table.lower, ranker.settings.max_history
    model = ranker.model.cpu().eval()
    if wanted.precision != "fp32":
        model = quantised(model, lambda net: _run_over(net, lower, ranker, texts), "plain")
    packer = ranker.packer
    longest = max(packer.budget("item"), packer.budget("event")) + 2
    maker = Maker(model, lower, most, longest, weights)
    files = {"rank_encode.onnx": maker.encode(), "rank.onnx": rank_graph(maker, ranker.tuning)}
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), {**files, WEIGHTS: bytes(weights.data)})
        runner = Graphs(Path(name), 1)
        tower = RankTower(model, lower, ranker.tuning)
        drawing = Drawing(wanted.requests, most, wanted.seed)
        found = _parity(Encoder(model, lower), tower, runner, texts, drawing)
        if found.order < wanted.least:
            raise EdgeError(
                f"the graphs of the ranking gave PyTorch's first ten for {found.order:.1%} of "
                f"{wanted.requests} requests; right is {wanted.least:.0%} or more, so no bundle "
                "was written"
            )
        tokenizer, budget = ranker.table.tokenizer, packer.budget("item")
        states_ID = encode_texts(runner, "rank_encode", tokenizer, shelf.texts, budget)
    files[STATES] = states_ID.astype("<f2").tobytes()
    config = RankConfig(
        name=ranker.name,
        max_history=most,
        parity=found.order,
        requests=wanted.requests,
        off=found.off,
    )
    return files, config


def check_words(ranker: Ranker, shelf: Shelf, event: str) -> None:
    """Raises EdgeError where the ranking tells items or events in other words than the bundle."""
    verbalizer = ranker.packer.verbalizer
    told = [verbalizer.event(Event(event, item_id), None, 0).text for item_id in shelf.ids]
    if told != shelf.events or verbalizer.item_texts() != shelf.texts:
        raise EdgeError(
            "the ranking tells items in other words than the retrieval; tune both with the same "
            "templates and on the same catalogue"
        )


@torch.no_grad()
def _run_over(model: M6, lower: int, ranker: Ranker, texts: Texts) -> None:
    encode, tower = Encoder(model, lower), RankTower(model, lower, ranker.tuning)
    tower(encode(texts.events_SN[:8]), encode(texts.items_SN[:8]))


@torch.no_grad()
def _parity(
    encode: Encoder, tower: RankTower, runner: Graphs, texts: Texts, drawing: Drawing
) -> Compared:
    """Share of drawn requests with the same first ten, and the largest difference of a chance."""
    ids = [part.numpy().astype(np.int32) for part in (texts.events_SN, texts.items_SN)]
    ours = [encode(torch.from_numpy(part)) for part in ids]
    theirs = [runner.run("rank_encode", {"ids": part}) for part in ids]
    theirs[1] = theirs[1].astype("<f2").astype(np.float32)  # as the bundle keeps them

    def by_network(history: np.ndarray, asked: np.ndarray) -> np.ndarray:
        found: np.ndarray = tower(ours[0][history], ours[1][asked]).numpy()
        return found

    def by_graph(history: np.ndarray, asked: np.ndarray) -> np.ndarray:
        return runner.run("rank", {"history": theirs[0][history], "items": theirs[1][asked]})

    return compare(by_network, by_graph, len(ids[0]), drawing)
