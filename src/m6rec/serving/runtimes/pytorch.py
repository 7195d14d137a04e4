"""PyTorch: eager float32 (the reference), eager bfloat16, and compiled bfloat16.

Compiled code is for a GPU first: there `reduce-overhead` replays CUDA graphs. On CPUs it is as
fast as eager bfloat16 where the layers are wide, and costs half a minute at the start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from m6rec.model.plans import SegmentTokens
from m6rec.serving.online import OnlineBatch
from m6rec.serving.runtimes.base import Network, Runtime, as_float32


class TorchRuntime(Runtime):
    """The modules themselves, in one type, on one device. compiled: through torch.compile."""

    def __init__(
        self, network: Network, name: str, dtype: torch.dtype, compiled: bool = False
    ) -> None:
        self.name, self.dtype = name, dtype
        self.device = network.backbone.read_token.device
        self._encoder = self._made(network.encoder(), compiled)
        self._online = self._made(network.online(), compiled)

    def encode(self, tokens: SegmentTokens) -> Tensor:
        ids_SN, valid_SN = tokens.ids_SN.to(self.device), tokens.valid_SN.to(self.device)
        with torch.inference_mode():
            return as_float32(self._encoder(ids_SN, valid_SN))

    def online(self, batch: OnlineBatch) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            moved = {name: self._moved(tensor) for name, tensor in batch.named().items()}
            source_BD, read_BND = self._online(**moved)
            return as_float32(source_BD), as_float32(read_BND)

    def _made(self, module: nn.Module, compiled: bool) -> Callable[..., Any]:
        if self.dtype != torch.float32:
            module = copy.deepcopy(module).to(self.dtype)
        for parameter in module.parameters() if self.dtype != torch.float32 else ():
            parameter.requires_grad_(False)
        if not compiled:
            return module
        mode: Any = "reduce-overhead" if self.device.type == "cuda" else "default"
        made: Callable[..., Any] = torch.compile(module, dynamic=True, mode=mode)
        return made

    def _moved(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self.device, dtype)
