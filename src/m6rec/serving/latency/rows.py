"""The measurements: the issue's rows, plans and rivals on the same pairs, growth.

Legend: H events, N candidates, L' layers below the online ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import SegmentTokens
from m6rec.model.precision import autocast, computes_bfloat16, low_precision
from m6rec.records import M6Error
from m6rec.serving.latency.clock import machine, peak_gflops, spent
from m6rec.serving.latency.rivals import BACKENDS, cross_encoder, din, pairs_of
from m6rec.serving.latency.world import Request, Shape, World
from m6rec.serving.runtimes.base import Network
from m6rec.serving.runtimes.choose import choose, make_runtime, worth_trying

LATE = Shape(history=100, candidates=1000)
ALL_STATES = Shape(history=20, candidates=100, kept="all", online=2)
SAME_PAIRS = Shape(history=20, candidates=1000)
HISTORIES = (10, 30, 100, 300, 1000)
CANDIDATES = (10, 100, 1000, 10_000, 100_000)
ENCODED, ENCODED_TOKENS = 64, 32
FULL_ROWS = 16
"""Candidates at once in the full plan and the cross-encoder; their cost is linear in candidates."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """repeats: calls of each timing; quick: leaves out the longest ends of the growth curves."""

    repeats: int = 100
    quick: bool = False


def layer_gflop(model: M6, rows: int, queries: int, keys: int) -> float:
    """One layer of the BERT family: keys and values of `rows`, the rest for `queries`."""
    c = model.config
    inner, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    ffn = (3 if c.ffn == "swiglu" else 2) * c.d_model * c.d_ff
    weights = rows * 2 * c.d_model * kv + queries * (2 * c.d_model * inner + ffn)
    return (2 * weights + 4 * queries * keys * inner) / 1e9


def measure(
    model: M6,
    effort: Effort,
    runtime: str = "auto",
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Everything, as a dictionary for JSON. runtime: of the engine; "auto": the measured choice."""
    progress("peak")
    device = model.read_token.device.type
    peaks = {"fp32": peak_gflops(torch.float32, device)}
    if computes_bfloat16(device):
        peaks["bf16"] = peak_gflops(torch.bfloat16, device)
    progress("choosing a runtime")
    network = Network(model, [model], model.config.layers - 1)
    chosen, tried = choose(network)
    name = chosen.name if runtime == "auto" else runtime
    found: dict[str, Any] = {
        "machine": dict(machine(device)),
        "peak_gflops": {key: round(value) for key, value in peaks.items()},
        "runtime": name,
        "tried": [
            {
                **vars(row),
                "milliseconds": _finite(row.milliseconds),
                "distance": _finite(row.distance),
            }
            for row in tried
        ],
    }
    progress("requests")
    others = [row.name for row in tried if not row.missing and row.name != "torch-fp32"]
    found["requests"] = requests(model, effort, list(dict.fromkeys((name, *others))))
    progress("encoding")
    found["encode"] = encoding(model, effort, max(peaks.values()))
    progress("plans and rivals on the same pairs")
    found["pairs"] = same_pairs(model, effort, name)
    progress("growth")
    found["growth"] = growth(model, effort, name)
    return found


def _finite(value: float) -> float | None:
    return round(value, 4) if value < float("inf") else None


def requests(model: M6, effort: Effort, names: Sequence[str]) -> list[Row]:
    """The two rows of requests by each runtime; by the first also from segment states alone."""
    out = []
    for shape in (LATE, ALL_STATES):
        world = World(model, shape)
        for name, ahead in [*((name, True) for name in names), (names[0], False)]:
            request = Request(world, name, ahead)
            time = spent(request, effort.repeats, warm=5)
            gflop = _gflop(world, ahead)
            out.append(
                {
                    **vars(shape),
                    "runtime": name,
                    "ahead": ahead,
                    **time.to_dict(),
                    "gflop": round(gflop, 2),
                    "gflops": round(gflop / time.p50 * 1000),
                    "bytes_per_item": round(request.catalogue.bytes_each()),
                }
            )
    return out


def _gflop(world: World, ahead: bool) -> float:
    """What one request computes, source and candidates."""
    model, shape = world.model, world.shape
    each = 1 if shape.kept == 1 else shape.tokens
    source, own = shape.history * each + 1, (each + 1)
    total = 0.0
    for index in range(shape.online):
        last = index == shape.online - 1
        asked = 1 if last else own
        rows = 0 if ahead and index == 0 else shape.candidates * own
        total += layer_gflop(model, source, 1 if last else source, source)
        total += layer_gflop(model, rows, shape.candidates * asked, source + own)
        if ahead and index == 0:  # queries were prepared too
            inner = model.config.heads * model.config.head_dim
            total -= 2 * shape.candidates * asked * model.config.d_model * inner / 1e9
    return total


def encoding(model: M6, effort: Effort, peak: float) -> list[Row]:
    """All layers over segments, by every runtime there is: share of the peak."""
    layers = model.config.layers
    network = Network(model, [model], layers)
    device = model.read_token.device
    ids = torch.randint(0, model.config.vocab_size, (ENCODED, ENCODED_TOKENS)).to(device)
    tokens = SegmentTokens(ids, torch.ones_like(ids, dtype=torch.bool))
    rows = ENCODED * ENCODED_TOKENS
    gflop = layers * layer_gflop(model, rows, rows, ENCODED_TOKENS)
    out: list[Row] = []
    for name in worth_trying(device.type):
        try:
            runtime = make_runtime(name, network)
        except M6Error as error:
            out.append({"runtime": name, "missing": str(error)})
            continue
        time = spent(lambda runtime=runtime: runtime.encode(tokens), effort.repeats // 4)  # type: ignore[misc]
        gflops = gflop / time.p50 * 1000
        out.append(
            {
                "runtime": name,
                **time.to_dict(),
                "gflops": round(gflops),
                "share_of_peak": round(gflops / peak, 3),
                "segments_per_s": round(ENCODED / time.p50 * 1000),
            }
        )
    return out


def same_pairs(model: M6, effort: Effort, runtime: str) -> list[Row]:
    """One user with 20 events: pairs per second of our plans, DIN and the cross-encoder."""
    world, few = World(model, SAME_PAIRS), max(4, effort.repeats // 10)
    N = SAME_PAIRS.candidates
    out: list[Row] = []

    def add(name: str, call: Callable[[], object], pairs: int, repeats: int) -> None:
        time = spent(call, repeats, warm=2)
        out.append({"name": name, **time.to_dict(), "pairs_per_s": round(pairs / time.p50 * 1000)})

    device = world.device.type
    for backend in (name for name in BACKENDS if name in worth_trying(device)):
        try:
            encoder = cross_encoder(world, backend)
        except M6Error as error:
            out.append({"name": f"cross-encoder, {backend}", "missing": str(error)})
            continue
        ids_NT = pairs_of(world, FULL_ROWS)
        call = lambda encoder=encoder, ids_NT=ids_NT: encoder(ids_NT)  # noqa: E731
        add(f"cross-encoder, {backend}", call, FULL_ROWS, few)
    for dtype in dict.fromkeys((torch.float32, low_precision(device))):
        add(f"ours, full plan, torch {str(dtype)[6:]}", _full(world, dtype), FULL_ROWS, few)
    for online in (1, 2):
        shape = replace(SAME_PAIRS, kept="all", online=online, candidates=100)
        add(
            f"ours, late, all states, {online} online",
            Request(World(model, shape), runtime),
            shape.candidates,
            few,
        )
    add("ours, late, k = 1, 1 online", Request(world, runtime), N, effort.repeats)
    add("ours, the same in torch fp32", Request(world, "torch-fp32"), N, effort.repeats // 2)
    add("DIN with ids", din(world), N, effort.repeats)
    return _ratios(out)


def _ratios(rows: list[Row]) -> list[Row]:
    """Adds how many times as many pairs per second as the best cross-encoder and full plan."""

    def best(word: str) -> float | None:
        found = [row["pairs_per_s"] for row in rows if word in row["name"] and "missing" not in row]
        return max(found, default=None)

    for key, rival in (("to_cross_encoder", best("cross-encoder")), ("to_full", best("full plan"))):
        for row in rows:
            if rival and "missing" not in row:
                row[key] = round(row["pairs_per_s"] / rival, 2)
    return rows


def _full(world: World, dtype: torch.dtype) -> Callable[[], object]:
    packed, model = world.rows(FULL_ROWS), world.model

    def run() -> object:
        with torch.inference_mode(), autocast(world.device.type, dtype == torch.bfloat16):
            return plans.full(model, world.tokens, packed, world.lower)

    return run


def growth(model: M6, effort: Effort, runtime: str) -> Mapping[str, list[Row]]:
    """k = 1, one online layer: 1,000 candidates over longer histories, more candidates over 100."""
    histories = HISTORIES[:-1] if effort.quick else HISTORIES
    candidates = CANDIDATES[:-1] if effort.quick else CANDIDATES
    found: dict[str, list[Row]] = {"history": [], "candidates": []}
    for H in histories:
        found["history"].append(_point(model, replace(LATE, history=H), effort, runtime))
    for N in candidates:
        found["candidates"].append(_point(model, replace(LATE, candidates=N), effort, runtime))
    return found


def _point(model: M6, shape: Shape, effort: Effort, runtime: str) -> Row:
    request = Request(World(model, shape), runtime)
    repeats = max(5, min(effort.repeats, effort.repeats * 2000 // shape.candidates))
    time = spent(request, repeats, most_s=10)
    return {"history": shape.history, "candidates": shape.candidates, **time.to_dict()}
