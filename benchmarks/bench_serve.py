"""The server under load: recommendations at a steady rate, events in bulk, swaps, a soak.

`python benchmarks/bench_serve.py --data DATA [--adapter RANK] [--rate 50] [--seconds 20] --json F`
starts `m6rec serve` on a free port with a state folder of its own, measures, and stops it. Requests
leave when the clock says so, whether earlier ones were answered or not, and their time counts from
then (no coordinated omission). --soak SECONDS runs the load that long and keeps a row each minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

CONNECTIONS = 64


def main() -> None:
    """Runs what was asked for and prints a table."""
    told = _words()
    with tempfile.TemporaryDirectory() as state, _Server(told, state) as server:
        found = asyncio.run(_measure(server, told))
    text = json.dumps(found, indent=2)
    print(text)
    if told.json:
        Path(told.json).write_text(text + "\n", encoding="utf-8")


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--bulk", type=int, default=500)
    parser.add_argument("--swaps", type=int, default=0)
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--json")
    return parser.parse_args()


class _Server:
    """`m6rec serve` in a process of its own."""

    def __init__(self, told: argparse.Namespace, state: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        models = Path(state) / "models"
        models.mkdir()
        command = [sys.executable, "-c", "from m6rec.cli.app import main; main()", "serve"]
        command += ["--data", told.data, "--model", told.model, "--port", str(self.port)]
        command += ["--state", state, "--models", str(models)]
        for adapter in told.adapter:
            command += ["--adapter", adapter]
        self.begin = time.perf_counter()
        self.log = (Path(state) / "log").open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            command, stderr=self.log, stdout=self.log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    def __enter__(self) -> _Server:
        while True:
            if self.process.poll() is not None:
                sys.exit(Path(self.log.name).read_text("utf-8"))
            try:
                httpx.get(f"{self.url}/health/ready").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.2)
            else:
                self.ready = time.perf_counter() - self.begin
                return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()

    def memory(self) -> float:
        """Resident MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        (line,) = [line for line in text.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


async def _measure(server: _Server, told: argparse.Namespace) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
        asks = await _asks(client, told)
        await asyncio.gather(*(asks() for _ in range(32)))  # what is prepared once is there
        found: dict[str, Any] = {
            "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
            "ready_s": round(server.ready, 1),
            "recommend": await _load(asks, told.rate, told.seconds),
            "events": await _events(client, told),
        }
        if told.swaps:
            found["swaps"] = await _swaps(client, asks, told)
        if told.soak:
            found["soak"] = await _soak(server, asks, told)
        found["memory_mib"] = round(server.memory())
    return found


async def _asks(
    client: httpx.AsyncClient, told: argparse.Namespace
) -> Callable[[], Awaitable[int]]:
    """A request for a random history of the catalogue's items; its status."""
    page = (await client.get("/v1/items?limit=1000")).raise_for_status().json()
    items = [item["item_id"] for item in page["items"]]
    draw = random.Random(0)

    async def ask() -> int:
        history = [{"event": "click", "item_id": item} for item in draw.sample(items, 10)]
        body = {"history": history, "k": told.k, "candidates": told.candidates}
        try:
            return (await client.post("/v1/recommend", json=body)).status_code
        except httpx.HTTPError:
            return 0

    return ask


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
    client: httpx.AsyncClient, ask: Callable[[], Awaitable[int]], told: argparse.Namespace
) -> dict[str, Any]:
    """Swaps between two models under load; both are the same checkpoint."""
    body = {"name": "second", "model": "first"}
    (await client.post("/v1/admin/models", json=body)).raise_for_status()
    seconds = max(5.0, told.swaps * 0.1)
    load = asyncio.create_task(_load(ask, told.rate, seconds))
    for _ in range(told.swaps):
        (await client.post("/v1/admin/models/rollback")).raise_for_status()
        await asyncio.sleep(0.1)
    return {"swaps": told.swaps, **await load}


async def _soak(
    server: _Server, ask: Callable[[], Awaitable[int]], told: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each minute."""
    rows, until = [], time.perf_counter() + told.soak
    while time.perf_counter() < until:
        row = await _load(ask, told.rate, 60.0)
        rows.append({**row, "memory_mib": round(server.memory())})
    return rows


if __name__ == "__main__":
    main()
