"""A bundle held against the checkpoint, and the log, that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m6rec.edge.bundle import BundleConfig, Shelf
from m6rec.edge.export import (
    EdgeSettings,
    Source,
    budgets_of,
    in_precision,
    texts_of,
    tokenised,
)
from m6rec.edge.export_transitions import (
    drawn_histories,
    in_numpy,
    on_device,
    same_ten,
    shipped,
    whole_score,
)
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import CONFIG, check
from m6rec.edge.parity import Drawing, compare, run_by, run_over
from m6rec.edge.runners import open_runner
from m6rec.edge.transitions import TRANSITIONS, NextChoice, Transitions


@dataclass(frozen=True)
class Agreement:
    """Share of requests with the same first ten in the same order: beside the network as the bundle
    rounds it, and beside the network in float32. ten: with the former's ten in any order.

    Of a bundle with transitions also transitions: share with the first ten of numpy's score over
    the pairs and vectors that the bundle should have; whole: how much of the ten of the score over
    all that was counted, and the network's own text vectors, is found again."""

    rounded: float
    ten: float
    float32: float
    transitions: float | None = None
    whole: float | None = None


def agreement(source: Source, folder: Path, settings: EdgeSettings) -> Agreement:
    """How often a bundle ranks as the network that it was made of.

    settings: `requests` and `seed` say what is drawn; runtime, precision and event are the
    bundle's. Raises EdgeError where the bundle was made of another network, or is damaged.
    """
    check(folder)
    config = BundleConfig.read(folder / CONFIG)
    if config.backbone != source.backbone:
        raise EdgeError(f"{folder} was made of the network {config.backbone}, not of this one")
    if config.layers != source.catalogue.retriever.model.config.layers:
        raise EdgeError(
            f"{folder} holds the exit after layer {config.layers}; right is --depth {config.layers}"
        )
    kept = {name: getattr(config, name) for name in ("runtime", "precision", "event")}
    settings = settings.model_copy(update=kept)
    retriever = source.catalogue.retriever
    lower, model = retriever.table.lower, retriever.model.cpu().eval()
    shelf = texts_of(source, settings.event)
    texts = tokenised(retriever.table.tokenizer, shelf, budgets_of(source), settings)
    drawing = Drawing(settings.requests, config.max_history, settings.seed)
    theirs, count = run_by(open_runner(folder), texts), len(texts.events_SN)
    rounded, float32 = (
        compare(run_over(network, lower, texts).score, theirs.score, count, drawing)
        for network in (in_precision(model, lower, texts, settings), model)
    )
    beside = _beside_the_score(source, folder, config, settings)
    return Agreement(rounded.order, rounded.items, float32.order, *beside)


def _beside_the_score(
    source: Source, folder: Path, config: BundleConfig, settings: EdgeSettings
) -> tuple[float | None, float | None]:
    """See Agreement: `transitions` and `whole`."""
    if config.transitions is None:
        return None, None
    log = source.log()
    if log is None:
        raise EdgeError(f"{folder} carries what people chose next; right is --data with its log")
    shelf, body = Shelf.read(folder), (folder / TRANSITIONS).read_bytes()
    numbers = Transitions.unpack(body, config.transitions, len(shelf.ids), config.projection)
    ours = on_device(NextChoice(config.transitions, numbers, shelf.vectors_IK, shelf.scale_I))
    drawing = Drawing(settings.requests, config.max_history, settings.seed)
    histories = drawn_histories(log.choices, drawing)
    best = config.transitions.best_per_item
    again = shipped(log, shelf.vectors_IK, shelf.scale_I, best).score
    kept = same_ten(ours, in_numpy(again), histories).order
    if source.embed is None:
        return kept, None
    whole = whole_score(log, source.embed(shelf.texts))
    return kept, same_ten(ours, in_numpy(whole), histories).overlap
