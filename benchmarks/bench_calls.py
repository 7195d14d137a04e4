"""What a public call costs beside the network alone, and beside another build in the same run.

    python benchmarks/bench_calls.py DATA [--beside CHECKOUT] [--json FILE]

Untrained retrieval of the shipped model over a data set, everything warm: one history, a batch of
them, users of the log, as many users as `--everybody` says. "network" is the same batch once it is
packed: the network, and the product with all items. Then a catalogue and a log that are made up
(`--long-items`, `--long-events`), where a call that goes through either would show.

--beside: the folder of another checkout. Each build runs in a process of its own; they take turns,
call by call, and each call counts with its quickest round, so that a busy machine spoils little;
--clock processor counts the processor time of all threads instead.
Give one core to each (`taskset -c 0`, OMP_NUM_THREADS=1) for figures to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from m6rec import M6Rec
from m6rec.data import tables
from m6rec.data.requests import Requests
from m6rec.data.tables import Dataset, sort_events
from m6rec.records import Event, Request

FEW_TITLES = [f"trail running shoe, size {size}" for size in range(36, 46)]
Call = tuple[int, Callable[[], object]]
"""How many histories it answers, and the call."""


class World:
    """One build's calls, everything warm. Only what both builds have is used."""

    def __init__(self, told: argparse.Namespace) -> None:
        self.told = told
        self.rec = M6Rec.from_pretrained(told.model)
        data = tables.load(told.data)
        if data.events is None:
            raise SystemExit(f"{told.data}: this benchmark needs a log")
        self.data = replace(data, items=data.items.head(told.items))
        acts = data.events.filter(pl.col("event") != "impression")
        self.users = acts["user_id"].unique(maintain_order=True).to_list()[: told.everybody]
        few = acts.filter(pl.col("user_id").is_in(self.users[: told.histories]))
        self.of_users = [
            part.rows(named=True)
            for part in few.partition_by("user_id", maintain_order=True, include_key=True)
        ]
        titles = dict(self.data.items.select("item_id", "title").iter_rows())
        self.texts = [
            [f"bought: {titles.get(row['item_id'], row['item_id'])}" for row in rows]
            for rows in self.of_users
        ]

    def calls(self) -> dict[str, Call]:
        """On the data set as it is."""
        rec, users, texts = self.rec.use(self.data), self.users, self.texts
        few = users[: self.told.histories]
        return {
            "network": (len(few), self._network()),
            "one network": (1, self._network(1)),
            "recommend, texts": (1, lambda: rec.recommend(texts[0])),
            "recommend, a user": (1, lambda: rec.recommend(user_id=users[0])),
            "recommend_batch, texts": (len(few), lambda: rec.recommend_batch(texts)),
            "recommend_batch, users": (
                len(few),
                lambda: rec.recommend_batch([()] * len(few), user_ids=few),
            ),
            "everybody": (
                len(users),
                lambda: rec.recommend_batch([()] * len(users), user_ids=users),
            ),
            "score, two items": (1, lambda: rec.score(texts[0][:3], FEW_TITLES[:2])),
        }

    def long_calls(self) -> dict[str, Call]:
        """With a long log and a large catalogue in use, of which a call needs next to nothing."""
        rec, user = self.rec.use(_long(self.told)), "u000123"
        return {
            "long: a user": (1, lambda: rec.recommend(user_id=user, items=FEW_TITLES)),
            "long: score, two items": (
                1,
                lambda: rec.score(["bought: a tent"], FEW_TITLES[:2]),
            ),
        }

    def _network(self, count: int | None = None) -> Callable[[], object]:
        catalogue = self.rec.opener().catalogue(self.rec.tasks.get("retrieve"), self.data)
        names = [name for name in ("event", "item_id", "value") if name in self.of_users[0][0]]
        asked = [
            Request(tuple(Event(**{name: row[name] for name in names}) for row in rows))
            for rows in self.of_users[:count]
        ]
        retriever = catalogue.retriever
        packed = retriever.pack_users(Requests.of(asked))

        def network() -> object:
            with torch.no_grad():
                return retriever.user_vectors(packed).cpu().numpy() @ catalogue.vectors_IK.T

        return network


def _long(told: argparse.Namespace) -> Dataset:
    draw = np.random.default_rng(0)
    items = [f"i{number:06d}" for number in range(told.long_items)]
    events = pl.DataFrame(
        {
            "user_id": [f"u{n:06d}" for n in draw.integers(0, told.long_events // 20, 20_000)]
            * (told.long_events // 20_000),
            "item_id": pl.Series(items)[draw.integers(0, len(items), told.long_events)],
            "event": "purchase",
            "timestamp": draw.integers(0, 10**8, told.long_events).astype(float),
            "value": pl.Series([None] * told.long_events, dtype=pl.Float64),
        }
    )
    catalogue = pl.DataFrame({"item_id": items, "title": [f"thing {i}" for i in items]})
    return Dataset(name="long", items=catalogue, events=sort_events(events))


def work(told: argparse.Namespace) -> None:
    """Answers on standard output, a line for each line of standard input: seconds of a call."""
    world = World(told)
    sets = {"short": world.calls, "long": world.long_calls}
    clock = time.process_time if told.clock == "processor" else time.perf_counter
    calls: dict[str, Call] = {}
    for line in sys.stdin:
        order, name = line.rstrip("\n").split("\t")
        if order == "open":
            calls = sets[name]()
            for key in calls:
                calls[key][1]()  # texts are encoded, words compiled
            print(json.dumps({key: count for key, (count, _) in calls.items()}), flush=True)
            continue
        begin = clock()
        calls[name][1]()
        print(json.dumps(clock() - begin), flush=True)


class Build:
    """A worker process on the sources of one checkout."""

    def __init__(self, checkout: Path, told: argparse.Namespace) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        command = [sys.executable, str(Path(__file__).resolve()), *_forwarded(told), "--work"]
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, order: str, name: str) -> Any:
        """The answer of the worker to one line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\t{name}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended before it answered; run it with --work to see why")
        return json.loads(line)


def _forwarded(told: argparse.Namespace) -> list[str]:
    names = ("model", "items", "histories", "everybody", "long_items", "long_events", "clock")
    pairs = ((f"--{name.replace('_', '-')}", str(getattr(told, name))) for name in names)
    return [str(told.data), *(word for pair in pairs for word in pair)]


def measure(builds: dict[str, Build], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a history of every call, by build: the quickest round, builds in turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in builds}
    for part in ("short", "long"):
        opened = {name: build.ask("open", part) for name, build in builds.items()}
        for call in next(iter(opened.values())):
            times: dict[str, list[float]] = {name: [] for name in builds}
            turns = 1 if call == "everybody" else rounds
            for _ in range(turns):
                for name, build in builds.items():
                    times[name].append(build.ask("call", call) / opened[name][call])
            for name in builds:
                found[name][call] = 1e3 * min(times[name])
            shown = ", ".join(f"{name} {found[name][call]:.3f} ms" for name in builds)
            print(f"{call}: {shown}", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, dict[str, float]]) -> str:
    """The table: what each call costs, what of it is not the network, and the ratios."""
    here, other = found["this"], found.get("other")
    lines = ["call                        ms a history   not network   × network   × other build"]
    for call, own in here.items():
        alone = here["one network" if call.startswith("recommend,") else "network"]
        counts = call.startswith(("recommend", "everybody"))
        beyond = f"{own - alone:10.3f}   {own / alone:9.1f}" if counts else " " * 22
        ratio = f"{other[call] / own:12.1f}" if other else ""
        lines.append(f"{call:26} {own:13.3f}   {beyond}   {ratio}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--items", type=int, default=100_000, help="of the catalogue at most")
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--everybody", type=int, default=2000, help="users of the log at most")
    parser.add_argument("--long-items", type=int, default=200_000)
    parser.add_argument("--long-events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", action="store_true", help="serve one build's calls (internal)")
    told = parser.parse_args()
    if told.work:
        work(told)
        return
    builds = {"this": Build(Path(__file__).resolve().parents[1], told)}
    if told.beside is not None:
        builds["other"] = Build(told.beside.resolve(), told)
    found = measure(builds, told.rounds)
    print(report(found))
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
