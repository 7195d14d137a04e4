"""Reviews and explanations in words that are true of the item and of the one who reads them."""

from __future__ import annotations

from dataclasses import dataclass

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
    voice = _Voice(world, item, wanted, draws)
    feature: str | None = praised.aspect
    if rated.stars >= 4:
        text = voice.joined("loved" if rated.stars == 5 else "liked", voice.praise(praised))
    elif rated.stars == 3:
        mixed = voice.about("praise_anyway", praised)
        text = voice.joined("mixed", mixed, voice.complaint(missed))
    else:
        more = voice.about("praise_anyway", praised) if draws.chance(0.4) else ""
        text, feature = voice.joined("disliked", voice.complaint(missed), more), missed
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


@dataclass(frozen=True)
class _Voice:
    """A shopper who writes about an item; `wanted` are the aspects they care about."""

    world: World
    item: Item
    wanted: list[str]
    draws: Draws

    def about(self, phrase: str, feature: Feature, or_else: str | None = None) -> str:
        """A sentence on a feature, from one list of phrases or two."""
        phrases = self.world.words.phrases["review"]
        lines = phrases[phrase] + (phrases[or_else] if or_else else ())
        return fill(self.draws.pick(lines), self.item.about(feature, self.world.words.aspects))

    def praise(self, feature: Feature) -> str:
        return self.about("praise", feature, "praise_cared" if self.cares(feature.aspect) else None)

    def complaint(self, missed: str | None) -> str:
        """A sentence on what is lacking; nothing where nothing is."""
        if missed is None:
            return ""
        phrases, aspect = self.world.words.phrases["review"], self.world.words.aspects[missed]
        lines = phrases["complaint"] + (phrases["complaint_cared"] if self.cares(missed) else ())
        words = {**self.item.words, "aspect": aspect.noun, "lack": aspect.lack}
        return fill(self.draws.pick(lines), words)

    def cares(self, aspect: str) -> bool:
        return aspect in self.wanted

    def joined(self, opening: str, *sentences: str) -> str:
        """An opening of a kind, then the sentences that are not empty."""
        first = fill(self.draws.pick(self.world.words.phrases["review"][opening]), self.item.words)
        return " ".join(sentence for sentence in (first, *sentences) if sentence)


def explain(world: World, item: Item, taste: Taste, feature: Feature, draws: Draws) -> str | None:
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
