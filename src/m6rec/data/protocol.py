"""The card of a split, and the hash that tells whether two splits judge by the same rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from m6rec.data.requests import Requests

HASH_ROWS = 100_000
NO_EVENTS = pl.DataFrame(
    schema={
        "user_id": pl.String,
        "item_id": pl.String,
        "event": pl.String,
        "timestamp": pl.Float64,
        "value": pl.Float64,
    }
)
FIELD, PART = "\x1f", "\x1e"
"""Control characters as separators: words do not contain them."""


@dataclass(frozen=True)
class Pieces:
    """What a way of splitting hands over, and how it says so on the card."""

    train: Requests
    valid: Requests
    test: Requests
    train_events: pl.DataFrame
    how: str
    same_time: Literal["keep", "exclude"]
    notes: tuple[str, ...] = ()

    def with_train(self, train: Requests, events: pl.DataFrame, note: str) -> Pieces:
        """The same valid and test beside other train material."""
        return replace(self, train=train, train_events=events, notes=(*self.notes, note))

    def without_valid(self, nothing: Requests) -> Pieces:
        """The same pieces with an empty valid part."""
        return replace(self, valid=nothing)


def split_hash(valid: Requests, test: Requests) -> str:
    """sha256 over user, time (ms), target or candidates with labels, and part, in order.

    Blocks keep memory flat; text is hashed as UTF-8, so processes and machines agree.
    """
    digest = hashlib.sha256()
    for name, requests in (("valid", valid), ("test", test)):
        for block in requests.rows.iter_slices(HASH_ROWS):
            lines = block.select(_line(name)).to_series().str.join("\n").item()
            digest.update(lines.encode())
            digest.update(b"\n")
    return digest.hexdigest()


def _line(part: str) -> pl.Expr:
    milliseconds = (pl.col("timestamp") * 1000).round().cast(pl.Int64).cast(pl.String)
    # Labels in millionths as integers: the words for a float may change between versions.
    labels = (pl.col("labels").list.eval(pl.element() * 1e6).cast(pl.List(pl.Int64))).cast(
        pl.List(pl.String)
    )
    lists = [pl.col("item_ids"), pl.col("texts"), labels]
    words = [
        pl.col("user_id").fill_null(""),
        milliseconds.fill_null(""),
        pl.col("target").fill_null(""),
        *(_joined(column) for column in lists),
        pl.lit(part),
    ]
    return pl.concat_str(words, separator=FIELD)


def _joined(column: pl.Expr) -> pl.Expr:
    return column.list.eval(pl.element().fill_null("")).list.join(PART)
