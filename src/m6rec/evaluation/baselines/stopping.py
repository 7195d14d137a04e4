"""How long a baseline that lightning trains is trained: each epoch is judged, the best one kept."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Weights = dict[str, Any]


class Stopping(Protocol):
    """patience: epochs without a better figure before training stops.

    max_seconds: no further epoch is begun after them.
    """

    @property
    def max_epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def max_seconds(self) -> float: ...


def judged_trainer(
    lightning: Any,
    settings: Stopping,
    judge: Callable[[], float],
    network: Callable[[], Any],
    report: Callable[[int, float], None],
    **options: Any,
) -> Any:
    """A quiet trainer on the processor that calls `judge` after each epoch.

    network: gives what is trained; it may be made after the trainer. Functions, not methods: a
    trainer may be copied, and then what a method belongs to would be copied too.
    """
    started = time.perf_counter()

    class Judge(lightning.Callback):  # type: ignore[misc]
        best, waited = -np.inf, 0
        kept: Weights

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            figure = judge()
            network().train()
            report(trainer.current_epoch, figure)
            self.waited = 0 if figure > self.best else self.waited + 1
            if self.waited == 0:
                self.best, self.kept = figure, copy.deepcopy(network().state_dict())
            spent = time.perf_counter() - started
            if self.waited >= settings.patience or spent > settings.max_seconds:
                trainer.should_stop = True

    return lightning.Trainer(
        max_epochs=settings.max_epochs,
        accelerator="cpu",
        callbacks=[Judge()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **options,
    )


def best_weights(trainer: Any) -> Weights:
    """The weights of the epoch that was judged best, from a `judged_trainer` that has run."""
    kept: Weights = next(one.kept for one in trainer.callbacks if hasattr(one, "kept"))
    return kept
