"""Requests → segments: the one place where histories, profiles and candidates become rows.

Legend: R requests, H events of a history, E events of a pool, I items, G segments of a request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec.data.requests import Requests
from m6rec.data.verdicts import Scale
from m6rec.model import plans
from m6rec.model.plans import Packed
from m6rec.records import Candidate, Event
from m6rec.tasks.segments import SegmentTable
from m6rec.text.phrases import RECENCY
from m6rec.text.verbalize import Verbalizer

EVENT_KEYS = ("event", "item_id", "text", "query", "value")
FEW = 1000


class Packer:
    """Writes requests as rows of one segment table.

    code_of: item id → row of the collaborative residual; items it lacks get -1. recency: whether
    events say how long before the request they happened, which makes more distinct segments.
    """

    def __init__(
        self,
        table: SegmentTable,
        verbalizer: Verbalizer,
        max_history: int,
        code_of: dict[str, int] | None = None,
        profile: bool = True,
        recency: bool = False,
    ) -> None:
        self.table, self.verbalizer = table, verbalizer
        self.max_history, self.profile, self.recency = max_history, profile, recency
        self.code_of = code_of or {}
        self._row_of = np.full(1, -1)
        self._pool: pl.DataFrame | None = None
        self._pool_events: tuple[np.ndarray, list[Event]] | None = None

    @property
    def scale(self) -> Scale:
        """Of ratings in histories: the one that the templates know."""
        return Scale(float(self.verbalizer.templates.word("scale")))

    def budget(self, kind: str) -> int:
        """Tokens that a segment of this kind may have."""
        return self.verbalizer.templates.budget(kind)

    def source(self, requests: Requests) -> Columns:
        """Profile, then the newest events (oldest first), then [EOS']."""
        key_E, events = self._events(requests.pool)
        start = requests.rows["start"].to_numpy()
        stop = requests.rows["stop"].to_numpy()
        longest = int((stop - start).max()) if len(requests) else 0
        H = max(1, min(self.max_history, longest))
        place_RH = stop[:, None] - np.arange(H, 0, -1)[None, :]
        inside_RH = place_RH >= start[:, None]
        if not events:
            inside_RH, key_E, events = (
                np.zeros_like(inside_RH),
                np.zeros(1, int),
                [Event("context")],
            )
        safe_RH = np.where(inside_RH, place_RH, 0)
        key_RH = key_E[safe_RH]
        ago_RH = self._ago(requests, safe_RH) if self.recency else np.full(key_RH.shape, -1)
        config = self.table.model.config
        slots_H = [plans.slot("event", H - 1 - h, config) for h in range(H)]
        code_K = [self.code_of.get(e.item_id, -1) if e.item_id else -1 for e in events]
        history = Columns(
            self._told(key_RH, ago_RH, inside_RH, events),
            np.tile(np.array(slots_H), (len(requests), 1)),
            np.where(inside_RH, np.array(code_K, dtype=np.int64)[key_RH], -1),
        )
        parts = [history, read_column(len(requests), plans.READ_SOURCE)]
        return join(([self._profiles(requests)] if self.profile else []) + parts)

    def items(self, texts: Sequence[str], item_ids: Sequence[str | None]) -> Columns:
        """The text of one item per row (its [EOS] comes after its last segment)."""
        return self._items(self.table.add(texts, self.budget("item")), item_ids)

    def candidates(self, item_ids: Sequence[str | None], texts: Sequence[str | None]) -> Columns:
        """Items of requests, by catalogue id or by free text; rendered once for each."""
        place_I = np.array(self.verbalizer.item_rows(item_ids), dtype=np.int64)
        most = int(place_I.max(initial=-1)) + 2  # the last one is that of items without a row
        if most > len(self._row_of):
            more = np.full(max(most, 2 * len(self._row_of)) - len(self._row_of), -1)
            self._row_of = np.append(self._row_of[:-1], np.append(more, -1))
        rows_I = self._row_of[place_I]
        fresh = np.flatnonzero(rows_I < 0).tolist()
        if fresh:
            pairs = [(item_ids[i], texts[i]) for i in fresh]
            told = {p: self.verbalizer.item(Candidate(*p)).text for p in dict.fromkeys(pairs)}
            rows_I[fresh] = self.table.add([told[pair] for pair in pairs], self.budget("item"))
            known = [i for i in fresh if place_I[i] >= 0]
            self._row_of[place_I[known]] = rows_I[known]
        return self._items(rows_I, item_ids)

    def _items(self, rows_I: np.ndarray, item_ids: Sequence[str | None]) -> Columns:
        code_of = self.code_of
        codes_I = np.full(len(rows_I), -1)
        if code_of:
            codes_I[:] = [code_of.get(i, -1) if i else -1 for i in item_ids]
        slots_I = np.full(len(rows_I), plans.SLOTS["item"])
        return Columns(rows_I[:, None], slots_I[:, None], codes_I[:, None])

    def _profiles(self, requests: Requests) -> Columns:
        users = requests.rows["user_id"].to_list()
        texts = {user: self.verbalizer.profile(user) for user in set(users)}
        known = sorted({segment.text for segment in texts.values() if segment is not None})
        rows = dict(zip(known, self.table.add(known, self.budget("profile")), strict=True))
        index_R = np.array(
            [-1 if (s := texts[user]) is None else rows[s.text] for user in users], dtype=np.int64
        )
        slots = np.full_like(index_R, plans.SLOTS["profile"])
        return Columns(index_R[:, None], slots[:, None], np.full_like(slots, -1)[:, None])

    def _events(self, pool: pl.DataFrame) -> tuple[np.ndarray, list[Event]]:
        """Distinct events K of the pool, and which of them every row is: int64 [E]."""
        if self._pool is not pool or self._pool_events is None:
            if pool.height < FEW:  # a join takes milliseconds
                places: dict[tuple[Any, ...], int] = {}
                told = zip(*(pool[name].to_list() for name in EVENT_KEYS), strict=True)
                few = np.array([places.setdefault(e, len(places)) for e in told], dtype=np.int64)
                named = [dict(zip(EVENT_KEYS, event, strict=True)) for event in places]
                self._pool, self._pool_events = pool, (few, [Event(**event) for event in named])
                return self._pool_events
            keys = pool.select(EVENT_KEYS)
            distinct = keys.unique(maintain_order=True).with_row_index("key")
            which = keys.join(
                distinct, on=EVENT_KEYS, how="left", nulls_equal=True, maintain_order="left"
            )["key"].to_numpy()
            events = [Event(**row) for row in distinct.select(EVENT_KEYS).rows(named=True)]
            self._pool, self._pool_events = pool, (which.astype(np.int64), events)
        return self._pool_events

    def _ago(self, requests: Requests, place_RH: np.ndarray) -> np.ndarray:
        """Which phrase says how long ago an event was: int64 [R, H], -1 where no time is known."""
        if not requests.pool.height:
            return np.full(place_RH.shape, -1)
        now_R = requests.rows["timestamp"].fill_null(float("nan")).to_numpy()
        time_E = requests.pool["timestamp"].fill_null(float("nan")).to_numpy()
        seconds_RH = now_R[:, None] - time_E[place_RH]
        limits = np.array([limit for limit, _ in RECENCY])
        phrase_RH = np.searchsorted(limits, seconds_RH, side="right")
        return np.where(np.isfinite(seconds_RH), phrase_RH, -1)

    def _told(
        self, key_RH: np.ndarray, ago_RH: np.ndarray, inside_RH: np.ndarray, events: list[Event]
    ) -> np.ndarray:
        """Table rows of events in words: int64 [R, H], -1 outside. One text for each distinct one.

        An event is told as of the beginning of its phrase: yesterday is a day ago.
        """
        begins = np.array([np.nan, 0.0, *(limit for limit, _ in RECENCY)])
        pair_RH = np.where(inside_RH, key_RH * len(begins) + ago_RH + 1, -1)
        distinct, inverse = np.unique(pair_RH, return_inverse=True)
        texts = []
        for pair in distinct[distinct >= 0].tolist():
            event, seconds = events[pair // len(begins)], float(begins[pair % len(begins)])
            known = math.isfinite(seconds)
            event = replace(event, timestamp=0.0) if known else event  # events here have no time
            texts.append(self.verbalizer.event(event, seconds if known else None, 0).text)
        rows = self.table.add(texts, self.budget("event"))
        outside = np.full(int((distinct < 0).sum()), -1)
        found: np.ndarray = np.concatenate([outside, rows])[inverse].reshape(key_RH.shape)
        return found


class Columns:
    """Segments of R requests, side by side: row in the table, slot, residual code; int64 [R, G]."""

    def __init__(self, index: np.ndarray, slot: np.ndarray, code: np.ndarray) -> None:
        self.index, self.slot, self.code = index, slot, code

    def __len__(self) -> int:
        return len(self.index)

    def repeat(self, rows: np.ndarray) -> Columns:
        """The chosen rows, in the given order; a row may come often."""
        return Columns(self.index[rows], self.slot[rows], self.code[rows])


def read_column(requests: int, row: int) -> Columns:
    """The read token [EOS'] or [EOS] (row 0 or 1 of the table) for each request."""
    slot = plans.READ_SOURCE_SLOT if row == plans.READ_SOURCE else plans.READ_TARGET_SLOT
    shape = (requests, 1)
    return Columns(np.full(shape, row), np.full(shape, slot), np.full(shape, -1))


def join(parts: Sequence[Columns]) -> Columns:
    """Columns next to each other."""
    return Columns(
        np.concatenate([p.index for p in parts], 1),
        np.concatenate([p.slot for p in parts], 1),
        np.concatenate([p.code for p in parts], 1),
    )


def pack(groups: Sequence[Columns], first_group: int = 0) -> Packed:
    """Columns of the source and of each candidate → Packed; each group ends with its read token.

    first_group = 1 packs candidates without a source (the item tower of retrieval).
    """
    whole = join(groups)
    widths = [g.index.shape[1] for g in groups]
    group_G = np.repeat(np.arange(first_group, first_group + len(groups)), widths)
    read_Q = np.cumsum(widths) - 1
    R = len(whole)
    return Packed(
        index_BG=torch.from_numpy(whole.index),
        slot_BG=torch.from_numpy(whole.slot),
        group_BG=torch.from_numpy(np.tile(group_G, (R, 1))),
        read_BQ=torch.from_numpy(np.tile(read_Q, (R, 1))),
        code_BG=torch.from_numpy(whole.code),
    )
