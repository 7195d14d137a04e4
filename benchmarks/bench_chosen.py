"""What people chose next, in the server: processor time of the step that finds candidates.

`python benchmarks/bench_chosen.py --items 1000000 [--choices 5000000] [--json FILE]` makes up a
catalogue (vectors around 2,000 centres, of the widths of m6-small) and a log (as
bench_transitions.py), and asks for 500 candidates after histories of ten items, a quarter of them
with a no by name. Compared are words alone (the vector index), what people chose next, and both
joined by a head; reading histories counts, the network does not: it is the same, or not needed.
Give one core to it (`taskset -c 0`, OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from bench_transitions import blocks

from m6rec.collaborative.counts import count
from m6rec.collaborative.head import Head
from m6rec.collaborative.live import LiveTransitions
from m6rec.collaborative.live_sequences import LiveSequences
from m6rec.collaborative.settings import ScoreSettings
from m6rec.collaborative.words import WordsPrior
from m6rec.data.requests import Requests
from m6rec.data.stances import stances
from m6rec.data.verdicts import Scale
from m6rec.offers import Offer
from m6rec.records import Event, Request
from m6rec.serving.candidates import Scores
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.known import Known, Shown
from m6rec.serving.people import People
from m6rec.serving.retrieval import retrieve
from m6rec.serving.steps import Clock, Wanted
from m6rec.serving.titles import Titles
from m6rec.serving.words import Fitted, ItemWords
from m6rec.stores.journal.sqlite import SqliteJournal
from m6rec.stores.vectors.local import LocalIndex
from m6rec.tasks.retrieval import Queries
from m6rec.tasks.shelf import Shelf

CENTRES, HISTORY, ASKED, ROUNDS = 2000, 10, 60, 6
PUT_AT_ONCE = 50_000


def vectors(items: int, width: int, seed: int) -> np.ndarray:
    """Unit vectors around centres: float32 [I, width]."""
    draw = np.random.default_rng(seed)
    centre = draw.normal(size=(CENTRES, width)).astype(np.float32)
    made = np.empty((items, width), dtype=np.float32)
    for first in range(0, items, PUT_AT_ONCE):
        part = made[first : first + PUT_AT_ONCE]
        part[:] = draw.standard_normal(part.shape, dtype=np.float32)
        part += centre[draw.integers(0, CENTRES, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


class World:
    """What the step needs of an opened model."""

    def __init__(self, items: int, choices: int, width: int, projection: int) -> None:
        self.ids = [f"i{n}" for n in range(items)]
        self.shown = {one: Shown(f"thing {one}", None, None, None) for one in self.ids}
        self.shelf = Shelf()
        self.shelf.put(self.ids, [Offer()] * items)
        self.titles = Titles(self.shelf, self.shown)
        self.vectors_IK = vectors(items, projection, 1)
        self.index = LocalIndex(projection, expected=items)
        for first in range(0, items, PUT_AT_ONCE):
            part = slice(first, first + PUT_AT_ONCE)
            self.index.put(self.ids[part], self.vectors_IK[part])
        journal = SqliteJournal()
        chosen = LiveChosen(journal, Known.read(journal), self.shelf, ScoreSettings())
        log = list(blocks(items, choices))
        chosen.live = LiveTransitions(count(log, items), LiveSequences.empty(), chosen.live.codes)
        times = np.bincount(np.concatenate([one.item_E for one in log]), minlength=items)
        self.people = People(self.shelf, dict(zip(self.ids, times.tolist(), strict=True)))
        self.log, self.chosen = log[0], chosen
        words: Any = ItemWords(self.shelf, self.shown, str, vectors, None, 3.0)  # type: ignore[arg-type]
        f_ID = vectors(items, width, 2)
        prior = WordsPrior.fit(f_ID[:: -(-items // 100_000)], 3.0)
        words._fitted = Fitted(prior, items, prior.keys(prior.whitening(f_ID)))
        self.words = words
        if words.is_large():
            words._indexed(words.fitted)

    def shop(self, scores: Scores | None) -> Any:
        """As the steps see it."""
        return SimpleNamespace(
            ranker=None,
            shelf=self.shelf,
            shown=self.shown,
            index=self.index,
            boost=0.0,
            people=self.people,
            titles=self.titles,
            scores=scores,
            retriever=SimpleNamespace(queries=self.queries),
            item_vectors=lambda ids: self.vectors_IK[self.shelf.places(ids)],
        )

    def queries(self, requests: Requests) -> Queries:
        """Without the network: the vector of the newest item."""

        def encode(some: Requests) -> np.ndarray:
            ids = some.pool["item_id"].to_list()
            stops = some.rows["stop"].to_list()
            return self.vectors_IK[[self.shelf.place_of[ids[stop - 1]] for stop in stops]]

        return Queries(stances(requests, Scale()), encode)

    def wanted(self) -> list[Wanted]:
        """Runs of choices of the log."""
        draw = np.random.default_rng(3)
        asked = []
        for number in range(ASKED):
            first = int(draw.integers(0, len(self.log) - HISTORY))
            run = self.log.item_E[first : first + HISTORY].tolist()
            events = [Event("click", f"i{item}", timestamp=float(n)) for n, item in enumerate(run)]
            if number % 4 == 0:
                events.append(Event("dislike", f"i{draw.integers(len(self.ids))}", timestamp=99.0))
            asked.append(Wanted(Request(tuple(events))))
        return asked


def measure(world: World) -> dict[str, float]:
    """Milliseconds of the processor a request, at the median; of each the quickest round, so that
    a busy machine spoils little. "first time": when its rows are not ready."""
    found = {}
    ways = {
        "words alone": None,
        "chosen": Scores(world.shelf, world.chosen, world.words, None),
        "chosen, joined by a head": Scores(world.shelf, world.chosen, world.words, Head()),
    }
    for name, scores in ways.items():
        shop, asked = world.shop(scores), world.wanted()
        taken_RA = np.zeros((ROUNDS, ASKED))
        for round_ in range(ROUNDS):
            for place, wanted in enumerate(asked):
                began = time.thread_time()
                retrieve(shop, [wanted], Clock())
                taken_RA[round_, place] = time.thread_time() - began
        found[name] = 1e3 * float(np.median(taken_RA[1:].min(0)))
        found[f"{name}, first time"] = 1e3 * float(np.median(taken_RA[0]))
    return found


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--choices", type=int, default=5_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--projection", type=int, default=128)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    world = World(told.items, told.choices, told.width, told.projection)
    found = {"items": told.items, "choices": told.choices, **measure(world)}
    print(json.dumps(found, indent=2))
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
