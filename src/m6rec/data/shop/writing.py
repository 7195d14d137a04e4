"""Reviews and explanations in words that are true of the item and of the one who reads them."""

from __future__ import annotations

from m6rec.data.shop.behaviour import Rated
from m6rec.data.shop.catalogue import Item
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.grammar import fill
from m6rec.data.shop.shoppers import FOND, Taste, cares
from m6rec.data.shop.vocabulary import Feature
from m6rec.data.shop.world import World

Row = dict[str, object]


def review_rows(world: World, ratings: list[Rated]) -> list[Row]:
    """Rows of the reviews table: nine of ten ratings come with words."""
    draws = Draws(world.seed, "reviews")
    return [_review(world, rated, draws) for rated in ratings if draws.chance(0.9)]


def _review(world: World, rated: Rated, draws: Draws) -> Row:
    item = world.items[rated.item]
    taste = rated.shopper.taste(rated.bought)
    wanted = cares(taste, world.columns)
    praised = _praised(item, wanted, draws)
    missed = _missed(item, wanted, draws)
    if rated.stars >= 4:
        text, feature = _praise(world, item, praised, rated.stars, draws), praised.aspect
    elif rated.stars == 3:
        text, feature = _mixed(world, item, praised, missed, draws), praised.aspect
    else:
        text, feature = _complaint(world, item, praised, missed, draws), missed
    why = explain(world, item, taste, praised, draws) if rated.stars >= 3 else None
    return {
        "user_id": rated.shopper.user_id,
        "item_id": item.item_id,
        "rating": float(rated.stars),
        "timestamp": rated.time,
        "text": text,
        "feature": world.words.aspects[feature].noun if feature else None,
        "explanation": why,
    }


def _praised(item: Item, wanted: list[str], draws: Draws) -> Feature:
    """The feature that the shopper cares about most, else any."""
    found = (item.feature_of(aspect) for aspect in wanted)
    return next((feature for feature in found if feature), None) or draws.pick(item.features)


def _missed(item: Item, wanted: list[str], draws: Draws) -> str | None:
    """An aspect that goods of this kind can have and this one has not, cared about if possible."""
    lacking = [f.aspect for f in item.kind.features if f.aspect not in item.aspects]
    cared = [aspect for aspect in wanted if aspect in lacking]
    return draws.pick(cared or lacking) if lacking else None


def _praise(world: World, item: Item, feature: Feature, stars: int, draws: Draws) -> str:
    phrases = world.words.phrases["review"]
    words = item.about(feature, world.words.aspects)
    opening = draws.pick(phrases["loved" if stars == 5 else "liked"])
    return _joined(fill(opening, words), fill(draws.pick(phrases["praise"]), words))


def _mixed(world: World, item: Item, feature: Feature, missed: str | None, draws: Draws) -> str:
    phrases = world.words.phrases["review"]
    words = item.about(feature, world.words.aspects)
    parts = [fill(draws.pick(phrases[name]), words) for name in ("mixed", "praise_anyway")]
    return _joined(*parts, _lack(world, item, missed, draws))


def _complaint(
    world: World, item: Item, feature: Feature, missed: str | None, draws: Draws
) -> str:
    phrases = world.words.phrases["review"]
    words = item.about(feature, world.words.aspects)
    parts = [fill(draws.pick(phrases["disliked"]), words), _lack(world, item, missed, draws)]
    if draws.chance(0.4):
        parts.append(fill(draws.pick(phrases["praise_anyway"]), words))
    return _joined(*parts)


def _lack(world: World, item: Item, missed: str | None, draws: Draws) -> str:
    if missed is None:
        return ""
    aspect = world.words.aspects[missed]
    words = {**item.words, "aspect": aspect.noun, "lack": aspect.lack}
    return fill(draws.pick(world.words.phrases["review"]["complaint"]), words)


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def explain(
    world: World, item: Item, taste: Taste, feature: Feature, draws: Draws
) -> str | None:
    """Why the item suits the taste, naming the feature's aspect; None where nothing true is left.

    Only what the item's description says, and only what the shopper really likes.
    """
    if item.description is None:
        return None
    columns = world.columns
    fond_of_style = taste.weights[columns.style[item.style]] > FOND
    fond_of_brand = taste.weights[columns.brand[item.brand.name]] > FOND
    reasons = [("_style", fond_of_style), ("_brand", fond_of_brand)]
    if feature.aspect in cares(taste, columns):
        sorts = ["aspect", *("aspect" + name for name, true in reasons if true)]
    else:
        sorts = [name[1:] for name, true in reasons if true]
    if not sorts:
        return None
    phrases = world.words.phrases["explanation"][draws.pick(sorts)]
    return fill(draws.pick(phrases), item.about(feature, world.words.aspects))
