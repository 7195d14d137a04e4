"""Tuning a task that writes: passages and a backbone → an author. (paper sections 2 and 4)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn

from m6rec.data.passages import Cutting, WritingSplit, WritingTask, some
from m6rec.data.tables import Dataset
from m6rec.data.writing import writing_split
from m6rec.metrics.text import perplexity
from m6rec.model.tuning import Method, Tuning, tuned_share
from m6rec.tasks.build import READS, Backbone, TaskName, TaskSpec
from m6rec.tasks.build_writing import build_author
from m6rec.tasks.explanation import aspects_for
from m6rec.tasks.folder import TaskFolder, modules_of, trained
from m6rec.tasks.opening import Opener
from m6rec.tasks.query import QuerySettings
from m6rec.tasks.writing import Author, words_of
from m6rec.text.aspects import Aspects
from m6rec.text.templates import Templates
from m6rec.training.loop import fit
from m6rec.training.settings import TrainSettings
from m6rec.training.tune import Tuned

VALID_PASSAGES = 400
"""Validation uses at most this many passages, the same ones every epoch."""
RANK, PROMPTS = 128, 8
"""With two online layers of the MiniLM shape about one per cent of the parameters."""
FEWEST_STEPS = 60
CUTTING = tuple(name for name in Cutting.model_fields if name not in ("by", "seed"))
"""Settings of a split that `fit` takes beside those of the task."""


class WritingTrainee:
    """Next-token prediction of what people wrote, after what the task reads."""

    def __init__(self, author: Author, split: WritingSplit, seed: int = 0) -> None:
        self.author = author
        self.train = author.lessons(split.train)
        self.valid = author.lessons(some(split.valid, VALID_PASSAGES, seed))
        self.words = words_of(self.train, author.tokenizer.special.eos)
        self._can_write = torch.tensor(author.tokenizer.writable_ids)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return modules_of(self.author)

    @property
    def examples(self) -> int:
        """Texts that people wrote."""
        return len(self.train)

    def loss(self, indices: Tensor) -> Tensor:
        """Mean nats per token; the words of train compete with some drawn ones."""
        return self.author.loss([self.train[i] for i in indices.tolist()], self._competing())

    def _competing(self) -> Tensor | None:
        drawn = self.author.settings.drawn
        if drawn == 0 or len(self.words) + drawn >= self.author.model.config.vocab_size:
            return None
        picks = self._can_write[torch.randint(len(self._can_write), (drawn,))]
        found: Tensor = torch.cat([self.words, picks]).unique()  # type: ignore[no-untyped-call]
        return found.to(self.author.table.device)

    def validate(self) -> dict[str, float]:
        """-nats per token over the whole vocabulary (the score), and the perplexity; nothing
        without valid texts."""
        if not self.valid:
            return {}
        nats, tokens = self.author.nats(self.valid)
        total, count = float(nats.sum()), int(tokens.sum())
        return {"score": -total / count, "ppl": perplexity(total, count)}


def writing_recipe(
    task: TaskName,
    method: Method = "option-adapter",
    plan: Literal["late", "full"] = "late",
    passages: int = 10_000,
    tuning: Mapping[str, Any] | None = None,
    **reading: Any,
) -> tuple[TaskSpec, TrainSettings]:
    """Settings that worked (docs/writing.md); arguments as in training/tune.py.

    passages: of train, by which batches and epochs are chosen.
    """
    layout: dict[str, Any] = {"method": method, "rank": RANK, **(tuning or {})}
    prompted = method in ("prompt", "option", "option-adapter") and plan == "late"
    layout.setdefault("prompts", PROMPTS if prompted else 0)
    spec = TaskSpec(
        task=task,
        tuning=Tuning.parse(layout, "settings of the method"),
        **{READS[task]: _settings(task, {"plan": plan, **reading})},
    )
    rate = 3e-4 if method == "full" else 2e-3
    batch = 32 if passages >= 1000 else max(4, passages // 30)
    epochs = max(6, round(FEWEST_STEPS * batch / max(passages, 1)))
    return spec, TrainSettings(rate=rate, epochs=epochs, batch=batch, patience=2)


def _settings(task: TaskName, words: Mapping[str, Any]) -> Any:
    """The settings of what a task reads; ConfigError names a wrong key."""
    kind = TaskSpec(task=task).writing
    return type(kind).parse(words, f"settings of {task}")


def tune_author(
    backbone: Backbone,
    words: Templates,
    split: WritingSplit,
    spec: TaskSpec,
    train: TrainSettings,
    aspects: Aspects,
    known: Sequence[str] = (),
    folder: Path | None = None,
    console: Console | None = None,
) -> Tuned[Author]:
    """Trains on the split's train part; the best epoch by likelihood on valid.

    known: items whose titles may be examples. folder: where the run keeps its state, so that it can
    be killed and resumed.
    """
    author = build_author(backbone, words, split.items, split.users, spec, aspects, known)
    author.model.eval()
    outcome = fit(WritingTrainee(author, split, train.seed), train, folder, console)
    return Tuned(author, spec, train, outcome, tuned_share(author.model))


def fit_author(
    opener: Opener,
    dataset: Dataset,
    task: WritingTask,
    run: tuple[Templates, Path | None, Console | None],
    options: Mapping[str, Any],
    reading: Mapping[str, Any],
) -> TaskFolder:
    """Cuts a data set, tunes a task that writes, and returns what was trained.

    run: words, folder of the state, where to tell. options: method, plan, tuning, train, as
    `M6Rec.fit` takes them. reading: settings of the task, and of its split (`Cutting`).
    """
    cutting = {name: value for name, value in reading.items() if name in CUTTING}
    told = {name: value for name, value in reading.items() if name not in CUTTING}
    layout = {name: options[name] for name in ("method", "plan", "tuning")}
    asked = writing_recipe(task, **layout, **told)[0].writing
    if isinstance(asked, QuerySettings):
        cutting["query_from"] = asked.query_from
    words, state, console = run
    split = writing_split(dataset, task, max_history=asked.max_history, **cutting)
    spec, settings = writing_recipe(task, **layout, passages=len(split.train), **told)
    train = TrainSettings.parse({**settings.model_dump(), **(options["train"] or {})}, "train")
    aspects = aspects_for(split)
    known = _known_items(dataset, task, asked.max_history, cutting)
    tuned = tune_author(opener.backbone, words, split, spec, train, aspects, known, state, console)
    return TaskFolder(
        spec=spec,
        backbone=opener.fingerprint,
        templates=words.to_dict(),
        tensors={name: p.detach().cpu() for name, p in trained(tuned.task).items()},
        known=known,
        aspects=aspects.names,
        trained_on={"card": split.card.to_dict(), **tuned.summary()},
    )


def _known_items(
    dataset: Dataset, task: WritingTask, max_history: int, cutting: Mapping[str, Any]
) -> list[str]:
    """Items of the whole train part, each once, in order, for titles; nothing else has examples."""
    if task != "title":
        return []
    whole = {name: value for name, value in cutting.items() if name != "max_train"}
    train = writing_split(dataset, task, max_history=max_history, **whole).train
    return list(dict.fromkeys(p.item_id for p in train if p.item_id is not None))
