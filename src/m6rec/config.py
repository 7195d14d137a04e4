"""Settings: frozen, typed, validated at construction; unknown keys name the nearest known."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from m6rec.records import M6Error


class ConfigError(M6Error):
    """A setting is missing, unknown, of the wrong type, or contradicts another."""


class Settings(BaseModel):
    """Base of every configuration: immutable, and no key passes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str) -> Self:
        """Validates `raw`; a ConfigError names `where`, the key, and what would be right."""
        known = list(cls.model_fields)
        for key in raw:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                raise ConfigError(f"{where}: unknown key {key!r}; {hint}")
        try:
            return cls.model_validate(dict(raw))
        except ValidationError as error:
            raise ConfigError(f"{where}: {_explain(error)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a JSON file; a ConfigError names the file when it is missing or damaged."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path} is missing") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"{path} should hold a JSON object, not {type(raw).__name__}")
        return cls.parse(raw, str(path))

    def write(self, path: Path) -> None:
        """Writes the settings as indented JSON."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "settings"
        parts.append(f"{key}: {item['msg']}")
    return "; ".join(parts)


class SpecialIds(Settings):
    """Token ids of the special tokens. They are added by id; no text ever parses into them."""

    pad: int
    bos_source: int
    eos_source: int
    bos: int
    eos: int
    mask: int


Source = Literal["bidirectional", "causal"]
"""Whether a token of the source sees all of it, or only what stands before it."""


class ModelConfig(Settings):
    """Shape of the one network (paper section 1); the BERT and the Llama/Qwen3 family are settings.

    Widths are in units, `max_positions` in tokens. `rope_theta` is used with position = "rope".
    table_width: width of the table of tokens, projected up to d_model (None: d_model itself).
    layer_sets: so many sets of parameters serve all layers, neighbours sharing one (None: each
    layer has its own); 1 is ALBERT's way. sparsity: share of zeros of a pruned network; where it
    is above 0, tuning keeps every zero, and zeros cost a bit in the file (model/sparse.py).
    source: how the source is read; the target is always causal. sink: the network gathers the
    attention that nothing else wants at the first token of a text, as causal language models learn
    to (arXiv 2309.17453); the state there tells nothing, so no plan keeps it of a segment.
    """

    vocab_size: int
    d_model: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    d_ff: int
    max_positions: int
    special: SpecialIds
    norm: Literal["layer", "rms"] = "layer"
    norm_position: Literal["post", "pre"] = "post"
    norm_eps: float = 1e-12
    position: Literal["learned", "rope"] = "learned"
    rope_theta: float = 10_000.0
    ffn: Literal["gelu", "swiglu"] = "gelu"
    bias: bool = True
    qkv_bias: bool = True
    qk_norm: bool = False
    lm_head: Literal["linear", "transform"] = "linear"
    tie_embeddings: bool = True
    projection: int = 128
    segment_slots: int = 72
    table_width: int | None = Field(default=None, ge=1)
    layer_sets: int | None = Field(default=None, ge=1)
    sparsity: float = Field(default=0.0, ge=0, lt=1)
    source: Source = "bidirectional"
    sink: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(f"head_dim ({self.head_dim}) must be even with rope positions")
        if self.segment_slots < 16:
            raise ValueError("segment_slots must be at least 16: 8 kinds and 8 ages of events")
        if self.layer_sets is not None and self.layer_sets > self.layers:
            raise ValueError(f"layer_sets ({self.layer_sets}) is more than layers ({self.layers})")
        if self.table_width is not None and self.table_width > self.d_model:
            raise ValueError(f"table_width ({self.table_width}) is more than d_model")
        biggest = max(self.special.model_dump().values())
        if biggest >= self.vocab_size:
            raise ValueError(f"special id {biggest} lies outside the vocabulary")
        return self

    @property
    def writes(self) -> bool:
        """Whether the LM head was trained to write: a head of its own, or a causal family's."""
        return self.lm_head == "transform" or self.source == "causal" or self.sink

    @property
    def separates(self) -> bool:
        """Whether the full plan puts an [EOS'] between segments: a language model, for which it
        begins as a line's end, would read the last word of one and the first of the next as one."""
        return self.sink

    @classmethod
    def sized(cls, depth: int, vocab_size: int, special: SpecialIds) -> Self:
        """A BERT-family shape from one dial: width 64·depth, heads of 32, FFN four times as wide.

        depth = 6 is the shape of MiniLM-L6 (width 384, 12 heads, FFN 1536).
        """
        width = 64 * depth
        return cls(
            vocab_size=vocab_size,
            d_model=width,
            layers=depth,
            heads=width // 32,
            kv_heads=width // 32,
            head_dim=32,
            d_ff=4 * width,
            max_positions=512,
            special=special,
        )
