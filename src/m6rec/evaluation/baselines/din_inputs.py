"""Requests as the integers an id model eats: user, item, history, and how the history was rated.

Legend: R requests, N candidates, H events of a history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.requests import Requests
from m6rec.evaluation.baselines.like_rate import candidates_in
from m6rec.evaluation.catalogue import catalogue_codes

MAX_GRADES = 50
"""More distinct values than this in the histories are not grades (quantities, prices)."""


@dataclass(frozen=True)
class Inputs:
    """user, item: int64 [N]; history, grade: int64 [N, H], newest last, 0 where empty.

    grades: how many grades there are.
    """

    user: np.ndarray
    item: np.ndarray
    history: np.ndarray
    grade: np.ndarray
    grades: int

    @property
    def joined(self) -> np.ndarray:
        """Item and grade of the past events as one number from 1, int64 [N, H]; 0 where either
        is unknown."""
        both = (self.history - 1) * self.grades + self.grade
        return np.where((self.history > 0) & (self.grade > 0), both, 0)

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Coding:
    """What training knew, as numbers from 1; 0 is padding and all that training did not show.

    graded: a past event's value is part of what it says ("rating 4"), not its kind alone.
    """

    users: pl.Series
    items: pl.Series
    grades: pl.Series
    graded: bool
    max_history: int

    def inputs(self, requests: Requests) -> Inputs:
        """One row per candidate, in order."""
        each = np.repeat(np.arange(len(requests)), candidates_in(requests))
        items = requests.rows["item_ids"].explode()
        grades = said(requests.pool, self.graded)
        return Inputs(
            user=(catalogue_codes(requests.rows["user_id"], self.users) + 1)[each],
            item=catalogue_codes(items, self.items) + 1,
            history=self._newest(requests, requests.pool["item_id"], self.items)[each],
            grade=self._newest(requests, grades, self.grades)[each],
            grades=len(self.grades),
        )

    def _newest(self, requests: Requests, values: pl.Series, known: pl.Series) -> np.ndarray:
        """Codes of the newest events of each history, int64 [R, H], newest last."""
        code = np.append(catalogue_codes(values, known) + 1, 0)
        start, stop = requests.rows["start"].to_numpy(), requests.rows["stop"].to_numpy()
        place = stop[:, None] - np.arange(self.max_history, 0, -1)
        return np.asarray(code[np.where(place >= start[:, None], place, len(code) - 1)])


def coding(train: Requests, max_history: int, user_ids: bool = True) -> Coding:
    """Numbers every item, grade and (if `user_ids`) user of the training requests."""
    users = train.rows["user_id"] if user_ids else train.rows["user_id"].clear()
    graded = train.pool["value"].n_unique() <= MAX_GRADES
    shown = pl.concat([train.rows["item_ids"].explode(), _events(train, "item_id", max_history)])
    return Coding(
        users=_distinct(users),
        items=_distinct(shown),
        grades=_distinct(said(train.pool, graded)),
        graded=graded,
        max_history=max_history,
    )


def said(pool: pl.DataFrame, graded: bool) -> pl.Series:
    """What each past event says about its item: its kind, and its value where those are grades."""
    kind = pl.col("event")
    if graded:
        kind = pl.concat_str(kind, pl.col("value").cast(pl.String).fill_null(""), separator=" ")
    return pool.select(said=kind)["said"]


def _events(requests: Requests, column: str, max_history: int) -> pl.Series:
    """The column's values in the events that any history of `requests` reaches."""
    stop = requests.rows["stop"].to_numpy()
    start = np.maximum(requests.rows["start"].to_numpy(), stop - max_history)
    change = np.zeros(requests.pool.height + 1, dtype=np.int64)
    np.add.at(change, start, 1)
    np.add.at(change, stop, -1)
    return requests.pool[column].filter(pl.Series(np.cumsum(change[:-1]) > 0))


def _distinct(values: pl.Series) -> pl.Series:
    return values.drop_nulls().unique(maintain_order=True)
