"""What a Hugging Face config.json and its tensor names mean in our network, family by family.

Families: BERT (MiniLM is one) and Llama (SmolLM is one) with Qwen3. Anything they would compute
differently from our network is an error that names the setting; nothing is read approximately.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from m6rec.model.checkpoint import CheckpointError

Raw = Mapping[str, Any]
TOKEN_TYPES = "token_types.weight"
"""BERT's token types: no tensor of ours; type 0 is folded into the positions (hf.py)."""


@dataclass(frozen=True)
class Family:
    """A model_type that can be converted.

    shape: config.json → fields of ModelConfig. renames: patterns of whole tensor names, without
    `prefix`, and our names for them. ignored: tensors that we have no use for. tied: whether the
    decoder is the embedding where config.json does not say. zero_biases: config.json → pattern of
    biases that the family has not where our network has one.
    """

    architectures: tuple[str, ...]
    prefix: str
    shape: Callable[[Raw, str], dict[str, Any]]
    renames: tuple[tuple[str, str], ...]
    ignored: str
    tied: bool
    zero_biases: Callable[[Raw], str | None]

    def rename(self, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
        """Tensors under our names; CheckpointError for one that the network has no place for."""
        out: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            bare = name.removeprefix(self.prefix)
            if re.fullmatch(self.ignored, bare):
                continue
            ours = self._ours(bare)
            if ours is None:
                raise CheckpointError(
                    f"{where} holds the tensor {name!r}, which has no place in the network; "
                    f"supported are the tensors of {' and '.join(self.architectures)}"
                )
            out[ours] = tensor.float()
        return out

    def _ours(self, name: str) -> str | None:
        for pattern, replacement in self.renames:
            match = re.fullmatch(pattern, name)
            if match:
                return match.expand(replacement)
        return None


def family_of(raw: Raw, where: str) -> Family:
    """The family of a config.json; CheckpointError names what is not supported and what is."""
    kind = raw.get("model_type")
    if kind not in FAMILIES:
        known = ", ".join(
            f"{name} ({' or '.join(f.architectures)})" for name, f in FAMILIES.items()
        )
        raise CheckpointError(f"{where}: model_type {kind!r} is not supported; supported: {known}")
    family = FAMILIES[kind]
    architectures = raw.get("architectures") or []
    for name in architectures:
        if name not in family.architectures:
            raise CheckpointError(
                f"{where}: architecture {name!r} is not supported; of {kind} models these are: "
                f"{', '.join(family.architectures)}"
            )
    if raw.get("quantization_config"):
        raise CheckpointError(f"{where}: quantised weights are not supported; convert the original")
    return family


def need(raw: Raw, key: str, where: str) -> Any:
    """A value that config.json must hold."""
    if raw.get(key) is None:
        raise CheckpointError(f"{where} lacks {key!r}")
    return raw[key]


def _expect(raw: Raw, key: str, supported: object, where: str) -> None:
    """The key is absent, null, or has the one value that we compute."""
    if raw.get(key) not in (None, supported):
        raise CheckpointError(
            f"{where}: {key} {raw[key]!r} is not supported; supported: {supported!r}"
        )


def _head_dim(raw: Raw, where: str) -> int:
    width, heads = need(raw, "hidden_size", where), need(raw, "num_attention_heads", where)
    if raw.get("head_dim") is not None:
        return int(raw["head_dim"])
    if width % heads:
        raise CheckpointError(
            f"{where}: hidden_size {width} is no multiple of num_attention_heads {heads}"
        )
    return int(width // heads)


def _bert_shape(raw: Raw, where: str) -> dict[str, Any]:
    _expect(raw, "hidden_act", "gelu", where)
    _expect(raw, "position_embedding_type", "absolute", where)
    _expect(raw, "is_decoder", False, where)
    heads = need(raw, "num_attention_heads", where)
    return {
        "d_model": need(raw, "hidden_size", where),
        "layers": need(raw, "num_hidden_layers", where),
        "heads": heads,
        "kv_heads": heads,
        "head_dim": _head_dim({**raw, "head_dim": None}, where),
        "d_ff": need(raw, "intermediate_size", where),
        "max_positions": need(raw, "max_position_embeddings", where),
        "norm": "layer",
        "norm_position": "post",
        "norm_eps": raw.get("layer_norm_eps", 1e-12),
        "position": "learned",
        "ffn": "gelu",
    }


def _llama_shape(raw: Raw, where: str) -> dict[str, Any]:
    _expect(raw, "hidden_act", "silu", where)
    _expect(raw, "partial_rotary_factor", 1.0, where)
    _expect(raw, "use_sliding_window", False, where)
    for layer in raw.get("layer_types") or []:
        _expect({"layer_types": layer}, "layer_types", "full_attention", where)
    heads = need(raw, "num_attention_heads", where)
    attention_bias, mlp_bias = bool(raw.get("attention_bias")), bool(raw.get("mlp_bias"))
    return {
        "d_model": need(raw, "hidden_size", where),
        "layers": need(raw, "num_hidden_layers", where),
        "heads": heads,
        "kv_heads": raw.get("num_key_value_heads") or heads,
        "head_dim": _head_dim(raw, where),
        "d_ff": need(raw, "intermediate_size", where),
        "max_positions": need(raw, "max_position_embeddings", where),
        "norm": "rms",
        "norm_position": "pre",
        "norm_eps": raw.get("rms_norm_eps", 1e-6),
        "position": "rope",
        "rope_theta": _rope_theta(raw, where),
        "ffn": "swiglu",
        "bias": attention_bias or mlp_bias,
        "source": "causal",
        "sink": True,
        "qkv_bias": attention_bias,
    }


def _qwen3_shape(raw: Raw, where: str) -> dict[str, Any]:
    # Qwen3 fixes its head width apart from hidden_size, at 128 where config.json is silent.
    return {**_llama_shape({"head_dim": 128, **raw}, where), "qk_norm": True}


def _rope_theta(raw: Raw, where: str) -> float:
    """θ from `rope_parameters` (transformers 5) or `rope_theta`; scaled variants are errors.

    huggingface.co/docs/transformers/internal/rope_utils
    """
    for key in ("rope_parameters", "rope_scaling"):
        rope = raw.get(key) or {}
        if not isinstance(rope, dict):
            raise CheckpointError(f"{where}: {key} should be an object, not {rope!r}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise CheckpointError(
                f"{where}: rotary positions of type {kind!r} ({key}) are not supported; "
                "supported: 'default'"
            )
        _expect(rope, "partial_rotary_factor", 1.0, f"{where}, {key}")
    rope = raw.get("rope_parameters") or {}
    return float(rope.get("rope_theta") or raw.get("rope_theta") or 10_000.0)


def _no_zero_biases(raw: Raw) -> str | None:
    return None


def _llama_zero_biases(raw: Raw) -> str | None:
    attention, mlp = bool(raw.get("attention_bias")), bool(raw.get("mlp_bias"))
    if attention == mlp:
        return None
    place = r"ffn\.(gate|up|down)" if attention else r"attention\.out"
    return rf"blocks\.\d+\.{place}\.bias"


_LAYER = r"encoder\.layer\.(\d+)\."
BERT = Family(
    architectures=("BertModel", "BertForMaskedLM", "BertForPreTraining"),
    prefix="bert.",
    shape=_bert_shape,
    renames=(
        (r"embeddings\.word_embeddings\.weight", r"tokens.weight"),
        (r"embeddings\.position_embeddings\.weight", r"positions.weight"),
        (r"embeddings\.token_type_embeddings\.weight", TOKEN_TYPES),
        (r"embeddings\.LayerNorm\.(weight|bias)", r"embed_norm.\1"),
        (_LAYER + r"attention\.self\.(q|k|v)[a-z]+\.(weight|bias)", r"blocks.\1.attention.\2.\3"),
        (_LAYER + r"attention\.output\.dense\.(weight|bias)", r"blocks.\1.attention.out.\2"),
        (_LAYER + r"attention\.output\.LayerNorm\.(weight|bias)", r"blocks.\1.attention_norm.\2"),
        (_LAYER + r"intermediate\.dense\.(weight|bias)", r"blocks.\1.ffn.up.\2"),
        (_LAYER + r"output\.dense\.(weight|bias)", r"blocks.\1.ffn.down.\2"),
        (_LAYER + r"output\.LayerNorm\.(weight|bias)", r"blocks.\1.ffn_norm.\2"),
        (r"cls\.predictions\.transform\.dense\.(weight|bias)", r"lm_head.dense.\1"),
        (r"cls\.predictions\.transform\.LayerNorm\.(weight|bias)", r"lm_head.norm.\1"),
        (r"cls\.predictions\.(?:decoder\.)?bias", r"lm_head.decoder.bias"),
        (r"cls\.predictions\.decoder\.weight", r"lm_head.decoder.weight"),
    ),
    ignored=r"pooler\..*|cls\.seq_relationship\..*|embeddings\.position_ids",
    tied=True,
    zero_biases=_no_zero_biases,
)

_LAYER = r"layers\.(\d+)\."
LLAMA = Family(
    architectures=("LlamaForCausalLM", "LlamaModel"),
    prefix="model.",
    shape=_llama_shape,
    renames=(
        (r"embed_tokens\.weight", r"tokens.weight"),
        (_LAYER + r"self_attn\.(q|k|v)_proj\.(weight|bias)", r"blocks.\1.attention.\2.\3"),
        (_LAYER + r"self_attn\.o_proj\.(weight|bias)", r"blocks.\1.attention.out.\2"),
        (_LAYER + r"self_attn\.(q|k)_norm\.weight", r"blocks.\1.attention.\2_norm.weight"),
        (_LAYER + r"input_layernorm\.weight", r"blocks.\1.attention_norm.weight"),
        (_LAYER + r"mlp\.(gate|up|down)_proj\.(weight|bias)", r"blocks.\1.ffn.\2.\3"),
        (_LAYER + r"post_attention_layernorm\.weight", r"blocks.\1.ffn_norm.weight"),
        (r"norm\.weight", r"final_norm.weight"),
        (r"lm_head\.weight", r"lm_head.decoder.weight"),
    ),
    ignored=r".*rotary_emb\.inv_freq",
    tied=False,
    zero_biases=_llama_zero_biases,
)

QWEN3 = Family(
    architectures=("Qwen3ForCausalLM", "Qwen3Model"),
    prefix=LLAMA.prefix,
    shape=_qwen3_shape,
    renames=LLAMA.renames,
    ignored=LLAMA.ignored,
    tied=False,
    zero_biases=LLAMA.zero_biases,
)

FAMILIES: dict[str, Family] = {"bert": BERT, "llama": LLAMA, "qwen3": QWEN3}
