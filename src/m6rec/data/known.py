"""What a data set knows of a user and of its items as it stands, for answers rather than splits."""

from __future__ import annotations

import numpy as np
import polars as pl

from m6rec.data.requests import POOL_SCHEMA
from m6rec.data.tables import Dataset
from m6rec.data.verdicts import acted, people, told
from m6rec.records import Event, Request


def own_events(dataset: Dataset, user_id: str) -> tuple[Event, ...]:
    """All that a user did, oldest first; what was only shown is left out."""
    if dataset.events is None:
        return ()
    own = dataset.events.filter(pl.col("user_id") == user_id)
    own = own.filter(told(own))
    names = [name for name in POOL_SCHEMA if name in own.columns]
    return tuple(Event(**row) for row in own.select(names).rows(named=True))


def popularity(dataset: Dataset) -> np.ndarray | None:
    """How many people said yes to each item and stayed with it (verdicts.py): float32 [I].

    A person counts once, however often they come back. None without a log.
    """
    if dataset.events is None:
        return None
    found = dataset.items.select("item_id").join(
        people(dataset.events), on="item_id", how="left", maintain_order="left"
    )
    return found["len"].fill_null(0).to_numpy().astype(np.float32)


def some_histories(dataset: Dataset, count: int, seed: int = 0) -> list[Request]:
    """What some users did, drawn by seed: users of at least two events, where there are any."""
    if dataset.events is None or not count:
        return []
    acts = dataset.events.filter(acted(dataset.events))
    users = acts.group_by("user_id").len().filter(pl.col("len") > 1)["user_id"].drop_nulls().sort()
    chosen = users.sample(min(count, len(users)), shuffle=True, seed=seed)
    return [Request(own_events(dataset, user), user) for user in chosen]
