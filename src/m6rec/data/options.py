"""How to split: every choice that changes which requests there are, in one frozen object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m6rec.data.caps import check_cap
from m6rec.data.labels import LabelRule
from m6rec.data.schema import DataError

Task = Literal["retrieve", "rank"]
Method = Literal[
    "auto", "published", "column", "leave-one-out", "temporal", "random", "unseen-item"
]
SameTime = Literal["auto", "keep", "exclude"]
METHODS: tuple[Method, ...] = (
    "published",
    "column",
    "leave-one-out",
    "temporal",
    "random",
    "unseen-item",
)


@dataclass(frozen=True)
class SplitOptions:
    """The dials of `make_split`; see there. Raises DataError for values that make no sense."""

    max_history: int = 50
    min_history: int | None = None
    label: LabelRule | None = None
    positives: frozenset[str] | None = None
    positive_value: float | None = None
    history_without: frozenset[str] = frozenset({"impression"})
    same_time: SameTime = "auto"
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    max_train_per_user: int | None = None
    max_events_per_user: int | float | None = None
    max_train: int | None = None
    max_eval: int | None = None
    seen_items: Literal["kept", "masked"] = "kept"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_history", "max_train_per_user", "max_train", "max_eval"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"{name} = {value}: right is 1 or more")
        check_cap(self.max_events_per_user)
        if self.label is not None and not isinstance(self.label, LabelRule):
            raise DataError(f"label = {self.label!r}: right is LabelRule.parse({self.label!r})")
        if self.min_history is not None and self.min_history < 0:
            raise DataError(f"min_history = {self.min_history}: right is 0 or more")
        shares = (self.valid_fraction, self.test_fraction)
        if min(shares) <= 0 or sum(shares) >= 1:
            raise DataError(
                f"valid_fraction = {shares[0]}, test_fraction = {shares[1]}: right is above 0 "
                "each, and below 1 together"
            )
