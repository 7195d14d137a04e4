"""bfloat16 where the processor computes in it, float32 elsewhere.

PyTorch emulates bfloat16 on processors that lack it: on one with AVX2 only, a matrix product ran at
1.2 GFLOP/s where float32 has 80 (docs/dev/log.md). So nothing asks for it without asking here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

COMPUTES = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")
"""Names that processors which multiply in bfloat16 have in `torch.cpu.get_capabilities`."""


@cache
def computes_bfloat16(device: str) -> bool:
    """Whether a type of device ("cpu", "cuda", …) multiplies in bfloat16 faster than in float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in COMPUTES)


def low_precision(device: str, wanted: bool = True) -> torch.dtype:
    """bfloat16 where it is wanted and the device computes in it, else float32."""
    return torch.bfloat16 if wanted and computes_bfloat16(device) else torch.float32


def autocast(device: str, wanted: bool = True) -> torch.autocast:
    """A context in which matrix products are in `low_precision`."""
    enabled = low_precision(device, wanted) is torch.bfloat16
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
