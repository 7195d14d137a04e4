"""After tuning: the text tower joins what people chose next, by numbers chosen on valid requests.

Legend: R valid requests, I items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console

from m6rec.collaborative.counts import TransitionCounts, count
from m6rec.collaborative.dial import DialPoint, choose_boost, dial_curve
from m6rec.collaborative.head import Features, Head
from m6rec.collaborative.head_fit import fit_head
from m6rec.collaborative.matrix import transition_matrix
from m6rec.collaborative.repeats import repeats_of
from m6rec.collaborative.score import CollaborativeScore, Embed
from m6rec.collaborative.sequences import Histories, blocks_of, codes_of, sequences_of
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import WordsPrior
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.data.verdicts import Scale, people
from m6rec.metrics.calibration import promised_hits
from m6rec.metrics.ranking import ndcg, pessimistic_ranks
from m6rec.tasks.catalogue import HEAD_BOOSTS, Catalogue, Chosen
from m6rec.tasks.retrieval import Retriever

MOST, FEWEST = 1500, 200
"""Valid requests that the numbers are chosen on."""
CELLS = 18_000_000
"""Most cells of the requests times the catalogue (430 MB of features)."""
COLUMNS = 20_000
"""Items of a larger catalogue that stand for it: those that were chosen, and others drawn."""
LISTS = (1, 10, 100)
"""Lengths of lists whose probability is compared with how often they hit."""
GRID: Mapping[str, Sequence[Mapping[str, float]]] = {
    "distance_decay": [{"distance_decay": value} for value in (0.3, 0.5, 0.7, 0.85)],
    "recency_decay": [{"recency_decay": value} for value in (0.4, 0.6, 0.8, 0.9)],
    "weights": [
        {"shrinkage": shrinkage, "prior": prior}
        for shrinkage, prior in ((20, 20), (50, 50), (100, 100), (50, 100), (50, 20))
    ],
}
"""One after the other, the best of each kept."""


@dataclass(frozen=True)
class Joined:
    """settings, head: what was chosen. figures: NDCG@10 on valid of what was tried. curve: what
    each boost of new items finds, and costs, on valid; boost: the one in the head. calibration:
    by length of a list, what its probabilities promise there, and how often it hits."""

    settings: ScoreSettings
    head: Head
    figures: Mapping[str, float]
    curve: Sequence[DialPoint]
    boost: float
    calibration: Mapping[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "settings": self.settings.model_dump(),
            "head": self.head.model_dump(),
            "ndcg@10 on valid": dict(self.figures),
            "dial": [point.to_dict() for point in self.curve],
            "boost": self.boost,
            "promised and observed on valid": {k: list(two) for k, two in self.calibration.items()},
        }


def join(
    retriever: Retriever,
    embed: Embed,
    split: Split,
    seed: int = 0,
    console: Console | None = None,
) -> Joined | None:
    """Chooses the numbers of the score, then the head, then the boost of new items.

    None where train tells of no choice, or valid has no request.
    """
    valid = _some(split.valid, split.items.height, seed)
    ids = split.items["item_id"].to_list()
    codes = codes_of(ids, split.train_events)
    sequences = sequences_of(split.train_events, codes)
    if not len(valid) or not len(sequences):
        return None
    if console is not None:
        console.print(f"joining words and choices on {len(valid)} valid requests")
    counts = count(blocks_of(sequences), len(codes))
    texts = retriever.packer.verbalizer.item_texts()
    target_R = np.array([codes[item_id] for item_id in valid.rows["target"]])
    f_ID = embed(texts)
    prior = WordsPrior.fit(f_ID, ScoreSettings().ridge)
    settings = ScoreSettings()
    matrix = transition_matrix(counts, settings.distance_decay, settings.best_per_item)
    start = CollaborativeScore(
        settings,
        codes,
        matrix,
        prior,
        prior.whitening(f_ID),
        embed,
        sequences.ordered,
        repeats_of(matrix.own_I, matrix.norm_I, settings.shrinkage),
    )
    score = choose_score(start, counts, valid, target_R, retriever.scale)
    people_I = _people(split, codes)
    chosen = Chosen(score, None, people_I, people_I == 0)
    catalogue = Catalogue(retriever, texts, ids, "", chosen=chosen)
    features = catalogue.features(valid)
    column_N, copies = _columns(len(ids), target_R, seed)
    some = features.columns(column_N, copies)
    head, figures = fit_head(some, np.searchsorted(column_N, target_R))
    return _with_dial(score.settings, head, figures, features, target_R, retriever)


def _with_dial(
    settings: ScoreSettings,
    head: Head,
    figures: Mapping[str, float],
    features: Features,
    target_R: np.ndarray,
    retriever: Retriever,
) -> Joined:
    new_I = features.new > 0
    curve = dial_curve(head(features), target_R, new_I, HEAD_BOOSTS)
    boost = choose_boost(curve, retriever.settings.new_item_parity)
    boosted = head.model_copy(update={"boost": boost})
    log_RI = boosted(features)
    promised = promised_hits(np.exp(log_RI), LISTS).mean(axis=0)
    ranks = pessimistic_ranks(log_RI, target_R)
    calibration = {
        f"hr@{k}": (round(float(said), 4), round(float((ranks <= k).mean()), 4))
        for k, said in zip(LISTS, promised, strict=True)
    }
    return Joined(settings, boosted, figures, curve, boost, calibration)


def choose_score(
    start: CollaborativeScore,
    counts: TransitionCounts,
    valid: Requests,
    target_R: np.ndarray,
    scale: Scale,
) -> CollaborativeScore:
    """The numbers of the score, by NDCG@10 on valid; of equal ones the defaults."""
    best, figure = start, _ndcg(start, valid, target_R, scale)
    for name, changes in GRID.items():
        for change in changes:
            settings = ScoreSettings(**{**best.settings.model_dump(), **change})
            if settings == best.settings:
                continue
            tried = _with_settings(best, counts, settings, name == "distance_decay")
            if (found := _ndcg(tried, valid, target_R, scale)) > figure:
                best, figure = tried, found
    return best


def _with_settings(
    score: CollaborativeScore, counts: TransitionCounts, settings: ScoreSettings, anew: bool
) -> CollaborativeScore:
    matrix = score.transitions
    if anew:
        matrix = transition_matrix(counts, settings.distance_decay, settings.best_per_item)
    repeats = repeats_of(matrix.own_I, matrix.norm_I, settings.shrinkage)
    return replace(score, settings=settings, transitions=matrix, repeats=repeats)


def _ndcg(score: CollaborativeScore, valid: Requests, target_R: np.ndarray, scale: Scale) -> float:
    found = score(Histories.of(valid, score.codes, score.decay, scale))
    return float(ndcg(pessimistic_ranks(found, target_R), 10).mean())


def _some(valid: Requests, items: int, seed: int) -> Requests:
    """At most MOST, fewer of a large catalogue, drawn by seed."""
    number = min(len(valid), int(np.clip(CELLS // items, FEWEST, MOST)))
    if number == len(valid):
        return valid
    chosen = np.random.default_rng(seed).choice(len(valid), number, replace=False)
    return valid.take(np.sort(chosen))


def _columns(items: int, target_R: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Items that the head is fitted over, ascending, and how many each stands for: a target for
    itself, the others for the rest of the catalogue. None where it is the whole catalogue."""
    if items <= COLUMNS:
        return np.arange(items), None
    drawn = np.random.default_rng(seed).choice(items, COLUMNS, replace=False)
    column_N = np.union1d(drawn, target_R)
    own_N = np.isin(column_N, target_R)
    rest = (items - own_N.sum()) / max((~own_N).sum(), 1)
    return column_N, np.where(own_N, 1.0, rest).astype(np.float32)


def _people(split: Split, codes: Mapping[str, int]) -> np.ndarray:
    """How many people chose each item of the catalogue in train: float32 [I]."""
    found = np.zeros(len(codes), dtype=np.float32)
    for item_id, number in people(split.train_events).iter_rows():
        found[codes[item_id]] = number
    return found[: split.items.height]
