"""Cuts a data set into train, valid and test requests, with a card that says by which rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from m6rec.data.labels import LabelRule
from m6rec.data.requests import Requests
from m6rec.data.tables import Dataset
from m6rec.records import ProtocolCard

Task = Literal["retrieve", "rank"]
Method = Literal["auto", "published", "column", "leave-one-out", "temporal", "unseen-item"]
SameTime = Literal["auto", "keep", "exclude"]


@dataclass(frozen=True)
class Split:
    """Requests to learn from, to choose by and to judge by, and what a model may know.

    train, valid, test: share one pool where they are cut from events without holes.
    train_events: all events a model may learn from, sorted as in the data set.
    items: the whole catalogue; row order is item order. train_item_ids: items in train.
    """

    train: Requests
    valid: Requests
    test: Requests
    train_events: pl.DataFrame
    items: pl.DataFrame
    train_item_ids: frozenset[str]
    users: pl.DataFrame | None
    card: ProtocolCard


def make_split(
    dataset: Dataset,
    task: Task = "retrieve",
    method: Method = "auto",
    *,
    max_history: int = 50,
    min_history: int = 1,
    label: LabelRule | None = None,
    positives: frozenset[str] | None = None,
    positive_value: float | None = None,
    history_without: frozenset[str] = frozenset({"impression"}),
    same_time: SameTime = "auto",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_train_per_user: int | None = None,
    max_train: int | None = None,
    max_eval: int | None = None,
    seen_items: Literal["kept", "masked"] = "kept",
    seed: int = 0,
) -> Split:
    """Cuts `dataset` into requests for a task.

    Raises DataError where the data can not be split this way.
    """
    raise NotImplementedError


def few_shot(split: Split, shots: int, seed: int = 0) -> Split:
    """The same split with `shots` train requests drawn by seed, each class at least once.

    Raises DataError where there are fewer train requests, or more classes than shots.
    """
    raise NotImplementedError
