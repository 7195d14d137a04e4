"""The server under load: recommendations at a steady rate, events in bulk, swaps, a soak.

`python benchmarks/bench_serve.py --data DATA [--adapter RANK] [--rate 50] [--seconds 20] --json F`
starts `m6rec serve` on a free port with a state folder of its own, measures, and stops it. Requests
leave when the clock says so, whether earlier ones were answered or not, and their time counts from
then (no coordinated omission). --swaps N changes the model so often under load, between two that
answer differently, and compares every answer with its model's. --kills N kills it so often at the
end, and notes how soon it is ready again. --soak SECONDS runs the load that long and keeps a row
each minute; --plot FILE draws it. --catalogue 1000000 instead of --data makes up a catalogue.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

CONNECTIONS = 64
EVENTS = 10
"""Of a history."""
SWAP_EVERY = 0.1
NOISE = 0.3
"""Of the standard deviation of a matrix, by which the second model of the swaps differs."""
CLOSE, SAME = 2e-3, 0.9
"""Scores that are one; share of the items of an answer that have to be the model's own (places at
the end are changed by last digits)."""
DISTINCT = 20_000
"""Titles of the synthetic catalogue: its items are kinds of so many goods, as in a large shop."""


def main() -> None:
    """Runs what was asked for and prints a table."""
    told = _words()
    if (told.data is None) == (not told.catalogue):
        sys.exit("give --data FOLDER or --catalogue NUMBER")
    if told.data is not None:
        _run(told)
        return
    with tempfile.TemporaryDirectory() as made:
        told.data = made
        _write_catalogue(Path(made), told.catalogue)
        _run(told)


def _run(told: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as state:
        with Server(told, state) as server:
            found = asyncio.run(_measure(server, told))
        if told.kills:
            found["ready_after_a_kill_s"] = _kills(told, state)
    text = json.dumps(found, indent=2)
    print(text)
    if told.json:
        Path(told.json).write_text(text + "\n", encoding="utf-8")
    if told.plot and told.soak:
        _plot(found["soak"], told.plot)


def _kills(told: argparse.Namespace, state: str) -> list[float]:
    """Seconds from a start to ready after kill -9, so many times."""
    ready = []
    for _ in range(told.kills + 1):  # the first start is that after an orderly end
        with Server(told, state) as server:
            ready.append(round(server.ready, 2))
            server.process.kill()
    return ready[1:]


def _write_catalogue(folder: Path, count: int) -> None:
    """So many items: kinds of DISTINCT goods of the built-in shop's categories, at prices."""
    import polars as pl

    from m6rec.data.shop import generate_shop
    from m6rec.data.tables import load

    with tempfile.TemporaryDirectory() as made:
        generate_shop(Path(made) / "shop", size="tiny")
        goods = load(Path(made) / "shop").items
    draw = np.random.default_rng(0)
    titles, categories = goods["title"].to_list(), goods["category"].to_list()
    which = draw.integers(0, DISTINCT, count)
    table = {
        "item_id": [f"i{n:07d}" for n in range(count)],
        "title": [f"{titles[n % len(titles)]}, number {n // len(titles)}" for n in which.tolist()],
        "category": [categories[n % len(titles)] for n in which.tolist()],
        "price": draw.uniform(1, 500, count).round(2),
    }
    pl.DataFrame(table).write_parquet(folder / "items.parquet")


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Latency and memory by minute."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (times, memory) = pyplot.subplots(2, 1, figsize=(7, 5), sharex=True)
    minutes = range(1, len(rows) + 1)
    for name in ("p50_ms", "p90_ms", "p99_ms"):
        times.plot(minutes, [row[name] for row in rows], label=name.removesuffix("_ms"))
    times.set(ylabel="milliseconds", ylim=(0, None))
    times.legend()
    memory.plot(minutes, [row["memory_mib"] for row in rows])
    memory.set(xlabel="minutes", ylabel="resident MiB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="Folder with the canonical tables.")
    parser.add_argument("--catalogue", type=int, default=0, help="Or so many made-up items.")
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--threads", type=int, default=1, help="Of one computation.")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--bulk", type=int, default=500)
    parser.add_argument("--swaps", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0, help="Kills, and starts again.")
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--json")
    parser.add_argument("--plot", type=Path, help="Latency and memory over a soak.")
    return parser.parse_args()


class Server:
    """`m6rec serve` in a process of its own."""

    def __init__(self, told: argparse.Namespace, state: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.models = models = Path(state) / "models"
        models.mkdir(exist_ok=True)
        command = [sys.executable, "-c", "from m6rec.cli.app import main; main()", "serve"]
        command += ["--data", told.data, "--model", told.model, "--port", str(self.port)]
        command += ["--state", state, "--models", str(models)]
        command += ["--threads", str(told.threads)]
        for adapter in told.adapter:
            command += ["--adapter", adapter]
        self.begin = time.perf_counter()
        self.log = (Path(state) / "log").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            command,
            stderr=self.log,
            stdout=self.log,
            env={**os.environ, "OMP_NUM_THREADS": str(told.threads)},
        )

    def __enter__(self) -> Server:
        while True:
            if self.process.poll() is not None:
                sys.exit(Path(self.log.name).read_text("utf-8"))
            try:
                httpx.get(f"{self.url}/health/ready").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.02)
            else:
                self.ready = time.perf_counter() - self.begin
                return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()

    def errors(self) -> list[str]:
        """What it logged as an error until now."""
        lines = Path(self.log.name).read_text("utf-8").splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [json.dumps(line) for line in told if line["level"] in ("error", "critical")]

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        (line,) = [line for line in text.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


async def _measure(server: Server, told: argparse.Namespace) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
        asks = await _asks(client, told)
        found: dict[str, Any] = {
            "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
            "ready_s": round(server.ready, 1),
        }
        begin, before = server.cpu(), await _stages(client)
        found["recommend"] = await _load(asks, told.rate, told.seconds)
        answered = found["recommend"]["requests"]
        found["cpu_ms_per_request"] = round(1000 * (server.cpu() - begin) / answered, 1)
        found["ms_by_step"] = _means(before, await _stages(client))
        found["events"] = await _events(client, told)
        if told.swaps:
            found["swaps"] = await _swaps(server, client, told)
        if told.soak:
            found["soak"] = await _soak(server, asks, told)
        found["memory_mib"] = round(server.memory())
        found["errors_logged"] = server.errors()
    return found


async def _stages(client: httpx.AsyncClient) -> dict[str, tuple[float, float]]:
    """Seconds and count of each step of all models until now, from /metrics."""
    found: dict[str, list[float]] = {}
    for line in (await client.get("/metrics")).text.splitlines():
        for place, name in enumerate(("sum", "count")):
            if line.startswith(f"m6rec_stage_seconds_{name}{{"):
                step = line.partition('stage="')[2].partition('"')[0]
                found.setdefault(step, [0.0, 0.0])[place] += float(line.rpartition(" ")[2])
    return {step: (seconds, count) for step, (seconds, count) in found.items()}


def _means(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """Milliseconds of a step in a request; requests of one batch have the whole batch's each."""
    out = {}
    for step, (seconds, count) in after.items():
        earlier = before.get(step, (0.0, 0.0))
        if count > earlier[1]:
            out[step] = round(1000 * (seconds - earlier[0]) / (count - earlier[1]), 2)
    return out


async def _asks(
    client: httpx.AsyncClient, told: argparse.Namespace
) -> Callable[[], Awaitable[int]]:
    """A request for a random history of some of the catalogue's items; its status. Each of these
    items was in a history once before."""
    page = (await client.get("/v1/items?limit=1000")).raise_for_status().json()
    items = [item["item_id"] for item in page["items"]]
    draw = random.Random(0)

    async def one(history: Sequence[str]) -> int:
        events = [{"event": "click", "item_id": item} for item in history]
        body = {"history": events, "k": told.k, "candidates": told.candidates}
        try:
            return (await client.post("/v1/recommend", json=body)).status_code
        except httpx.HTTPError:
            return 0

    for start in range(0, len(items), EVENTS):  # what is prepared once for each text is there
        await one(items[start : start + EVENTS])
    return lambda: one(draw.sample(items, EVENTS))


async def _load(ask: Callable[[], Awaitable[int]], rate: float, seconds: float) -> dict[str, Any]:
    """Requests at a steady rate; times in milliseconds."""
    times: list[float] = []
    statuses: list[int] = []

    async def one(due: float) -> None:
        statuses.append(await ask())
        times.append(1000 * (time.perf_counter() - due))

    begin, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    taken = time.perf_counter() - begin
    p50, p90, p99 = (round(float(p), 1) for p in np.percentile(times, [50, 90, 99]))
    return {
        "asked_per_s": rate,
        "answered_per_s": round(len(times) / taken, 1),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "requests": len(times),
        "not_200": sum(status != 200 for status in statuses),
    }


async def _events(client: httpx.AsyncClient, told: argparse.Namespace) -> dict[str, Any]:
    """Durable events per second, four clients at once."""
    bulks = max(1, told.events // told.bulk)

    async def send(numbers: range) -> None:
        for number in numbers:
            events = [
                {"user_id": f"u{number % 97}", "event": "click", "item_id": f"i{row}"}
                for row in range(told.bulk)
            ]
            (await client.post("/v1/events", json={"events": events})).raise_for_status()

    begin = time.perf_counter()
    await asyncio.gather(*(send(range(first, bulks, 4)) for first in range(4)))
    taken = time.perf_counter() - begin
    return {"events_per_s": round(bulks * told.bulk / taken), "bulk": told.bulk}


async def _swaps(
    server: Server, client: httpx.AsyncClient, told: argparse.Namespace
) -> dict[str, Any]:
    """Swaps between two models under load. Every answer has to be that of the model it names."""
    _other_model(server.models / "other", told.model)
    body = {"name": "second", "model": "other"}
    (await client.post("/v1/admin/models", json=body, timeout=600)).raise_for_status()
    page = (await client.get("/v1/items?limit=100")).raise_for_status().json()
    items = [item["item_id"] for item in page["items"]]
    asked = [
        {"history": [{"event": "click", "item_id": i} for i in items[n : n + 5]], "k": told.k}
        for n in range(0, min(40, len(items)), 5)
    ]
    right: dict[str, list[dict[str, float]]] = {}
    for name in ("first", "second"):
        found = [await client.post("/v1/recommend", json={**one, "variant": name}) for one in asked]
        right[name] = [_scores(answer.json()) for answer in found]
    apart = min(_share(a, b) for a, b in zip(right["first"], right["second"], strict=True))
    seen, mixed, turn = dict.fromkeys(right, 0), 0, itertools.count()

    async def ask() -> int:
        nonlocal mixed
        number = next(turn) % len(asked)
        try:
            answer = await client.post("/v1/recommend", json=asked[number])
        except httpx.HTTPError:
            return 0
        if answer.status_code == 200:
            name = answer.json()["variant"]
            seen[name] += 1
            mixed += _share(_scores(answer.json()), right[name][number]) < SAME
        return answer.status_code

    seconds = max(5.0, told.swaps * SWAP_EVERY)
    load = asyncio.create_task(_load(ask, told.rate, seconds))
    for _ in range(told.swaps):
        (await client.post("/v1/admin/models/rollback")).raise_for_status()
        await asyncio.sleep(SWAP_EVERY)
    told_of_load = await load
    about = {"answers_of_each": seen, "share_that_the_models_have_in_common": round(apart, 2)}
    return {"swaps": told.swaps, **told_of_load, "mixed": mixed, **about}


def _other_model(folder: Path, model: str) -> None:
    """The same checkpoint with its matrices changed by some percent: other answers."""
    import torch

    from m6rec.model.checkpoint import load_backbone, save_backbone
    from m6rec.recommender import M6Rec

    face = M6Rec.from_pretrained(model)
    network, words = face.backbone, face.tokenizer
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.add_(NOISE * parameter.std() * torch.randn_like(parameter))
    save_backbone(network, words, folder)
    load_backbone(folder)


def _scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


def _share(one: dict[str, float], other: dict[str, float]) -> float:
    """The share of items that both have with the same score, to what a batch changes."""
    same = sum(item in other and abs(score - other[item]) < CLOSE for item, score in one.items())
    return same / max(1, len(one), len(other))


async def _soak(
    server: Server, ask: Callable[[], Awaitable[int]], told: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each minute."""
    rows, until = [], time.perf_counter() + told.soak
    while time.perf_counter() < until:
        row = await _load(ask, told.rate, 60.0)
        rows.append({**row, "memory_mib": round(server.memory())})
    return rows


if __name__ == "__main__":
    main()
