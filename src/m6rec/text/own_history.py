"""What a request's own history says about its candidates, where no log knows the user.

Legend: R requests, N candidates of all requests in order, E events of the pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import polars as pl

from m6rec.text.agreement import Agreement
from m6rec.text.feature_table import Counts
from m6rec.text.past import PartsOf, Past
from m6rec.text.shared_words import shared
from m6rec.text.tally import Codes, Parts, Sums


def flat(lists: Sequence[Sequence[str | None]]) -> list[str | None]:
    """One list of many."""
    return list(chain.from_iterable(lists))


@dataclass(frozen=True)
class Questions:
    """Candidates of all requests, N: the row of their request and its time (nan: not known), their
    id and text.
    """

    request: np.ndarray
    now: np.ndarray
    ids: Sequence[str | None]
    texts: Sequence[str | None]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Questions:
        """rows: as in `Requests`."""
        ids, texts = (rows[name].to_list() for name in ("item_ids", "texts"))
        request = np.repeat(np.arange(rows.height), [len(some) for some in ids])
        now = rows["timestamp"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return cls(request, now[request], flat(ids), flat(texts))

    def __len__(self) -> int:
        return len(self.request)

    def in_order(self) -> Iterator[tuple[int, slice]]:
        """Requests that have candidates and a moment, by it: row, and slice of candidates."""
        if not len(self):
            return
        start = np.flatnonzero(np.diff(self.request, prepend=-1))
        stop = np.append(start[1:], len(self))
        for n in np.argsort(self.now[start], kind="stable").tolist():
            if not np.isnan(self.now[start[n]]):
                yield int(self.request[start[n]]), slice(int(start[n]), int(stop[n]))


class NameCodes(Protocol):
    """Strings → 0, 1, 2 …; -1 for those that are not among them."""

    def __len__(self) -> int: ...
    def of(self, names: Sequence[str | None]) -> np.ndarray: ...


class AnyCatalogue(Protocol):
    """What is asked of `Catalogue`, and of one that grows (live_catalogue.py)."""

    @property
    def items(self) -> NameCodes: ...
    @property
    def columns(self) -> Mapping[str, PartsOf]: ...


@dataclass(frozen=True)
class Catalogue:
    """Items as codes, and their parts in every column that cross features look at.

    Items that only the log names have codes too, and no parts. A column that says nothing of any
    item is left out.
    """

    items: Codes
    columns: dict[str, Parts]

    @classmethod
    def read(
        cls, items: pl.DataFrame, columns: Sequence[str], others: pl.Series | None = None
    ) -> Catalogue:
        """others: ids that the log names."""
        known = items["item_id"].cast(pl.String)
        codes = Codes(known if others is None else pl.concat([known, others]))
        there = [
            column
            for column in columns
            if column in items.columns and items[column].null_count() < items.height
        ]
        return cls(codes, {column: Parts(items[column]) for column in there})


def codes_of(items: NameCodes, ids: Sequence[str | None]) -> np.ndarray:
    """Codes of one column of ids, -1 for None; those that are not known come after."""
    return together(items, (), ids)[1]


def together(
    items: NameCodes, asked: Sequence[str | None], pool: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of two columns of ids; those known to neither catalogue nor log come after."""
    ids = [*asked, *pool]
    code = items.of(ids).copy()  # polars may lend its own memory, read-only
    after: dict[str, int] = {}
    for place in np.flatnonzero(code < 0).tolist():
        name = ids[place]
        if name is not None:
            code[place] = len(items) + after.setdefault(name, len(after))
    return code[: len(asked)], code[len(asked) :]


def count_histories(
    asked: Questions,
    pool: pl.DataFrame,
    rows: pl.DataFrame,
    catalogue: AnyCatalogue,
    added: Sums,
    recent: int,
    skip: np.ndarray,
) -> Counts:
    """Counts over the history of each request; what a log would say of everybody is empty.

    pool, rows: as in `Requests`; added: `past.read` of the pool. recent: judgements to look back
    on. skip: bool [N], candidates of requests whose user the log knows, so that only names and
    recent judgements are looked at.
    """
    start, stop = rows["start"].to_numpy(), rows["stop"].to_numpy()
    bare = np.ones(rows.height, dtype=bool)
    bare[asked.request[skip]] = False
    item, pool_item = together(catalogue.items, asked.ids, pool["item_id"].to_list())
    past = _as_past(pool, pool_item, added, start, np.where(bare, stop, start), catalogue)
    end = np.full(len(asked), len(past))
    own, last = past.of_pair(asked.request, item, end)
    return Counts(
        known=np.zeros(len(asked), dtype=bool),
        everybody=Sums.zeros(len(asked)),
        item=Sums.zeros(len(asked)),
        percentile=np.full(len(asked), np.nan),
        user=past.of_user(asked.request, end),
        own=own,
        own_seconds=asked.now - last,
        parts={
            column: past.of_parts(column, asked.request, item, end) for column in catalogue.columns
        },
        recent=recent_judgements(added, start, stop, recent, asked.request),
        shared=shared_names(asked, pool, added, start, stop),
        agreement=Agreement.unknown(len(asked)),
    )


def _as_past(
    pool: pl.DataFrame,
    item: np.ndarray,
    added: Sums,
    start: np.ndarray,
    stop: np.ndarray,
    catalogue: AnyCatalogue,
) -> Past:
    """Each request's history as the past of a user of its own."""
    length = stop - start
    request = np.repeat(np.arange(len(start)), length)
    within = np.arange(len(request)) - np.repeat(np.cumsum(length) - length, length)
    row = np.repeat(start, length) + within
    time = pool["timestamp"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return Past(request, item[row], time[row], added[row], catalogue.columns)


def recent_judgements(
    added: Sums, start: np.ndarray, stop: np.ndarray, most: int, request: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the newest judgements (`most` at the most) of each request's history: positive, all."""
    judged = np.concatenate([[0], np.cumsum(added.judged > 0)])
    positive = np.concatenate([[0], np.cumsum(added.positive[added.judged > 0])])
    high = judged[stop]
    low = np.maximum(judged[start], high - most)
    likes, total = positive[high] - positive[low], high - low
    return likes[request].astype(np.float64), total[request].astype(np.float64)


def shared_names(
    asked: Questions, pool: pl.DataFrame, added: Sums, start: np.ndarray, stop: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether candidates given as text share names with texts liked and disliked; see `shared`."""
    liked, disliked = np.zeros(len(asked)), np.zeros(len(asked))
    if "text" not in pool.columns or all(text is None for text in asked.texts):
        return liked, disliked
    texts = pool["text"].to_list()
    yes, judged = added.positive > 0, added.judged > 0
    for n, (request, text) in enumerate(zip(asked.request, asked.texts, strict=True)):
        if text is None:
            continue
        history = range(start[request], stop[request])
        liked[n] = shared(text, (texts[e] for e in history if yes[e] and texts[e]))
        disliked[n] = shared(
            text, (texts[e] for e in history if judged[e] and not yes[e] and texts[e])
        )
    return liked, disliked
