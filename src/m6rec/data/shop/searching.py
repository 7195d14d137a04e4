"""What people type into the search box, and how well an item answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m6rec.data.shop.catalogue import Item
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.grammar import fill
from m6rec.data.shop.shoppers import FOND, Columns, Taste, cares
from m6rec.data.shop.vocabulary import STYLES, Department, Kind

RELEVANCE = (3.0, 2.0, 1.0)
"""As it was asked for, the right kind of thing, or just the same department."""


@dataclass(frozen=True)
class Search:
    """A query and what it means: a kind, and one more wish (of `sort`) or none ("plain")."""

    text: str
    kind: Kind
    sort: str
    wish: str

    def answered_by(self, item: Item) -> float:
        """How relevant an item is: 3, 2, 1, or 0 for another department."""
        if item.kind is not self.kind:
            return RELEVANCE[2] if item.kind.department == self.kind.department else 0.0
        has = {
            "brand": item.brand.name,
            "style": item.style,
            "variant": item.variant,
            "use": item.words["use"],
        }
        if self.sort == "feature":
            exact = item.feature_of(self.wish) is not None
        else:
            exact = self.sort == "plain" or has[self.sort] == self.wish
        return RELEVANCE[0] if exact else RELEVANCE[1]


def search_for(
    kind: Kind,
    department: Department,
    taste: Taste,
    columns: Columns,
    phrases: Mapping[str, tuple[str, ...]],
    draws: Draws,
) -> Search:
    """What a shopper of this taste types to find a kind of thing: the taste shows in the wish."""
    wishes = _wishes(kind, department, taste, columns, draws)
    sorts = list(wishes)
    sort = sorts[draws.weighted([wishes[name][0] for name in sorts])]
    _, wish, words = wishes[sort]
    text = fill(draws.pick(phrases[sort]), {"noun": kind.noun, **words}).lower()
    return Search(text, kind, sort, wish)


def _wishes(
    kind: Kind, department: Department, taste: Taste, columns: Columns, draws: Draws
) -> dict[str, tuple[float, str, dict[str, str]]]:
    """sort -> (weight, wish, gaps)."""
    wishes: dict[str, tuple[float, str, dict[str, str]]] = {"plain": (1.0, "", {})}
    use = draws.pick(kind.uses)
    wishes["use"] = (0.4, use, {"use": use})
    if kind.variants:
        variant = draws.pick(kind.variants)
        wishes["variant"] = (0.6, variant, {"variant": variant})
    wanted = cares(taste, columns)
    features = [f for name in wanted for f in kind.features if f.aspect == name]
    if features:
        wishes["feature"] = (1.6, features[0].aspect, {"tag": features[0].tag})
    brand = max(department.brands, key=lambda b: taste.weights[columns.brand[b.name]])
    if taste.weights[columns.brand[brand.name]] > FOND:
        wishes["brand"] = (0.8, brand.name, {"brand": brand.name})
    style = max(STYLES, key=lambda name: taste.weights[columns.style[name]])
    if taste.weights[columns.style[style]] > FOND and style in kind.styles:
        word = draws.pick(department.styles[style].words)
        wishes["style"] = (0.8, style, {"word": word})
    return wishes
