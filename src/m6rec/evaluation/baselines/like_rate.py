"""Ranking without looking at words: how often this user says yes, how often this item gets one.

Where labels are sparse these few counts are hard to beat, so they come first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.ranking import flatten


def history_likes(requests: Requests, rule: LabelRule) -> tuple[np.ndarray, np.ndarray]:
    """Events of each request's history that are a yes, and that are a yes or a no; float [R]."""
    event, value = pl.col("event"), pl.col("value")
    if rule.by_value:
        liked = (event == rule.event) & (value >= rule.threshold)
        judged = (event == rule.event) & value.is_not_null()
    else:
        liked = event.is_in(list(rule.positive))
        judged = liked | event.is_in(list(rule.negative))
    flags = requests.pool.select(liked=liked.fill_null(False), judged=judged.fill_null(False))
    start, stop = requests.rows["start"].to_numpy(), requests.rows["stop"].to_numpy()
    likes, judgements = (
        np.concatenate([[0.0], np.cumsum(flags[name].to_numpy())]) for name in ("liked", "judged")
    )
    return likes[stop] - likes[start], judgements[stop] - judgements[start]


def prior_rate(split: Split) -> float:
    """Share of yes among the training labels; one half where there are none."""
    if len(split.train) == 0:
        return 0.5
    return float(np.clip(flatten(split.train)[0].mean(), 1e-3, 1 - 1e-3))


@dataclass(frozen=True)
class LikeRate:
    """The share of yes in the user's own history, drawn to `prior` by `strength` pseudo-events."""

    rule: LabelRule
    prior: float
    strength: float
    name: str = "user's like-rate"

    def rates(self, requests: Requests) -> np.ndarray:
        """float [R], one rate per request."""
        likes, judged = history_likes(requests, self.rule)
        return np.asarray((likes + self.strength * self.prior) / (judged + self.strength))

    def predict(self, requests: Requests) -> np.ndarray:
        return np.repeat(self.rates(requests), candidates_in(requests))


def like_rate(split: Split, rule: LabelRule, strength: float = 1.0) -> LikeRate:
    return LikeRate(rule, prior_rate(split), strength)


def candidates_in(requests: Requests) -> np.ndarray:
    """How many candidates each request has, int [R]."""
    return requests.rows["labels"].list.len().to_numpy()


@dataclass(frozen=True)
class ItemRate:
    """The share of yes among an item's training labels; `prior` for an item without any."""

    rate_of: pl.DataFrame
    prior: float
    name: str = "item's mean rate"

    def predict(self, requests: Requests) -> np.ndarray:
        items = requests.rows.select(item_id="item_ids").explode("item_id")
        found = items.join(self.rate_of, on="item_id", how="left", maintain_order="left")
        return found["rate"].fill_null(self.prior).to_numpy()


def item_rate(split: Split, strength: float = 5.0) -> ItemRate:
    """`strength`: pseudo-labels at the prior that every item starts with."""
    prior = prior_rate(split)
    labels, _, item_ids = flatten(split.train)
    rate = (pl.col("label").sum() + strength * prior) / (pl.len() + strength)
    table = pl.DataFrame({"item_id": item_ids, "label": labels})
    return ItemRate(table.group_by("item_id", maintain_order=True).agg(rate=rate), prior)


@dataclass(frozen=True)
class UserItemRate:
    """Both at once: log-odds of the user's rate plus those of the item's, less the prior's.

    This is the bias model of Koren (Computer, 2009) in closed form.
    """

    user: LikeRate
    item: ItemRate
    name: str = "user's and item's rates"

    def predict(self, requests: Requests) -> np.ndarray:
        summed = _logit(self.user.predict(requests)) + _logit(self.item.predict(requests))
        return np.asarray(1 / (1 + np.exp(_logit(np.array(self.item.prior)) - summed)))


def user_item_rate(
    split: Split, rule: LabelRule, user_strength: float = 5.0, item_strength: float = 5.0
) -> UserItemRate:
    return UserItemRate(like_rate(split, rule, user_strength), item_rate(split, item_strength))


def _logit(rate: np.ndarray) -> np.ndarray:
    clipped = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))
