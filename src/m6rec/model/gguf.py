"""GGUF files, llama.cpp's format: Llama (SmolLM is one) and Qwen3 networks with their tokenizers.

Quantised matrices are multiplied out. The library `gguf` reads the file (extra `gguf`); the names
and settings become Hugging Face's, from which model/foreign.py goes on.
github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from m6rec.model.checkpoint import CheckpointError
from m6rec.model.foreign import Foreign

SUFFIX = ".gguf"
LIBRARY = "gguf"
INSTALL = "pip install gguf"
ARCHITECTURES = ("llama", "qwen3")
CONTROL, USER_DEFINED = 3, 4
"""Kinds of tokens that no text is read as."""
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Llama 3 and Qwen split a text; DIGITS: how many go together."""
SPLITS: dict[str, str | None] = {
    "gpt-2": None,
    "smollm": None,
    "qwen2": "",
    "llama-bpe": "{1,3}",
}
"""tokenizer.ggml.pre → DIGITS; None: GPT-2's own way (SmolLM splits digits one by one before)."""
_LAYER = r"blk\.(\d+)\."
NAMES = (
    (r"token_embd\.weight", r"model.embed_tokens.weight"),
    (r"output_norm\.weight", r"model.norm.weight"),
    (r"output\.weight", r"lm_head.weight"),
    (_LAYER + r"attn_(q|k|v)\.(weight|bias)", r"model.layers.\1.self_attn.\2_proj.\3"),
    (_LAYER + r"attn_output\.(weight|bias)", r"model.layers.\1.self_attn.o_proj.\2"),
    (_LAYER + r"attn_(q|k)_norm\.weight", r"model.layers.\1.self_attn.\2_norm.weight"),
    (_LAYER + r"attn_norm\.weight", r"model.layers.\1.input_layernorm.weight"),
    (_LAYER + r"ffn_(gate|up|down)\.(weight|bias)", r"model.layers.\1.mlp.\2_proj.\3"),
    (_LAYER + r"ffn_norm\.weight", r"model.layers.\1.post_attention_layernorm.weight"),
)
"""Names in the file → Hugging Face's."""


def read_gguf(path: Path) -> Foreign:
    """Settings, float32 tensors and tokenizer of a file.

    Raises CheckpointError for a file that is damaged or of another architecture, a tokenizer of
    another kind, or where the library is missing.
    """
    library = _library()
    try:
        reader = library.GGUFReader(path)
        values = {name: entry.contents() for name, entry in reader.fields.items()}
        found = {str(tensor.name): _dequantised(library, tensor) for tensor in reader.tensors}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except Exception as error:  # the library raises whatever the bytes at hand lead it to
        raise CheckpointError(f"{path} is not a GGUF file, or is cut off: {error}") from None
    raw = _settings(values, found, path)
    tensors = {_renamed(name): tensor for name, tensor in found.items()}
    if raw["model_type"] == "llama":
        _unpermute(tensors, raw)
    definition, ids = _tokenizer(values, path)
    said = {"add_bos_token": bool(values.get("tokenizer.ggml.add_bos_token", False))}
    return Foreign(path, {**raw, **ids}, tensors, definition, said)


def _library() -> Any:
    try:
        return import_module(LIBRARY)
    except ImportError as error:
        raise CheckpointError(f"GGUF files need the library gguf: {INSTALL} ({error})") from None


def _dequantised(library: Any, tensor: Any) -> Tensor:
    rows = library.dequantize(tensor.data, tensor.tensor_type)
    return torch.from_numpy(np.array(rows, dtype=np.float32))


def _settings(
    values: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Any]:
    """The file's settings as config.json would say them."""
    kind = values.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise CheckpointError(
            f"{path}: architecture {kind!r} is not supported; supported: {', '.join(ARCHITECTURES)}"
        )

    def need(key: str) -> Any:
        if f"{kind}.{key}" not in values:
            raise CheckpointError(f"{path} lacks {kind}.{key}")
        return values[f"{kind}.{key}"]

    heads, scaling = need("attention.head_count"), values.get(f"{kind}.rope.scaling.type", "none")
    return {
        "model_type": kind,
        "hidden_size": need("embedding_length"),
        "num_hidden_layers": need("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": values.get(f"{kind}.attention.head_count_kv", heads),
        "head_dim": values.get(f"{kind}.attention.key_length", need("embedding_length") // heads),
        "intermediate_size": need("feed_forward_length"),
        "max_position_embeddings": need("context_length"),
        "rms_norm_eps": need("attention.layer_norm_rms_epsilon"),
        "rope_theta": values.get(f"{kind}.rope.freq_base", 10_000.0),
        "rope_scaling": None if scaling == "none" else {"rope_type": scaling},
        "vocab_size": len(values.get("tokenizer.ggml.tokens", ())),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
    }


def _renamed(name: str) -> str:
    for pattern, replacement in NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return name  # what has no place is named by whoever looks for one


def _unpermute(tensors: dict[str, Tensor], raw: Mapping[str, Any]) -> None:
    """Puts the rows of queries and keys back, in place.

    llama.cpp turns neighbours (2e, 2e + 1) of a Llama's head, Hugging Face and we the halves
    (e, e + E/2); its converter lays the rows out for that. Qwen3's are as they were.
    """
    for part, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
        for name in [n for n in tensors if f".self_attn.{part}_proj." in n]:
            tensor = tensors[name]
            pairs = tensor.reshape(raw[heads], -1, 2, *tensor.shape[1:])
            tensors[name] = pairs.transpose(1, 2).reshape(tensor.shape).contiguous()


def _tokenizer(values: Mapping[str, Any], path: Path) -> tuple[str, dict[str, int]]:
    """tokenizer.json of the file's own vocabulary and merges, and ids of its special tokens."""
    kind, split = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or split not in SPLITS:
        raise CheckpointError(
            f"{path}: a tokenizer of kind {kind!r}, {split!r} is not supported; supported: 'gpt2' "
            f"(byte-level BPE) with {', '.join(map(repr, SPLITS))}"
        )
    tokens, kinds = values["tokenizer.ggml.tokens"], values.get("tokenizer.ggml.token_type", ())
    merges = [tuple(merge.split(" ", 1)) for merge in values.get("tokenizer.ggml.merges", ())]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    try:
        model = models.BPE(vocabulary, merges, ignore_merges=split == "llama-bpe")
    except Exception as error:  # tokenizers raises bare Exception for merges without a token
        raise CheckpointError(f"{path}: damaged vocabulary: {error}") from None
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = _splitter(split)
    if split == "qwen2":
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    special = [t for t, k in zip(tokens, kinds, strict=False) if k in (CONTROL, USER_DEFINED)]
    made.add_special_tokens(special)
    names = {"bos": "bos", "eos": "eos", "padding": "pad"}
    keys = {
        f"tokenizer.ggml.{theirs}_token_id": f"{ours}_token_id" for theirs, ours in names.items()
    }
    return made.to_str(), {ours: int(values[key]) for key, ours in keys.items() if key in values}


def _splitter(split: str) -> pre_tokenizers.PreTokenizer:
    """Where a text is split before its pieces are merged."""
    digits = SPLITS[split]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=digits is None)
    if split == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    if digits is None:
        return level
    pattern = Regex(WORDS.replace("DIGITS", digits))
    return pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "isolated"), level])
