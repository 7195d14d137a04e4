"""The whole shop before anything happens: goods, people, and how much who would like what.

Tests and baselines may ask `World` for the truth (an oracle); no table holds it.

Legend: I items, K parts of an item's taste columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from m6rec.data.schema import DataError
from m6rec.data.shop.calendar import DAY, DAYS, Calendar, month
from m6rec.data.shop.catalogue import Item, build_items, chosen_departments
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.shoppers import Columns, Shopper, Taste, build_shoppers
from m6rec.data.shop.vocabulary import Department, Vocabulary, vocabulary

LATENT_WEIGHT = 0.35
PRICE_WEIGHT = 0.55
LAUNCH_DAYS = 45
LAUNCH_BOOST = 0.7
PARTNERS = 3
DEPARTMENTS = 14
"""As many as there are files of words."""


@dataclass(frozen=True)
class ShopSize:
    """How much of everything. visits: mean number per shopper. days: length of the log.

    Raises DataError for sizes that make no shop.
    """

    items: int
    shoppers: int
    departments: int
    visits: float
    dialogs: int
    days: int = DAYS

    def __post_init__(self) -> None:
        for name, low, high in (
            ("items", 20, None),
            ("shoppers", 1, None),
            ("departments", 1, DEPARTMENTS),
            ("visits", 1, None),
            ("dialogs", 0, None),
            ("days", 30, DAYS),
        ):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                right = f"{low} or more" if high is None else f"{low} to {high}"
                raise DataError(f"ShopSize({name}={value}): right is {right}")


SIZES: Mapping[str, ShopSize] = {
    "tiny": ShopSize(items=60, shoppers=40, departments=4, visits=5, dialogs=20),
    "small": ShopSize(items=500, shoppers=300, departments=8, visits=8, dialogs=150),
    "full": ShopSize(items=2100, shoppers=1400, departments=14, visits=9, dialogs=1500),
}


@dataclass(frozen=True)
class World:
    """Goods and people of one size and seed. partners: items that are bought after an item."""

    words: Vocabulary
    size: ShopSize
    seed: int
    calendar: Calendar
    departments: tuple[Department, ...]
    columns: Columns
    items: tuple[Item, ...]
    shoppers: tuple[Shopper, ...]
    partners: tuple[tuple[int, ...], ...] = field(repr=False)

    @cached_property
    def goods(self) -> Goods:
        return Goods.of(self)

    def affinity(self, shopper: Shopper, time: float) -> np.ndarray:
        """How much the shopper likes each item at a moment: float64 [I], about 0 ± 1."""
        return self.goods.affinity(shopper.taste(time))

    def exposure(self, time: float) -> np.ndarray:
        """Log of how often each item is shown at a moment, float64 [I]; -inf before it exists."""
        return self.goods.exposure(time)

    def follow_up_kinds(self, number: int) -> list[int]:
        """The kinds (columns) that go with an item; kinds of other departments may not be there."""
        kinds = self.words.complements.get(self.items[number].kind.key, ())
        return [self.columns.kind[key] for key in kinds if key in self.columns.kind]


@dataclass(frozen=True)
class Goods:
    """What the items are, as arrays. columns: int [K, I], padded with the column of nothing."""

    columns: np.ndarray
    tier: np.ndarray
    latent: np.ndarray  # float64 [LATENT, I]
    quality: np.ndarray
    popularity: np.ndarray
    available: np.ndarray
    season: np.ndarray
    department: np.ndarray
    kind: np.ndarray

    @classmethod
    def of(cls, world: World) -> Goods:
        nothing = world.columns.count
        rows = [_columns_of(item, world.columns) for item in world.items]
        width = max(map(len, rows))
        items = world.items
        seasons = np.log([d.season for d in world.departments])
        department = np.array([world.columns.department[item.department.key] for item in items])
        return cls(
            columns=np.array([row + [nothing] * (width - len(row)) for row in rows]).T.copy(),
            tier=np.array([item.tier for item in items]),
            latent=np.array([item.latent for item in items]).T.copy(),
            quality=np.array([item.quality for item in items]),
            popularity=np.array([item.popularity for item in items]),
            available=np.array([item.available_from or 0.0 for item in items]),
            season=seasons[department].T,
            department=department,
            kind=np.array([world.columns.kind[item.kind.key] for item in items]),
        )

    def affinity(self, taste: Taste) -> np.ndarray:
        """float64 [I], rounded so that the last bit of a machine's sums can not matter."""
        liked = np.append(taste.weights, 0.0)[self.columns].sum(axis=0)
        hidden = LATENT_WEIGHT * (self.latent * taste.latent[:, None]).sum(axis=0)
        dear = PRICE_WEIGHT * (self.tier - taste.tier) ** 2
        liking: np.ndarray = np.round(liked + hidden + self.quality - dear, 6)
        return liking

    def exposure(self, time: float) -> np.ndarray:
        age = time - self.available
        boost = np.where((self.available > 0) & (age < LAUNCH_DAYS * DAY), LAUNCH_BOOST, 0.0)
        shown = self.popularity + self.season[month(time)] + boost
        return np.where(age >= 0, shown, -np.inf)


def _columns_of(item: Item, columns: Columns) -> list[int]:
    return [
        columns.department[item.department.key],
        columns.kind[item.kind.key],
        columns.brand[item.brand.name],
        columns.style[item.style],
        *(columns.aspect[feature.aspect] for feature in item.features),
    ]


def build_world(size: ShopSize, seed: int = 0) -> World:
    """The same world for the same size and seed, always."""
    words, calendar = vocabulary(), Calendar(size.days)
    departments = chosen_departments(words, size.departments)
    items = build_items(words, size.items, size.departments, calendar, seed)
    return World(
        words=words,
        size=size,
        seed=seed,
        calendar=calendar,
        departments=departments,
        columns=Columns.of(departments),
        items=items,
        shoppers=build_shoppers(words, departments, size.shoppers, size.visits, calendar, seed),
        partners=_partners(words, items, seed),
    )


def _partners(words: Vocabulary, items: tuple[Item, ...], seed: int) -> tuple[tuple[int, ...], ...]:
    """For each item a few of the goods that go with its kind; popular ones more often."""
    draws = Draws(seed, "partners")
    of_kind: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        of_kind.setdefault(item.kind.key, []).append(number)
    found = []
    for item in items:
        pool = [i for key in words.complements.get(item.kind.key, ()) for i in of_kind.get(key, ())]
        weights = np.array([items[i].popularity for i in pool])
        found.append(tuple(pool[i] for i in draws.top(weights, PARTNERS)) if pool else ())
    return tuple(found)
