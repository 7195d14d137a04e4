"""Histories in two parts: what a user was for, and what they were against (verdicts.py).

Retrieval and baselines look for what is near the one and away from the other. What happens after a
request changes nothing in it: an event counts as taken back only where that stands in its history.

Legend: E events of the pool, R requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.kinds import Verdict
from m6rec.data.requests import Requests
from m6rec.data.verdicts import Scale, said_of, taken_back
from m6rec.records import Event

AGAINST = 0.5
"""Share of the likeness to what a user is against that is taken off, where they are for something;
all of it where they are for nothing. Chosen on the valid rows of ml100k (docs/dev/log.md)."""


@dataclass(frozen=True)
class Stances:
    """The same R requests twice. liked: all that is told but what is against an item, only shown,
    or taken back (a search and a middling rating are among it). disliked: every no that stands;
    None where no history has one."""

    liked: Requests
    disliked: Requests | None

    @property
    def is_blank(self) -> np.ndarray:
        """Whether a request says nothing that its user is for: bool [R]."""
        return np.asarray(_lengths(self.liked) == 0)

    @property
    def is_against(self) -> np.ndarray:
        """Whether a request says anything that its user is against: bool [R]."""
        if self.disliked is None:
            return np.zeros(len(self.liked), dtype=bool)
        return np.asarray(_lengths(self.disliked) > 0)

    @property
    def named(self) -> list[frozenset[str]]:
        """What each request is against by name: ids, and words in lower case."""
        names = [frozenset[str]()] * len(self.liked)
        if self.disliked is not None:
            for row in np.flatnonzero(self.is_against).tolist():
                names[row] = names_of(self.disliked[row].history)
        return names


def names_of(history: Sequence[Event]) -> frozenset[str]:
    """Items by id, and by their words in lower case."""
    told = [(event.item_id, (event.text or "").strip().lower()) for event in history]
    return frozenset(name for pair in told for name in pair if name)


def stances(requests: Requests, scale: Scale | None = None) -> Stances:
    """Parts the histories of R requests. scale: of ratings; None: as the histories tell."""
    start, stop = (requests.rows[name].to_numpy() for name in ("start", "stop"))
    last = int(stop.max(initial=0))
    first = int(start.min(initial=last))
    pool = requests.pool[first:last]  # events of other requests over the same pool cost nothing
    said = said_of(pool, scale)
    by = taken_back(pool, said)
    told = np.isin(said.verdict, (Verdict.YES, Verdict.NEITHER))
    if told.all():
        return Stances(requests, None)
    near = _over(pool, requests, start - first, stop - first)
    no = said.verdict == Verdict.NO
    disliked = _part(near, no, by)
    return Stances(_part(near, told, by), disliked if len(disliked.pool) else None)


def _part(requests: Requests, keep: np.ndarray, by: np.ndarray) -> Requests:
    """The histories without events that are not kept (bool [E]), or are taken back by an event of
    the same history (by: int64 [E], its row)."""
    start, stop = (requests.rows[name].to_numpy() for name in ("start", "stop"))
    moved = np.concatenate([[0], np.cumsum(keep)])
    pool = requests.pool[np.flatnonzero(keep)]  # `filter` plans, which takes longer
    start, stop = moved[start], moved[stop]
    later = by[keep]
    undone = np.flatnonzero(later < len(by))
    rows = np.flatnonzero(np.searchsorted(undone, start) < np.searchsorted(undone, stop))
    if not rows.size:
        return _over(pool, requests, start, stop)
    end = requests.rows["stop"].to_numpy()
    own = [np.flatnonzero(later[start[row] : stop[row]] >= end[row]) + start[row] for row in rows]
    lengths = np.array([len(places) for places in own], dtype=np.int64)
    stop[rows] = len(pool) + np.cumsum(lengths)
    start[rows] = stop[rows] - lengths
    if any(map(len, own)):
        pool = pl.concat([pool, pool[np.concatenate(own)]])
    return _over(pool, requests, start, stop)


def _over(pool: pl.DataFrame, requests: Requests, start: np.ndarray, stop: np.ndarray) -> Requests:
    rows = requests.rows.clone()  # a plan of polars takes longer than the rows of one question
    for name, places in (("start", start), ("stop", stop)):
        rows.replace_column(rows.columns.index(name), pl.Series(name, places, dtype=pl.Int64))
    return Requests(pool, rows)


def _lengths(requests: Requests) -> np.ndarray:
    lengths: np.ndarray = (requests.rows["stop"] - requests.rows["start"]).to_numpy()
    return lengths
