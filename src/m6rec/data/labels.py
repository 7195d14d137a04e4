"""Which events are a yes and which a no: the labels of ranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from m6rec.data.kinds import Verdict, kind_of
from m6rec.data.schema import DataError, event_kind
from m6rec.data.verdicts import Scale, scale_of, verdicts

POSITIVE = frozenset({"click", "cart", "purchase", "like"})
NEGATIVE = frozenset({"impression", "dislike"})


@dataclass(frozen=True)
class LabelRule:
    """By kinds of events, or by the value of one kind (`event`, positive from `threshold` on).

    By kinds, an impression whose item got a positive event in the same request of the same user
    is that positive one, and not a negative as well.
    """

    positive: frozenset[str] = POSITIVE
    negative: frozenset[str] = NEGATIVE
    event: str | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if (self.event is None) != (self.threshold is None):
            raise DataError(
                f"LabelRule(event={self.event!r}, threshold={self.threshold!r}): a label by value "
                'needs both, such as LabelRule(event="rating", threshold=4)'
            )
        both = sorted(self.positive & self.negative)
        if both:
            raise DataError(f"LabelRule: {both[0]!r} can not be positive and negative at once")

    @classmethod
    def parse(cls, text: str) -> LabelRule:
        """`rating>=4`, or kinds such as `purchase/cart against click`; DataError for all else."""
        yes, against, no = text.partition(" against ")
        if against:
            positive, negative = (
                frozenset(event_kind(kind) for kind in part.split("/")) for part in (yes, no)
            )
            if all(positive) and all(negative):
                return cls(positive, negative)
        event, sign, number = text.partition(">=")
        try:
            if sign and event.strip():
                return cls(event=event_kind(event), threshold=float(number))
        except ValueError:
            pass
        raise DataError(
            f"{text!r} is no label; right is a kind and a value, such as 'rating>=4', or kinds of "
            "yes and no, such as 'purchase/cart against click'"
        )

    @property
    def by_value(self) -> bool:
        return self.event is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "positive": sorted(self.positive),
            "negative": sorted(self.negative),
            "event": self.event,
            "threshold": self.threshold,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LabelRule:
        """What `to_dict` gave; keys that are absent have their usual value."""
        sets = {key: frozenset(raw[key]) for key in ("positive", "negative") if key in raw}
        return cls(**{**raw, **sets})

    def __str__(self) -> str:
        if self.by_value:
            return f"{self.event} >= {self.threshold:g}"
        return f"{'/'.join(sorted(self.positive))} against {'/'.join(sorted(self.negative))}"


def default_rule(events: pl.DataFrame) -> LabelRule:
    """By kinds where there are yes and no events, else ratings of four fifths of their scale and
    more (4 of 5, 8 of 10: the rule of verdicts.py).

    Raises DataError where neither is there to learn from.
    """
    kinds = set(events["event"].unique())
    if kinds & NEGATIVE and kinds & POSITIVE:
        return LabelRule()
    if events.filter(pl.col("event") == "rating")["value"].is_finite().any():
        return LabelRule(event="rating", threshold=scale_of(events).yes)
    raise DataError(
        f"no labels for ranking: the events are {', '.join(sorted(kinds))}; say which are a yes "
        "and which a no, --label 'purchase/cart against click', or from which value on, "
        "--label 'rating>=8'; in Python label=LabelRule.parse('…')"
    )


def target_mask(
    events: pl.DataFrame, positives: frozenset[str] | None, positive_value: float | None
) -> np.ndarray:
    """bool [E]: events that retrieval has to foresee: a yes that is not taken back (verdicts.py).

    positives: kinds of events instead of every kind that is a yes; a value that makes a no of one
    is left out here too. positive_value: from which value on a rating is a yes.
    """
    scale = None if positive_value is None else Scale.with_yes(positive_value)
    said = verdicts(events, scale)
    if positives is None:
        return np.asarray(said == Verdict.YES)
    own = {name: int(kind_of(name).verdict) for name in map(event_kind, positives)}
    as_named = pl.col("event").replace_strict(own, default=None, return_dtype=pl.Int8)
    return events.select((as_named == pl.Series(said)).fill_null(False)).to_series().to_numpy()


def label_events(events: pl.DataFrame, rule: LabelRule) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `events` to judge, int64 [S] ascending, and their labels, float64 [S] of 0 and 1.

    By kinds, one sample stands for all events of one user, request and item: the first of them
    (the moment it was shown), positive if any of them is. An event of unknown time is past, so it
    does not answer for one whose time is known: MIND names the request that an earlier click is
    told in, and the same item may be shown there again.
    """
    kind = pl.col("event")
    if rule.by_value:
        here = (kind == rule.event) & pl.col("value").is_not_null()
        yes = pl.col("value") >= rule.threshold
    else:
        here = kind.is_in(list(rule.positive | rule.negative))
        yes = kind.is_in(list(rule.positive))
    keys = ["user_id", "item_id", *(["request_id"] if "request_id" in events.columns else [])]
    samples = (
        events.lazy()
        .select(
            *keys,
            yes.cast(pl.Float64).alias("label"),
            here.alias("here"),
            pl.col("timestamp").is_null().alias("past"),
        )
        .with_row_index("row")
        .filter("here")
        .drop("here")
        .collect()
    )
    if not rule.by_value and "request_id" in keys:
        alone = samples.filter(pl.col("request_id").is_null()).select("row", "label")
        grouped = (
            samples.filter(pl.col("request_id").is_not_null())
            .group_by(*keys, "past")
            .agg(pl.col("row").min(), pl.col("label").max())
        )
        samples = pl.concat([alone, grouped.select("row", "label")]).sort("row")
    return samples["row"].cast(pl.Int64).to_numpy(), samples["label"].to_numpy()
