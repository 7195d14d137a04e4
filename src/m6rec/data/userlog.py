"""A log by user: where each user's events stand, found once, so that reading one costs the same in
a log of any length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from m6rec.data.cut import as_pool
from m6rec.data.requests import ROW_SCHEMA, Requests
from m6rec.records import Event


class UserLog:
    """Events of a log, each user's next to each other, in the order of the log.

    events: user_id and any of POOL_SCHEMA; rows without a user belong to nobody.
    """

    def __init__(self, events: pl.DataFrame) -> None:
        if not events["user_id"].is_sorted():
            events = events.sort("user_id", maintain_order=True)
        runs = events["user_id"].rle().struct.unnest()
        stops = runs["len"].cum_sum().cast(pl.Int64).to_numpy()
        self._bounds = np.append([0], stops)
        self._number = {name: number for number, name in enumerate(runs["value"].to_list())}
        self._number.pop(None, None)
        self.pool = as_pool(events)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._number

    def span(self, user_id: str) -> tuple[int, int]:
        """A user's events are rows start to stop of the pool; of an unknown user, no rows."""
        number = self._number.get(user_id)
        if number is None:
            return 0, 0
        return int(self._bounds[number]), int(self._bounds[number + 1])

    def events(self, user_id: str) -> tuple[Event, ...]:
        """What a user did, oldest first."""
        start, stop = self.span(user_id)
        rows = self.pool.slice(start, stop - start).rows(named=True)
        return tuple(Event(**row) for row in rows)

    def requests(self, user_ids: Sequence[str]) -> Requests:
        """A request of each user with all that they did, over a pool of these users alone."""
        spans = np.array([self.span(user_id) for user_id in user_ids], np.int64).reshape(-1, 2)
        lengths = spans[:, 1] - spans[:, 0]
        stops = np.cumsum(lengths)
        # Row i of the new pool is row i + (start - new start) of the log's, for its user.
        places = np.arange(int(lengths.sum())) + np.repeat(spans[:, 0] - stops + lengths, lengths)
        empty: list[list[str]] = [[] for _ in user_ids]
        rows = {
            "user_id": list(user_ids),
            "timestamp": [None] * len(user_ids),
            "start": stops - lengths,
            "stop": stops,
            "target": [None] * len(user_ids),
            **dict.fromkeys(("item_ids", "texts", "labels"), empty),
        }
        return Requests(self.pool[places], pl.DataFrame(rows, schema=ROW_SCHEMA))
