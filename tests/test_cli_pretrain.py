"""`m6rec pretrain` as a person runs it: from own data to a checkpoint, stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file
from typer.testing import CliRunner

import language_worlds
import tiny
from m6rec.cli import pretrain as verb
from m6rec.cli.app import build_app
from m6rec.config import ModelConfig
from m6rec.model.checkpoint import load_backbone, save_backbone
from m6rec.training import beginning as begins
from m6rec.training import pretrain as training
from m6rec.training.beginning import beginning
from m6rec.training.loop import TrainingError
from m6rec.training.recipe import m6_base, m6_small
from m6rec.training.runlock import run_lock


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny shop (data), a file of lines (a.txt) and a tiny start (model); steps are small."""
    tiny.write_shop(tmp_path / "data")
    lines = (f"Line {n} says that the lamp of number {n} is good for you." for n in range(300))
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    save_backbone(*language_worlds.backbone(), tmp_path / "model")
    quick = {"tokens": 90, "pairs": 4, "warmup": 3}
    monkeypatch.setitem(
        begins.RECIPES, "m6-small", lambda: m6_small().model_copy(update=quick)
    )  # so that a step takes milliseconds
    monkeypatch.setattr(verb, "DEFAULT_MODEL", str(tmp_path / "model"))
    return tmp_path


def run(world: Path, *more: str, minutes: str = "0.01", source: str = "data") -> Result:
    words = [str(world / source), str(world / "a.txt"), "--out", str(world / "out")]
    return CliRunner().invoke(
        build_app(["pretrain"]), ["pretrain", *words, "--minutes", minutes, *more]
    )


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a step."""
    real = training._Run.step

    def interrupted(self: Any) -> Any:
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    monkeypatch.setattr(training._Run, "step", interrupted)


def test_own_data_becomes_a_corpus_and_a_checkpoint(world: Path) -> None:
    found = world / "result.json"
    result = run(world, "--licence", "mine alone", "--json", str(found))
    assert result.exit_code == 0, result.output
    said = json.loads(found.read_text(encoding="utf-8"))
    assert said["complete"] and said["steps"] > 1 and said["tokens"] > 100
    assert said["start"] == str(world / "model")
    assert said["recipe"]["rare"] == 1
    kinds = {name: set(s["documents"]) for name, s in said["corpus"]["sources"].items()}
    assert kinds == {"data": {"item", "behaviour"}, "a.txt": {"text"}}
    assert said["corpus"]["sources"]["data"]["licence"] == "mine alone"
    model, _ = load_backbone(Path(said["checkpoint"]))
    assert model.config.lm_head == "transform"
    assert said["checkpoint"] in result.output


def test_json_to_stdout_is_nothing_but_json(world: Path) -> None:
    assert json.loads(run(world, "--json", "-").stdout)["complete"]


def test_ctrl_c_saves_says_how_to_go_on_and_the_same_command_goes_on(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world / "result.json"
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        stopped = run(world, "--json", str(found), minutes="0")
    assert stopped.exit_code == 130, stopped.output
    assert "stopped and saved after 3 steps" in stopped.output
    assert "it goes on with" in stopped.output
    said = json.loads(found.read_text(encoding="utf-8"))
    assert (said["steps"], said["complete"]) == (3, False)
    result = run(world)
    assert result.exit_code == 0, result.output
    assert "resuming at step 3" in result.output
    assert "used again" in result.output


def test_a_run_is_not_gone_on_with_from_another_start_or_other_sources(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(1, patch)
        run(world, minutes="0")
    other = run(world, "--start", "cold")
    assert other.exit_code == 2
    assert "began with" in other.output
    (world / "a.txt").write_text("Another line of the shop that is good.", encoding="utf-8")
    changed = run(world)
    assert changed.exit_code == 2
    assert "before they changed" in changed.output
    assert "Traceback" not in changed.output


def test_a_cold_start_has_random_weights_of_the_shape_and_no_anchor(world: Path) -> None:
    found = world / "result.json"
    result = run(world, "--start", "cold", "--json", str(found))
    assert result.exit_code == 0, result.output
    assert json.loads(found.read_text(encoding="utf-8"))["recipe"]["anchor"] == 0
    start = beginning("m6-small", "cold", str(world / "model"))
    model, words = language_worlds.backbone()
    assert start.model.config == model.config.model_copy(update={"lm_head": "linear"})
    assert start.tokenizer.write("red shoe") == words.write("red shoe")
    assert not torch.equal(start.model.tokens.weight, model.tokens.weight)
    again = beginning("m6-small", "cold", str(world / "model"))
    assert torch.equal(start.model.tokens.weight, again.model.tokens.weight)


def test_a_cold_base_has_the_shape_of_bert_base(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ModelConfig] = []
    monkeypatch.setattr(begins, "cold", lambda config, seed: asked.append(config))
    begin = beginning("m6-base", "cold", str(world / "model"))
    (config,) = asked
    assert (config.layers, config.d_model, config.d_ff) == (12, 768, 3072)
    assert begin.recipe == m6_base().model_copy(update={"anchor": 0.0, "final_anchor": 0.0})


def test_a_named_start_keeps_the_recipe_of_its_size(world: Path) -> None:
    begin = beginning("m6-base", str(world / "model"), "none")
    assert begin.recipe == m6_base()
    for name, tensor in load_file(world / "model" / "model.safetensors").items():
        assert torch.equal(begin.model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--start", "nowhere"], "nowhere"),
        (["--size", "m6-base"], "--start FOLDER"),
        (["--device", "cuda"], "right is --device cpu"),
        (["--label", "rating"], "rating>=4"),
    ],
)
def test_what_can_not_be_is_one_line_and_exit_code_two(
    more: list[str], message: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run(world, *more)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (world / "out" / "corpus").exists()  # said before any work is done


def test_a_source_that_is_none_says_what_is_right(world: Path) -> None:
    result = run(world, source="nowhere")
    assert result.exit_code == 2
    assert "is not there; right is a data folder" in result.output.replace("\n", " ")


HOLD = """
import sys, time
from pathlib import Path
from m6rec.training.runlock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_never_train_in_one_folder_and_a_kill_leaves_it_free(world: Path) -> None:
    folder = world / "out" / "run"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        result = run(world)
        assert result.exit_code == 2
        assert "another process trains there" in result.output
        with pytest.raises(TrainingError, match="another process"), run_lock(folder):
            pass
    finally:
        other.kill()
        other.communicate()
    with run_lock(folder):
        assert folder.is_dir()
    with run_lock(folder):
        pass
