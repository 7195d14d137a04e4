"""Kinds of events by their names, in whatever spelling: what each says, and what it takes back.

A name is looked up as a whole (`not_interested`), then by its words: `item_returned`, `dislikes`
and `removed from the bag` say what their words say, `no_click` was only shown, `did not like` is a
dislike, `1 star` and `Rating: 1` are ratings. A name that says none of it is something the user
did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache


class Verdict(IntEnum):
    """What an event says of its item. NEITHER: a rating between yes and no, or no act on an item
    (a search). SHOWN: the item was only shown. UNDONE: said once, and taken back later."""

    NO = -1
    NEITHER = 0
    YES = 1
    SHOWN = 2
    UNDONE = 3


class Reach(IntEnum):
    """Which earlier events of the user and item an event takes back: see verdicts.py."""

    NOTHING = 0
    NO = 1
    UNBOUGHT = 2
    PURCHASE = 3
    YES = 4


@dataclass(frozen=True)
class Kind:
    """What a kind of event says by itself. rated: its value is a rating; value: the rating that its
    name has, for events without a value. against: what a negative value makes of it."""

    verdict: Verdict
    reach: Reach = Reach.NOTHING
    rated: bool = False
    bought: bool = False
    against: Reach = Reach.YES
    value: float | None = None


DID = Kind(Verdict.YES)
RATED = Kind(Verdict.YES, rated=True)
LIKED = Kind(Verdict.YES, Reach.NO)
BOUGHT = Kind(Verdict.YES, Reach.NO, bought=True, against=Reach.PURCHASE)
IN_CART = Kind(Verdict.YES, against=Reach.UNBOUGHT)
DISLIKED = Kind(Verdict.NO, Reach.YES)
OUT_OF_CART = Kind(Verdict.NO, Reach.UNBOUGHT)
SHOWN = Kind(Verdict.SHOWN)
UNLIKED = Kind(Verdict.UNDONE, Reach.UNBOUGHT)
SPELLINGS: dict[Kind, str] = {
    SHOWN: "impression impressions impressionnoclick exposure exposed shown display "
    "displayed viewitemlist ignore ignored",
    Kind(Verdict.NEITHER): "search searched query context viewsearchresults",
    RATED: "rating ratings rate rated star stars review reviewed",
    LIKED: "like liked love loved thumbsup thumbup upvote upvoted favorite favourite",
    BOUGHT: "purchase purchased buy bought order ordered transaction",
    IN_CART: "cart addtocart addedtocart addtobasket",
    Kind(Verdict.NO): "skip skipped dismiss dismissed",
    DISLIKED: "dislike disliked thumbsdown thumbdown downvote downvoted hate hated notinterested "
    "hide hidden block blocked reject rejected swipeleft negative negativefeedback showless "
    "seeless lesslikethis",
    Kind(Verdict.NO, Reach.PURCHASE): "return returned refund refunded cancel canceled cancelled "
    "cancellation chargeback uninstall uninstalled",
    OUT_OF_CART: "removefromcart removedfromcart cartremove cartremoved "
    "removecart deletefromcart removefrombasket remove removed removal delete deleted",
    UNLIKED: "unlike unliked unsave unfavorite unfavourite unfollow "
    "removefromwishlist removefromfavorites removefromfavourites",
    Kind(Verdict.NEITHER, Reach.NO): "undislike undisliked unhide unblock",
}
"""Words without marks between them, in lower case: removeFromCart is remove_from_cart."""
KINDS = {word: kind for kind, words in SPELLINGS.items() for word in words.split()}
SIGNS = {"👎": " dislike ", "👍": " like ", "❤": " love "}
STARS = "★⭐"
WORD = re.compile(r"\d+(?:[.,]\d+)?|[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])")
"""A word or a number of a name; an upper-case letter begins a word."""
ROLES: dict[str, str] = {
    "not": "no not non never without dont didnt doesnt isnt wasnt",
    "act": "click clicks clicked clicking view viewed open opened watch watched play played read "
    "buy bought purchase purchased order ordered cart add added act action conversion converted",
    "removed": "remove removed removes removal delete deleted deletes",
    "saved": "wishlist wish favorite favorites favourite favourites like likes saved bookmark "
    "bookmarks",
    "clear": "dislike dislikes disliked downvote downvoted refund refunds refunded",
    "beside": "item items product products order orders purchase purchases buy transaction video "
    "track song article movie film book game app ad banner user event partial full a an the it "
    "this of from in by click clicked button feedback request requested was is list page reason",
}
"""What words do in a name of several. act: what was not done was only shown; clear: says no
whatever stands beside it; beside: says nothing for or against, beside a word that does."""
ROLE = {role: frozenset(words.split()) for role, words in ROLES.items()}


@lru_cache(1 << 12)
def kind_of(name: str) -> Kind:
    """What is said by the name of a kind, in whatever spelling."""
    if stars := sum(map(name.count, STARS)):
        return replace(RATED, value=float(stars))
    for sign, word in SIGNS.items():
        name = name.replace(sign, word)
    if whole := KINDS.get(re.sub(r"[\W_]+", "", name).lower()):
        return whole
    spelled = name.replace("n't", " not").replace("n’t", " not")
    words = [word.lower() for word in WORD.findall(spelled)]
    return _rating(words) or _negated(words) or _removed(words) or _beside(words) or DID


def is_listed(name: str) -> bool:
    """Whether a name says more than that the user did something."""
    return kind_of(name) is not DID


def _rating(words: list[str]) -> Kind | None:
    """`1 star`, `rated 4`, `Rating: 1`: a rating and its value."""
    numbers = [word for word in words if word[0].isdecimal()]
    rest = {word for word in words if not word[0].isdecimal()}
    if not rest or any(KINDS.get(word) is not RATED for word in rest) or len(numbers) != 1:
        return None
    return replace(RATED, value=float(numbers[0].replace(",", ".")))


def _negated(words: list[str]) -> Kind | None:
    """An act that was not done is one that was only shown; all else that is not so is a no."""
    if not ROLE["not"].intersection(words):
        return None
    return SHOWN if ROLE["act"].intersection(words) else DISLIKED


def _removed(words: list[str]) -> Kind | None:
    """Out of the cart, the basket, the bag; or off the list of what was liked."""
    if not ROLE["removed"].intersection(words):
        return None
    return UNLIKED if ROLE["saved"].intersection(words) else OUT_OF_CART


def _beside(words: list[str]) -> Kind | None:
    """The one word for or against, where nothing but names of things stands beside it."""
    rest = [word for word in words if word in ROLE["clear"]][:1]
    rest = rest or [word for word in words if word not in ROLE["beside"]]
    said = KINDS.get("".join(rest)) or KINDS.get("".join(rest).removesuffix("s"))
    if said is None or said.verdict == Verdict.NEITHER:
        return None
    return None if said is SHOWN and ROLE["act"].intersection(words) else said
