"""Which runtime: by name, or the fastest that is within its tolerance, measured at the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from m6rec.config import ConfigError
from m6rec.model.precision import computes_bfloat16
from m6rec.serving.latency.clock import spent
from m6rec.serving.online import OnlineBatch
from m6rec.serving.runtimes.base import (
    TOLERANCE,
    Network,
    Runtime,
    RuntimeMissingError,
    distance,
)
from m6rec.serving.runtimes.openvino import OpenVinoRuntime
from m6rec.serving.runtimes.pytorch import TorchRuntime

AUTO = "auto"
REFERENCE = "torch-fp32"
RUNTIMES: dict[str, Callable[[Network], Runtime]] = {
    REFERENCE: lambda network: TorchRuntime(network, REFERENCE, torch.float32),
    "torch-bf16": lambda network: TorchRuntime(network, "torch-bf16", torch.bfloat16),
    "torch-compiled": lambda network: TorchRuntime(
        network, "torch-compiled", torch.bfloat16, compiled=True
    ),
    "openvino-fp32": lambda network: OpenVinoRuntime(network, "openvino-fp32", "f32"),
    "openvino-bf16": lambda network: OpenVinoRuntime(network, "openvino-bf16", "bf16"),
    "openvino-int8": lambda network: OpenVinoRuntime(network, "openvino-int8", "int8"),
}
TRIED = {
    "cpu": (REFERENCE, "torch-bf16", "openvino-fp32", "openvino-bf16", "openvino-int8"),
    "cuda": (REFERENCE, "torch-bf16", "torch-compiled"),
}
"""What "auto" tries on a device; compiling takes half a minute, which CPUs do not give back."""
SAMPLE_CANDIDATES, SAMPLE_SOURCE, REPEATS = 200, 50, 9


@dataclass(frozen=True)
class Measured:
    """One runtime over the sample: the quickest call in milliseconds, and `distance`; or why not.

    Other work on the machine only ever adds to a call, so of a few the quickest says most.
    """

    name: str
    milliseconds: float
    distance: float
    missing: str = ""


def make_runtime(name: str, network: Network) -> Runtime:
    """The runtime of that name, or the measured choice for "auto".

    Raises ConfigError for an unknown name, RuntimeMissingError where its library is missing.
    """
    if name == AUTO:
        return choose(network)[0]
    if name not in RUNTIMES:
        known = ", ".join((AUTO, *RUNTIMES))
        raise ConfigError(f"unknown runtime {name!r}; known are {known}")
    return RUNTIMES[name](network)


def choose(
    network: Network, names: Sequence[str] | None = None
) -> tuple[Runtime, tuple[Measured, ...]]:
    """The fastest runtime over a random request, among those within their tolerance."""
    device = network.backbone.read_token.device.type
    tried = worth_trying(device) if names is None else tuple(names)
    batch = sample(network)
    reference = RUNTIMES[REFERENCE](network)
    wanted = reference.online(batch)[1]
    best, fastest, rows = reference, float("inf"), []
    for name in tried:
        try:
            runtime = reference if name == REFERENCE else RUNTIMES[name](network)
            gap = distance(runtime.online(batch)[1], wanted)
        except RuntimeMissingError as error:
            rows.append(Measured(name, float("inf"), float("inf"), str(error)))
            continue
        call = lambda runtime=runtime: runtime.online(batch)  # noqa: E731
        least = spent(call, REPEATS, warm=1).least
        rows.append(Measured(name, least, gap))
        if gap <= TOLERANCE[name] and least < fastest:
            best, fastest = runtime, least
    return best, tuple(rows)


def worth_trying(device: str) -> tuple[str, ...]:
    """What "auto" tries: no bfloat16 where a processor would only emulate it."""
    names = TRIED.get(device, TRIED["cpu"][:2])
    return names if computes_bfloat16(device) else tuple(n for n in names if "bf16" not in n)


def sample(network: Network) -> OnlineBatch:
    """One random request: 50 source rows, 200 candidates of two rows."""
    D, device = network.backbone.config.d_model, network.backbone.read_token.device
    generator = torch.Generator().manual_seed(0)
    shapes = (1, SAMPLE_SOURCE), (1, SAMPLE_CANDIDATES, 2)
    source, rows = (torch.randn(*shape, D, generator=generator).to(device) for shape in shapes)
    valid = torch.ones(rows.shape[:3], dtype=torch.bool, device=device)
    task_B = torch.zeros(1, dtype=torch.long, device=device)
    return OnlineBatch(source, None, rows, valid, task_B)
