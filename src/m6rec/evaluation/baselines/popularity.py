"""The same list for everybody: what sells most, or what sells most lately."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.catalogue import catalogue_codes, chosen_events
from m6rec.evaluation.result import EvaluationError

DAY = 86_400.0


@dataclass(frozen=True)
class Popularity:
    """scores: float32 [I], the same for every request."""

    name: str
    scores: np.ndarray

    def score(self, requests: Requests) -> np.ndarray:
        return np.broadcast_to(self.scores, (len(requests), len(self.scores)))


def popularity_counts(split: Split, half_life_days: float | None = None) -> np.ndarray:
    """People who chose each item in training, float32 [I]; a person counts once.

    With a half-life, a person counts 2^(-age / it), by the newest time of theirs. Age runs back
    from the newest training event. Raises EvaluationError where recency is asked for and training
    events carry no time.
    """
    events = chosen_events(split)
    missing = events["timestamp"].null_count()
    if half_life_days is not None and missing:
        raise EvaluationError(
            f"recent popularity needs a timestamp on every event; {missing} of "
            f"{events.height} training events of {split.card.dataset!r} have none"
        )
    events = events.unique(["user_id", "item_id"], keep="last", maintain_order=True)
    codes = catalogue_codes(events["item_id"], split.items["item_id"])
    weights = np.ones(len(codes))
    if half_life_days is not None:
        seconds = events["timestamp"].to_numpy()
        age = (seconds.max() - seconds) / DAY
        weights = np.exp2(-age / half_life_days)
    known = codes >= 0
    counts = np.bincount(codes[known], weights=weights[known], minlength=split.items.height)
    return counts.astype(np.float32)


def popularity(split: Split, half_life_days: float | None = None) -> Popularity:
    """Most popular in training; `half_life_days` makes it most popular lately."""
    name = "popularity" if half_life_days is None else "recent popularity"
    return Popularity(name, popularity_counts(split, half_life_days))
