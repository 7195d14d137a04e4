"""Conversations between a shopper and the shop: a need, a question, offers, a yes or a no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from m6rec.data.shop.behaviour import Rated
from m6rec.data.shop.calendar import START
from m6rec.data.shop.catalogue import Item
from m6rec.data.shop.draws import Draws
from m6rec.data.shop.grammar import fill, with_article
from m6rec.data.shop.shoppers import FOND, Shopper, Taste, cares
from m6rec.data.shop.vocabulary import STYLES, Department, Kind
from m6rec.data.shop.world import World

Turn = dict[str, object]


def dialog_rows(world: World, count: int, ratings: Sequence[Rated]) -> list[dict[str, object]]:
    """`count` dialogues, oldest first; `split` keeps the last tenths for valid and test."""
    draws = Draws(world.seed, "dialogues")
    loved: dict[str, list[Rated]] = {}
    for rated in ratings:
        if rated.stars >= 4:
            loved.setdefault(rated.shopper.user_id, []).append(rated)
    days = sorted(draws.uniform(0.02, 1.0) for _ in range(count))
    joined = np.array([shopper.joined for shopper in world.shoppers])
    rows = []
    for number, share in enumerate(days):
        time = float(np.floor(START + share * (world.calendar.end - 1 - START)))
        there = np.flatnonzero(joined <= time)
        shopper = world.shoppers[there[draws.below(len(there))]]
        past = [r for r in loved.get(shopper.user_id, ()) if r.time < time]
        turns = _Talk(world, shopper, time, past, draws).turns()
        split = "train" if number < 0.8 * count else "valid" if number < 0.9 * count else "test"
        rows.append(
            {
                "dialog_id": f"dialog-{number + 1:04d}",
                "user_id": shopper.user_id,
                "timestamp": time,
                "split": split,
                "turns": turns,
            }
        )
    return rows


@dataclass
class _Talk:
    """One conversation, written turn by turn."""

    world: World
    shopper: Shopper
    time: float
    past: list[Rated]
    draws: Draws
    written: list[Turn] = field(default_factory=list)
    taste: Taste = field(init=False)

    def __post_init__(self) -> None:
        self.taste = self.shopper.taste(self.time)

    def turns(self) -> list[Turn]:
        """The whole conversation."""
        self.greet()
        kind = self.need()
        offers = self.choices(kind)
        told = self.ask(kind) if self.draws.chance(0.75) else None
        liked = self.offers(offers, told)
        self.system("goodbye" if liked else "goodbye_maybe")
        return self.written

    def user(
        self, phrase: str, words: dict[str, str] | None = None, items: Sequence[Turn] = ()
    ) -> None:
        self.say("USER", phrase, words or {}, items)

    def system(
        self, phrase: str, words: dict[str, str] | None = None, items: Sequence[Turn] = ()
    ) -> None:
        self.say("SYSTEM", phrase, words or {}, items)

    def say(self, role: str, phrase: str, words: dict[str, str], items: Sequence[Turn]) -> None:
        text = fill(self.draws.pick(self.world.words.phrases["dialog"][phrase]), words)
        self.written.append({"role": role, "text": text, "items": list(items)})

    def greet(self) -> None:
        chance = self.draws.uniform()
        if chance < 0.35:
            self.user("hello")
            self.system("hello_back")
        elif chance < 0.5:
            self.user("small_talk")
            # The answer fits the remark: the lists go in pairs.
            remark = self.world.words.phrases["dialog"]["small_talk"].index(
                str(self.written[-1]["text"])
            )
            answer = self.world.words.phrases["dialog"]["small_talk_back"][remark]
            self.written.append({"role": "SYSTEM", "text": answer, "items": []})

    def need(self) -> Kind:
        """What is wanted; a happy owner asks for what goes with a thing, some of the time."""
        kinds = {kind.key: kind for d in self.world.departments for kind in d.kinds}
        on_sale = {self.world.items[i].kind.key for i in self.on_sale}
        if self.past and self.draws.chance(0.5):
            owned = self.world.items[self.draws.pick(self.past).item]
            goes_with = self.world.words.complements.get(owned.kind.key, ())
            found = [kinds[key] for key in goes_with if key in on_sale]
            if found:
                kind = self.draws.pick(found)
                words = {**self.kind_words(kind), "the_title": owned.words["the_title"]}
                self.user("loved_before", words, [self.mention(owned, True)])
                return kind
        department = self.favourite()
        kind = self.draws.pick([kind for kind in department.kinds if kind.key in on_sale])
        self.user("need_gift" if self.draws.chance(0.1) else "need", self.kind_words(kind))
        return kind

    @cached_property
    def on_sale(self) -> list[int]:
        """Items that can be bought at this moment."""
        return np.flatnonzero(np.isfinite(self.world.exposure(self.time))).tolist()

    def favourite(self) -> Department:
        departments = self.world.departments
        columns = [self.world.columns.department[d.key] for d in departments]
        return departments[self.draws.weighted(np.exp(1.8 * self.taste.weights[columns]))]

    def kind_words(self, kind: Kind) -> dict[str, str]:
        a_noun = with_article(kind.noun, kind.form)
        if kind.form != "count":
            a_noun = f"some {kind.noun}"
        return {"a_noun": a_noun, "use": self.draws.pick(kind.uses)}

    def choices(self, kind: Kind) -> list[Item]:
        """Goods of the kind that are on sale, the shopper's favourite first."""
        affinity = self.world.affinity(self.shopper, self.time)
        there = [i for i in self.on_sale if self.world.items[i].kind is kind]
        return [self.world.items[i] for i in sorted(there, key=lambda i: -affinity[i])]

    def ask(self, kind: Kind) -> str | None:
        """The shop asks, the shopper tells the truth; returns the aspect told, if one was."""
        wanted = self.wanted(kind)
        style = self.style()
        sorts = ["aspect"] * 3 * bool(wanted) + ["style"] * 2 * bool(style) + ["price"]
        sort = self.draws.pick(sorts)
        self.system(f"ask_{sort}")
        if sort == "aspect":
            self.user("tell_aspect", {"aspect": self.world.words.aspects[wanted[0]].noun})
            return wanted[0]
        if sort == "style" and style:
            department = next(d for d in self.world.departments if d.key == kind.department)
            self.user("tell_style", {"liking": department.styles[style].liking})
        else:
            tier = self.taste.tier
            level = "low" if tier < -0.3 else "high" if tier > 0.3 else "mid"
            self.user(f"tell_price_{level}")
        return None

    def wanted(self, kind: Kind) -> list[str]:
        possible = {feature.aspect for feature in kind.features}
        return [a for a in cares(self.taste, self.world.columns) if a in possible]

    def style(self) -> str | None:
        best = max(STYLES, key=lambda name: self.taste.weights[self.world.columns.style[name]])
        return best if self.taste.weights[self.world.columns.style[best]] > FOND else None

    def offers(self, choices: list[Item], told: str | None) -> bool:
        """One to three offers until one is liked; returns whether one was."""
        refused = 0 if len(choices) < 2 else self.draws.weighted((0.45, 0.4, 0.15))
        worse = self.draws.some(choices[1:], min(refused, len(choices) - 1))
        accepts = self.draws.chance(0.88)
        for number, item in enumerate([*worse, choices[0]]):
            last = number == len(worse)
            liked = last and accepts
            self.offer(item, liked, told, again=number > 0)
            if not last:
                told = self.refuse(item) or told
            else:
                self.user("accept" if liked else "maybe", {}, [self.mention(item, liked)])
        return accepts

    def offer(self, item: Item, liked: bool, told: str | None, again: bool) -> None:
        feature = (item.feature_of(told) if told else None) or item.features[0]
        phrase = ("offer_again" if again else "offer") + ("" if item.description else "_plain")
        words = item.about(feature, self.world.words.aspects)
        self.system(phrase, words, [self.mention(item, liked)])

    def refuse(self, item: Item) -> str | None:
        """A true reason against an item; returns the aspect it was about, if it was about one."""
        missing = [aspect for aspect in self.wanted(item.kind) if aspect not in item.aspects]
        style = self.style()
        reasons = ["other"]
        if item.tier > self.taste.tier + 0.3:
            reasons = ["price"]
        elif missing:
            reasons = ["aspect"]
        elif style and style != item.style:
            reasons = ["style"]
        reason = self.draws.pick([*reasons, reasons[0], "other"])
        words = {}
        if reason == "aspect":
            words = {"aspect": self.world.words.aspects[missing[0]].noun}
        if reason == "style" and style:
            words = {"liking": item.department.styles[style].liking}
        self.user(f"reject_{reason}", words, [self.mention(item, False)])
        return missing[0] if reason == "aspect" else None

    def mention(self, item: Item, liked: bool) -> Turn:
        return {"id": item.item_id, "title": item.title, "liked": liked}
