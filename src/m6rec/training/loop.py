"""The one training loop: seeded, resumable to the bit, early-stopped, with progress and an ETA."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from m6rec.model.precision import autocast
from m6rec.records import M6Error
from m6rec.training import state as run_state
from m6rec.training.optimizers import Optimizers
from m6rec.training.settings import TrainSettings

MEAN, BEST = "mean.", "best."
"""Before the names of what a run keeps beside its parameters."""


class TrainingError(M6Error):
    """The run cannot go on: no examples, or a loss that is not a number."""


class Trainee(Protocol):
    """What the loop trains. `loss` is the mean over the examples at `indices` [B]."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Modules by name; every parameter with requires_grad is trained."""

    @property
    def examples(self) -> int:
        """Number of training examples."""

    def loss(self, indices: Tensor) -> Tensor:
        """Mean loss of some examples, a scalar with a graph."""

    def validate(self) -> dict[str, float]:
        """Measures on valid; "score" is the one to maximise. Empty where valid has nothing to
        measure: then every epoch counts as better than the last."""


@dataclass(frozen=True)
class Outcome:
    """history: one entry per epoch (loss, seconds, validation measures); best_epoch counts from 0;
    best_score: None where valid had nothing to measure.

    The trainee's parameters are the running means after the best epoch.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    best_score: float | None
    seconds: float
    steps: int


def trainable_parameters(trainee: Trainee) -> dict[str, nn.Parameter]:
    """Every parameter that the run changes, by `module.parameter`."""
    return {
        f"{prefix}.{name}": parameter
        for prefix, module in trainee.modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def fit(
    trainee: Trainee,
    settings: TrainSettings,
    folder: Path | None = None,
    console: Console | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Outcome:
    """Trains until the epochs, the patience or the minutes run out.

    With `folder` the state is saved there and an interrupted run goes on from it; the folder is
    left in place for the caller to delete once the result is safe. Raises TrainingError.
    """
    if trainee.examples == 0:
        raise TrainingError("there is nothing to train on: the training split has no examples")
    torch.manual_seed(settings.seed)
    parameters = trainable_parameters(trainee)
    run = _Run(trainee, settings, parameters, folder, console or Console(stderr=True))
    run.resume()
    with run.bar:
        while not run.finished():
            entry = run.epoch()
            if on_epoch is not None:
                on_epoch(entry)
    run.restore_best()
    progress = run.progress
    return Outcome(
        progress.history,
        progress.best_epoch,
        progress.best_score if math.isfinite(progress.best_score) else None,
        progress.seconds,
        progress.step,
    )


class _Run:
    """One run of the loop: the trainee, its optimiser, and where it stands."""

    def __init__(
        self,
        trainee: Trainee,
        settings: TrainSettings,
        parameters: dict[str, nn.Parameter],
        folder: Path | None,
        console: Console,
    ) -> None:
        self.trainee, self.settings, self.parameters = trainee, settings, parameters
        self.folder, self.console = folder, console
        self.optimizer = Optimizers(make_optimizer(parameters, settings))
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.batches = math.ceil(trainee.examples / settings.batch)
        self.total = self.batches * settings.epochs
        self.progress = run_state.Progress()
        self.mean = {name: p.detach().clone() for name, p in parameters.items()}
        self.best: dict[str, Tensor] = {}
        self.last_save = self.last_tick = time.monotonic()
        self.bar, self.task = self._make_bar()

    def _make_bar(self) -> tuple[Progress, Any]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=self.console, transient=True)
        return bar, bar.add_task("training", total=self.total)

    def resume(self) -> None:
        """Goes on from the folder's state, if it has one."""
        if self.folder is None:
            return
        found = run_state.load_state(
            self.folder, self.settings.model_dump(), self.parameters, self.optimizer
        )
        if found is not None:
            self.progress, kept = found
            self.mean = _named(kept, MEAN)
            self.best = _named(kept, BEST)
            self.console.print(f"resuming at step {self.progress.step} of {self.total}")
        self.bar.update(self.task, completed=self.progress.step)

    def save(self) -> None:
        """Writes the state, if the run has a folder."""
        if self.folder is not None:
            run_state.save_state(
                self.folder,
                self.settings.model_dump(),
                self.progress,
                self.parameters,
                {
                    **{MEAN + name: tensor for name, tensor in self.mean.items()},
                    **{BEST + name: tensor for name, tensor in self.best.items()},
                },
                self.optimizer,
            )
        self.last_save = time.monotonic()

    def finished(self) -> bool:
        """Whether epochs, patience or minutes have run out."""
        progress, settings = self.progress, self.settings
        tired = settings.patience and progress.epoch - 1 - progress.best_epoch >= settings.patience
        started = progress.epoch > 0 and progress.batch == 0
        stop = bool(tired) or self.out_of_time()
        return progress.epoch >= settings.epochs or (started and stop)

    def out_of_time(self) -> bool:
        """Whether the minutes, if any were given, are used up."""
        minutes = self.settings.minutes
        return bool(minutes) and self.progress.seconds > minutes * 60

    def epoch(self) -> dict[str, Any]:
        """Trains one epoch (or what is left of it), validates, and keeps the best means."""
        progress = self.progress
        order = np.random.default_rng([self.settings.seed, progress.epoch]).permutation(
            self.trainee.examples
        )
        for module in self.trainee.modules.values():
            module.train()
        while progress.batch < self.batches and not (progress.batch and self.out_of_time()):
            start = progress.batch * self.settings.batch
            chosen = torch.from_numpy(order[start : start + self.settings.batch])
            progress.loss_sum += self.step(chosen)
            progress.batch += 1
            progress.step += 1
            self._tick()
        return self._end_of_epoch()

    def _end_of_epoch(self) -> dict[str, Any]:
        progress = self.progress
        for module in self.trainee.modules.values():
            module.eval()
        now = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(self.mean)
        with torch.no_grad():
            measures = self.trainee.validate()
        self._put(now)
        loss = progress.loss_sum / max(progress.batch, 1)
        self._tick(save=False)
        entry = {"epoch": progress.epoch, "loss": loss, "seconds": progress.seconds, **measures}
        progress.history.append(entry)
        score = measures.get("score")
        if score is None or score > progress.best_score:
            progress.best_epoch = progress.epoch
            progress.best_score = progress.best_score if score is None else score
            self.best = {name: mean.clone() for name, mean in self.mean.items()}
        shown = ", ".join(f"{key} {value:.4f}" for key, value in measures.items())
        shown = shown or "nothing to measure on valid"
        self.console.print(
            f"epoch {progress.epoch + 1}/{self.settings.epochs}: loss {loss:.4f}, {shown} "
            f"({progress.seconds:.0f} s)"
        )
        progress.epoch, progress.batch, progress.loss_sum = progress.epoch + 1, 0, 0.0
        self.save()
        return entry

    def step(self, indices: Tensor) -> float:
        """One optimiser step over a batch, in `accumulate` parts; returns its mean loss."""
        settings = self.settings
        scale = schedule(self.progress.step, self.total, settings)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * scale
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        device = next(iter(self.parameters.values())).device.type
        for part in indices.chunk(settings.accumulate):
            with autocast(device, settings.bf16):
                loss = self.trainee.loss(part) * (len(part) / len(indices))
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss.item()} at step {self.progress.step}; "
                    "lower the learning rate, or train without bf16"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        nn.utils.clip_grad_norm_(self.parameters.values(), settings.clip)
        self.optimizer.step()
        self._average()
        return total

    @torch.no_grad()
    def _average(self) -> None:
        """The running means take in the parameters; the first ones weigh less and less."""
        step = self.progress.step + 1
        keep = min(self.settings.average, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.mean[name].lerp_(parameter, 1 - keep)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)

    def _tick(self, save: bool = True) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.last_tick
        self.last_tick = now
        mean = self.progress.loss_sum / max(self.progress.batch, 1)
        self.bar.update(
            self.task, completed=self.progress.step, description=f"training, loss {mean:.3f}"
        )
        if save and now - self.last_save >= self.settings.save_seconds:
            self.save()
            self.last_tick = time.monotonic()

    def restore_best(self) -> None:
        """Puts the means of the best epoch in place of the parameters."""
        self._put(self.best)
        for module in self.trainee.modules.values():
            module.eval()


def _named(kept: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in kept.items() if name.startswith(prefix)}


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], settings: TrainSettings
) -> torch.optim.AdamW:
    """AdamW: weight decay for matrices only, `table_rate` for per-item tables.

    The few weights of the evidence learn three times as fast: each is a number of its own.
    """
    matrices, vectors, tables, evidence = [], [], [], []
    for name, parameter in parameters.items():
        if name.startswith("evidence."):
            evidence.append(parameter)
        elif "residual" in name and name.endswith("vectors.weight"):
            tables.append(parameter)
        elif parameter.ndim > 1:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    groups = [
        {"params": matrices, "lr": settings.rate, "weight_decay": settings.weight_decay},
        {"params": vectors, "lr": settings.rate, "weight_decay": 0.0},
        {"params": tables, "lr": settings.table_rate, "weight_decay": 0.0},
        {"params": evidence, "lr": 3 * settings.rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98))


def schedule(step: int, total: int, settings: TrainSettings) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then linear decay."""
    warm = settings.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    left = (total - step) / max(total - warm, 1)
    return settings.final_rate + (1 - settings.final_rate) * left
