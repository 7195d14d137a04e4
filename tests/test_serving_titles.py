"""Items by the names that users say no to: as looking at every id and title finds them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from m6rec.offers import Offer
from m6rec.serving.known import Shown
from m6rec.serving.titles import Titles
from m6rec.tasks.shelf import Shelf

NAMES = ["red shoe", "i3", "i4", "blue hat", "tent", "nothing of the kind"]


@pytest.mark.parametrize("seed", range(4))
def test_names_are_found_as_reading_every_title_finds_them(seed: int) -> None:
    draw, shelf, shown = random.Random(seed), Shelf(), dict[str, Shown]()
    titles = Titles(shelf, shown)
    for _ in range(60):
        item = f"i{draw.randrange(9)}"
        if draw.random() < 0.2:
            shown.pop(item, None)
            shelf.remove(item)
        else:
            title = draw.choice([" Red Shoe", "Blue hat", "TENT ", "tents", "i3", ""])
            shown[item] = Shown(title, None, None, None)
            shelf.put([item], [Offer()])
            titles.put([item])
        names = frozenset(draw.sample(NAMES, draw.randrange(4)))
        place_N = np.arange(-1, len(shelf))
        wanted = [0.0]
        for one in shelf.ids:
            title = shown[one].title.strip().lower() if one in shown else ""
            wanted.append(float(bool(one) and not names.isdisjoint((one, title))))
        assert titles.named(place_N, names).tolist() == wanted
