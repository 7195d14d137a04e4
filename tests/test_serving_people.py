"""People by place: kept while events and items come, as a count that is made anew has them."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from m6rec.collaborative.head import popularity_feature
from m6rec.offers import Offer
from m6rec.serving.people import People
from m6rec.tasks.catalogue import item_prior
from m6rec.tasks.shelf import Shelf


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_is_what_a_new_count_finds(seed: int) -> None:
    draw, shelf, counts = random.Random(seed), Shelf(), Counter[str]()
    people = People(shelf, counts)
    for _ in range(300):
        item = f"i{draw.randrange(12)}"
        step = draw.random()
        if step < 0.2:
            shelf.put([item], [Offer()])
            people.renew([item])
        elif step < 0.3:
            people.leave(shelf.place_of.get(item, -1))
            shelf.remove(item)
        else:
            counts[item] = max(0, counts[item] + draw.choice([-1, 1]))
            people.renew([item])
        if draw.random() < 0.3:
            anew_I, every = shelf.counts(counts), np.arange(len(shelf))
            assert people.by_place.tolist() == anew_I.tolist()
            assert people.most == anew_I.max(initial=0)
            assert people.of(every).tolist() == anew_I.tolist()
            assert people.feature(every).tolist() == popularity_feature(anew_I).tolist()
            nothing_I = np.zeros(len(shelf), dtype=bool)
            assert people.tie(every).tolist() == item_prior(anew_I, nothing_I, 0.0).tolist()


def test_an_item_has_the_people_that_chose_it_before_it_came() -> None:
    shelf = Shelf()
    people = People(shelf, {"a": 3})
    assert people.most == 0 and len(people.by_place) == 0
    shelf.put(["b", "a"], [Offer(), Offer()])
    people.renew(["b", "a"])
    assert people.by_place.tolist() == [0, 3] and people.most == 3
