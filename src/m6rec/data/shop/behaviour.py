"""What the shoppers do: visits, pages, searches, clicks, carts, purchases, stars.

All events of a page carry the moment of the page, as many shops log them: so a cart does not give
away its click, nor one click of a page another.

Legend: I items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from m6rec.data.shop.calendar import DAY, month
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.searching import RELEVANCE, Search, search_for
from m6rec.data.shop.shoppers import Shopper, cares
from m6rec.data.shop.world import World

PAGE = 6
"""Items on a page."""
CLICK, CLICK_SLOPE = -3.5, 1.2
CART, CART_SLOPE = -2.6, 0.8
"""Log-odds of a click on an item that was noticed: CLICK + CLICK_SLOPE · affinity + the moment."""
NOTICED = 0.12
"""Place p (from 1) of a page is noticed with probability 1 / (1 + NOTICED · (p - 1))."""
TOPIC = 2.2
"""Weight of the department a visit is about, on the pages the shop puts together."""
SHOP_KNOWS = 0.8
"""Weight of the shopper's taste on those pages: the shop guesses it in part."""
GOES_WITH, PARTNER = 1.0, 2.2
"""How much better an item is liked right after a purchase it goes with, or is the partner of."""
AGAIN, TOO_SOON, USED_UP_DAYS = 1.8, -1.0, 25
"""The same for a thing that gets used up, after that many days and before."""


class Event(NamedTuple):
    """A row of the events table, the item as its number."""

    user_id: str
    item: int | None
    event: str
    timestamp: float
    value: float | None = None
    query: str | None = None
    request_id: str | None = None
    position: int | None = None


class Rated(NamedTuple):
    """A purchase that got stars."""

    shopper: Shopper
    item: int
    bought: float
    time: float
    stars: int


class Searched(NamedTuple):
    """A search and the item that was clicked after it, if any."""

    shopper: Shopper
    search: Search
    time: float
    clicked: tuple[int, ...]


@dataclass
class Log:
    """Everything that happened."""

    events: list[Event] = field(default_factory=list)
    ratings: list[Rated] = field(default_factory=list)
    searches: list[Searched] = field(default_factory=list)


def simulate(world: World, progress: Callable[[float], None] = lambda share: None) -> Log:
    """All visits of all shoppers; each shopper draws from a stream of their own."""
    log = Log()
    for done, shopper in enumerate(world.shoppers, start=1):
        _Visitor(world, shopper, log).live()
        progress(done / len(world.shoppers))
    return log


class _Visitor:
    """One shopper on their way through the year."""

    def __init__(self, world: World, shopper: Shopper, log: Log) -> None:
        self.world, self.shopper, self.log = world, shopper, log
        self.draws = Draws(world.seed, "visits", shopper.number)
        self.bought: dict[int, float] = {}
        self.pages = 0

    def live(self) -> None:
        times = self.world.calendar.visits(
            self.shopper.joined, self.shopper.left, self.shopper.visits, self.draws
        )
        for time in times:
            self.visit(float(time))

    def visit(self, time: float) -> None:
        """One to three pages about one department."""
        affinity = self.world.affinity(self.shopper, time)
        exposure = self.world.exposure(time)
        for item in self.bought:
            if not self.world.items[item].kind.consumable:
                exposure[item] = -np.inf
        topic = self.topic(time)
        for _ in range(1 + self.draws.weighted((0.55, 0.3, 0.15))):
            kind_of_page = self.draws.weighted((0.47, 0.25, 0.28))
            if kind_of_page == 1:
                self.search_page(time, topic, affinity, exposure)
            elif kind_of_page == 2 and self.bought:
                self.follow_up_page(time, affinity, exposure)
            else:
                self.home_page(time, topic, affinity, exposure)
            time += 40 + np.floor(self.draws.uniform(0, 300))
            if time >= self.world.calendar.end:
                return

    def topic(self, time: float) -> int:
        """The department (column) a visit is about: by taste and season."""
        columns = list(self.world.columns.department.values())
        taste = self.shopper.taste(time).weights[columns]
        season = np.log([d.season[month(time)] for d in self.world.departments])
        return columns[self.draws.weighted(np.exp(2.5 * taste + season))]

    def home_page(
        self, time: float, topic: int, affinity: np.ndarray, exposure: np.ndarray
    ) -> None:
        """What the shop thinks fits: popular things, mostly of the topic, a little by taste."""
        about = TOPIC * (self.world.goods.department == topic)
        shown = self.draws.top(exposure + about + SHOP_KNOWS * affinity, PAGE)
        self.page(time, shown, affinity[shown])

    def search_page(
        self, time: float, topic: int, affinity: np.ndarray, exposure: np.ndarray
    ) -> None:
        """A query and its results: good answers first, more or less."""
        world, draws = self.world, self.draws
        taste = self.shopper.taste(time)
        department = next(d for d in world.departments if world.columns.department[d.key] == topic)
        liking = np.array(
            [taste.weights[world.columns.kind[kind.key]] for kind in department.kinds]
        )
        kind = department.kinds[draws.weighted(np.exp(1.5 * liking))]
        phrases = world.words.phrases["query"]
        search = search_for(kind, department, taste, world.columns, phrases, draws)
        fit = np.where(world.goods.department == topic, exposure + 2.0 * RELEVANCE[2], -np.inf)
        for i in np.flatnonzero(world.goods.kind == world.columns.kind[kind.key]):
            fit[i] = exposure[i] + 2.0 * search.answered_by(world.items[i])
        shown = draws.top(fit, PAGE)
        event = Event(self.shopper.user_id, None, "search", time - 5, query=search.text)
        self.log.events.append(event)
        wanted = np.array([search.answered_by(world.items[i]) for i in shown]) - 1.7
        clicked = self.page(time, shown, affinity[shown] + 0.6 * wanted)
        self.log.searches.append(Searched(self.shopper, search, time - 5, clicked))

    def follow_up_page(self, time: float, affinity: np.ndarray, exposure: np.ndarray) -> None:
        """What goes with a recent purchase, or the same again where it is used up by now."""
        world = self.world
        last = max(self.bought, key=lambda item: (self.bought[item], item))
        boost = np.where(np.isin(world.goods.kind, world.follow_up_kinds(last)), GOES_WITH, 0.0)
        boost[list(world.partners[last])] = PARTNER
        for item, bought in self.bought.items():
            if world.items[item].kind.consumable:
                boost[item] = AGAIN if time - bought > USED_UP_DAYS * DAY else TOO_SOON
        shown = self.draws.top(exposure + 2.0 * boost + SHOP_KNOWS * affinity, PAGE)
        self.page(time, shown, affinity[shown] + boost[shown])

    def page(self, time: float, shown: np.ndarray, liking: np.ndarray) -> tuple[int, ...]:
        """Shows items in their order, notes what is done with them, returns what was clicked."""
        self.pages += 1
        request = f"{self.shopper.user_id}-page-{self.pages:03d}"
        chances = self.draws.uniforms(5 * len(shown)).reshape(-1, 5).tolist()
        clicked = []
        rows = zip(shown.tolist(), liking.tolist(), chances, strict=True)
        for position, (item, like, chance) in enumerate(rows, start=1):
            done = reactions(position, like, chance)
            for event in done:
                value = self.world.items[item].price if event == "purchase" else None
                row = Event(self.shopper.user_id, item, event, time, value, None, request, position)
                self.log.events.append(row)
            if "click" in done:
                clicked.append(item)
            if "purchase" in done:
                self.buy(item, time)
        return tuple(clicked)

    def buy(self, item: int, time: float) -> None:
        """Remembers a purchase, and rates it some days later, most of the time."""
        first = item not in self.bought
        self.bought[item] = time
        later = float(time + np.floor(self.draws.uniform(3, 18) * DAY))
        stars = self.stars(item, time)
        if first and self.draws.chance(0.75) and later < self.world.calendar.end:
            rating = Event(self.shopper.user_id, item, "rating", later, float(stars))
            self.log.events.append(rating)
            self.log.ratings.append(Rated(self.shopper, item, time, later, stars))

    def stars(self, item: int, time: float) -> int:
        """1 to 5: what the item is good at against what the shopper cares about, and luck."""
        goods = self.world.items[item]
        wanted = cares(self.shopper.taste(time), self.world.columns)
        possible = [a for a in wanted if any(f.aspect == a for f in goods.kind.features)]
        missed = sum(aspect not in goods.aspects for aspect in possible)
        liking = self.world.affinity(self.shopper, time)[item]
        score = 3.95 + 0.35 * (liking - 1.0) - 0.55 * missed + 0.9 * goods.quality
        return int(min(5, max(1, round(score + 0.95 * self.draws.normal()))))


def reactions(position: int, liking: float, chances: list[float]) -> tuple[str, ...]:
    """The events of one item on a page: shown, and then perhaps clicked, liked, put in the cart,
    bought. chances: five numbers in 0..1 that decide."""
    look, click, heart, cart, buy = chances
    if look * (1 + NOTICED * (position - 1)) > 1:
        return ("impression",)
    if click > _sigmoid(CLICK + CLICK_SLOPE * liking):
        annoyed = liking < -2.0 and heart < 0.04
        return ("impression", "dislike") if annoyed else ("impression",)
    done = ["impression", "click"]
    if heart < 0.08:
        done.append("like")
    if cart < _sigmoid(CART + CART_SLOPE * liking):
        done.append("cart")
        if buy < 0.6:
            done.append("purchase")
    return tuple(done)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
