"""The people: what the shop knows about them, and what they like now and later.

Legend: C columns of taste (see Columns).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.data.shop.calendar import DAY, START, Calendar
from m6rec.data.shop.catalogue import LATENT
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.vocabulary import STYLES, Department, Vocabulary

CARES = 5
"""How many aspects a shopper cares about at a time."""
CARE = 0.45
"""Weight from which on an aspect counts as cared about."""
FOND = 0.55
"""Weight from which on a shopper likes a brand or a style."""


@dataclass(frozen=True)
class Columns:
    """Where each thing one may like stands in a vector of taste: name -> column, by sort."""

    department: dict[str, int]
    kind: dict[str, int]
    brand: dict[str, int]
    style: dict[str, int]
    aspect: dict[str, int]

    @classmethod
    def of(cls, departments: Sequence[Department]) -> Columns:
        kinds = [kind for department in departments for kind in department.kinds]
        brands = dict.fromkeys(brand.name for d in departments for brand in d.brands)
        aspects = sorted({feature.aspect for kind in kinds for feature in kind.features})
        names = (
            [d.key for d in departments],
            [k.key for k in kinds],
            list(brands),
            STYLES,
            aspects,
        )
        tables, first = [], 0
        for sort in names:
            tables.append({name: first + i for i, name in enumerate(sort)})
            first += len(sort)
        return cls(*tables)

    @property
    def count(self) -> int:
        return sum(map(len, (self.department, self.kind, self.brand, self.style, self.aspect)))


@dataclass(frozen=True)
class Taste:
    """weights: float64 [C]. tier: the price level preferred, -1 to 1. latent: float64 [LATENT]."""

    weights: np.ndarray
    tier: float
    latent: np.ndarray


@dataclass(frozen=True)
class Shopper:
    """A person. The taste goes from `before` to `after` around `turn`, within about `pace` seconds.

    attributes: the row of the users table. joined, left: the first and the last second of visits.
    visits: how many.
    """

    user_id: str
    number: int
    attributes: dict[str, str | None]
    joined: float
    left: float
    visits: int
    before: Taste
    after: Taste
    turn: float
    pace: float

    def turned(self, time: float) -> float:
        """How much of the new taste is there: 0 before, 1 after."""
        return 1 / (1 + math.exp(min(50.0, max(-50.0, -(time - self.turn) / self.pace))))

    def taste(self, time: float) -> Taste:
        """The taste of a moment."""
        new = self.turned(time)
        return Taste(
            weights=(1 - new) * self.before.weights + new * self.after.weights,
            tier=(1 - new) * self.before.tier + new * self.after.tier,
            latent=(1 - new) * self.before.latent + new * self.after.latent,
        )


def build_shoppers(
    words: Vocabulary,
    departments: Sequence[Department],
    count: int,
    visits: float,
    calendar: Calendar,
    seed: int,
) -> tuple[Shopper, ...]:
    """Shoppers with `visits` visits on average; every fortieth has an account and no visit."""
    columns = Columns.of(departments)
    return tuple(
        _shopper(
            number, words, departments, columns, visits, calendar, Draws(seed, "shopper", number)
        )
        for number in range(1, count + 1)
    )


def _shopper(
    number: int,
    words: Vocabulary,
    departments: Sequence[Department],
    columns: Columns,
    visits: float,
    calendar: Calendar,
    draws: Draws,
) -> Shopper:
    groups = {
        column: members[draws.weighted([group.share for group in members])]
        for column, members in words.groups.items()
    }
    keen = np.array(
        [math.prod(g.keen.get(d.key, 1.0) for g in groups.values()) for d in departments]
    )
    joined, left = _membership(calendar, draws)
    before = _first_taste(departments, columns, keen, draws)
    after = _later_taste(before, departments, columns, keen, draws)
    busy = math.exp(0.7 * draws.normal() - 0.25)
    share = (left - joined) / (calendar.days * DAY)
    count = 0 if number % 40 == 0 else 1 + int(visits * busy * share + draws.uniform())
    interests = _interests(before, departments, columns) if draws.chance(0.7) else None
    return Shopper(
        user_id=f"user-{number:04d}",
        number=number,
        attributes={**{name: group.name for name, group in groups.items()}, "interests": interests},
        joined=joined,
        left=left,
        visits=count,
        before=before,
        after=after,
        turn=joined + draws.uniform(0.3, 0.65) * (left - joined),
        pace=draws.uniform(0.01, 0.06) * (left - joined),
    )


def _membership(calendar: Calendar, draws: Draws) -> tuple[float, float]:
    """Two thirds are there from the start; the others join all year long, to the last week."""
    length = calendar.days * DAY
    joined = START + (length * draws.uniform(0.02, 0.98) if draws.chance(0.35) else 0.0)
    left = calendar.end - 1
    if draws.chance(0.2):
        left = joined + (left - joined) * draws.uniform(0.3, 1.0)
    return joined, left


def _first_taste(
    departments: Sequence[Department], columns: Columns, keen: np.ndarray, draws: Draws
) -> Taste:
    weights = np.zeros(columns.count)
    for favourite in draws.top(np.log(keen), min(3, len(departments))):
        weights[columns.department[departments[favourite].key]] = draws.uniform(0.9, 1.5)
    for table, spread in ((columns.kind, 0.7), (columns.brand, 0.55), (columns.style, 0.6)):
        weights[list(table.values())] = spread * draws.normals(len(table))
    aspects = list(columns.aspect.values())
    weights[aspects] = -0.15
    weights[draws.some(aspects, CARES)] = [draws.uniform(0.6, 1.1) for _ in range(CARES)]
    return Taste(weights, draws.uniform(-0.9, 0.9), draws.normals(LATENT))


def _later_taste(
    before: Taste,
    departments: Sequence[Department],
    columns: Columns,
    keen: np.ndarray,
    draws: Draws,
) -> Taste:
    """A new hobby takes the place of an old one; brands, styles and cares change in part."""
    weights = before.weights.copy()
    keys = [columns.department[department.key] for department in departments]
    old = [key for key in keys if weights[key] > 0]
    new = [keys[i] for i in draws.top(np.log(keen), len(keys)) if weights[keys[i]] == 0]
    for gone, come in zip(draws.some(old, 2), new, strict=False):
        weights[gone], weights[come] = 0.0, weights[gone]
    for table, spread in ((columns.kind, 0.7), (columns.brand, 0.55), (columns.style, 0.6)):
        for column in table.values():
            if draws.chance(0.35):
                weights[column] = spread * draws.normal()
    aspects = list(columns.aspect.values())
    cared = [column for column in aspects if weights[column] > 0]
    ignored = [column for column in aspects if weights[column] <= 0]
    for gone, come in zip(draws.some(cared, 2), draws.some(ignored, 2), strict=True):
        weights[gone], weights[come] = -0.15, weights[gone]
    tier = min(1.0, max(-1.0, before.tier + 0.3 * draws.normal()))
    latent = 0.85 * before.latent + 0.5 * draws.normals(LATENT)
    return Taste(weights, tier, latent)


def _interests(taste: Taste, departments: Sequence[Department], columns: Columns) -> str:
    """What a person says at sign-up: the two favourite departments."""
    loved = sorted(departments, key=lambda d: -taste.weights[columns.department[d.key]])
    return "|".join(department.name for department in loved[:2])


def cares(taste: Taste, columns: Columns) -> list[str]:
    """Aspects cared about, most of all first."""
    found = [name for name, column in columns.aspect.items() if taste.weights[column] > CARE]
    return sorted(found, key=lambda name: -taste.weights[columns.aspect[name]])
