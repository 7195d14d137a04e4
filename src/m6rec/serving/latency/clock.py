"""Timing: medians, tails, the machine's own peak, and what the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

PEAK_SIZE = 2048
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Spent:
    """Milliseconds of repeated calls."""

    p50: float
    p99: float
    least: float
    repeats: int

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return {key: round(float(value), 3) for key, value in vars(self).items()}


def spent(call: Callable[[], object], repeats: int, warm: int = 3, most_s: float = 20.0) -> Spent:
    """Times a call `repeats` times after `warm` calls; stops after most_s seconds."""
    for _ in range(warm):
        call()
    times: list[float] = []
    until = time.perf_counter() + most_s
    while len(times) < repeats and (len(times) < 3 or time.perf_counter() < until):
        begin = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1000)
    p50, p99 = np.percentile(times, [50, 99])
    return Spent(float(p50), float(p99), min(times), len(times))


def peak_gflops(dtype: torch.dtype, device: str = "cpu", repeats: int = 12) -> float:
    """GFLOP/s of the best of some square matrix products in one type: the roof of this device."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(device, dtype) for _ in range(2))
    best = spent(lambda: a @ b, repeats).least
    return float(2 * PEAK_SIZE**3 / best / 1e6)


def machine(device: str = "cpu") -> Mapping[str, object]:
    """Cores, instruction sets, accelerator and libraries; nothing that names the computer."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": name or "unknown",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "isa": [flag for flag in FLAGS if flag in flags],
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }
