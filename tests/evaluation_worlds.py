"""Small splits made by hand, for the evaluation tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from m6rec.data.requests import POOL_SCHEMA, ROW_SCHEMA, Requests
from m6rec.data.splits import Split
from m6rec.records import ProtocolCard

History = Sequence[str]


def card(task: str = "retrieve", seen_items: str = "kept") -> ProtocolCard:
    return ProtocolCard(
        dataset="by hand",
        task=task,
        split="leave-one-out",
        sort="timestamp, row",
        filters=(),
        seen_items=seen_items,  # type: ignore[arg-type]
        candidates="all items",
        max_history=10,
        counts={"items": 5},
        split_hash="0" * 16,
    )


def event(item_id: str | None, **fields: object) -> dict[str, object]:
    return dict.fromkeys(POOL_SCHEMA) | {"event": "purchase", "item_id": item_id} | fields


def requests(rows: Sequence[dict[str, object]]) -> Requests:
    """Rows of {history: [item id or event dictionary], and any field of ROW_SCHEMA}."""
    pool: list[dict[str, object]] = []
    table = []
    for row in rows:
        history = row.get("history", ())
        events = [h if isinstance(h, dict) else event(h) for h in history]  # type: ignore[attr-defined]
        fields = {key: value for key, value in row.items() if key != "history"}
        empty = {"item_ids": [], "texts": [], "labels": []}
        span = {"start": len(pool), "stop": len(pool) + len(events)}
        table.append(dict.fromkeys(ROW_SCHEMA) | empty | span | fields)
        pool.extend(events)
    return Requests(pl.DataFrame(pool, POOL_SCHEMA), pl.DataFrame(table, ROW_SCHEMA))


def split(
    items: Sequence[str],
    train: Sequence[tuple[str, str]],
    test: Sequence[dict[str, object]],
    valid: Sequence[dict[str, object]] = (),
    train_requests: Sequence[dict[str, object]] = (),
    task: str = "retrieve",
    seen_items: str = "kept",
    times: Sequence[float] | None = None,
) -> Split:
    """`train`: (user, item) events in order."""
    events = pl.DataFrame(
        {
            "user_id": [user for user, _ in train],
            "item_id": [item for _, item in train],
            "event": ["purchase"] * len(train),
            "timestamp": list(times) if times is not None else [None] * len(train),
        },
        schema_overrides={"timestamp": pl.Float64()},
    )
    return Split(
        train=requests(train_requests),
        valid=requests(valid),
        test=requests(test),
        train_events=events,
        items=pl.DataFrame({"item_id": list(items), "title": list(items)}),
        train_item_ids=frozenset(item for _, item in train),
        users=None,
        card=card(task, seen_items),
    )


def replace_card(split: Split, **fields: object) -> Split:
    """The same split with other fields on its card."""
    return replace(split, card=replace(split.card, **fields))  # type: ignore[arg-type]
