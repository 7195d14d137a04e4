"""Cuts a data set into train, valid and test requests, with a card that says by which rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from m6rec.data.caps import capped
from m6rec.data.cut import has_order
from m6rec.data.eventsplit import cut_events, smallest_history
from m6rec.data.labels import LabelRule
from m6rec.data.log import Log, prepare
from m6rec.data.options import METHODS, Method, SameTime, SplitOptions, Task
from m6rec.data.protocol import Pieces, split_hash
from m6rec.data.publishedsplit import cut_published, is_published
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.data.verdicts import acted
from m6rec.records import ProtocolCard

__all__ = ["LabelRule", "Method", "SameTime", "Split", "Task", "few_shot", "make_split"]

TARGETS = "every yes that is not taken back (ratings from four fifths of the scale on)"
SORT = "user, timestamp (unknown first), position, row of the file; stable"


@dataclass(frozen=True)
class Split:
    """Requests to learn from, to choose by and to judge by, and what a model may know.

    train, valid, test: share one pool where train events come first for every user.
    train_events: all events a model may learn from, sorted as in the data set.
    items: the whole catalogue; row order is item order.
    train_item_ids: items that users acted on in train (ranking: that were judged or seen).
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
    min_history: int | None = None,
    label: LabelRule | None = None,
    positives: frozenset[str] | None = None,
    positive_value: float | None = None,
    history_without: frozenset[str] = frozenset({"impression"}),
    same_time: SameTime = "auto",
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_train_per_user: int | None = None,
    max_events_per_user: int | float | None = None,
    max_train: int | None = None,
    max_eval: int | None = None,
    seen_items: Literal["kept", "masked"] = "kept",
    seed: int = 0,
) -> Split:
    """Cuts `dataset` into requests for a task.

    method: "auto" takes the first that the data allow of published, column, temporal,
        leave-one-out, random (where nothing tells what came first); the card says which.
    max_history, min_history: newest events kept, fewest needed (retrieve: 1, rank: 0).
    label: yes and no of ranking; None: impressions against clicks, or ratings of 4 of 5.
    positives, positive_value: kinds that are targets of retrieval (None: whatever is a yes, see
        data/verdicts.py), and the value from which on a rating is one (None: 4 of 5, 8 of 10).
    history_without: kinds that histories do not show.
    same_time: "keep" counts events of the same timestamp by their row as earlier, "exclude" does
        not; "auto" excludes where ties occur, but for published, column and leave-one-out.
    valid_fraction, test_fraction: shares of the events to judge (temporal) or items (unseen-item).
    max_train_per_user, max_train, max_eval: newest per user, and drawn by seed.
    max_events_per_user: newest events of each user that count at all; below 1: a share of all.
    Raises DataError where the data can not be split this way.
    """
    options = SplitOptions(
        max_history=max_history,
        min_history=min_history,
        label=label,
        positives=positives,
        positive_value=positive_value,
        history_without=history_without,
        same_time=same_time,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        max_train_per_user=max_train_per_user,
        max_events_per_user=max_events_per_user,
        max_train=max_train,
        max_eval=max_eval,
        seen_items=seen_items,
        seed=seed,
    )
    if method not in (*METHODS, "auto"):
        raise DataError(f"split method {method!r}: right is auto, {', '.join(METHODS)}")
    dataset = capped(dataset, max_events_per_user)
    if method == "published" or (method == "auto" and is_published(dataset, task)):
        pieces = cut_published(dataset, task, options)
        filters = _filters(dataset, None, task, options)
    else:
        log = prepare(dataset, task, options)
        pieces = _cut_auto(log, options) if method == "auto" else cut_events(log, method, options)
        filters = _filters(dataset, log, task, options)
    if method == "auto":
        pieces = replace(pieces, notes=(*pieces.notes, "the method was chosen by 'auto'"))
    return _assemble(dataset, task, pieces, filters, options)


def _cut_auto(log: Log, options: SplitOptions) -> Pieces:
    """By the first method that the events allow.

    Times that are days only may have too few moments to cut at, or no history before any.
    """
    if "split" in log.events.columns and (log.events["split"] == "test").any():
        return cut_events(log, "column", options)
    times = log.events["timestamp"].filter(log.anchors)
    if times.null_count() * 2 <= len(times) and times.n_unique() >= 3:
        try:
            pieces = cut_events(log, "temporal", options)
        except DataError:
            return cut_events(log, "leave-one-out", options)
        if len(pieces.valid) and len(pieces.test):
            return pieces
    return cut_events(log, "leave-one-out" if has_order(log.events) else "random", options)


def _assemble(
    dataset: Dataset, task: Task, pieces: Pieces, filters: tuple[str, ...], options: SplitOptions
) -> Split:
    if len(pieces.test) == 0:
        raise DataError(
            f"{dataset.name}, {pieces.how}: no test request is left ({'; '.join(filters)}); "
            "use another method, or min_history=0 for users without a past"
        )
    seen = _train_item_ids(pieces, task)
    card = ProtocolCard(
        dataset=dataset.name,
        task=task,
        split=pieces.how,
        sort=SORT,
        filters=filters,
        seen_items=options.seen_items,
        candidates="the whole catalogue" if task == "retrieve" else "those of the request",
        max_history=options.max_history,
        counts=_counts(dataset, pieces, seen),
        split_hash=split_hash(pieces.valid, pieces.test),
        notes=(f"events of the same time as the event to judge: {pieces.same_time}", *pieces.notes),
    )
    return Split(
        train=pieces.train,
        valid=pieces.valid,
        test=pieces.test,
        train_events=pieces.train_events,
        items=dataset.items,
        train_item_ids=seen,
        users=dataset.users,
        card=card,
    )


def _train_item_ids(pieces: Pieces, task: Task) -> frozenset[str]:
    events = pieces.train_events
    if task == "retrieve":
        events = events.filter(acted(events))
    columns = [events["item_id"], pieces.train.rows["target"]]
    if pieces.train_events.is_empty():
        columns += [pieces.train.rows["item_ids"].explode(), _in_histories(pieces.train)]
    return frozenset(pl.concat([column.unique() for column in columns]).drop_nulls().to_list())


def _in_histories(requests: Requests) -> pl.Series:
    """Items that the histories show; the pool may hold later events of other parts too."""
    begins = np.zeros(requests.pool.height + 1, dtype=np.int64)
    np.add.at(begins, requests.rows["start"].to_numpy(), 1)
    np.add.at(begins, requests.rows["stop"].to_numpy(), -1)
    return requests.pool["item_id"].filter(pl.Series(np.cumsum(begins)[:-1] > 0))


def _counts(dataset: Dataset, pieces: Pieces, seen: frozenset[str]) -> dict[str, int]:
    targets = pieces.test.rows["target"].drop_nulls()
    counts = {
        "train": len(pieces.train),
        "valid": len(pieces.valid),
        "test": len(pieces.test),
        "items": dataset.items.height,
        "items_in_train": len(seen),
        "train_events": pieces.train_events.height,
        "test_users": pieces.test.rows["user_id"].drop_nulls().n_unique(),
    }
    if len(targets):
        counts["test_targets_not_in_train"] = int((~targets.is_in(list(seen))).sum())
    labels = pieces.test.rows["labels"].explode().drop_nulls()
    if len(labels):
        counts["test_labels"] = len(labels)
        counts["test_labels_positive"] = int((labels > 0.5).sum())
    return counts


def _filters(
    dataset: Dataset, log: Log | None, task: Task, options: SplitOptions
) -> tuple[str, ...]:
    """Every rule that left rows out, in words."""
    words = list(dataset.left_out())
    if log is not None:
        if log.left_out:
            words.append(f"{log.left_out} events of items without a row left out")
        words.append(_judged(log, options))
        words.append(f"min_history {smallest_history(task == 'rank', options)}")
    without = "/".join(sorted(options.history_without)) or "nothing"
    words.append(f"histories show all events but {without}")
    for name in ("max_train_per_user", "max_train", "max_eval"):
        if (limit := getattr(options, name)) is not None:
            drawn = "newest" if name == "max_train_per_user" else f"seed {options.seed}"
            words.append(f"{name} {limit} ({drawn})")
    return tuple(words)


def _judged(log: Log, options: SplitOptions) -> str:
    if log.rule is not None:
        untimed = " (events of unknown time are past only)" * log.events["timestamp"].has_nulls()
        return f"labels: {log.rule}{untimed}"
    if options.positives is not None:
        words = f"targets: {'/'.join(sorted(options.positives))}"
    else:
        words = f"targets: {TARGETS}"
    if options.positive_value is not None:
        words += f", ratings from {options.positive_value:g} on"
    return words


def few_shot(split: Split, shots: int, seed: int = 0) -> Split:
    """The same split with `shots` train requests drawn by seed, each class at least once.

    Raises DataError where there are fewer train requests, or more classes than shots.
    """
    available = len(split.train)
    positive = split.train.rows["labels"].list.max().fill_null(0).to_numpy() > 0.5
    classes = len(np.unique(positive))
    if not classes <= shots <= available:
        raise DataError(
            f"few_shot(shots={shots}): right is {classes} (one of each class) to {available} "
            "(the train requests)"
        )
    order = np.random.default_rng(seed).permutation(available)
    chosen = order[:shots]
    if len(np.unique(positive[chosen])) < classes:
        other = order[shots:][positive[order[shots:]] != positive[chosen[0]]]
        chosen = np.append(chosen[:-1], other[0])
    note = f"train: {shots} requests drawn with seed {seed}"
    card = replace(
        split.card,
        counts={**split.card.counts, "train": shots},
        notes=(*split.card.notes, note),
    )
    return replace(split, train=split.train.take(np.sort(chosen)), card=card)
