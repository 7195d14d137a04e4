"""Pretraining: one run that can be killed at any moment and goes on as if it had not been.

Folder of a run: `state` (training/state.py), `checkpoint` (a backbone folder, loadable at any
time), `log.jsonl` (one line per report), and, where asked for, TensorBoard event files. A file
named DECAY in it begins the decay of the learning rate, after which the run is complete.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from m6rec.model.checkpoint import backbone_tensors, fingerprint, save_backbone
from m6rec.model.hf import load_start
from m6rec.model.low_rank import begin_change, save_change
from m6rec.model.m6 import M6
from m6rec.model.precision import autocast, low_precision
from m6rec.text.tokenizer import Tokenizer
from m6rec.training import state as run_state
from m6rec.training.batches import (
    NO_LABEL,
    PairBatch,
    ReadPlan,
    WritingBatch,
    collate_pairs,
    collate_writing,
    to_device,
)
from m6rec.training.corpus.documents import Corpus, read_corpus
from m6rec.training.draws import Draws, written_counts
from m6rec.training.judge import Judge
from m6rec.training.lesson import Lesson, PlainLesson
from m6rec.training.loop import TrainingError
from m6rec.training.objectives import Asker
from m6rec.training.optimizers import for_pretraining
from m6rec.training.recipe import PretrainRecipe
from m6rec.training.schedule import PretrainProgress, anchor_weight, rate_scale
from m6rec.training.side_by_side import SideBySide, workers_for
from m6rec.training.start import ready_to_write

STATE, CHECKPOINT, LOG, DECAY, COUNTS = "state", "checkpoint", "log.jsonl", "DECAY", "written"
REPORT_STEPS = 20
SPIKES_IN_A_ROW = 20
CALM_STEPS = 50
"""Steps before the guard against loss spikes begins to watch."""
FORGET = 0.98
CHECK_SHARE = 0.06
"""Looking up takes no more than this share of the time, however slow the machine is."""
JUDGED = 48
"""Held-out examples of each job."""
Check = Callable[[M6, Tokenizer], dict[str, float]]


@dataclass(frozen=True)
class Pretrained:
    """What a run came to: the checkpoint's folder and the counters."""

    checkpoint: Path
    progress: PretrainProgress
    complete: bool


@dataclass(frozen=True)
class Pace:
    """How often a run looks up, in minutes; check is called with the model then."""

    save: float = 5.0
    check: float = 10.0


def pretrain(
    recipe: PretrainRecipe,
    corpus: Path,
    out: Path,
    start: str | tuple[M6, Tokenizer] = "minilm-l6",
    *,
    minutes: float = 0.0,
    max_steps: int = 0,
    resume: bool = True,
    check: Check | None = None,
    pace: Pace = Pace(),
    tensorboard: bool = False,
    device: str = "cpu",
    console: Console | None = None,
    lesson: Lesson | None = None,
    base: str = "",
) -> Pretrained:
    """Trains `start` on a corpus folder; writes to `out` and goes on from what lies there.

    minutes: training time after which the run is complete, its decay included (0: until the file
    DECAY appears in `out`, or for ever). max_steps: stop (and save) at this step (0: none). SIGTERM
    and SIGINT save and stop. check: more measures, taken every `pace.check` minutes. lesson: what
    a step learns (None: to write and to tell pairs apart). base: the start's name, where a low-rank
    change is trained (the checkpoint is its folder) and `start` is a network.
    Raises TrainingError, CorpusError or CheckpointError with what is wrong.
    """
    texts = read_corpus(corpus)
    model, tokenizer = load_start(start) if isinstance(start, str) else start
    asker = Asker(tokenizer, recipe.infill_share, recipe.span)
    counts_V = kept_counts(texts, corpus, asker, model.config.vocab_size)
    made_of = fingerprint(backbone_tensors(model)) if recipe.rank else ""
    model = ready_to_write(model, tokenizer, counts_V, recipe.seed).to(device)
    if recipe.rank:
        begin_change(model, recipe.rank, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    console = console or Console(stderr=True)
    run = _Run(recipe, texts, asker, model, counts_V, out, console, lesson)
    run.minutes, run.check, run.pace = minutes, check, pace
    run.base = (start if isinstance(start, str) else base, made_of)
    if resume:
        run.resume()
    if tensorboard:
        run.board = _board(out, run.progress.step)
    complete = run.train(max_steps)
    return Pretrained(out / CHECKPOINT, run.progress, complete)


class _Run:
    """One run: the network, its optimiser, its draws, and where it stands."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        corpus: Corpus,
        asker: Asker,
        model: M6,
        counts_V: np.ndarray,
        out: Path,
        console: Console,
        lesson: Lesson | None = None,
    ) -> None:
        self.lesson = lesson or PlainLesson()
        self.recipe, self.model, self.tokenizer = recipe, model, asker.tokenizer
        self.start: M6 | None = None
        if recipe.pairs and recipe.anchor:
            self.start = self.lesson.reference(model)
        self.out, self.console = out, console
        self.device = model.read_token.device
        self.settings = {**recipe.model_dump(mode="json"), "corpus": corpus.fingerprint}
        self.settings |= self.lesson.settings()
        if model.config.source != "bidirectional":
            self.settings["source"] = model.config.source
        self.draws = Draws(corpus, asker, recipe)
        if not self.draws.of_job:
            raise TrainingError("no document of the corpus fits any job of the recipe")
        self.judge = Judge(corpus, asker, list(self.draws.of_job), JUDGED)
        least = 0 if model.config.writes and model.lm_head.dense is None else recipe.rare
        self.words = _competing(counts_V, self.tokenizer, least).to(self.device)
        self.known = torch.zeros(len(counts_V), dtype=torch.bool)
        self.known[self.words.cpu()] = True
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.base = ("", "")
        model.tokens.in_place = True
        self.optimizer = for_pretraining(self.parameters, recipe)
        self.progress = PretrainProgress()
        self.minutes, self.pace = 0.0, Pace()
        self.check: Check | None = None
        self.board: Any = None
        self.stop = False
        self.low = low_precision(self.device.type, recipe.bf16)
        parts = len(recipe.plans) + bool(recipe.pairs)
        workers = workers_for(self.device.type, parts) if self.lesson.side_by_side else 1
        self.parts: SideBySide[dict[str, float]] = SideBySide(model, workers)
        if recipe.compile:
            for block in (block for one in self.parts.models for block in one.blocks):
                block.compile(dynamic=True)

    def resume(self) -> None:
        """Goes on from the folder's state, if it has one."""
        found = run_state.load_state(
            self.out / STATE, self.settings, self.parameters, self.optimizer, PretrainProgress
        )
        if found is not None:
            assert isinstance(found[0], PretrainProgress)
            self.progress = found[0]
            self.lesson.restore(found[1])
            self.console.print(f"resuming at step {self.progress.step}")

    def save(self) -> None:
        """Writes state and checkpoint."""
        more = self.lesson.state()
        run_state.save_state(
            self.out / STATE, self.settings, self.progress, self.parameters, more, self.optimizer
        )
        if self.recipe.rank:
            save_change(self.model, *self.base, self.out / CHECKPOINT)
        else:
            folder = self.out / CHECKPOINT
            save_backbone(self.model, self.tokenizer, folder, self.model.kept_as)

    def train(self, max_steps: int) -> bool:
        """Steps until the run is complete (True), or is told to stop (False)."""
        progress, report = self.progress, _Report(self)
        for model in self.parts.models:
            model.train()
        last_save = last_check = time.monotonic()
        took = 0.0
        with _on_signals(self._stop), self.parts:
            while not (complete := self._complete()):
                if self.stop or (max_steps and progress.step >= max_steps):
                    break
                begin = time.monotonic()
                losses, tokens = self.step()
                progress.step += 1
                progress.tokens += tokens
                progress.seconds += time.monotonic() - begin
                report.add(losses, tokens, time.monotonic() - begin)
                self._begin_decay()
                now = time.monotonic()
                if now - last_check >= max(self.pace.check * 60, took / CHECK_SHARE):
                    took = self._measure()
                    last_check = time.monotonic()
                if now - last_save >= self.pace.save * 60:
                    self.save()
                    last_save = time.monotonic()
        if complete:
            self._measure()
        self.save()
        return complete

    def step(self) -> tuple[dict[str, float], int]:
        """One optimiser step over all micro-batches; its mean losses and tokens."""
        self._set_rate()
        self.optimizer.zero_grad(set_to_none=True)
        losses, tokens = self._learn()
        loss = losses.pop("written")  # that of pairs jumps with their source
        losses |= self.lesson.told()
        self.lesson.before_update(self.model)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip)
        if self._spikes(loss, float(norm)):
            self.progress.skipped += 1
            self.progress.skipped_in_a_row += 1
            if self.progress.skipped_in_a_row >= SPIKES_IN_A_ROW:
                raise TrainingError(
                    f"{SPIKES_IN_A_ROW} steps in a row were left out for their loss, at step "
                    f"{self.progress.step} ({loss:.3f}); lower the learning rate"
                )
            return losses, tokens
        self.progress.skipped_in_a_row = 0
        self.optimizer.step()
        planned = self.progress.seconds / (self.minutes * 60) if self.minutes else 0.0
        self.lesson.after_update(self.model, self.progress.step, planned)
        return losses, tokens

    def _learn(self) -> tuple[dict[str, float], int]:
        """Gradients of all parts of a step: writing under each plan, and pairs."""
        recipe, special, sink = self.recipe, self.tokenizer.special, self.model.config.sink
        batches = [
            collate_writing(self.draws.examples(self.progress.step, part), plan, special, sink)
            for part, plan in enumerate(recipe.plans)
        ]
        counts = [self._hide_rare(batch.label_BT) for batch in batches]
        parts = [
            partial(self._write, batch, sum(counts), self._rng(part))
            for part, batch in enumerate(batches)
        ]
        sizes = [batch.tokens for batch in batches]
        pairs = self.draws.pairs(self.progress.step) if recipe.pairs else []
        if pairs:
            contrasted = collate_pairs(pairs, special)
            parts.append(partial(self._pair, contrasted, self._rng(len(batches))))
            sizes.append(contrasted.tokens)
        found = self.parts.run(parts, sizes)
        losses: dict[str, float] = dict.fromkeys(recipe.plans, 0.0)
        for plan, one, count in zip(recipe.plans, found, counts, strict=False):
            mean = one["loss"] * sum(counts) / max(count, 1)
            losses[plan] += mean / recipe.plans.count(plan)
        losses["written"] = sum(one["loss"] for one in found[: len(batches)])
        losses["loss"] = sum(one.pop("loss") for one in found)
        for one in found:
            losses |= one
        return losses, sum(sizes)

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.seed, 2, self.progress.step, part])

    def _write(
        self, batch: WritingBatch, labels: int, rng: np.random.Generator, model: M6
    ) -> dict[str, float]:
        lower, moved = self._lower(rng), to_device(batch, self.device)
        with autocast(self.device.type, self.recipe.bf16):
            loss = self.lesson.writing(model, moved, lower, self.words, self.low, rng) / labels
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}

    def _hide_rare(self, label_BT: Tensor) -> int:
        """Makes labels that do not compete no labels, in place; how many are left."""
        label_BT[(label_BT >= 0) & ~self.known[label_BT.clamp(min=0)]] = NO_LABEL
        return int((label_BT >= 0).sum())

    def _pair(self, batch: PairBatch, rng: np.random.Generator, model: M6) -> dict[str, float]:
        recipe, moved = self.recipe, to_device(batch, self.device)
        with autocast(self.device.type, recipe.bf16):
            lower = self._lower(rng)
            found, more = self.lesson.pairs(model, moved, lower, self.start, rng)
        loss = recipe.pair_weight * (found.plain + found.read) / 2 + more
        loss = loss + anchor_weight(self.progress, recipe) * found.anchor
        loss.backward()  # type: ignore[no-untyped-call]
        told = {"plain": found.plain, "read": found.read, "anchor": found.anchor, "loss": loss}
        return {name: value.item() for name, value in told.items()}

    def _lower(self, rng: np.random.Generator) -> int:
        choices = self.recipe.online_layers
        return self.model.config.layers - choices[int(rng.integers(len(choices)))]

    def _set_rate(self) -> None:
        scale = rate_scale(self.progress, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * scale

    def _spikes(self, loss: float, norm: float) -> bool:
        """Whether a step is left out; else its loss joins the running mean."""
        progress = self.progress
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return True
        far = loss - progress.level > self.recipe.spike * math.sqrt(progress.spread) + 0.1
        if progress.step >= CALM_STEPS and far:
            return True
        if progress.step == 0:
            progress.level = loss
        keep = min(FORGET, progress.step / (progress.step + 1))
        away = loss - progress.level
        progress.level += (1 - keep) * away
        progress.spread = keep * (progress.spread + (1 - keep) * away * away)
        return False

    def _begin_decay(self) -> None:
        progress, share = self.progress, self.recipe.decay_share
        if progress.decay_from >= 0:
            return
        late = self.minutes and progress.seconds >= self.minutes * 60 * (1 - share)
        if late or (self.out / DECAY).exists():
            progress.decay_from = progress.step
            progress.decay_steps = max(1, round(progress.step * share / (1 - share)))
            self.console.print(f"decay begins: {progress.decay_steps} steps are left")

    def _complete(self) -> bool:
        progress = self.progress
        begun = progress.decay_from >= 0
        return begun and progress.step >= progress.decay_from + progress.decay_steps

    def _measure(self) -> float:
        """Held-out losses and the caller's own check, to the log; the seconds it took."""
        begin = time.monotonic()
        random = torch.get_rng_state()
        entry: dict[str, Any] = {"step": self.progress.step, "tokens": self.progress.tokens}
        plans: tuple[ReadPlan, ...] = ("full", "summary")
        for plan in plans:
            for job, found in self.judge.measure(self.model, plan).items():
                entry[f"{plan}/{job}"] = round(found.nats_per_token, 4)
                if plan == "full":
                    entry[f"{plan}/{job}/byte"] = round(found.nats_per_byte, 4)
        if self.check is not None:
            self.model.eval()
            entry |= {k: round(v, 5) for k, v in self.check(self.model, self.tokenizer).items()}
            self.model.train()
        torch.set_rng_state(random)
        self.log("held out", entry)
        shown = "  ".join(
            f"{key} {value:.3f}" for key, value in entry.items() if isinstance(value, float)
        )
        took = time.monotonic() - begin
        self.console.print(
            f"held out at step {self.progress.step}: {shown} ({took:.0f} s)", soft_wrap=True
        )
        return took

    def log(self, kind: str, entry: dict[str, Any]) -> None:
        """One line of log.jsonl, and TensorBoard's scalars."""
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "time": round(time.time()), **entry}) + "\n")
        if self.board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{kind}/{name}", value, self.progress.step)
            self.board.flush()

    def _stop(self) -> None:
        self.stop = True


class _Report:
    """Means over REPORT_STEPS steps: losses, tokens per second, time left."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.sums: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        self.steps = self.tokens = 0
        self.seconds = 0.0

    def add(self, losses: dict[str, float], tokens: int, seconds: float) -> None:
        """Takes in a step; prints and logs when it is time."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counts.update(losses.keys())
        self.steps, self.tokens = self.steps + 1, self.tokens + tokens
        self.seconds += seconds
        if self.run.progress.step % REPORT_STEPS == 0:
            self._tell()
            self.sums, self.counts = {}, Counter()
            self.steps, self.tokens, self.seconds = 0, 0, 0.0

    def _tell(self) -> None:
        run, progress = self.run, self.run.progress
        means = {name: value / self.counts[name] for name, value in self.sums.items()}
        speed = self.tokens / max(self.seconds, 1e-9)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        left = ""
        if progress.decay_from >= 0:
            steps = progress.decay_from + progress.decay_steps - progress.step
            left = f", {steps * self.seconds / self.steps / 60:.0f} min left"
        elif run.minutes:
            left = f", {max(run.minutes - progress.seconds / 60, 0):.0f} min left"
        run.console.print(
            f"step {progress.step}: {shown}  {speed:.0f} tokens/s, "
            f"{progress.tokens / 1e6:.2f} M tokens{left}"
            + (f", {progress.skipped} left out" if progress.skipped else ""),
            soft_wrap=True,
        )
        rate = rate_scale(progress, run.recipe)
        run.log("train", {"step": progress.step, **means, "tokens_per_s": speed, "rate": rate})


def _competing(counts_V: np.ndarray, tokenizer: Tokenizer, rare: int) -> Tensor:
    """Ids that are labels: what the corpus writes often enough (rare = 0: all that can be written),
    markers, bytes, [EOS], [MASK]."""
    special = tokenizer.special
    always = [special.eos, special.mask, *tokenizer.marker_ids]
    chosen = np.flatnonzero(counts_V >= rare) if rare else np.array(tokenizer.writable_ids)
    return torch.from_numpy(np.union1d(chosen, always))


def kept_counts(corpus: Corpus, folder: Path, asker: Asker, size: int) -> np.ndarray:
    """`written_counts`, kept beside the corpus for the next run."""
    path = folder / f"{COUNTS}.{corpus.fingerprint}.{size}.safetensors"
    if path.is_file():
        return load_file(path)["counts"]
    counts_V = written_counts(corpus, asker, size)
    save_file({"counts": counts_V}, path)
    return counts_V


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while the block runs (in the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop()

    old = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _board(out: Path, done: int) -> Any:
    """done: steps of the state that the run goes on from. What an earlier process logged beyond
    them is hidden, for those steps are made again."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TrainingError("TensorBoard logs need the extra: pip install 'm6rec[train]'") from None
    return SummaryWriter(os.fspath(out / "board"), purge_step=done + 1 if done else 0)
