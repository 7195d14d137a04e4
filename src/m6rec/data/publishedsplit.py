"""Published protocols: requests.SPLIT.jsonl as they stand, train from what lies before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from m6rec.data import cut
from m6rec.data.eventsplit import cut_train
from m6rec.data.log import prepare
from m6rec.data.options import SplitOptions, Task
from m6rec.data.protocol import NO_EVENTS, Pieces
from m6rec.data.published import read_requests, serves
from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset

NO_REQUESTS = Requests(
    pl.DataFrame(schema=dict(POOL_SCHEMA)), pl.DataFrame(schema=dict(ROW_SCHEMA))
)
KEYS = {"retrieve": "target", "rank": "candidates"}


def is_published(dataset: Dataset, task: Task) -> bool:
    """Whether there is a published test file with questions of this task."""
    return "test" in dataset.requests and serves(dataset.requests["test"], KEYS[task])


def cut_published(dataset: Dataset, task: Task, options: SplitOptions) -> Pieces:
    """Valid and test from the files; train from its file, the events before, or the valid file.

    Raises DataError where there is no test file for the task, a request is not sound, or a limit
    does not apply.
    """
    if not is_published(dataset, task):
        raise DataError(
            f"{dataset.name}: method 'published' needs requests.test.jsonl with the key "
            f"{KEYS[task]!r} for task {task!r}; use another method"
        )
    read = {
        name: _known_only(read_requests(path, options.max_history), dataset.items, path.name)
        for name, path in sorted(dataset.requests.items())
        if serves(path, KEYS[task])
    }
    learned = "train" in read or dataset.events is None
    if learned and options.max_train_per_user is not None:
        raise DataError(
            f"{dataset.name}: max_train_per_user is for train requests of events, and here they "
            "are those of a file; use max_train"
        )
    valid, test = read.get("valid", NO_REQUESTS), read["test"]
    how = "published: requests.valid.jsonl and requests.test.jsonl as they stand"
    pieces = Pieces(NO_REQUESTS, valid, test, NO_EVENTS, how, "keep")
    if "train" in read:
        train = _drawn(read["train"], options.max_train, options.seed)
        pieces = pieces.with_train(train, NO_EVENTS, "train: requests.train.jsonl")
    elif dataset.events is None:
        note = "train: the rows of requests.valid.jsonl (few-shot protocol); valid is empty"
        train = _drawn(valid, options.max_train, options.seed)
        pieces = pieces.with_train(train, NO_EVENTS, note).without_valid(NO_REQUESTS)
    else:  # train ends before the first of all requests, however few are judged
        pieces = _train_from_events(pieces, dataset, task, options)
    valid = _drawn(pieces.valid, options.max_eval, options.seed)
    test = _drawn(pieces.test, options.max_eval, options.seed)
    return replace(pieces, valid=valid, test=test)


def _drawn(requests: Requests, limit: int | None, seed: int) -> Requests:
    return requests.take(cut.draw(np.arange(len(requests)), limit, seed))


def _train_from_events(
    pieces: Pieces, dataset: Dataset, task: Task, options: SplitOptions
) -> Pieces:
    log = prepare(dataset, task, options)
    in_train, note = _before(log.events, pieces)
    log = log.where(in_train)
    exclude = options.same_time == "exclude"
    before = cut.histories(log.events, log.shown, options.max_history, exclude)
    everything = np.ones(log.events.height, dtype=bool)
    train = cut_train(log, everything, before, exclude, options)
    return pieces.with_train(train, log.events, note)


def _before(events: pl.DataFrame, pieces: Pieces) -> tuple[np.ndarray, str]:
    """bool [E]: events that are known to lie before the published requests."""
    if "split" in events.columns:
        in_train = events.select(pl.col("split").eq_missing("train")).to_series().to_numpy()
        return in_train, "train: prefixes of the events whose split is train"
    times = pl.concat([pieces.valid.rows["timestamp"], pieces.test.rows["timestamp"]])
    earliest = times.min()
    if times.null_count() == 0 and isinstance(earliest, float):
        in_train = (events["timestamp"] < earliest).fill_null(False).to_numpy()
        return in_train, f"train: events before the first published request ({earliest:.0f} s)"
    none = np.zeros(events.height, dtype=bool)
    return none, (
        "train is empty: the events have no split column and the requests no timestamp, so no "
        "event is known to lie before them"
    )


def _known_only(requests: Requests, items: pl.DataFrame, file: str) -> Requests:
    """Leaves past events out that no word describes. Raises DataError for unknown targets."""
    ids = items["item_id"].implode()
    row = requests.rows.with_row_index("row", offset=1)
    strange = row.filter(pl.col("target").is_not_null() & ~pl.col("target").is_in(ids))
    # Of an empty list some releases of polars make a row of nulls.
    some = row.filter(pl.col("item_ids").list.len() > 0)
    candidates = some.select("row", target="item_ids", text="texts").explode("target", "text")
    unknown = pl.col("target").is_null() | ~pl.col("target").is_in(ids)
    strange = pl.concat(
        [
            strange.select("row", "target"),
            candidates.filter(pl.col("text").is_null() & unknown).select("row", "target"),
        ]
    )
    if strange.height and requests.rows.height:
        number, item = strange.row(0)
        raise DataError(
            f"{file}, request {number}: item {item!r} has no row in the items table and no text "
            f"({strange.height} such); add the items (`m6rec check` shows all)"
        )
    told = pl.col("item_id").is_in(ids) | pl.col("text").is_not_null()
    told = told.fill_null(False) | pl.col("query").is_not_null()
    return cut.without_events(requests, requests.pool.select(told).to_series().to_numpy())
