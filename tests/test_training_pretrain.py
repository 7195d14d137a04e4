"""The run: killed and resumed equals never killed; decay on demand; spikes are left out."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from language_worlds import backbone, documents
from m6rec.config import ConfigError
from m6rec.model.checkpoint import CheckpointError, load_backbone
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.training import pretrain as module
from m6rec.training.corpus.documents import Corpus, is_held_out, read_corpus, write_corpus
from m6rec.training.lesson import PlainLesson
from m6rec.training.loop import TrainingError
from m6rec.training.objectives import Asker
from m6rec.training.pretrain import (
    DECAY,
    Pace,
    Pretrained,
    PretrainProgress,
    anchor_weight,
    pretrain,
    rate_scale,
)
from m6rec.training.recipe import PretrainRecipe, m6_base, m6_small
from m6rec.training.start import ready_to_write

QUIET = Console(quiet=True)
RECIPE = m6_small().model_copy(
    update={"tokens": 90, "pairs": 4, "warmup": 3, "rate": 3e-3, "rare": 1}
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    some = [d.__class__(**{**vars_of(d), "heldout": is_held_out(d.key, 0.2)}) for d in documents(8)]
    write_corpus(folder, some, {"sources": {}})
    return folder


def vars_of(document: Any) -> dict[str, Any]:
    return {name: getattr(document, name) for name in document.__slots__}


def run(corpus: Path, out: Path, recipe: PretrainRecipe = RECIPE, **more: Any) -> Pretrained:
    pace = more.pop("pace", Pace(save=1e9, check=1e9))
    return pretrain(recipe, corpus, out, backbone(), console=QUIET, pace=pace, **more)


def weights(done: Pretrained) -> dict[str, torch.Tensor]:
    return load_file(done.checkpoint / "model.safetensors")


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_killed_anywhere_and_resumed_equals_never_killed(
    corpus: Path, tmp_path: Path, optimizer: str
) -> None:
    recipe = RECIPE.model_copy(update={"optimizer": optimizer})
    whole = run(corpus, tmp_path / "whole", recipe, max_steps=7)
    for stop in (1, 4):
        run(corpus, tmp_path / f"part{stop}", recipe, max_steps=stop)
        again = run(corpus, tmp_path / f"part{stop}", recipe, max_steps=7)
        assert again.progress.step == 7
        assert again.progress.tokens == whole.progress.tokens
        assert again.progress.level == whole.progress.level
        for name, tensor in weights(whole).items():
            assert torch.equal(weights(again)[name], tensor), name


def test_a_decay_can_not_be_all_of_a_run() -> None:
    with pytest.raises(ConfigError, match="decay_share"):
        PretrainRecipe.parse({**m6_small().model_dump(), "decay_share": 1.0}, "recipe")


def test_a_signal_saves_and_stops(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = module._Run.step

    def interrupted(self: Any) -> Any:
        if self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(module._Run, "step", interrupted)
    stopped = run(corpus, tmp_path / "run")
    assert (stopped.progress.step, stopped.complete) == (3, False)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    again = run(corpus, tmp_path / "run", max_steps=5)
    whole = run(corpus, tmp_path / "whole", max_steps=5)
    assert all(torch.equal(weights(again)[n], t) for n, t in weights(whole).items())


def test_it_learns_to_write_and_to_retrieve(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", max_steps=40)
    lines = (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    reports = [json.loads(line) for line in lines]
    train = [r for r in reports if r["kind"] == "train"]
    assert [r["step"] for r in train] == [20, 40]
    for name in ("full", "late", "summary", "plain"):
        assert train[-1][name] < train[0][name], name
    model, _ = load_backbone(tmp_path / "run" / "checkpoint")
    assert model.config.lm_head == "transform"


def test_decay_begins_on_demand_and_ends_the_run(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(corpus, out, max_steps=17)
    (out / DECAY).touch()
    done = run(corpus, out)
    assert done.complete
    # The file is seen after step 18: 18 · 0.15 / 0.85 ≈ 3 more.
    assert (done.progress.decay_from, done.progress.decay_steps, done.progress.step) == (18, 3, 21)


def test_rate_warms_up_stays_and_decays() -> None:
    recipe = RECIPE.model_copy(update={"warmup": 4, "final_rate": 0.0})
    progress = PretrainProgress()
    rates = []
    for progress.step in range(6):
        rates.append(rate_scale(progress, recipe))
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    progress.decay_from, progress.decay_steps = 100, 4
    decays = []
    for progress.step in (100, 101, 104):
        decays.append(rate_scale(progress, recipe))
    assert decays == pytest.approx([1.0, 0.5, 0.0])


def test_the_anchor_rises_in_a_straight_line_over_the_decay() -> None:
    recipe = RECIPE.model_copy(update={"anchor": 10.0, "final_anchor": 40.0})
    progress = PretrainProgress(step=50)
    assert anchor_weight(progress, recipe) == 10.0
    progress.decay_from, progress.decay_steps = 100, 4
    weights = []
    for progress.step in (100, 101, 104, 105):
        weights.append(anchor_weight(progress, recipe))
    assert weights == [10.0, 17.5, 40.0, 40.0]


def test_a_spike_is_left_out_and_counted(corpus: Path, tmp_path: Path) -> None:
    state = tmp_path / "run"
    runner = make_run(corpus, state)
    runner.progress.step = module.CALM_STEPS
    runner.progress.level, runner.progress.spread = 1.0, 0.0001
    before = {n: p.detach().clone() for n, p in runner.parameters.items()}
    runner.step()
    assert (runner.progress.skipped, runner.progress.level) == (1, 1.0)
    assert all(torch.equal(p, before[n]) for n, p in runner.parameters.items())
    runner.progress.level = 100.0
    runner.step()
    assert runner.progress.skipped_in_a_row == 0
    assert not torch.equal(runner.model.tokens.weight, before["tokens.weight"])


def test_too_many_spikes_in_a_row_end_the_run(corpus: Path, tmp_path: Path) -> None:
    runner = make_run(corpus, tmp_path / "run")
    runner.progress.step = module.CALM_STEPS
    runner.progress.level = -100.0
    runner.progress.skipped_in_a_row = module.SPIKES_IN_A_ROW - 1
    with pytest.raises(TrainingError, match="lower the learning rate"):
        runner.step()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_writes_pairs_and_judges(corpus: Path, tmp_path: Path) -> None:
    done = run(corpus, tmp_path / "run", max_steps=3, device="cuda", pace=Pace(save=1e9, check=0))
    assert done.progress.step == 3


def make_run(corpus: Path, out: Path) -> Any:
    texts: Corpus = read_corpus(corpus)
    model, words = backbone()
    asker = Asker(words, 0.3, 3.0)
    counts = module.written_counts(texts, asker, model.config.vocab_size)
    ready = ready_to_write(model, words, counts, 0)
    return module._Run(RECIPE, texts, asker, ready, counts, out, QUIET)


def test_other_settings_do_not_resume(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "run", max_steps=1)
    other = RECIPE.model_copy(update={"rate": 1e-4})
    with pytest.raises(CheckpointError, match=r"other settings \(rate\)"):
        run(corpus, tmp_path / "run", other, max_steps=2)


def test_means_are_held_near_those_of_another_network(corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    far, _ = backbone()
    with torch.no_grad():
        for parameter in far.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    found = {}
    for name, lesson in (("start", PlainLesson()), ("far", PlainLesson(far))):
        done = run(corpus, tmp_path / name, max_steps=20, lesson=lesson)
        lines = (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        found[name] = json.loads(lines[0])["anchor"]
        assert done.progress.step == 20
    assert found["far"] > 5 * found["start"]
    with pytest.raises(CheckpointError, match=r"other settings \(near\)"):
        run(corpus, tmp_path / "far", max_steps=21)


def test_the_start_keeps_what_it_reads_with_and_foretells_by_frequency() -> None:
    model, words = backbone()
    counts = torch.zeros(model.config.vocab_size).numpy()
    counts[200] = 900
    ready = ready_to_write(model, words, counts, 0)
    marked = set(words.marker_ids) | {words.special.bos, words.special.eos}
    kept = [i for i in range(model.config.vocab_size) if i not in marked]
    assert torch.equal(ready.tokens.weight[kept], model.tokens.weight[kept])
    assert torch.equal(ready.blocks[0].ffn.up.weight, model.blocks[0].ffn.up.weight)
    bias = ready.lm_head.decoder.bias
    assert bias.argmax().item() == 200
    assert math.isclose(bias.exp().sum().item(), 1, rel_tol=1e-4)
    rows = ready.tokens.weight[sorted(marked)]
    assert len(torch.unique(rows, dim=0)) == len(marked)


def test_a_second_start_from_a_checkpoint_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    done = run(corpus, tmp_path / "run", max_steps=2)
    model, words = load_backbone(done.checkpoint)
    counts = torch.ones(model.config.vocab_size).numpy()
    again = ready_to_write(model, words, counts, 7)
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_recipes_of_both_sizes_are_whole() -> None:
    for recipe in (m6_small(), m6_base()):
        late = sum(plan != "full" for plan in recipe.plans)
        assert late * 2 == len(recipe.plans)
        assert "summary" in recipe.plans


def test_a_resumed_run_shows_no_step_twice_in_tensorboard(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(module, "REPORT_STEPS", 1)
    out = tmp_path / "run"
    run(corpus, out, max_steps=2, tensorboard=True)
    shutil.copytree(out / module.STATE, tmp_path / "saved")
    run(corpus, out, max_steps=4, tensorboard=True)
    shutil.rmtree(out / module.STATE)  # as if it had been killed before it saved
    shutil.copytree(tmp_path / "saved", out / module.STATE)
    run(corpus, out, max_steps=5, tensorboard=True)
    shown = accumulator.EventAccumulator(str(out / "board"))
    shown.Reload()
    assert [event.step for event in shown.Scalars("train/loss")] == [1, 2, 3, 4, 5]


def test_a_start_that_can_write_keeps_its_head() -> None:
    model, words = backbone()
    config = model.config.model_copy(update={"source": "causal"})
    causal = M6(config)
    causal.load_state_dict(model.state_dict())
    causal.kept_as = torch.bfloat16
    ready = ready_to_write(causal, words, np.ones(config.vocab_size), 3)
    assert ready.lm_head.dense is None
    assert ready.kept_as == torch.bfloat16
    for (name, a), b in zip(causal.state_dict().items(), ready.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_change_is_trained_killed_and_resumed_and_added_to_its_start(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.model_copy(update={"rank": 2, "pairs": 0, "optimizer": "adamw"})
    model, words = backbone()
    model.config = model.config.model_copy(update={"source": "causal", "sink": True})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = pretrain(
        recipe, corpus, tmp_path / "a", (model, words), max_steps=6, console=QUIET, base="mine"
    )
    for steps in (2, 6):
        parts = pretrain(
            recipe, corpus, tmp_path / "b", (model, words), max_steps=steps, console=QUIET
        )
    one, other = (load_file(d.checkpoint / "task.safetensors") for d in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())
    monkeypatch.setattr("m6rec.model.hf.load_backbone", lambda folder: (model, words))
    monkeypatch.setattr("m6rec.model.hf.shipped", lambda: ["mine"])
    changed, _ = load_start(str(whole.checkpoint))
    assert not torch.equal(changed.blocks[0].ffn.up.weight, before["blocks.0.ffn.up.weight"])
