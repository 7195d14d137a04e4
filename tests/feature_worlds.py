"""Logs and requests for the tests of cross features."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import strategies as st

from m6rec.data.labels import LabelRule
from m6rec.records import Candidate, Event, Request
from m6rec.text.templates import Templates

TEMPLATES = Templates.load()
KINDS, RATINGS = LabelRule(), LabelRule(event="rating", threshold=4.0)

LogRow = tuple[str, str, str, float | None, float | None, str | None]
"""user, item, kind, time, value, request"""
LOG_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event": pl.String,
    "timestamp": pl.Float64,
    "value": pl.Float64,
    "request_id": pl.String,
}


def log(rows: Sequence[LogRow]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=LOG_SCHEMA, orient="row")


def catalogue(**category: str | None) -> pl.DataFrame:
    """Items by id, with their category, and a brand that is the first letter of the id."""
    return pl.DataFrame(
        {
            "item_id": list(category),
            "title": list(category),
            "category": pl.Series(list(category.values()), dtype=pl.String),
            "brand": [name[0] for name in category],
        }
    )


def ask(
    *items: str | Candidate,
    user: str | None = "u",
    at: float | None = 100.0,
    history: Sequence[Event] = (),
) -> Request:
    candidates = tuple(Candidate(i) if isinstance(i, str) else i for i in items)
    return Request(tuple(history), user, at, None, candidates)


USERS, ITEMS = ("u", "v", "w"), ("a1", "a2", "b1", "c1", "lost")
TIMES = st.integers(0, 12).map(float)
EVENTS = ("impression", "click", "purchase", "dislike", "rating", "search", "share")
LOG_ROWS = st.tuples(
    st.sampled_from(USERS),
    st.sampled_from(ITEMS),
    st.sampled_from(EVENTS),
    TIMES,
    st.none() | st.integers(1, 5).map(float) | st.just(float("nan")),
    st.none() | st.sampled_from(("r1", "r2")),
)
HISTORIES = st.lists(
    st.builds(
        Event,
        st.sampled_from(EVENTS),
        item_id=st.none() | st.sampled_from((*ITEMS, "strange")),
        text=st.none() | st.sampled_from(("Toni Morrison", "a lamp", "Sula by Toni Morrison")),
        timestamp=st.none() | TIMES,
        value=st.none() | st.integers(1, 5).map(float),
    ),
    max_size=5,
)
CANDIDATES = st.builds(
    Candidate,
    item_id=st.none() | st.sampled_from((*ITEMS, "strange")),
    text=st.none() | st.sampled_from(("Jazz by Toni Morrison", "lamp")),
)
REQUESTS = st.builds(
    Request,
    history=HISTORIES.map(tuple),
    user_id=st.none() | st.sampled_from((*USERS, "nobody")),
    timestamp=st.none() | TIMES,
    candidates=st.lists(CANDIDATES, max_size=4).map(tuple),
)
CATALOGUE = catalogue(a1="Home > Garden", a2="Garden|Tools", b1=None, c1="Home")
