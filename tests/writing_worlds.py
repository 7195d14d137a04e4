"""A shop of five goods whose users write: small enough to work figures out by hand."""

from __future__ import annotations

import polars as pl

from m6rec.data.tables import Dataset

THINGS = ("shoe", "tent", "lamp")
COLOURS = ("red", "blue", "green")


def dataset(users: int = 30) -> Dataset:
    """Goods such as "Red Tent" (category Tent); users who like one colour, buy, search, review.

    User n likes colour n mod 3, searches and buys a thing every day, and says of each that it is
    good for its colour, or (every third user) nothing.
    """
    items = pl.DataFrame(
        [
            {
                "item_id": f"{colour}-{thing}",
                "title": f"{colour} {thing}".title(),
                "category": thing.title(),
                "description": f"A {colour} {thing} of the good kind.",
            }
            for colour in COLOURS
            for thing in THINGS
        ]
    )
    events, reviews, queries = [], [], []
    for n in range(users):
        user, colour = f"u{n}", COLOURS[n % 3]
        for day in range(3):
            item, time = f"{colour}-{THINGS[(n + day) % 3]}", 86_400.0 * (day + 1)
            query = item.replace("-", " ")
            events.append((user, None, "search", time - 60, query))
            events.append((user, item, "purchase", time, None))
            queries.append((query, item, 3.0, user, time - 60))
            why = f"The user would enjoy the {colour} {THINGS[(n + day) % 3]} for its {colour}."
            reviews.append((user, item, 5.0, time + 60, "so good", colour, why))
    return Dataset(
        name="goods",
        items=items,
        users=pl.DataFrame(
            {"user_id": [f"u{n}" for n in range(users)], "home": ["tent", "house"] * (users // 2)}
        ),
        events=pl.DataFrame(
            events,
            {
                "user_id": pl.String, "item_id": pl.String, "event": pl.String,
                "timestamp": pl.Float64, "query": pl.String,
            },
            orient="row",
        ).with_columns(value=pl.lit(None, pl.Float64)),
        reviews=pl.DataFrame(
            reviews,
            ["user_id", "item_id", "rating", "timestamp", "text", "feature", "explanation"],
            orient="row",
        ),
        queries=pl.DataFrame(
            queries, ["query", "item_id", "relevance", "user_id", "timestamp"], orient="row"
        ),
    )  # fmt: skip
