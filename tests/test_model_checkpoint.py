"""Checkpoints: what is written is read, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers

from m6rec.config import ConfigError
from m6rec.model.checkpoint import (
    CheckpointError,
    backbone_tensors,
    fingerprint,
    load_backbone,
    load_task,
    read_tensors,
    save_backbone,
    save_task,
)
from m6rec.model.m6 import M6
from m6rec.model.tuning import Method, Tuning, prepare
from m6rec.records import M6Error
from m6rec.text.tokenizer import Tokenizer
from model_worlds import CONFIGS, SPECIAL, VOCABULARY, bert_config, lively, qwen_config


def words(count: int = VOCABULARY) -> Tokenizer:
    inner = Inner(models.WordLevel({f"w{n}": n for n in range(count)}, unk_token="w9"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return Tokenizer(inner.to_str(), SPECIAL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good backbone folder of the BERT family."""
    save_backbone(lively(bert_config()), words(), tmp_path / "backbone")
    return tmp_path / "backbone"


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Changes the tensors of a file and gives it the fingerprint that fits."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"fingerprint": fingerprint(tensors)})


@pytest.mark.parametrize("family", sorted(CONFIGS))
@pytest.mark.parametrize("tied", [True, False])
def test_a_backbone_comes_back_as_it_was(family: str, tied: bool, tmp_path: Path) -> None:
    model = lively(CONFIGS[family](tie_embeddings=tied))
    save_backbone(model, words(), tmp_path)
    again, tokenizer = load_backbone(tmp_path)
    assert again.config == model.config
    assert not again.training
    for (name, old), (_, new) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(old, new), name
    assert (again.lm_head.decoder.weight is again.tokens.weight) == tied
    assert tokenizer.encode("w12 w40", budget=5) == [12, 40]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("shared", [None, 1])
def test_nothing_of_a_loaded_network_is_left_to_chance(shared: int | None, tmp_path: Path) -> None:
    config = bert_config(layer_sets=shared, table_width=None if shared is None else 8)
    save_backbone(lively(config), words(), tmp_path)
    torch.manual_seed(3)
    seed = torch.get_rng_state()
    torch.use_deterministic_algorithms(True)  # memory that nobody filled holds NaN
    try:
        model, _ = load_backbone(tmp_path)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert torch.equal(torch.get_rng_state(), seed)


def test_a_tied_decoder_is_stored_once(folder: Path) -> None:
    names = set(load_file(folder / "model.safetensors"))
    assert "tokens.weight" in names
    assert not any("decoder" in name for name in names)


def test_what_a_task_added_is_no_part_of_the_backbone(tmp_path: Path) -> None:
    model = lively(bert_config())
    before = fingerprint(backbone_tensors(model))
    prepare(model, Tuning(classes=2, prompts=3, layers="all"), 2)
    assert fingerprint(backbone_tensors(model)) == before
    save_backbone(model, words(), tmp_path)
    again, _ = load_backbone(tmp_path)
    assert again.prompts is None
    assert fingerprint(backbone_tensors(again)) == before


def test_a_fingerprint_knows_names_shapes_types_and_every_bit() -> None:
    base = {"a": torch.arange(6.0), "b": torch.tensor(1.0)}
    same = {"b": torch.tensor(1.0), "a": torch.arange(12.0)[::2] / 2}
    assert fingerprint(base) == fingerprint(same)
    assert len(fingerprint(base)) == 32
    nudged = base["a"].clone()
    nudged[3] += 1e-6
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].view(2, 3), "b": base["b"]},
        {"a": base["a"].double(), "b": base["b"]},
        {"a": nudged, "b": base["b"]},
        {"a": base["a"]},
    ]
    found = {fingerprint(base), *(fingerprint(other) for other in others)}
    assert len(found) == 6
    assert len(fingerprint({"h": torch.ones(3).bfloat16()})) == 32


# Wrong and damaged backbones


def test_a_missing_folder_and_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere is not a folder"):
        load_backbone(folder / "nowhere")
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        (folder / name).unlink()
        with pytest.raises(M6Error, match=f"{name} is missing"):
            load_backbone(folder)


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not match.*damaged"):
        load_backbone(folder)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_cut_file_is_noticed(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
        load_backbone(folder)


def test_a_pickle_is_not_read(folder: Path) -> None:
    torch.save({"tokens.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_backbone(folder)


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    rewrite(path, lambda tensors: tensors.update({"spare.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"tensors that this network has not.*spare\.weight"):
        load_backbone(folder)
    rewrite(path, lambda tensors: tensors.pop("spare.weight"))
    rewrite(path, lambda tensors: tensors.update({"read_token": torch.zeros(3, 16)}))
    with pytest.raises(CheckpointError, match=r"'read_token' has shape \(3, 16\).*\(2, 16\)"):
        load_backbone(folder)
    rewrite(path, lambda tensors: tensors.pop("read_token"))
    with pytest.raises(CheckpointError, match="lacks 'read_token'"):
        load_backbone(folder)


def test_a_config_of_another_shape_or_family_is_noticed(folder: Path) -> None:
    bert_config(d_ff=32).write(folder / "config.json")
    with pytest.raises(CheckpointError, match=r"'blocks\.0\.ffn\.up\.\w+' has shape"):
        load_backbone(folder)
    qwen_config().write(folder / "config.json")
    with pytest.raises(CheckpointError, match=r"has shape|lacks"):
        load_backbone(folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "layres": 3}))
    with pytest.raises(ConfigError, match="unknown key 'layres'; did you mean 'layers'"):
        load_backbone(folder)


def test_a_tokenizer_larger_than_the_network_is_noticed(folder: Path) -> None:
    words(VOCABULARY + 1).save(folder / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"61 tokens, but the network.*knows 60"):
        load_backbone(folder)


# Task folders


@pytest.mark.parametrize("method", ["full", "adapter", "prompt", "option", "option-adapter"])
def test_a_task_folder_holds_only_what_its_task_trained(method: Method, tmp_path: Path) -> None:
    model = lively(bert_config())
    names = prepare(model, Tuning(method=method, classes=2, prompts=2), 2)
    tensors = {n: p for n, p in model.named_parameters() if p.requires_grad}
    settings = {"backbone": fingerprint(backbone_tensors(model)), "title": "Schuhe – обувь"}
    save_task(tmp_path, settings, tensors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["task.json", "task.safetensors"]
    read, found = load_task(tmp_path)
    assert read == settings
    assert sorted(found) == names
    assert all(torch.equal(found[name], tensors[name]) for name in names)
    assert "tokens.weight" not in found
    size = (tmp_path / "task.safetensors").stat().st_size
    assert size < 4 * sum(t.numel() for t in tensors.values()) + 200 * len(tensors) + 200


def test_damaged_task_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"task\.json is missing; an adapter is a folder"):
        load_task(tmp_path)
    save_task(tmp_path, {}, {"prompts": torch.zeros(2, 4)})
    data = bytearray((tmp_path / "task.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "task.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"task\.safetensors does not match"):
        load_task(tmp_path)
    (tmp_path / "task.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"task\.safetensors is missing"):
        load_task(tmp_path)
    (tmp_path / "task.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"task\.json is not valid JSON"):
        load_task(tmp_path)


def test_writing_again_replaces_the_checkpoint(folder: Path) -> None:
    other = M6(bert_config())
    save_backbone(other, words(), folder)
    assert torch.equal(load_backbone(folder)[0].tokens.weight, other.tokens.weight)


def test_bfloat16_halves_the_file_and_rounds_to_its_precision(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_backbone(folder)
    save_backbone(model, tokenizer, tmp_path / "small", torch.bfloat16)
    again, _ = load_backbone(tmp_path / "small")
    assert again.tokens.weight.dtype == torch.float32
    rounded = model.tokens.weight.to(torch.bfloat16).float()
    assert torch.equal(again.tokens.weight, rounded)
    sizes = [(f / "model.safetensors").stat().st_size for f in (tmp_path / "small", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    save_backbone(again, tokenizer, tmp_path / "again")  # as the file it was read from
    assert (tmp_path / "again" / "model.safetensors").stat().st_size == sizes[0]
    fresh, third = again.state_dict(), load_backbone(tmp_path / "again")[0].state_dict()
    assert all(torch.equal(fresh[name], third[name]) for name in fresh)


def test_what_bfloat16_would_round_is_kept_whole(folder: Path, tmp_path: Path) -> None:
    """Tasks belong to a fingerprint: a network that is written and read again has to have it."""
    model, tokenizer = load_backbone(folder)
    save_backbone(model, tokenizer, tmp_path / "small", torch.bfloat16)
    model, _ = load_backbone(tmp_path / "small")
    with torch.no_grad():
        model.project_user.weight.add_(1e-6)
    save_backbone(model, tokenizer, tmp_path / "again")
    again, _ = load_backbone(tmp_path / "again")
    assert fingerprint(backbone_tensors(again)) == fingerprint(backbone_tensors(model))
    kept, _ = read_tensors(tmp_path / "again" / "model.safetensors")
    assert {n for n, t in kept.items() if t.dtype == torch.float32} == {"project_user.weight"}
