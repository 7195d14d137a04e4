"""Tiny networks and hand-made requests for the tests of the model room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from m6rec.config import ModelConfig, SpecialIds
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.plans import Packed, SegmentTokens

SPECIAL = SpecialIds(pad=0, bos_source=1, eos_source=2, bos=3, eos=4, mask=5)
VOCABULARY = 60
Request = tuple[Sequence[int], Sequence[Sequence[int]]]
"""Rows of the source's segments, and of each candidate's."""


def bert_config(**changes: Any) -> ModelConfig:
    """Two heads, three layers, width 16."""
    shape = {
        "vocab_size": VOCABULARY,
        "d_model": 16,
        "layers": 3,
        "heads": 2,
        "kv_heads": 2,
        "head_dim": 8,
        "d_ff": 24,
        "max_positions": 64,
        "special": SPECIAL,
        "projection": 8,
        "segment_slots": 24,
    }
    return ModelConfig(**{**shape, **changes})


def qwen_config(**changes: Any) -> ModelConfig:
    """The same in the Llama/Qwen3 family, with grouped queries and query-key norm."""
    family = {
        "norm": "rms",
        "norm_position": "pre",
        "norm_eps": 1e-6,
        "position": "rope",
        "ffn": "swiglu",
        "bias": False,
        "qkv_bias": False,
        "qk_norm": True,
        "heads": 4,
        "kv_heads": 2,
    }
    return bert_config(**{**family, **changes})


def edge_config(**changes: Any) -> ModelConfig:
    """M6-Edge: every layer has the same parameters, the table is narrower than the network."""
    return bert_config(**{"layer_sets": 1, "table_width": 6, **changes})


def causal_config(**changes: Any) -> ModelConfig:
    """A language model's source: each token sees what stands before it."""
    return qwen_config(**{"source": "causal", **changes})


def sink_config(**changes: Any) -> ModelConfig:
    """The same with an attention sink, whose state is kept of no segment."""
    return causal_config(**{"sink": True, **changes})


CONFIGS = {
    "bert": bert_config,
    "qwen": qwen_config,
    "edge": edge_config,
    "causal": causal_config,
    "sink": sink_config,
}


def lively(config: ModelConfig, seed: int = 0, scale: float = 0.25) -> M6:
    """A random model in which every part matters: no zeros at the places that tasks fill in."""
    torch.manual_seed(seed)
    model = M6(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=scale)
        model.read_gate.copy_(torch.tensor([0.7, 0.6]))
        model.read_token.normal_(std=scale)
    return model


def neutral(model: M6) -> M6:
    """Nothing is added where segments meet, and a read token keeps its own state."""
    with torch.no_grad():
        model.segments.weight.zero_()
        model.read_gate.copy_(torch.tensor([0.0, 1.0]))
        model.read_token.zero_()
    return model


def segments(texts: Sequence[Sequence[int]], width: int = 0) -> SegmentTokens:
    """Token ids as segments; rows 0 and 1 are the read tokens, row 2 is the first text."""
    rows = [[SPECIAL.eos_source], [SPECIAL.eos]]
    rows += [[SPECIAL.bos_source, *text, SPECIAL.eos_source] for text in texts]
    N = max(width, *(len(row) for row in rows))
    ids_SN = torch.tensor([row + [SPECIAL.pad] * (N - len(row)) for row in rows])
    valid_SN = torch.tensor([[True] * len(row) + [False] * (N - len(row)) for row in rows])
    return SegmentTokens(ids_SN, valid_SN)


def random_texts(count: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Texts of 1 to `longest` ordinary tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [
        torch.randint(len(SPECIAL.model_dump()), VOCABULARY, (n,), generator=generator).tolist()
        for n in lengths
    ]


def pack(requests: Sequence[Request], config: ModelConfig) -> Packed:
    """Requests → Packed; source segments count as events, newest last; padding at the end."""
    rows = [_columns(source, candidates, config) for source, candidates in requests]
    G = max(len(row) for row in rows)
    Q = max(len(candidates) for _, candidates in requests) + 1
    table = torch.full((3, len(rows), G), -1)
    read_BQ = torch.zeros(len(rows), Q, dtype=torch.int64)
    for b, row in enumerate(rows):
        table[:, b, : len(row)] = torch.tensor(row).T
        table[2, b, len(row) :] = row[-1][2]
        table[1, b, len(row) :] = 0
        reads = [g for g, (index, _, _) in enumerate(row) if index in (0, 1)]
        read_BQ[b] = torch.tensor(reads + reads[-1:] * (Q - len(reads)))
    return Packed(table[0], table[1], table[2], read_BQ, torch.full_like(table[0], -1))


def _columns(
    source: Sequence[int], candidates: Sequence[Sequence[int]], config: ModelConfig
) -> list[tuple[int, int, int]]:
    H = len(source)
    row = [(r, plans.slot("event", H - 1 - h, config), 0) for h, r in enumerate(source)]
    row.append((plans.READ_SOURCE, plans.READ_SOURCE_SLOT, 0))
    for c, parts in enumerate(candidates, start=1):
        row += [(r, plans.SLOTS["item"], c) for r in parts]
        row.append((plans.READ_TARGET, plans.READ_TARGET_SLOT, c))
    return row


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> bool:
    """Equal to float tolerance, and finite."""
    return bool(torch.isfinite(a).all()) and torch.allclose(a, b, atol=tolerance, rtol=tolerance)
