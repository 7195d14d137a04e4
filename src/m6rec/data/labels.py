"""Which events are a yes and which a no: the labels of ranking."""

from __future__ import annotations

from dataclasses import dataclass

from m6rec.data.schema import DataError

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

    @property
    def by_value(self) -> bool:
        return self.event is not None

    def __str__(self) -> str:
        if self.by_value:
            return f"{self.event} >= {self.threshold:g}"
        return f"{'/'.join(sorted(self.positive))} against {'/'.join(sorted(self.negative))}"
