"""`m6rec distill` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import language_worlds
import tiny
from m6rec.cli.app import build_app
from m6rec.model.checkpoint import load_backbone, save_backbone
from m6rec.training.start import ready_to_write

RECIPE = ("tokens=90", "pairs=4", "warmup=3", "relation_heads=2", "rare=1")
SHAPE = ("d_model=16", "d_ff=32", "heads=2", "kv_heads=2", "head_dim=8", "layers=2")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The tiny shop and a tiny teacher."""
    tiny.write_shop(tmp_path / "data")
    model, words = language_worlds.backbone()
    teacher = ready_to_write(model, words, np.ones(model.config.vocab_size), 0)
    save_backbone(teacher, words, tmp_path / "teacher")
    return tmp_path


def run(world: Path, *more: str, source: str = "data", recipe: tuple[str, ...] = RECIPE) -> Result:
    words = [str(world / source), "--out", str(world / "out"), "--minutes", "0.01"]
    words += ["--teacher", str(world / "teacher"), "--size", "m6-edge-2m"]
    words += [word for pair in recipe for word in ("--set", pair)]
    words += [word for pair in (*SHAPE, "table_width=8") for word in ("--shape", pair)]
    return CliRunner().invoke(build_app(["distill"]), ["distill", *words, *more])


def test_own_data_and_a_teacher_become_a_small_network(world: Path) -> None:
    found = world / "result.json"
    result = run(world, "--set", "prune_every=1", "--json", str(found))
    assert result.exit_code == 0, result.output
    said = json.loads(found.read_text(encoding="utf-8"))
    assert said["complete"] and said["steps"] > 1
    model, _ = load_backbone(Path(said["checkpoint"]))
    assert (model.config.layer_sets, model.config.table_width) == (1, 8)
    assert said["not_zero"] < said["parameters"] == sum(p.numel() for p in model.parameters())
    assert (world / "out" / "corpus" / "manifest.json").is_file()
    again = run(world, "--set", "prune_every=1", source="out/corpus")  # a corpus as it is
    assert again.exit_code == 0, again.output
    assert f"complete: {said['checkpoint']}" in again.output.replace("\n", "")


def test_a_wrong_setting_is_one_line(world: Path) -> None:
    for word, said in (
        ("teachin=none", "did you mean 'teaching'"),
        ("teaching=shouting", "Input should be 'relation', 'logits', 'both' or 'none'"),
    ):
        result = run(world, "--set", word)
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    assert run(world, "--set", "teaching").exit_code == 2
