"""Event logs → sequences of choices, and requests → weighted histories.

A choice is an event that says yes of an item and was not taken back (data/verdicts.py).

Legend: E choices, B requests, N entries of all histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.collaborative.pairs import Sequences
from m6rec.data.cut import has_order
from m6rec.data.requests import Requests
from m6rec.data.stances import AGAINST, Stances, stances
from m6rec.data.verdicts import Scale, standing

BLOCK = 2_000_000
"""Choices that are counted at once."""
MOST_ENTRIES = 50
"""Entries of a history that are read, the newest."""
FEW = 1000
"""Entries that are read one by one."""


def codes_of(item_ids: Iterable[str], events: pl.DataFrame) -> dict[str, int]:
    """A number for each item: those of the catalogue in its order, then others that events name."""
    codes = {item_id: code for code, item_id in enumerate(item_ids)}
    for item_id in events["item_id"].drop_nulls().unique().sort().to_list():
        codes.setdefault(item_id, len(codes))
    return codes


def sequences_of(
    events: pl.DataFrame, codes: Mapping[str, int], scale: Scale | None = None
) -> Sequences:
    """The choices of a log. codes: number of each item; others are left out.

    Events of equal time are a basket; those of unknown time come first, in the order of the table.
    Without times and positions there is no order.
    """
    yes = standing(events, scale).filter(pl.col("user_id").is_not_null())
    yes = yes.with_columns(code=_coded(yes["item_id"], codes)).filter(pl.col("code") >= 0)
    ordered = has_order(events)
    if not ordered:
        sets = yes.unique(["user_id", "code"], keep="first", maintain_order=True)
        sets = sets.select("code", person=pl.col("user_id").rank("dense") - 1)
        sets = sets.sort("person", maintain_order=True)
        person = sets["person"].cast(pl.Int64).to_numpy()
        people = np.arange(int(person.max(initial=-1)) + 1)
        return Sequences(sets["code"].to_numpy(), person, people, ordered=False)
    yes = yes.with_columns(place=_place(yes))
    yes = yes.unique(["user_id", "timestamp", "place", "code"], keep="first", maintain_order=True)
    yes = yes.select("timestamp", "place", "code", person=pl.col("user_id").rank("dense") - 1)
    yes = yes.sort("person", "timestamp", "place", nulls_last=False, maintain_order=True)
    basket = yes.select(pl.struct("person", "timestamp", "place").rle_id()).to_series()
    basket_E = basket.cast(pl.Int64).to_numpy()
    first = np.flatnonzero(np.diff(basket_E, prepend=-1))
    person = yes["person"].cast(pl.Int64).to_numpy()
    return Sequences(yes["code"].to_numpy(), basket_E, person[first])


def _coded(item_ids: pl.Series, codes: Mapping[str, int]) -> pl.Series:
    if item_ids.is_empty():
        return pl.Series(dtype=pl.Int64)
    names = item_ids.unique()
    known = [codes.get(name, -1) for name in names]
    return item_ids.replace_strict(names, pl.Series(known, dtype=pl.Int64), return_dtype=pl.Int64)


def _place(events: pl.DataFrame) -> pl.Series:
    """Tells events of unknown time apart, by their row; 0 for the others."""
    if "timestamp" not in events.columns:
        return pl.Series(np.arange(events.height))
    row = pl.when(pl.col("timestamp").is_null()).then(pl.int_range(pl.len())).otherwise(0)
    return events.select(row).to_series()


def blocks_of(sequences: Sequences, size: int = BLOCK) -> Iterator[Sequences]:
    """The same in parts of about `size` choices; a person's choices stay together."""
    total = len(sequences)
    if total <= size:
        yield sequences
        return
    person_E = sequences.person_B[sequences.basket_E]
    starts = np.flatnonzero(np.diff(person_E, prepend=-1))
    begin = 0
    while begin < total:
        later = starts[np.searchsorted(starts, begin + size) :]
        end = int(later[0]) if len(later) else total
        first = int(sequences.basket_E[begin])
        last = int(sequences.basket_E[end - 1])
        yield Sequences(
            sequences.item_E[begin:end],
            sequences.basket_E[begin:end] - first,
            sequences.person_B[first : last + 1],
            sequences.ordered,
        )
        begin = end


@dataclass(frozen=True)
class Histories:
    """Entries of B histories, the newest basket of each of weight 1: [N] each.

    request: which history, int64. code: the item's number, -1 for one of unknown number. weight:
    float64, below 0 for what the user said no to. text: what describes an entry of unknown number,
    None where nothing does.
    """

    request: np.ndarray
    code: np.ndarray
    weight: np.ndarray
    text: list[str | None]
    count: int

    @classmethod
    def of(
        cls,
        requests: Requests,
        codes: Mapping[str, int],
        decay: float,
        scale: Scale | None = None,
        most: int = MOST_ENTRIES,
    ) -> Histories:
        """The newest `most` entries that each user is for, and as many that they are against.

        An entry weighs decay^(baskets that came later), one against AGAINST of that, below 0.
        scale: of ratings; None: as the histories tell.
        """
        return cls.of_parts(stances(requests, scale), codes, decay, most)

    @classmethod
    def of_parts(
        cls, parts: Stances, codes: Mapping[str, int], decay: float, most: int = MOST_ENTRIES
    ) -> Histories:
        """The same of histories that are parted already."""
        found = _entries(parts.liked, codes, decay, most)
        if parts.disliked is None:
            return found
        against = _entries(parts.disliked, codes, decay, most)
        return cls(
            np.concatenate([found.request, against.request]),
            np.concatenate([found.code, against.code]),
            np.concatenate([found.weight, -AGAINST * against.weight]),
            [*found.text, *against.text],
            len(parts.liked),
        )


def _entries(requests: Requests, codes: Mapping[str, int], decay: float, most: int) -> Histories:
    start, stop = (requests.rows[name].to_numpy() for name in ("start", "stop"))
    start = np.maximum(start, stop - most)
    if int((stop - start).sum()) < FEW:
        return _entries_of_few(requests, start.tolist(), stop.tolist(), codes, decay)
    size = stop - start
    request = np.repeat(np.arange(len(requests)), size)
    row = np.arange(len(request)) + np.repeat(start - (np.cumsum(size) - size), size)
    pool = requests.pool
    age = _ages(pool["timestamp"].cast(pl.Float64).gather(row).to_numpy(), request)
    named = pool["item_id"].gather(row).to_list()
    code = np.array([-1 if i is None else codes.get(i, -1) for i in named], dtype=np.int64)
    return Histories(request, code, decay**age, pool["text"].gather(row).to_list(), len(requests))


def _entries_of_few(
    requests: Requests,
    starts: Sequence[int],
    stops: Sequence[int],
    codes: Mapping[str, int],
    decay: float,
) -> Histories:
    """The same entry by entry: for one question, frames take longer than its history does."""
    request: list[int] = []
    code: list[int] = []
    age: list[int] = []
    text: list[str | None] = []
    time, item_id, words = (requests.pool[name] for name in ("timestamp", "item_id", "text"))
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        request += [number] * (stop - start)
        named = item_id[start:stop].to_list()
        code += [-1 if one is None else codes.get(one, -1) for one in named]
        text += words[start:stop].to_list()
        age += _ages_of_one(time[start:stop].to_list())
    weight = decay ** np.array(age, dtype=np.int64)
    return Histories(
        np.array(request, dtype=np.int64),
        np.array(code, dtype=np.int64),
        weight.astype(np.float64),
        text,
        len(requests),
    )


def _ages_of_one(time: Sequence[float | None]) -> list[int]:
    """How many baskets came later, by entry of one history."""
    age, ages = 0, [0] * len(time)
    for row in range(len(time) - 2, -1, -1):
        age += time[row] is None or time[row] != time[row + 1]  # no unknown time is another's
        ages[row] = age
    return ages


def _ages(time: np.ndarray, request: np.ndarray) -> np.ndarray:
    """How many baskets of the same request came later, by entry: int64 [N]."""
    if not len(request):
        return np.zeros(0, dtype=np.int64)
    own = request[1:] == request[:-1]
    basket = np.cumsum(np.concatenate([[True], ~own | (time[1:] != time[:-1])]))
    ends = np.flatnonzero(np.concatenate([~own, [True]]))
    size = np.diff(ends, prepend=-1)
    return np.asarray(np.repeat(basket[ends], size) - basket)
