"""What we are measured against: a cross-encoder of MiniLM-L6's shape, and DIN with ids.

Speed does not depend on what the weights say, so both have random ones. Legend: N pairs, T tokens,
H events, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.serving.latency.world import World
from m6rec.serving.runtimes.base import RuntimeMissingError
from m6rec.serving.runtimes.openvino import INT8_GROUP, openvino, weights_to_int8

MOST_TOKENS = 512
BACKENDS = ("torch-fp32", "torch-bf16", "openvino-bf16", "openvino-int8")
"""int8: weights, as in our runtime of that name; bfloat16 only where the processor computes in it
(see `worth_trying`)."""


def pairs_of(world: World, count: int) -> Tensor:
    """`[CLS] history [SEP] candidate [SEP]` of some candidates, oldest events cut off: [N, T]."""
    special, shape = world.model.config.special, world.shape
    inner_SL = world.tokens.ids_SN[:, 1:-1].cpu()
    history_T = inner_SL[2 : 2 + shape.history].flatten()
    room = MOST_TOKENS - inner_SL.shape[1] - 3
    history_T = history_T[-room:]
    items_NL = inner_SL[2 + shape.history :][:count]
    count = len(items_NL)

    def column(value: int) -> Tensor:
        return torch.full((count, 1), value)

    parts = [column(special.bos_source), history_T.expand(count, -1), column(special.eos_source)]
    return torch.cat([*parts, items_NL, column(special.eos_source)], 1).to(world.device)


def cross_encoder(world: World, backend: str) -> Callable[[Tensor], object]:
    """The network that sentence-transformers' CrossEncoder runs, forward pass alone.

    Raises RuntimeMissingError where transformers or OpenVINO are missing.
    """
    try:
        hf = import_module("transformers")
    except ImportError as error:
        raise RuntimeMissingError(
            f"the cross-encoder needs transformers ({error}); run: pip install transformers"
        ) from error
    ours = world.model.config
    config = hf.BertConfig(
        vocab_size=ours.vocab_size,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=1,
    )
    torch.manual_seed(0)
    network = hf.BertForSequenceClassification(config).eval()
    if backend.startswith("openvino"):
        return _by_openvino(network, backend == "openvino-int8")
    dtype = torch.bfloat16 if backend == "torch-bf16" else torch.float32
    network = network.to(world.device, dtype)

    def run(ids_NT: Tensor) -> object:
        with torch.inference_mode():
            return network(input_ids=ids_NT, attention_mask=torch.ones_like(ids_NT)).logits

    return run


class _Logits(nn.Module):
    """Positional tensors in, one tensor out: what OpenVINO traces."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_NT: Tensor, mask_NT: Tensor) -> Tensor:
        out: Tensor = self.network(input_ids=ids_NT, attention_mask=mask_NT).logits
        return out


def _by_openvino(network: Any, int8: bool) -> Callable[[Tensor], object]:
    ov = openvino()
    ids = torch.ones(2, 16, dtype=torch.long)
    with torch.no_grad():
        graph = ov.convert_model(_Logits(network), example_input=(ids, ids))
    if int8:
        weights_to_int8(graph)
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(INT8_GROUP if int8 else 0),
    }
    request = ov.Core().compile_model(graph, "CPU", settings).create_infer_request()

    def run(ids_NT: Tensor) -> object:
        ids = np.ascontiguousarray(ids_NT.numpy())
        return request.infer([ids, np.ones_like(ids)])

    return run


class DIN(nn.Module):
    """Deep Interest Network (KDD 2018) in its usual size: E = 16, attention over the history."""

    def __init__(self, items: int, width: int = 16) -> None:
        super().__init__()
        self.items = nn.Embedding(items, width)
        self.attention = nn.Sequential(nn.Linear(4 * width, 64), nn.ReLU(), nn.Linear(64, 1))
        self.tower = nn.Sequential(
            nn.Linear(2 * width, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, history_H: Tensor, item_N: Tensor) -> Tensor:
        """Logits [N] of one user's candidates."""
        item_NE = self.items(item_N)
        event_NHE = self.items(history_H).expand(len(item_N), -1, -1)
        item_NHE = item_NE[:, None].expand_as(event_NHE)
        seen = [event_NHE, item_NHE, event_NHE - item_NHE, event_NHE * item_NHE]
        weight_NH1 = self.attention(torch.cat(seen, -1))
        interest_NE = (weight_NH1 * event_NHE).sum(1)
        out: Tensor = self.tower(torch.cat([interest_NE, item_NE], 1))[:, 0]
        return out


def din(world: World) -> Callable[[], object]:
    """DIN over the same request."""
    shape = world.shape
    torch.manual_seed(0)
    network = DIN(shape.history + world.items).to(world.device).eval()
    history_H = torch.arange(shape.history, device=world.device)
    item_N = world.chosen() + shape.history

    def run() -> object:
        with torch.inference_mode():
            return network(history_H, item_N)

    return run
