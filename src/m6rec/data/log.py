"""The events of a data set made ready to be cut: what can be told, and what is to be judged.

Legend: E events, sorted by user and time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data import cut
from m6rec.data.labels import LabelRule, default_rule, label_events, target_mask
from m6rec.data.options import SplitOptions, Task
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset


@dataclass(frozen=True)
class Log:
    """events: E rows. anchors: bool [E], the events that become requests. labels: float64 [E]
    for ranking, else None. shown: bool [E], the events that histories show."""

    events: pl.DataFrame
    anchors: np.ndarray
    labels: np.ndarray | None
    shown: np.ndarray
    rule: LabelRule | None
    left_out: int

    def where(self, keep: np.ndarray) -> Log:
        """The log of some of its events (bool [E])."""
        labels = None if self.labels is None else self.labels[keep]
        shown = self.shown[keep]
        events = self.events.filter(keep)
        return Log(events, self.anchors[keep], labels, shown, self.rule, self.left_out)

    def shuffled(self, seed: int) -> Log:
        """The same, the events of each user in an order drawn by seed."""
        user = np.cumsum(cut.first_of_user(self.events))
        order = np.lexsort((np.random.default_rng(seed).random(self.events.height), user))
        labels = None if self.labels is None else self.labels[order]
        events, shown = self.events[order], self.shown[order]
        return Log(events, self.anchors[order], labels, shown, self.rule, self.left_out)

    def requests(self, rows: np.ndarray, before: cut.Histories) -> Requests:
        """One request for each of `rows` (int64 [R], ascending)."""
        if self.labels is None:
            return cut.target_requests(self.events, rows, before)
        return cut.label_requests(self.events, rows, self.labels[rows], before)


def prepare(dataset: Dataset, task: Task, options: SplitOptions) -> Log:
    """Finds targets or labels among the events of `dataset`.

    Events that no word describes (an item without a row, no text, no query) are left out.
    Raises DataError where there is nothing to judge.
    """
    if dataset.events is None:
        there = f" for task {task!r}; its requests files are for the other" * bool(dataset.requests)
        raise DataError(f"{dataset.name}: there is no events table to cut into requests{there}")
    known, in_items = _known(dataset.events, dataset.items)
    left_out = len(known) - int(known.sum())
    events = dataset.events.filter(known) if left_out else dataset.events
    in_items = in_items[known]
    if task == "retrieve":
        anchors = target_mask(events, options.positives, options.positive_value) & in_items
        labels, rule = None, None
    else:
        rule = options.label or default_rule(events)
        rows, values = label_events(events, rule)
        labels = np.full(events.height, np.nan)
        labels[rows] = values
        anchors = ~np.isnan(labels) & (in_items | _has(events, "text"))
        anchors = _timed(events, anchors)
    _require_anchors(dataset, task, anchors, labels)
    without = pl.col("event").is_in(list(options.history_without))
    shown = events.select(~without).to_series().to_numpy()
    return Log(events, anchors, labels, shown, rule, left_out)


def _timed(events: pl.DataFrame, anchors: np.ndarray) -> np.ndarray:
    """Without the events of unknown time, where others have one: those are past, not a question.

    (MIND gives each user's earlier clicks so, without what was shown beside them.)
    """
    timed = anchors & _has(events, "timestamp")
    return timed if timed.any() else anchors


def _known(events: pl.DataFrame, items: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """bool [E]: whether any word describes the event, and whether its item has a row."""
    known = pl.col("item_id").is_in(items["item_id"].implode()).fill_null(False)
    in_items = events.select(known).to_series().to_numpy()
    return in_items | _has(events, "text") | _has(events, "query"), in_items


def _has(events: pl.DataFrame, column: str) -> np.ndarray:
    if column not in events.columns:
        return np.zeros(events.height, dtype=bool)
    there: np.ndarray = events[column].is_not_null().to_numpy()
    return there


def _require_anchors(
    dataset: Dataset, task: Task, anchors: np.ndarray, labels: np.ndarray | None
) -> None:
    if not anchors.any():
        what = "be foreseen (every purchase, click, … of an item in the items table)"
        if task == "rank":
            what = "be judged (a labelled event of an item in the items table)"
        raise DataError(f"{dataset.name}: no event can {what}; `m6rec check` looks at every row")
    if labels is not None and len(np.unique(labels[anchors])) == 1:
        only = "positive" if labels[anchors][0] else "negative"
        raise DataError(
            f"{dataset.name}: all {int(anchors.sum())} labels are {only}, so nothing can be "
            "ranked; choose another LabelRule, or add the missing events (unclicked impressions)"
        )
