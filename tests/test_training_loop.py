"""The loop: it learns, it stops early, and a run that was killed goes on as if nothing happened."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from m6rec.model.checkpoint import CheckpointError
from m6rec.training.loop import Outcome, TrainingError, fit, make_optimizer, schedule
from m6rec.training.settings import TrainSettings


class Line(nn.Module):
    """y = w·x with dropout, so that the random generator matters."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(x) @ self.w
        return out


class LineTrainee:
    """Learns w = (1, 2, 3, 4); `scores` may be given in advance."""

    def __init__(self, scores: list[float] | None = None, stop_after: int | None = None) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(64, 4, generator=generator)
        self.y = self.x @ torch.tensor([1.0, 2.0, 3.0, 4.0])
        self.line = Line()
        self.scores, self.stop_after, self.seen = scores, stop_after, 0

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"line": self.line}

    @property
    def examples(self) -> int:
        return len(self.x)

    def loss(self, indices: Tensor) -> Tensor:
        self.seen += 1
        if self.stop_after is not None and self.seen > self.stop_after:
            raise KeyboardInterrupt
        return (self.line(self.x[indices]) - self.y[indices]).square().mean()

    def validate(self) -> dict[str, float]:
        if self.scores is not None:
            return {"score": self.scores.pop(0)}
        return {"score": -float((self.x @ self.line.w - self.y).square().mean())}


def settings(**changes: Any) -> TrainSettings:
    usual: dict[str, Any] = {"rate": 0.05, "epochs": 6, "batch": 8, "bf16": False, "patience": 0}
    return TrainSettings(**{**usual, **changes})


def run(trainee: LineTrainee, folder: Path | None = None, **changes: Any) -> Outcome:
    return fit(trainee, settings(**changes), folder, Console(file=io.StringIO()))


def losses(outcome: Outcome) -> list[float]:
    return [entry["loss"] for entry in outcome.history]


def test_it_learns_the_line() -> None:
    trainee = LineTrainee()
    outcome = run(trainee, epochs=40, rate=0.1)
    assert outcome.best_score > -4 > outcome.history[0]["score"]  # dropout shrinks the line
    assert trainee.line.w.tolist() == pytest.approx([1, 2, 3, 4], abs=1.5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, third = LineTrainee(), LineTrainee(), LineTrainee()
    run(first), run(second), run(third, seed=1)
    assert torch.equal(first.line.w, second.line.w)
    assert not torch.equal(first.line.w, third.line.w)


@pytest.mark.parametrize("stop_after", [1, 7, 8, 20, 41])
def test_interrupted_anywhere_and_resumed_equals_never_interrupted(
    tmp_path: Path, stop_after: int
) -> None:
    whole = LineTrainee()
    expected = run(whole)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(LineTrainee(stop_after=stop_after), folder, save_seconds=0)
    resumed = LineTrainee()
    outcome = run(resumed, folder, save_seconds=0)
    assert losses(outcome) == losses(expected)
    assert torch.equal(resumed.line.w, whole.line.w)
    assert outcome.steps == expected.steps == 48


def test_killed_by_the_system_and_resumed_equals_never_killed(tmp_path: Path) -> None:
    whole = LineTrainee()
    expected = run(whole, epochs=40)
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_training_loop import LineTrainee, run
        trainee = LineTrainee()
        plain = trainee.loss
        def slow(indices):
            time.sleep(0.01)
            print("step", flush=True)
            return plain(indices)
        trainee.loss = slow
        run(trainee, Path(sys.argv[1]), epochs=40, save_seconds=0)
    """)
    folder = tmp_path / "run"
    for steps in (5, 30, 60):
        command = [sys.executable, "-c", script, str(folder), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(steps):
                assert process.stdout.readline() == "step\n"
            os.kill(process.pid, signal.SIGKILL)
    resumed = LineTrainee()
    outcome = run(resumed, folder, epochs=40, save_seconds=0)
    assert losses(outcome) == losses(expected)
    assert torch.equal(resumed.line.w, whole.line.w)


def test_other_settings_do_not_resume_and_the_message_names_them(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(LineTrainee(stop_after=5), tmp_path / "run", save_seconds=0)
    with pytest.raises(CheckpointError, match=r"other settings \(rate\)"):
        run(LineTrainee(), tmp_path / "run", rate=0.01, save_seconds=0)


def test_patience_ends_the_run_and_the_best_epoch_is_kept() -> None:
    trainee = LineTrainee(scores=[1.0, 3.0, 2.0, 2.5, 9.0])
    outcome = run(trainee, epochs=5, patience=2)
    assert len(outcome.history) == 4
    assert (outcome.best_epoch, outcome.best_score) == (1, 3.0)
    again = LineTrainee(scores=[1.0, 3.0, 2.0, 2.5, 9.0])
    two = run(again, epochs=5, patience=1)
    assert len(two.history) == 3
    assert torch.equal(again.line.w, trainee.line.w)


def test_when_the_minutes_are_used_up_the_epoch_ends_and_is_judged() -> None:
    outcome = run(LineTrainee(), epochs=50, minutes=1e-9)
    assert outcome.steps == 1
    assert len(outcome.history) == 1
    assert "score" in outcome.history[0]


def test_what_is_kept_is_the_running_mean_of_the_parameters() -> None:
    """Shares kept: (1 + t) / (10 + t) at first, .25 from then on; a last step is a fourth of it."""
    seen: list[Tensor] = []
    mean, step = torch.zeros(4), 0

    class Watched(LineTrainee):
        def validate(self) -> dict[str, float]:
            seen.append(self.line.w.detach().clone())
            return {"score": float(len(seen))}

    trainee = Watched()
    steps: list[Tensor] = []
    loss = trainee.loss

    def watched(indices: Tensor) -> Tensor:
        steps.append(trainee.line.w.detach().clone())
        return loss(indices)

    trainee.loss = watched  # type: ignore[method-assign]
    run(trainee, epochs=2, average=0.25)
    after = [*steps[1:], None]
    for step, value in enumerate(after[:-1], 1):
        assert value is not None
        keep = min(0.25, (1 + step) / (10 + step))
        mean = keep * mean + (1 - keep) * value
        if step == 8:
            torch.testing.assert_close(seen[0], mean)
    assert torch.equal(trainee.line.w, seen[-1])
    plain = Watched()
    seen.clear()
    run(plain, epochs=2, average=0.0)
    torch.testing.assert_close(seen[0], steps[8])


def test_accumulated_parts_equal_one_batch() -> None:
    whole, parts = LineTrainee(), LineTrainee()
    for trainee in (whole, parts):
        trainee.line.dropout = nn.Dropout(0.0)
    run(whole, epochs=2), run(parts, epochs=2, accumulate=3)
    assert torch.allclose(whole.line.w, parts.line.w, atol=1e-5)


def test_nothing_to_train_on_and_a_loss_that_is_no_number_are_errors() -> None:
    empty = LineTrainee()
    empty.x = empty.x[:0]
    with pytest.raises(TrainingError, match="no examples"):
        run(empty)
    broken = LineTrainee()
    broken.y[3] = math.nan
    with pytest.raises(TrainingError, match="lower the learning rate"):
        run(broken)


def test_the_schedule_warms_up_and_decays_linearly() -> None:
    chosen = settings(warmup=0.1, final_rate=0.2)
    assert schedule(0, 100, chosen) == pytest.approx(1 / 11)
    assert schedule(10, 100, chosen) == pytest.approx(1.0)
    assert schedule(55, 100, chosen) == pytest.approx(0.2 + 0.8 / 2)
    assert schedule(100, 100, chosen) == pytest.approx(0.2)


def test_weight_decay_is_for_matrices_and_tables_have_their_own_rate() -> None:
    parameters = {
        "model.project.weight": nn.Parameter(torch.zeros(2, 2)),
        "model.project.bias": nn.Parameter(torch.zeros(2)),
        "residual.vectors.weight": nn.Parameter(torch.zeros(5, 2)),
        "evidence.weights": nn.Parameter(torch.zeros(7)),
    }
    optimizer = make_optimizer(parameters, settings(weight_decay=0.1, table_rate=0.5))
    groups = [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert groups == [(0.05, 0.1, 1), (0.05, 0.0, 1), (0.5, 0.0, 1), (0.05 * 3, 0.0, 1)]


def test_without_anything_to_measure_the_last_epoch_is_kept_and_no_score_is_told() -> None:
    class Unmeasured(LineTrainee):
        def validate(self) -> dict[str, float]:
            return {}

    trainee, told = Unmeasured(), io.StringIO()
    outcome = fit(trainee, settings(epochs=5, patience=1), None, Console(file=told))
    assert (outcome.best_epoch, outcome.best_score) == (4, None)
    assert len(outcome.history) == 5
    assert all("score" not in entry for entry in outcome.history)
    assert "nothing to measure on valid" in told.getvalue()
