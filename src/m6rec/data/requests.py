"""Requests in columns: histories are slices of one shared event pool, so a million cost little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.records import Candidate, Event, Request

POOL_SCHEMA: dict[str, pl.DataType] = {
    "event": pl.String(),
    "item_id": pl.String(),
    "text": pl.String(),
    "query": pl.String(),
    "timestamp": pl.Float64(),
    "value": pl.Float64(),
}
ROW_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "timestamp": pl.Float64(),
    "start": pl.Int64(),
    "stop": pl.Int64(),
    "target": pl.String(),
    "item_ids": pl.List(pl.String()),
    "texts": pl.List(pl.String()),
    "labels": pl.List(pl.Float64()),
}


@dataclass(frozen=True)
class Requests:
    """R requests over a pool of events.

    pool: POOL_SCHEMA, each user's events next to each other, oldest first.
    rows: ROW_SCHEMA; the history of request i is pool[start_i:stop_i]. `item_ids`, `texts` and
    `labels` are parallel lists of its candidates (all empty for retrieval), `target` the item
    that followed (null for ranking).
    """

    pool: pl.DataFrame
    rows: pl.DataFrame

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Requests:
        """Requests given one by one, as a server gets them."""
        events = [event for request in requests for event in request.history]
        pool = {name: [getattr(event, name) for event in events] for name in POOL_SCHEMA}
        length = np.array([len(request.history) for request in requests], dtype=np.int64)
        stop = np.cumsum(length)
        asked = [request.candidates for request in requests]
        rows = {
            "user_id": [request.user_id for request in requests],
            "timestamp": [request.timestamp for request in requests],
            "start": stop - length,
            "stop": stop,
            "target": [request.target for request in requests],
            "item_ids": [[candidate.item_id for candidate in some] for some in asked],
            "texts": [[candidate.text for candidate in some] for some in asked],
            "labels": [
                list(request.labels) or [0.0] * len(request.candidates) for request in requests
            ],
        }
        return cls(pl.DataFrame(pool, schema=POOL_SCHEMA), pl.DataFrame(rows, schema=ROW_SCHEMA))

    def __len__(self) -> int:
        return self.rows.height

    def __iter__(self) -> Iterator[Request]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Request:
        row = self.rows.row(index, named=True)
        events = self.pool[row["start"] : row["stop"]].rows(named=True)
        return Request(
            history=tuple(Event(**event) for event in events),
            user_id=row["user_id"],
            timestamp=row["timestamp"],
            target=row["target"],
            candidates=tuple(
                Candidate(item_id, text)
                for item_id, text in zip(row["item_ids"], row["texts"], strict=True)
            ),
            labels=tuple(row["labels"]),
        )

    def __add__(self, other: Requests) -> Requests:
        shift = self.pool.height
        moved = other.rows.with_columns(pl.col("start") + shift, pl.col("stop") + shift)
        return Requests(pl.concat([self.pool, other.pool]), pl.concat([self.rows, moved]))

    def take(self, indices: np.ndarray | slice) -> Requests:
        """The chosen requests over the same pool (nothing is copied but the rows)."""
        return Requests(self.pool, self.rows[indices])

    def blocks(self, size: int) -> Iterator[Requests]:
        """Consecutive blocks of at most `size` requests."""
        return (self.take(slice(i, i + size)) for i in range(0, len(self), size))

    def history_codes(self, item_ids: list[str], max_history: int) -> tuple[np.ndarray, np.ndarray]:
        """Catalogue positions of each history's newest events, for models that work on indices.

        Returns codes int64 [R, max_history] (newest last, -1 where empty or not in `item_ids`)
        and lengths int64 [R].
        """
        lookup = pl.DataFrame(
            {"item_id": item_ids, "code": np.arange(len(item_ids))},
            schema={"item_id": pl.String(), "code": pl.Int64()},
        )
        joined = self.pool.select("item_id").join(
            lookup, on="item_id", how="left", maintain_order="left"
        )
        pool_code = joined["code"].fill_null(-1).to_numpy()
        start, stop = self.rows["start"].to_numpy(), self.rows["stop"].to_numpy()
        position = stop[:, None] - np.arange(max_history, 0, -1)[None, :]
        inside = position >= start[:, None]
        if pool_code.size == 0:
            return np.full(position.shape, -1), np.zeros(len(self), dtype=np.int64)
        codes = np.where(inside, pool_code[np.where(inside, position, 0)], -1)
        return codes, inside.sum(1)

    def __repr__(self) -> str:
        return f"Requests({len(self)} over {self.pool.height} events)"
