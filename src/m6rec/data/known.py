"""What a data set knows of a user and of its items as it stands, for answers rather than splits."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import numpy as np
import polars as pl

from m6rec.data.requests import POOL_SCHEMA
from m6rec.data.tables import Dataset
from m6rec.data.userlog import UserLog
from m6rec.data.verdicts import Scale, acted, people, scale_of, told
from m6rec.records import Event, Request

Found = TypeVar("Found")


def once(read: Callable[[Dataset], Found]) -> Callable[[Dataset], Found]:
    """Keeps what is read of a data set beside it: tables do not change, and calls are many.

    A data set with other tables (`dataclasses.replace`) is another one.
    """
    name = f"known_{read.__name__}"

    @wraps(read)
    def known(dataset: Dataset) -> Found:
        kept = vars(dataset)
        if name not in kept:
            kept[name] = read(dataset)
        found: Found = kept[name]
        return found

    return known


@once
def user_log(dataset: Dataset) -> UserLog | None:
    """What every user did; what was only shown is left out. None without a log."""
    if dataset.events is None:
        return None
    names = [name for name in ("user_id", *POOL_SCHEMA) if name in dataset.events.columns]
    events = dataset.events.select(names)
    return UserLog(events.filter(told(events)))


def own_events(dataset: Dataset, user_id: str) -> tuple[Event, ...]:
    """All that a user did, oldest first; what was only shown is left out."""
    log = user_log(dataset)
    return () if log is None else log.events(user_id)


@once
def popularity(dataset: Dataset) -> np.ndarray | None:
    """How many people said yes to each item and stayed with it (verdicts.py): float32 [I].

    A person counts once, however often they come back. None without a log.
    """
    if dataset.events is None:
        return None
    found = dataset.items.select("item_id").join(
        people(dataset.events), on="item_id", how="left", maintain_order="left"
    )
    counts_I = found["len"].fill_null(0).to_numpy().astype(np.float32)
    counts_I.flags.writeable = False
    return counts_I


def some_histories(dataset: Dataset, count: int, seed: int = 0) -> list[Request]:
    """What some users did, drawn by seed: users of at least two events, where there are any."""
    if dataset.events is None or not count:
        return []
    acts = dataset.events.filter(acted(dataset.events))
    users = acts.group_by("user_id").len().filter(pl.col("len") > 1)["user_id"].drop_nulls().sort()
    chosen = users.sample(min(count, len(users)), shuffle=True, seed=seed)
    return [Request(own_events(dataset, user), user) for user in chosen]


@once
def rating_scale(dataset: Dataset) -> Scale:
    """Of the ratings in the log (verdicts.py); up to 5 without a log."""
    return Scale() if dataset.events is None else scale_of(dataset.events)


@once
def item_places(dataset: Dataset) -> dict[str, int]:
    """Row of every item of the catalogue."""
    return {item_id: row for row, item_id in enumerate(dataset.items["item_id"].to_list())}
