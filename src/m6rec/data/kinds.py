"""Kinds of events by their names, in whatever spelling: what each says, and what it takes back.

A name that is in no list is something the user did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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
    """What a kind of event says by itself. rated: its value is a rating. against: what a negative
    value makes of it."""

    verdict: Verdict
    reach: Reach = Reach.NOTHING
    rated: bool = False
    bought: bool = False
    against: Reach = Reach.YES


DID = Kind(Verdict.YES)
RATED = Kind(Verdict.YES, rated=True)
LIKED = Kind(Verdict.YES, Reach.NO)
BOUGHT = Kind(Verdict.YES, Reach.NO, bought=True, against=Reach.PURCHASE)
IN_CART = Kind(Verdict.YES, against=Reach.UNBOUGHT)
SPELLINGS: dict[Kind, str] = {
    Kind(Verdict.SHOWN): "impression impressions impressionnoclick exposure exposed shown display "
    "displayed viewitemlist",
    Kind(Verdict.NEITHER): "search searched query context viewsearchresults",
    RATED: "rating ratings rate rated star stars review reviewed",
    LIKED: "like liked love loved thumbsup thumbup upvote upvoted favorite favourite",
    BOUGHT: "purchase purchased buy bought order ordered transaction",
    IN_CART: "cart addtocart addedtocart addtobasket",
    Kind(Verdict.NO): "skip skipped dismiss dismissed",
    Kind(Verdict.NO, Reach.YES): "dislike disliked thumbsdown thumbdown downvote downvoted hate "
    "hated notinterested hide hidden block blocked reject rejected swipeleft negative",
    Kind(Verdict.NO, Reach.PURCHASE): "return returned refund refunded cancel canceled cancelled "
    "cancellation chargeback uninstall uninstalled",
    Kind(Verdict.NO, Reach.UNBOUGHT): "removefromcart removedfromcart cartremove cartremoved "
    "removecart deletefromcart removefrombasket",
    Kind(Verdict.UNDONE, Reach.UNBOUGHT): "unlike unliked unsave unfavorite unfavourite unfollow "
    "removefromwishlist removefromfavorites removefromfavourites",
    Kind(Verdict.NEITHER, Reach.NO): "undislike undisliked unhide unblock",
}
"""Words without marks between them, in lower case: removeFromCart is remove_from_cart."""
KINDS = {word: kind for kind, words in SPELLINGS.items() for word in words.split()}


@lru_cache(1 << 12)
def kind_of(name: str) -> Kind:
    """What is said by the name of a kind, in whatever spelling."""
    return KINDS.get(re.sub(r"[\W_]+", "", name).lower(), DID)
