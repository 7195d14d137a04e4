"""Texts to be written: for whom, about what, and what people wrote there; cut into three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeVar

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from m6rec.config import Settings
from m6rec.data.schema import SPLITS, DataError
from m6rec.data.tables import Dataset
from m6rec.data.verdicts import liked, scale_of, told
from m6rec.records import Event, ProtocolCard

WritingTask = Literal["explain", "title", "query", "chat"]
CutBy = Literal["user", "item"]
FIELD = "\x1f"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passage:
    """One text to write.

    references: what people wrote there, one or several (none for a question). history: the user's
    events before it, oldest first. item_id: the item it is about (titles: the one that was chosen,
    which the writer is not told); about: its text, where no row of the catalogue has it. profile: a
    text about the user or the group, where no table has one. feature: the aspect that the text was
    written about, where the data say so. own, others: what the user wrote about other items before,
    and what others wrote about this one, each beginning with the feature that it names; only of
    what a model may know.
    """

    user_id: str | None = None
    item_id: str | None = None
    references: tuple[str, ...] = ()
    history: tuple[Event, ...] = ()
    about: str | None = None
    profile: str | None = None
    feature: str | None = None
    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    timestamp: float | None = None


@dataclass(frozen=True)
class WritingSplit:
    """Passages to learn from, to choose by and to judge by. Row order of items is item order.

    features: names of all features of the data set, none where no column names them.
    """

    task: WritingTask
    train: tuple[Passage, ...]
    valid: tuple[Passage, ...]
    test: tuple[Passage, ...]
    items: pl.DataFrame
    users: pl.DataFrame | None
    features: tuple[str, ...]
    card: ProtocolCard

    def part(self, name: Literal["train", "valid", "test"]) -> tuple[Passage, ...]:
        """The passages of a part. Raises DataError where it has none."""
        found: tuple[Passage, ...] = getattr(self, name)
        if not found:
            raise DataError(
                f"the {name} part of {self.card.dataset!r} has nothing to write for the task "
                f"{self.task!r}"
            )
        return found

    @property
    def known_texts(self) -> list[str]:
        """Every text that people wrote in train, each once, in order."""
        return list(dict.fromkeys(text for p in self.train for text in p.references))


class Cutting(Settings):
    """How passages are cut.

    by: whose hash decides the part, so that no user (or item) is in two of them. valid_fraction,
    test_fraction: shares of users or items. max_train, max_eval: most passages of a part, drawn by
    seed.
    """

    by: CutBy
    valid_fraction: float = Field(default=0.1, gt=0)
    test_fraction: float = Field(default=0.1, gt=0)
    max_train: int | None = Field(default=None, ge=1)
    max_eval: int | None = Field(default=2000, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction and test_fraction together: right is below 1")
        return self

    @classmethod
    def of(cls, options: Mapping[str, object], by: CutBy) -> Self:
        """What was asked for; by: where nothing else is. Raises ConfigError."""
        return cls.parse({"by": by, **options}, "settings of the split")

    def parts(self, keys: pl.Series, given: pl.Series | None) -> pl.Series:
        """train, valid or test for each row: its `split` where the data give one, else by hash.

        Given parts without a valid one have it cut from their train rows.
        """
        place = pl.Series([share_of(key) for key in keys], dtype=pl.Float64)
        if given is None or given.null_count() == len(given):
            cut = [self.test_fraction, self.test_fraction + self.valid_fraction]
            found = np.array(["test", "valid", "train"])[
                np.searchsorted(cut, place.to_numpy(), "right")
            ]
            return pl.Series("part", found)
        wrong = given.drop_nulls().filter(~given.drop_nulls().is_in(list(SPLITS)))
        if len(wrong):
            raise DataError(f"split {wrong[0]!r}: right is one of {', '.join(SPLITS)}")
        part = given.fill_null("train")
        if not (part == "valid").any():
            fresh = (part == "train") & (place < self.valid_fraction)
            part = pl.select(pl.when(fresh).then(pl.lit("valid")).otherwise(part)).to_series()
        return part.alias("part")

    def words(self, given: bool) -> str:
        """The rule, for the card."""
        if given:
            return (
                f"the column `split`; valid, where it has none, is {self.valid_fraction:g} of "
                f"the {self.by}s of train by hash"
            )
        return (
            f"by hash of the {self.by}: {self.test_fraction:g} test, {self.valid_fraction:g} valid"
        )


def some(of: Sequence[T], most: int | None, seed: int) -> tuple[T, ...]:
    """At most `most` of them (None: all), drawn by seed, in order."""
    if most is None or len(of) <= most:
        return tuple(of)
    chosen = np.random.default_rng(seed).choice(len(of), most, replace=False)
    return tuple(of[i] for i in np.sort(chosen))


def share_of(key: str | None) -> float:
    """A key's place from 0 to 1, by its hash alone: the same on every machine."""
    digest = hashlib.blake2b(("writing " + (key or "")).encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2.0**64)


def make_card(
    dataset: Dataset,
    task: WritingTask,
    cutting: Cutting,
    given: bool,
    parts: dict[str, tuple[Passage, ...]],
    max_history: int,
    filters: Iterable[str],
    notes: Iterable[str] = (),
) -> ProtocolCard:
    """The protocol card of a split of passages.

    It counts the texts of test that people wrote in train, too: whoever copies from train gets
    those right.
    """
    known = {same_words(text) for passage in parts["train"] for text in passage.references}
    judged = [text for passage in parts["test"] for text in passage.references]
    again = sum(same_words(text) in known for text in judged)
    repeated = [f"{again:,} of {len(judged):,} texts of test stand in train as well"] * bool(again)
    limits = [
        f"{name} {limit} (seed {cutting.seed})"
        for name in ("max_train", "max_eval")
        if (limit := getattr(cutting, name)) is not None
    ]
    return ProtocolCard(
        dataset=dataset.name,
        task=task,
        split=cutting.words(given),
        sort="row of the table",
        filters=(*dataset.left_out(), *filters, *limits),
        seen_items="kept",
        candidates="none: a text is written",
        max_history=max_history,
        counts={
            **{name: len(passages) for name, passages in parts.items()},
            "test_texts": len(judged),
            "test_texts_in_train": again,
        },
        split_hash=split_hash(parts["valid"], parts["test"]),
        notes=(*notes, *repeated),
    )


def same_words(text: str) -> str:
    """A text as it is compared with others: capitals and spaces make no difference."""
    return " ".join(text.casefold().split())


def split_hash(valid: Sequence[Passage], test: Sequence[Passage]) -> str:
    """sha256 over user, item, time (ms) and references of both parts, in order."""
    digest = hashlib.sha256()
    for name, passages in (("valid", valid), ("test", test)):
        for p in passages:
            time = "" if p.timestamp is None else str(round(p.timestamp * 1000))
            line = FIELD.join((name, p.user_id or "", p.item_id or "", time, *p.references))
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()


class Histories:
    """Events by user, for histories that end before a moment.

    What a user was shown, is against or took back by then is left out: it is no ground to write on.
    """

    NAMES = ("event", "item_id", "text", "query", "timestamp", "value")

    def __init__(self, events: pl.DataFrame | None, users: Iterable[str | None], most: int) -> None:
        self.most = most
        self._scale = None if events is None else scale_of(events)
        self._events: dict[str, list[Event]] = {}
        wanted = [user for user in dict.fromkeys(users) if user is not None]
        if events is None or not wanted or most == 0:
            return
        own = events.filter(pl.col("user_id").is_in(wanted) & pl.Series(told(events)))
        names = [name for name in self.NAMES if name in own.columns]
        for row in own.select("user_id", *names).iter_rows(named=True):
            user = row.pop("user_id")
            self._events.setdefault(user, []).append(Event(**row))

    def before(self, user: str | None, moment: float | None, item: str | None) -> tuple[Event, ...]:
        """The newest events before a moment, without those that name the item.

        What an event says of the very item would tell the writer what is to be written. Events of
        unknown time count as before any moment.
        """
        mine = self._events.get(user or "", [])
        if moment is not None:
            mine = [e for e in mine if e.timestamp is None or e.timestamp < moment]
        kept = [e for e in liked(mine, self._scale) if item is None or e.item_id != item]
        return tuple(kept[-self.most :])


def with_history(passage: Passage, histories: Histories) -> Passage:
    """The same passage with its user's history."""
    found = histories.before(passage.user_id, passage.timestamp, passage.item_id)
    return replace(passage, history=found) if found else passage


def finish(
    frame: pl.DataFrame,
    cutting: Cutting,
    read: Callable[[pl.DataFrame], list[Passage]],
) -> dict[str, tuple[Passage, ...]]:
    """Rows with a column `part` → passages of every part, no more than the cutting allows."""
    found = {name: read(frame.filter(pl.col("part") == name)) for name in SPLITS}
    limits = {"train": cutting.max_train, "valid": cutting.max_eval, "test": cutting.max_eval}
    return {name: some(of, limits[name], cutting.seed) for name, of in found.items()}
