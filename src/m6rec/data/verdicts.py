"""What an event says of its item: yes, no, nothing, only shown, or taken back later.

The one place that decides it. Popularity, targets of retrieval, histories, the server, baselines
and reasons all ask here; the labels of ranking have a rule of their own (labels.py), which follows
the same scale of ratings.

A rating is a yes from four fifths of its scale on (4 of 5, 8 of 10), a no up to two fifths (2 of 5,
4 of 10), and neither between. A kind that is in no list is something the user did: a yes. A yes of
a negative value (a purchase of -1 pieces) is the no of its kind.

What a user says later of the same item can take back what they said before:

| later event | takes back |
| --- | --- |
| dislike, low rating | every yes |
| return, refund, cancellation | the last purchase, and the steps that led to it |
| out of the cart, unlike | what came after the last purchase |
| purchase, like, high rating, undislike | every no |
| skip | nothing |

Legend: E events.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from m6rec.data.kinds import Reach, Verdict, kind_of
from m6rec.records import Event

SCALES = (5.0, 10.0, 100.0)
"""Usual highest ratings; the scale of a log is the least that holds its highest rating."""
YES_FROM, NO_UP_TO = 0.8, 0.4
"""Shares of the scale. Four of five is the custom of the field for MovieLens and Amazon."""
ROUNDING = 1e-9
FEW = 2000
"""Rows that are read one by one."""
Step = tuple[int, int, int, bool]
"""Of an event: row, verdict, reach, and whether it is a purchase."""


@dataclass(frozen=True)
class Scale:
    """Of ratings, from `lowest` to `highest`."""

    highest: float = SCALES[0]
    lowest: float = 0.0

    @classmethod
    def with_yes(cls, value: float) -> Scale:
        """The scale on which a rating is a yes from `value` on."""
        return cls(value / YES_FROM)

    @property
    def yes(self) -> float:
        """From which value on a rating is a yes."""
        return self.lowest + YES_FROM * (self.highest - self.lowest)

    @property
    def no(self) -> float:
        """Up to which value a rating is a no."""
        return self.lowest + NO_UP_TO * (self.highest - self.lowest)


def scale_of(events: pl.DataFrame) -> Scale:
    """By the values of the ratings: up to 5, 10 or 100 (beyond: the highest), from 0 or, where some
    are negative, from the lowest. Nothing but 0 and 1 is a scale up to 1. Without ratings up to 5.
    """
    rated = [name for name in events["event"].unique().drop_nulls() if kind_of(name).rated]
    ratings = events.filter(pl.col("event").is_in(rated)).select(_values(events, rated))
    values = ratings.to_series().drop_nulls()
    values = values.filter(values.is_finite())
    if values.is_empty():
        return Scale()
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    if low < 0:
        return Scale(max(high, -low), low)
    if low == 0 and high <= 1:
        return Scale(1.0)
    return Scale(next((highest for highest in SCALES if high <= highest), high))


def _values(events: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """The values of events, Float64; where there are none, of the ratings that their names have.

    names: the kinds of these events.
    """
    there = "value" in events.columns
    value = pl.col("value").cast(pl.Float64) if there else pl.lit(None, pl.Float64)
    named = {name: kind_of(name).value for name in names if kind_of(name).value is not None}
    if not named:
        return value.alias("value")
    own = pl.col("event").replace_strict(named, default=None, return_dtype=pl.Float64)
    return pl.coalesce(value, own).alias("value")


def verdict(event: Event, scale: Scale | None = None) -> Verdict:
    """What one event says by itself; scale: of ratings (None: up to 5)."""
    return _said(event.event, event.value, scale or Scale())[0]


def history_verdicts(history: Sequence[Event], scale: Scale | None = None) -> list[Verdict]:
    """What each event of one user says, oldest first, after all that came later."""
    said = [_said(event.event, event.value, scale or Scale()) for event in history]
    found = [verdict for verdict, _, _ in said]
    pairs: defaultdict[str, list[int]] = defaultdict(list)
    for row, event in enumerate(history):
        if (about := event.item_id or _words(event.text)) is not None:
            pairs[about].append(row)
    for rows in pairs.values():
        for row, _ in _take_back((row, *said[row]) for row in rows):
            found[row] = Verdict.UNDONE
    return found


def liked(history: Sequence[Event], scale: Scale | None = None) -> tuple[Event, ...]:
    """A history without what is against an item, was only shown, or was taken back."""
    said = history_verdicts(history, scale)
    kept = (Verdict.YES, Verdict.NEITHER)
    return tuple(event for event, says in zip(history, said, strict=True) if says in kept)


def verdicts(events: pl.DataFrame, scale: Scale | None = None) -> np.ndarray:
    """What each event says, after all that came later: int8 [E], values of Verdict.

    events: each user's oldest first, with user_id, item_id, event and, where there are any, value
    and text. scale: of ratings; None: as the events tell.
    """
    said = said_of(events, scale)
    found = said.verdict.copy()
    found[taken_back(events, said) < len(found)] = Verdict.UNDONE
    return found


def acted(events: pl.DataFrame) -> np.ndarray:
    """Whether a user did something to an item, for or against it: bool [E]. What was only shown is
    no act, and a search is no act on an item."""
    return _named(events, Verdict.YES, Verdict.NO, Verdict.UNDONE)


def told(events: pl.DataFrame) -> np.ndarray:
    """Whether histories tell of an event: all but what was only shown. bool [E]."""
    return ~_named(events, Verdict.SHOWN)


def _named(events: pl.DataFrame, *says: Verdict) -> np.ndarray:
    """Rows whose kind says so by its name alone: bool [E]."""
    names = events["event"].unique().drop_nulls()
    found = [name for name in names if kind_of(name).verdict in says]
    return events.select(pl.col("event").is_in(found).fill_null(False)).to_series().to_numpy()


def standing(events: pl.DataFrame, scale: Scale | None = None) -> pl.DataFrame:
    """The events that are a yes about an item and were not taken back, in their order."""
    yes = verdicts(events, scale) == Verdict.YES
    return events.filter(pl.Series(yes) & events["item_id"].is_not_null())


def people(events: pl.DataFrame, scale: Scale | None = None) -> pl.DataFrame:
    """item_id, len: how many people said yes to an item and did not take it back.

    A person counts once, however often; in the order of the first yes.
    """
    pairs = standing(events, scale).unique(
        ["user_id", "item_id"], keep="first", maintain_order=True
    )
    return pairs.group_by("item_id", maintain_order=True).len()


@dataclass(frozen=True)
class Said:
    """What each event says by itself. verdict, reach: int8 [E]; bought: bool [E]."""

    verdict: np.ndarray
    reach: np.ndarray
    bought: np.ndarray


def said_of(events: pl.DataFrame, scale: Scale | None = None) -> Said:
    """`verdict` for every row. scale: None is as the events tell."""
    scale = scale or scale_of(events)
    if events.height < FEW:
        return _said_of_few(events, scale)
    names = events["event"].unique().drop_nulls().to_list()
    kinds = [kind_of(name) for name in names]

    def of_kind(values: Iterable[int], default: int) -> pl.Expr:
        return pl.col("event").replace_strict(
            names, pl.Series(list(values), dtype=pl.Int8), default=default, return_dtype=pl.Int8
        )

    own = of_kind((kind.verdict for kind in kinds), Verdict.YES)
    reach = of_kind((kind.reach for kind in kinds), Reach.NOTHING)
    rated = of_kind((kind.rated for kind in kinds), 0) == 1
    bought = of_kind((kind.bought for kind in kinds), 0) == 1
    if "value" in events.columns or any(kind.value is not None for kind in kinds):
        value = _values(events, names)
        there = value.is_finite().fill_null(False)
        high, low = value >= scale.yes - ROUNDING, value <= scale.no + ROUNDING
        judged, turned = rated & there, ~rated & there & (own == Verdict.YES) & (value < 0)
        against = of_kind((kind.against for kind in kinds), Reach.YES)
        own, reach, bought = (
            pl.when(judged)
            .then(pl.when(high).then(Verdict.YES).when(low).then(Verdict.NO).otherwise(0))
            .when(turned)
            .then(Verdict.NO)
            .otherwise(own),
            pl.when(judged)
            .then(pl.when(high).then(Reach.NO).when(low).then(Reach.YES).otherwise(0))
            .when(turned)
            .then(against)
            .otherwise(reach),
            bought & ~turned,
        )
    found = events.select(own=own.cast(pl.Int8), reach=reach.cast(pl.Int8), bought=bought)
    return Said(*(found[name].to_numpy() for name in ("own", "reach", "bought")))


def _said_of_few(events: pl.DataFrame, scale: Scale) -> Said:
    """Row by row: for the histories of one question, expressions take longer than the rows do."""
    kinds = events["event"].to_list()
    values = events["value"].to_list() if "value" in events.columns else [None] * len(kinds)
    said = [_said(kind or "", value, scale) for kind, value in zip(kinds, values, strict=True)]
    table = np.array(said, dtype=np.int8).reshape(-1, 3)
    return Said(table[:, 0], table[:, 1], table[:, 2] > 0)


def taken_back(events: pl.DataFrame, said: Said) -> np.ndarray:
    """The row that takes each event back, int64 [E]; E where none does.

    Without a column user_id, rows are histories one after the other. A row of another history then
    lies beyond the end of the one that is asked for, so `taken_back < stop` is true of it alone.
    """
    by = np.full(events.height, events.height, dtype=np.int64)
    takes = said.reach > Reach.NO  # a no can only be taken back where there is one
    if not (takes | (said.verdict == Verdict.NO)).any():
        return by
    grouped = _of_few(events, said) if events.height < FEW else _of_many(events, said, takes)
    for steps in grouped:
        for row, later in _take_back(steps):
            by[row] = later
    return by


def _of_few(events: pl.DataFrame, said: Said) -> Iterator[list[Step]]:
    """The steps of every user and item, row by row: for few rows frames take longer."""
    none = [None] * events.height
    user, item_id, text = (
        events[name].to_list() if name in events.columns else none
        for name in ("user_id", "item_id", "text")
    )
    found: defaultdict[tuple[str | None, str], list[Step]] = defaultdict(list)
    told = zip(said.verdict.tolist(), said.reach.tolist(), said.bought.tolist(), strict=True)
    for row, step in enumerate(told):
        about = _words(text[row]) if item_id[row] is None else item_id[row]
        if about is not None and step[0] != Verdict.SHOWN:
            found[user[row], about].append((row, *step))
    yield from found.values()


def _of_many(events: pl.DataFrame, said: Said, takes: np.ndarray) -> Iterator[Iterable[Step]]:
    """The same of those where something may be taken back."""
    about = pl.col("item_id")
    if "text" in events.columns:
        words = pl.col("text").str.strip_chars().str.to_lowercase()
        about = pl.coalesce(about, pl.lit(" ") + words)
    keys = ["user_id", "about"] if "user_id" in events.columns else ["about"]
    told = events.select(pl.col(keys[:-1]), about=about).with_columns(
        row=pl.int_range(pl.len(), dtype=pl.Int64),
        said=pl.Series(said.verdict),
        reach=pl.Series(said.reach),
        bought=pl.Series(said.bought),
        against=pl.Series(takes | (said.verdict == Verdict.NO)),
    )
    told = told.filter(pl.col("about").is_not_null() & (pl.col("said") != Verdict.SHOWN))
    pairs = told.group_by(keys).agg(pl.len(), pl.col("against").any())
    mixed = pairs.filter((pl.col("len") > 1) & pl.col("against")).select(keys)
    told = told.join(mixed, on=keys, how="semi", maintain_order="left", nulls_equal=True)
    grouped = told.group_by(keys, maintain_order=True).agg("row", "said", "reach", "bought")
    for lists in grouped.select("row", "said", "reach", "bought").iter_rows():
        yield zip(*lists, strict=True)


def _take_back(steps: Iterable[Step]) -> Iterator[tuple[int, int]]:
    """Rows that are taken back, and by which, of one user and item in their order."""
    yes: list[tuple[int, bool]] = []
    no: list[int] = []
    for row, own, reach, bought in steps:
        if reach == Reach.NO:
            yield from ((earlier, row) for earlier in no)
            no.clear()
        for _ in range(_last(yes, reach)):
            yield yes.pop()[0], row
        if own == Verdict.YES:
            yes.append((row, bought))
        elif own == Verdict.NO:
            no.append(row)


def _last(yes: Sequence[tuple[int, bool]], reach: int) -> int:
    """How many of the newest yes are taken back."""
    if reach == Reach.YES:
        return len(yes)
    if reach not in (Reach.UNBOUGHT, Reach.PURCHASE):
        return 0
    purchases = [place for place, (_, bought) in enumerate(yes) if bought]
    kept = purchases if reach == Reach.UNBOUGHT else purchases[:-1]
    return len(yes) - (kept[-1] + 1 if kept else 0)


def _said(name: str, value: float | None, scale: Scale) -> tuple[Verdict, Reach, bool]:
    """Verdict, reach, and whether it is a purchase."""
    kind = kind_of(name)
    value = kind.value if value is None else value
    if value is not None and math.isfinite(value):
        if kind.rated:
            if value >= scale.yes - ROUNDING:
                return Verdict.YES, Reach.NO, False
            low = value <= scale.no + ROUNDING
            return (
                (Verdict.NO, Reach.YES, False) if low else (Verdict.NEITHER, Reach.NOTHING, False)
            )
        if value < 0 and kind.verdict == Verdict.YES:
            return Verdict.NO, kind.against, False
    return kind.verdict, kind.reach, kind.bought


def _words(text: str | None) -> str | None:
    """Names an item that is told in words."""
    return None if text is None else f" {text.strip().lower()}"
