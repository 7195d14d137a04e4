"""Writes the shop as canonical tables into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import polars as pl

from m6rec.data.schema import DataError
from m6rec.data.shop.behaviour import Log, Searched, simulate
from m6rec.data.shop.dialogues import dialog_rows
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.searching import Search
from m6rec.data.shop.world import SIZES, ShopSize, World, build_world
from m6rec.data.shop.writing import review_rows
from m6rec.data.tables import write_table

__all__ = ["SIZES", "ShopSize", "generate_shop"]

VERSION = 1
"""Goes up when the same seed gives another shop."""
Progress = Callable[[str, float], None]
"""Called with the name of a step and the share of it that is done."""

EVENT_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "event": pl.String(),
    "timestamp": pl.Float64(),
    "value": pl.Float64(),
    "query": pl.String(),
    "request_id": pl.String(),
    "position": pl.Int64(),
}
QUERY_SCHEMA: dict[str, pl.DataType] = {
    "query": pl.String(),
    "item_id": pl.String(),
    "relevance": pl.Float64(),
    "user_id": pl.String(),
    "timestamp": pl.Float64(),
}
REVIEW_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "rating": pl.Float64(),
    "timestamp": pl.Float64(),
    "text": pl.String(),
    "feature": pl.String(),
    "explanation": pl.String(),
}


def generate_shop(
    folder: str | Path,
    *,
    size: Literal["tiny", "small", "full"] | ShopSize = "full",
    seed: int = 0,
    progress: Progress = lambda step, share: None,
) -> None:
    """Writes items, events, users, reviews, queries (Parquet), dialogs.jsonl and templates.toml.

    The same size and seed give the same content, on every machine. The folder is made where it is
    not there; files of these names in it are replaced. Raises DataError for an unknown size.
    """
    if isinstance(size, str) and size not in SIZES:
        raise DataError(f"shop size {size!r}: right is one of {', '.join(SIZES)}, or a ShopSize")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    progress("catalogue", 0.0)
    world = build_world(size if isinstance(size, ShopSize) else SIZES[size], seed)
    progress("catalogue", 1.0)
    log = simulate(world, lambda share: progress("visits", share))
    progress("texts", 0.0)
    tables = {
        "items": items_table(world),
        "users": users_table(world),
        "events": events_table(world, log),
        "reviews": pl.DataFrame(review_rows(world, log.ratings), REVIEW_SCHEMA),
        "queries": queries_table(world, log.searches),
    }
    for name, table in tables.items():
        if table.height:  # a table without rows is an error to `load`, no table is none
            write_table(table, folder / f"{name}.parquet")
    dialogs = dialog_rows(world, world.size.dialogs, log.ratings)
    _write_text(folder / "dialogs.jsonl", (json.dumps(d, ensure_ascii=False) for d in dialogs))
    _write_text(folder / "templates.toml", ['extends = "shop"'])
    counts = {name: table.height for name, table in tables.items()} | {"dialogs": len(dialogs)}
    card = {"shop": VERSION, "size": vars(world.size), "seed": seed, "rows": counts}
    _write_text(folder / "shop.json", [json.dumps(card, indent=1)])
    progress("texts", 1.0)


def items_table(world: World) -> pl.DataFrame:
    """The canonical items."""
    return pl.DataFrame(
        {
            "item_id": [item.item_id for item in world.items],
            "title": [item.title for item in world.items],
            "category": [item.category for item in world.items],
            "brand": [item.brand.name for item in world.items],
            "description": [item.description for item in world.items],
            "price": [item.price for item in world.items],
            "available_from": [item.available_from for item in world.items],
        },
        schema_overrides={"price": pl.Float64(), "available_from": pl.Float64()},
    )


def users_table(world: World) -> pl.DataFrame:
    """The canonical users: what they said at sign-up, null where they did not say."""
    rows = [{"user_id": shopper.user_id, **shopper.attributes} for shopper in world.shoppers]
    return pl.DataFrame(rows, infer_schema_length=None)


def events_table(world: World, log: Log) -> pl.DataFrame:
    """The canonical events in the order they happened."""
    ids = [item.item_id for item in world.items]
    rows = [
        (event.user_id, None if event.item is None else ids[event.item], *event[2:])
        for event in log.events
    ]
    table = pl.DataFrame(rows, EVENT_SCHEMA, orient="row")
    return table.sort("timestamp", "user_id", maintain_order=True)


def queries_table(world: World, searches: list[Searched]) -> pl.DataFrame:
    """Clicked answers with their user and time, then judged answers to every distinct query.

    relevance: 3 as asked for, 2 the right kind of thing, 1 the same department.
    """
    rows: list[tuple[object, ...]] = []
    distinct: dict[str, Search] = {}
    for searched in searches:
        distinct.setdefault(searched.search.text, searched.search)
        for number in searched.clicked:
            item = world.items[number]
            relevance = searched.search.answered_by(item)
            who = (searched.shopper.user_id, searched.time)
            rows.append((searched.search.text, item.item_id, relevance, *who))
    draws = Draws(world.seed, "judgements")
    by_department: dict[str, list[int]] = {}
    for number, item in enumerate(world.items):
        by_department.setdefault(item.kind.department, []).append(number)
    for text in sorted(distinct):
        search = distinct[text]
        judged: dict[float, list[int]] = {}
        for number in by_department[search.kind.department]:
            judged.setdefault(search.answered_by(world.items[number]), []).append(number)
        for relevance in sorted(judged, reverse=True):
            number = draws.pick(judged[relevance])
            rows.append((text, world.items[number].item_id, relevance, None, None))
    return pl.DataFrame(rows, QUERY_SCHEMA, orient="row")


def _write_text(path: Path, lines: Iterable[str]) -> None:
    """Whole or not at all, with the same line ends everywhere."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
    unfinished.replace(path)
