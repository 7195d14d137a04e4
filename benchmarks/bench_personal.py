"""Does learning from a person's own clicks help? Real users' later events, replayed on a bundle.

    python benchmarks/bench_personal.py BUNDLE DATA OUT.json [--earlier N] [--pull 3 --pull 30 …]

For each user with three events or more in a part, each event but the first is asked for: the ten
best items after the user's newest events, as the bundle answers, and as `Personal` answers, which
was told each of the user's events of that part as a like (--earlier: and so many before). Items of
the history are left out in both. Settings are chosen by HR@10 on valid and reported on test;
intervals draw users. BUNDLE: `m6rec edge export … --data DATA --event purchase`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.choices import bent
from m6rec.edge.personal import MOST_KEPT, Personal, PersonalSettings
from m6rec.metrics.bootstrap import bootstrap_statistic

READ = 10
"""Newest events of a history that are read, as in the published rows."""
LEAST = 3
AT_ONCE = 32


class Remembering(EdgeBundle):
    """A bundle that keeps the states of events and the vectors of histories, as a device may."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._states: dict[str, np.ndarray] = {}
        self._users: dict[tuple[str, ...], np.ndarray] = {}
        vectors_IK = self.shelf.vectors_IK.astype(np.float32)
        self.vectors_IK = vectors_IK * self.shelf.scale_I[:, None]
        self.place = {item_id: place for place, item_id in enumerate(self.shelf.ids)}

    def remember(self, items: Sequence[str]) -> None:
        """Encodes the events of items, short ones first, many at once."""
        texts = sorted({self.shelf.events[self.place[item]] for item in items}, key=len)
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            found = super().encode(some, self.config.event_budget)
            self._states |= dict(zip(some, found, strict=True))

    def encode(self, texts: Sequence[str], budget: int) -> np.ndarray:
        """As in a bundle, from memory."""
        return np.stack([self._states[text] for text in texts])

    def user_vector(self, history: Sequence[str]) -> np.ndarray:
        """As in a bundle, each history once."""
        key = tuple(history)
        if key not in self._users:
            self._users[key] = super().user_vector(history)
        return self._users[key]

    def gain(self, user_K: np.ndarray, history: Sequence[str], target: str) -> float:
        """NDCG@10 of a target among the items that the history has not; above 0: in the ten."""
        score_I = self.vectors_IK @ user_K.astype(np.float32) + self.shelf.prior_I
        place, seen = self.place[target], [self.place[item] for item in history]
        if place in seen:
            return 0.0
        least = score_I[place]
        score_I[seen] = -np.inf
        rank = int((score_I >= least).sum())
        return float(1 / np.log2(rank + 1)) if rank <= 10 else 0.0


def lives(data: Path, part: str) -> list[tuple[list[str], int]]:
    """Per user with enough events in a part: all events up to its end, and where it begins."""
    events = pl.read_parquet(data / "events.parquet").sort("user_id", "position")
    found = []
    for _, rows in events.group_by("user_id", maintain_order=True):
        splits = rows["split"].to_list()
        if splits.count(part) >= LEAST:
            first = splits.index(part)
            last = len(splits) - splits[::-1].index(part)
            found.append((rows["item_id"].to_list()[:last], max(first, 1)))
    return found


def replayed(
    bundle: Remembering,
    told: Sequence[tuple[list[str], int]],
    settings: PersonalSettings,
    early: int,
) -> Iterator[tuple[int, float, float]]:
    """Of each event that is asked for: number of the user, gain with learning, gain without."""
    for number, (items, first) in enumerate(told):
        personal = Personal(bundle, settings)
        for at in range(max(1, first - early), len(items)):
            history, target = items[max(0, at - READ) : at], items[at]
            user_K = bundle.user_vector(history)
            if at > first:
                ours = bundle.gain(bent(user_K, personal.theta_F), history, target)
                yield number, ours, bundle.gain(user_K, history, target)
            if at + 1 < len(items):
                personal.like(target, history)


def summary(rows: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    """HR@10 and NDCG@10 with and without, and the differences, with intervals that draw users."""
    user, ours, plain = (np.array(column) for column in zip(*rows, strict=True))
    users = int(user.max()) + 1
    columns = [ours > 0, plain > 0, (ours > 0) * 1.0 - (plain > 0), ours, plain, ours - plain]
    sums = [np.bincount(user, weights=c.astype(np.float64), minlength=users) for c in columns]
    count_U = np.bincount(user, minlength=users).astype(np.float64)
    sums_UM = np.stack(sums, 1)
    found = bootstrap_statistic(lambda w: (w @ sums_UM) / (w @ count_U)[:, None], users)
    names = ("hr", "hr_plain", "hr_gain", "ndcg", "ndcg_plain", "ndcg_gain")
    told = {n: e.to_dict() for n, e in zip(names, found, strict=True)}
    return {"users": users, "asked": len(rows), **told}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bundle", "data", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--earlier", type=int, default=0)
    for name, kind in (("scale", float), ("pull", float), ("steps", int), ("spread", int)):
        parser.add_argument(f"--{name}", type=kind, action="append", default=[])
    told = parser.parse_args()
    usual = PersonalSettings().model_dump()
    grid = [getattr(told, name) or [usual[name]] for name in usual]
    bundle = Remembering.open(told.bundle)
    early = min(told.earlier, MOST_KEPT)
    rows = []
    parts = {part: lives(told.data, part) for part in ("valid", "test")}
    read = READ + early
    bundle.remember(
        [i for some in parts.values() for items, at in some for i in items[max(0, at - read) :]]
    )
    for values in itertools.product(*grid):
        settings = PersonalSettings.model_validate(dict(zip(usual, values, strict=True)))
        found = summary(list(replayed(bundle, parts["valid"], settings, early)))
        rows.append({"settings": settings.model_dump(), "valid": found})
        print(
            settings,
            {n: round(found[n]["value"], 4) for n in ("hr", "hr_plain", "ndcg", "ndcg_plain")},
            flush=True,
        )
    best = max(rows, key=lambda row: float(row["valid"]["hr"]["value"]))
    chosen = PersonalSettings.model_validate(best["settings"])
    best["test"] = summary(list(replayed(bundle, parts["test"], chosen, early)))
    result = {"bundle": bundle.config.name, "earlier": early, "rows": rows, "chosen": best}
    told.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(best["test"]))


if __name__ == "__main__":
    main()
