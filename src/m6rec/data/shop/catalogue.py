"""The goods: titles, descriptions and prices in words, and what the words stand for.

Legend: I items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from m6rec.data.shop import grammar
from m6rec.data.shop.calendar import Calendar
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.vocabulary import (
    Aspect,
    Brand,
    Department,
    Feature,
    Kind,
    Style,
    Vocabulary,
)

LATENT = 3
"""Sides of an item that no text tells: only who buys it does."""
ENDINGS = (0.99, 0.95, 0.50, 0.00)


@dataclass(frozen=True)
class Item:
    """One article of the shop, and what it is made of.

    features: what it is good at, two or three, best told first. tier: -1 cheap to 1 dear for its
    kind. popularity: how often it is shown, relative to others (log). quality: what all shoppers
    agree on. latent: LATENT numbers. available_from: seconds, None = since ever.
    words: what fills the gaps of a sentence about it.
    """

    item_id: str
    title: str
    description: str | None
    price: float | None
    available_from: float | None
    department: Department
    kind: Kind
    brand: Brand
    style: str
    features: tuple[Feature, ...]
    variant: str
    colour: str
    tier: float
    popularity: float
    quality: float
    latent: tuple[float, ...]
    words: Mapping[str, str]

    @property
    def category(self) -> str:
        return f"{self.department.name}|{self.kind.shelf}"

    @property
    def aspects(self) -> frozenset[str]:
        return frozenset(feature.aspect for feature in self.features)

    @property
    def style_words(self) -> Style:
        return self.department.styles[self.style]

    def feature_of(self, aspect: str) -> Feature | None:
        return next((feature for feature in self.features if feature.aspect == aspect), None)

    def about(self, feature: Feature, aspects: Mapping[str, Aspect]) -> dict[str, str]:
        """The gaps of a sentence that praises one feature."""
        return {**self.words, "f": feature.clause, "aspect": aspects[feature.aspect].noun}


def build_items(
    words: Vocabulary, count: int, departments: int, calendar: Calendar, seed: int
) -> tuple[Item, ...]:
    """`count` items over the first kinds of some departments; their order tells nothing."""
    draws = Draws(seed, "catalogue")
    kinds = _kinds(words, count, departments, draws)
    titles: set[str] = set()
    by_key = {department.key: department for department in words.departments}
    return tuple(
        _item(f"item-{number:04d}", kind, by_key[kind.department], words, titles, calendar, draws)
        for number, kind in enumerate(kinds, start=1)
    )


def chosen_departments(words: Vocabulary, departments: int) -> tuple[Department, ...]:
    """Departments that belong together first, so that a small shop is still one of its kind."""
    first = ("camping", "coffee", "books", "running")
    order = sorted(words.departments, key=lambda d: (d.key not in first, d.key))
    return tuple(sorted(order[:departments], key=lambda department: department.key))


def _kinds(words: Vocabulary, count: int, departments: int, draws: Draws) -> list[Kind]:
    """Every kind about equally often: each once, then with chance."""
    chosen = [
        kind for department in chosen_departments(words, departments) for kind in department.kinds
    ]
    weights = draws.uniforms(len(chosen)) + 0.5
    kinds = list(chosen[:count])
    while len(kinds) < count:
        kinds.append(chosen[draws.weighted(weights)])
    return draws.some(kinds, count)


def _item(
    item_id: str,
    kind: Kind,
    department: Department,
    words: Vocabulary,
    titles: set[str],
    calendar: Calendar,
    draws: Draws,
) -> Item:
    while True:
        brand = draws.pick(department.brands)
        leaning = brand.style in kind.styles and draws.chance(0.6)
        style = brand.style if leaning else draws.pick(kind.styles)
        features = _features(kind, draws)
        variant = draws.pick(kind.variants) if kind.variants else ""
        colour = draws.pick(words.colours[style]) if kind.colours else ""
        size, factor = draws.pick(kind.sizes) if kind.sizes else ("", 1.0)
        gaps = _gaps(
            kind, department.styles[style], draws.pick(department.lines), brand, variant, draws
        )
        title = _title(department, kind, features, gaps, colour or size, draws)
        if title not in titles and not repeats(title):
            titles.add(title)
            break
    tier = min(1.0, max(-1.0, 0.55 * brand.tier + 0.35 * draws.normal()))
    late = draws.chance(0.2)
    article = "" if department.key == "books" else "the "
    return Item(
        item_id=item_id,
        title=title,
        description=None if draws.chance(0.03) else _description(words, features, gaps, draws),
        price=None if draws.chance(0.01) else _price(kind, tier, factor, draws),
        available_from=calendar.at(draws.uniform(), draws) if late else None,
        department=department,
        kind=kind,
        brand=brand,
        style=style,
        features=features,
        variant=variant,
        colour=colour,
        tier=tier,
        popularity=round(1.0 * draws.normal(), 6),
        quality=round(0.35 * draws.normal(), 6),
        latent=tuple(round(draws.normal(), 6) for _ in range(LATENT)),
        words={**gaps, "the_title": f"{article}{title}"},
    )


def repeats(title: str) -> bool:
    """Whether two neighbouring words are one and the same, as in "Travel Travel Pillow"."""
    words = re.split(r"\W+", title.lower())
    return any(word == other for word, other in pairwise(words))


def _features(kind: Kind, draws: Draws) -> tuple[Feature, ...]:
    count = min(len(kind.features), 2 + draws.chance(0.45))
    return tuple(draws.some(kind.features, count))


def _gaps(
    kind: Kind, style: Style, line: str, brand: Brand, variant: str, draws: Draws
) -> dict[str, str]:
    word = draws.pick(style.words)
    look = " ".join(part for part in (word, variant, kind.noun) if part)
    return {
        **grammar.number_words(kind.noun, kind.form),
        "noun": kind.noun,
        "a_noun": grammar.with_article(kind.noun, kind.form),
        "word": word,
        "line": line,
        "brand": brand.name,
        "look": look,
        "a_look": grammar.with_article(look, kind.form),
        "use": draws.pick(kind.uses),
        "liking": style.liking,
    }


def _title(
    department: Department,
    kind: Kind,
    features: Sequence[Feature],
    gaps: Mapping[str, str],
    suffix: str,
    draws: Draws,
) -> str:
    """Brand, line, sometimes a feature or the style, variant, noun, and colour or size."""
    variant = gaps["look"].removeprefix(gaps["word"]).removesuffix(kind.noun).strip()
    told = draws.weighted((0.45, 0.3, 0.25))
    adjective = ("", features[0].tag, gaps["word"])[told]
    if department.key == "books" and not adjective:
        adjective = gaps["word"]
    look = " ".join(part for part in (adjective, variant, kind.noun) if part)
    words = {
        **gaps,
        "look": grammar.title_case(look),
        "a_look": grammar.title_case(grammar.with_article(look, kind.form)),
        "suffix": f", {suffix}" if suffix else "",
    }
    return grammar.fill(department.title, words)


def _description(
    words: Vocabulary, features: Sequence[Feature], gaps: Mapping[str, str], draws: Draws
) -> str:
    """One to three sentences that name every feature of the item."""
    clauses = [feature.clause for feature in features]
    filled = {
        **gaps,
        **{f"f{i}": clause for i, clause in enumerate(clauses, start=1)},
        "both": grammar.both(clauses[0], clauses[1], ", and", gaps["it"]),
        "both_that": grammar.both(clauses[0], clauses[1], " and", "that"),
    }
    return grammar.fill(draws.pick(words.phrases["description"][str(len(features))]), filled)


def _price(kind: Kind, tier: float, factor: float, draws: Draws) -> float:
    low, high = kind.price
    share = (tier + 1) / 2
    price = low * math.pow(high / low, share) * factor * draws.uniform(0.95, 1.05)
    return round(max(1.0, math.floor(price)) + draws.pick(ENDINGS), 2)
