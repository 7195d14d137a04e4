"""Fuzzed requests over the whole OpenAPI document of a real server.

    python benchmarks/bench_fuzz.py --data shop/ [--requests 100000] [--seed 0] --json F [--plot F]

Reported: statuses by route, answers that the document does not declare, 5xx other than 503,
requests without an answer (allowed where the head of the request itself was torn), whether the
server still runs and answers, what it logged as errors, and its memory over the requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx
from bench_serve import Server
from fuzzing import Fuzzer, Made

AT_ONCE = 8
PATIENCE = 90.0
"""Seconds that an answer may take; writing ones wait in a lane."""
LOOKS = 100
"""How often memory is looked at."""
KEPT = 50
"""Wrong answers that are kept whole."""
WARM = 0.1
"""The share of the requests after which memory should stay as it is."""


async def ask(port: int, made: Made) -> int:
    """The status; 0: the connection ended without an answer; -1: none came in time.

    What was torn may tell of more than it sends; nobody waits for that, as the sending is ended.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(made.sent)
                if made.declared is None:
                    writer.write_eof()
                answer = await reader.read(4096)
                while await reader.read(1 << 16):
                    pass
            except ConnectionError:
                answer = b""
            finally:
                writer.close()
    except TimeoutError:
        return -1
    except OSError:
        return 0
    words = answer[:20].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/1") else 0


def is_wrong(made: Made, status: int) -> bool:
    """Whether a server must not answer so."""
    if status == -1:
        return True
    if made.declared is None:  # what was torn may by chance be another request that is right
        return status >= 500 and status != 503
    return status not in made.declared


async def fuzz(server: Server, fuzzer: Fuzzer, count: int) -> dict[str, Any]:
    """Asks so often, some at once."""
    statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
    wrong: list[dict[str, Any]] = []
    memory: list[tuple[int, float]] = []
    done = 0

    async def work() -> None:
        nonlocal done
        while done < count:
            done += 1
            if done % max(1, count // LOOKS) == 0:
                memory.append((done, round(server.memory(), 1)))
                spent = time.perf_counter() - begin
                left = spent * (count / done - 1) / 60
                said = f"{done:,} of {count:,} asked, {len(wrong)} wrong, {left:.0f} min left"
                print(said, file=sys.stderr, flush=True)
            made = fuzzer.next()
            status = await ask(server.port, made)
            statuses[made.route if made.declared else "torn"][status] += 1
            if is_wrong(made, status):
                sent = made.sent[:2000].decode("latin-1")
                wrong.append({"route": made.route, "status": status, "sent": sent})

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    totals: Counter[int] = sum(statuses.values(), Counter())
    return {
        "requests": totals.total(),
        "seconds": round(time.perf_counter() - begin, 1),
        "statuses": dict(sorted(totals.items())),
        "wrong": len(wrong),
        "wrong_ones": wrong[:KEPT],
        "by_route": {
            route: dict(sorted(found.items())) for route, found in sorted(statuses.items())
        },
        "memory_mib": memory,
    }


def growth(memory: list[tuple[int, float]], count: int) -> float:
    """MiB by which memory grew after the first tenth of the requests."""
    later = [mib for number, mib in memory if number >= WARM * count]
    return round(later[-1] - later[0], 1) if later else 0.0


def plot(found: dict[str, Any], path: Path) -> None:
    """Memory over the requests."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3))
    numbers, mib = zip(*found["memory_mib"], strict=True)
    axes.plot(numbers, mib)
    axes.set(xlabel="fuzzed requests", ylabel="resident MiB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Starts a server, fuzzes it, and says what came out; ends with 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--threads", type=int, default=1, help="Of one computation.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        with Server(told, state) as server:
            document = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
            page = httpx.get(f"{server.url}/v1/items?limit=200", timeout=60).json()
            names = [item["item_id"] for item in page["items"]]
            fuzzer = Fuzzer(document, told.seed, names)
            found = {"seed": told.seed, "routes": len(fuzzer.routes)}
            found |= asyncio.run(fuzz(server, fuzzer, told.requests))
            found["grew_mib"] = growth(found["memory_mib"], told.requests)
            found["runs"] = server.process.poll() is None
            asked = {"history": ["clicked: a tent"], "k": 5}
            answer = httpx.post(f"{server.url}/v1/recommend", json=asked, timeout=60)
            found["answers"] = answer.status_code == 200
            if not found["answers"]:
                found["answered"] = answer.text
        found["errors_logged"] = server.errors()
    print(json.dumps({**found, "by_route": "…", "memory_mib": "…"}, indent=2, ensure_ascii=False))
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if told.plot:
        plot(found, told.plot)
    if found["wrong"] or found["errors_logged"] or not (found["runs"] and found["answers"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
