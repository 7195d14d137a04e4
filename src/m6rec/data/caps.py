"""A cap on the events of a user: a bot that clicks 50,000 times is one user, not a crowd."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real

import numpy as np

from m6rec.data import cut
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset

RIGHT_CAP = "right is a number of events (200) or a share of all events (0.01, 1%)"


def parse_cap(text: str | None) -> int | float | None:
    """`200`, `0.01` or `1%` as a cap. Raises DataError for all else."""
    if text is None:
        return None
    words = text.strip()
    percent = words.endswith("%")
    try:
        value = float(words.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        raise DataError(f"max_events_per_user = {text!r}: {RIGHT_CAP}") from None
    if percent and value >= 1:
        raise DataError(f"max_events_per_user = {text!r}: {RIGHT_CAP}")
    check_cap(value)
    return int(value) if value >= 1 else value


def check_cap(cap: int | float | None) -> None:
    """Raises DataError for what is no cap."""
    if cap is None:
        return
    is_number = isinstance(cap, Real) and not isinstance(cap, bool) and math.isfinite(cap)
    if is_number and ((cap >= 1 and cap == int(cap)) or 0 < cap < 1):
        return
    raise DataError(f"max_events_per_user = {cap!r}: {RIGHT_CAP}")


def capped(dataset: Dataset, cap: int | float | None) -> Dataset:
    """The data set with at most the newest `cap` events of each user (below 1: so large a share of
    all events, at least one). Its `cuts` say so. Raises DataError for what is no cap."""
    check_cap(cap)
    if cap is None or dataset.events is None:
        return dataset
    events = dataset.events
    limit = int(cap) if cap >= 1 else max(1, int(cap * events.height))
    first = cut.first_of_user(events)
    kept = cut.newest_per_user(np.arange(events.height), first, limit)
    left_out = events.height - len(kept)
    counts = np.diff(np.append(np.flatnonzero(first), events.height))
    users = int((counts > limit).sum())
    share = f" ({cap:g} of all events)" if cap < 1 else ""
    words = f"max_events_per_user {limit}{share}: {left_out} older events of {users} users left out"
    events = events[kept] if left_out else events
    return replace(dataset, events=events, cuts=(*dataset.cuts, words))
