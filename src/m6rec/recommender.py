"""`M6Rec`: one backbone, its tasks, and the calls that people make. The Python face of the project.

Shapes: histories are oldest first; lists of answers are best first.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from m6rec.answers import Answers, History
from m6rec.authors import Authors, check_own_split, is_writing
from m6rec.collaborative.reasons import Reason
from m6rec.data import tables
from m6rec.data.caps import capped
from m6rec.data.labels import LabelRule, default_rule
from m6rec.data.options import Task
from m6rec.data.schema import DataError
from m6rec.data.splits import Method as SplitMethod
from m6rec.data.splits import Split, make_split
from m6rec.data.tables import Dataset
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.result import Result
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.model.checkpoint import backbone_tensors, fingerprint, save_backbone
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.stores.states.cache import StateCache
from m6rec.stores.states.opening import open_cache
from m6rec.tasks.build import Backbone, TaskName, TaskSpec, check_task
from m6rec.tasks.folder import NotTunedError, TaskFolder, trained
from m6rec.tasks.opening import Opener, templates_of
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import Retriever
from m6rec.tasks.warm import Warmed, warm_task
from m6rec.text.features import CrossFeatures
from m6rec.text.readability import Readability, readability
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer
from m6rec.training.places import check_places
from m6rec.training.settings import TrainSettings
from m6rec.training.tune import Tuned, recipe, tune_ranker, tune_retriever
from m6rec.training.writing import fit_author

log = logging.getLogger(__name__)

TASKS = "tasks"
Data = str | Path | Dataset


@dataclass(frozen=True)
class Fitted:
    """What `fit` did: settings, trainable share, seconds, the validation figures of every epoch."""

    task: TaskName
    spec: TaskSpec
    trained_on: Mapping[str, Any]


class M6Rec(Answers, Authors):
    """One pretrained language model that does every job of a recommender.

    Nothing is trained by opening one: `recommend` works at once, for users and items that nobody
    has seen before. `fit` adds a task of about one per cent of the parameters beside the backbone.
    """

    def __init__(
        self,
        backbone: M6,
        tokenizer: Tokenizer,
        tasks: Mapping[str, TaskFolder] | None = None,
        cache: StateCache | None = None,
        name: str = "the backbone",
    ) -> None:
        self.name = name
        self.readability: Readability | None = None
        self.backbone, self.tokenizer = backbone.eval(), tokenizer
        self._shared = Backbone(backbone, tokenizer, cache)
        self.tasks = dict(tasks or {})
        self.dataset: Dataset | None = None
        self.text_only = False
        self._fingerprint: str | None = None
        self._opened: dict[str, tuple[object, Any]] = {}

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str = "cpu",
        cache: str | Path | StateCache | None = None,
    ) -> M6Rec:
        """Opens a checkpoint by name, or a folder: ours with its tasks, or a Hugging Face one.

        cache: a folder or a Redis address where encoded texts are kept and found again, by this
        process and others (`open_cache` has more settings; docs/cache.md).
        Raises CheckpointError where there is none, or where a file is damaged; StoreError where
        the cache can not be opened.
        """
        if isinstance(cache, str | Path):
            cache = open_cache(cache)
        backbone, tokenizer = load_start(str(source))
        folder = Path(source) / TASKS
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        tasks = {path.name: TaskFolder.read(path) for path in found}
        return cls(backbone.to(device), tokenizer, tasks, cache, str(source))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the backbone, and each task beside it (tasks/NAME): what that task trained."""
        save_backbone(self.backbone, self.tokenizer, Path(folder))
        for name, task in self.tasks.items():
            task.write(Path(folder) / TASKS / name)

    @property
    def fingerprint(self) -> str:
        """Names the backbone's weights; tasks belong to one fingerprint."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(backbone_tensors(self.backbone))
        return self._fingerprint

    def use(self, data: Data, text_only: bool = False) -> M6Rec:
        """Takes catalogue, users and events from a data set, for calls that name none.

        text_only: retrieval goes by words alone, though the log says what people chose next.
        `readability` says afterwards what share of the titles the backbone can read; a warning is
        logged where that is little.
        """
        self.dataset, self.text_only = _load(data), text_only
        self._opened.clear()
        self._look_at(self.dataset)
        return self

    def _look_at(self, dataset: Dataset) -> None:
        titles = dataset.items["title"].drop_nulls().to_list()
        before = self.readability
        self.readability = readability(self.tokenizer, titles, self.name) if titles else None
        if self.readability is not None and self.readability != before:
            level = logging.WARNING if self.readability.warns else logging.INFO
            log.log(level, "%s", self.readability)

    def forget_texts(self) -> None:
        """Drops the states of texts that calls left in memory; they are made again when needed.

        For who serves for long. Not while another thread asks.
        """
        self._shared.forget_texts()

    def load_adapter(self, folder: str | Path) -> M6Rec:
        """Takes in a task that `fit` or `m6rec tune` wrote; it replaces one of the same kind."""
        task = TaskFolder.read(Path(folder))
        task.check_backbone(self.fingerprint, Path(folder))
        self._take(task)
        return self

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Text vectors of the backbone: float32 [N, D], unit length, cosine is similarity."""
        return self._shared.embed(texts)

    def warm(self, task: TaskName = "retrieve", console: Console | None = None) -> Warmed:
        """Encodes items and past events of the data set in use into the cache, for a task.

        What is there is skipped; stopped at any point, a second call goes on. Raises M6Error where
        there is no cache or no data set, or the task reads no cached states.
        """
        check_task(task)
        tuned = self.tasks.get(task)
        if tuned is None and task == "rank":
            raise NotTunedError("rank")
        return warm_task(self._shared, tuned, self._data(), console)

    def fit(
        self,
        task: TaskName,
        data: Data,
        *,
        method: Literal["full", "adapter", "prompt", "option", "option-adapter"] = "option-adapter",
        plan: Literal["late", "full"] = "late",
        split: SplitMethod | Split = "auto",
        label: LabelRule | None = None,
        targets: Collection[str] | None = None,
        max_events_per_user: int | float | None = None,
        templates: str | Path | None = None,
        tuning: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        state: Path | None = None,
        console: Console | None = None,
        **reading: Any,
    ) -> Fitted:
        """Tunes a task on the train part of a data set and keeps the best epoch by its valid part.

        method, plan: paper sections 4 and 3. split, label, targets: as in `make_split` (targets are
        the kinds of events that retrieval has to foresee), or a Split. max_events_per_user: only
        the newest events of each user count (below 1: so large a share of all events). tuning:
        changes to Tuning (rank, prompts, layers); train: to TrainSettings (rate, epochs, …);
        reading: to the settings of the task (online_layers, max_history, residual, …). Tasks that
        write have a split of their own (data/writing.py), of which `reading` may limit the parts
        (max_train).
        state: folder from which an interrupted run goes on. The backbone stays as it is.
        Raises M6Error with what is wrong in the data or the settings.
        """
        check_task(task)
        check_places(task, reading)
        dataset = _capped(_load(data), split, max_events_per_user)
        self._look_at(dataset)
        words = templates_of(dataset, templates)
        if is_writing(task):
            check_own_split(task, split, label, targets)
            run = (words, state, console)
            options = {"method": method, "plan": plan, "tuning": tuning, "train": train}
            told = fit_author(self.opener(), dataset, task, run, options, reading)
            self._take(told)
            return Fitted(task, told.spec, told.trained_on)
        cut = _cut(dataset, task, split, label, targets)
        spec, settings = recipe(task, method, plan, len(cut.train), tuning, **reading)
        settings = TrainSettings.parse({**settings.model_dump(), **(train or {})}, "train")
        verbalizer = Verbalizer(words, cut.items, cut.users)
        shared = (self._shared, verbalizer, cut, spec, settings)
        rule = None
        tuned: Tuned[Retriever] | Tuned[Ranker]
        if task == "retrieve":
            tuned = tune_retriever(*shared, folder=state, console=console)
        else:
            log = dataset.events
            rule = label or (LabelRule() if log is None else default_rule(log))
            features = CrossFeatures(dataset.events, cut.items, rule, words)
            tuned = tune_ranker(*shared, features, rule, folder=state, console=console)
        trained_on = {"card": cut.card.to_dict(), **tuned.summary()}
        self._take(
            TaskFolder(
                spec=spec,
                backbone=self.fingerprint,
                templates=words.to_dict(),
                tensors={name: p.detach().cpu() for name, p in trained(tuned.task).items()},
                rule=None if rule is None else rule.to_dict(),
                known=tuned.known,
                new_item_boost=tuned.new_item_boost,
                score_settings=None if tuned.joined is None else tuned.joined.settings,
                head=None if tuned.joined is None else tuned.joined.head,
                trained_on=trained_on,
            )
        )
        return Fitted(task, spec, trained_on)

    def evaluate(
        self,
        task: TaskName,
        data: Data,
        part: Literal["valid", "test"] = "test",
        *,
        split: SplitMethod | Split = "auto",
        label: LabelRule | None = None,
        targets: Collection[str] | None = None,
        max_events_per_user: int | float | None = None,
    ) -> Result:
        """Full-ranking (retrieve) or candidate-wise (rank) figures with intervals and the card.

        label: None is what the task was tuned with. Retrieval without a tuned task is measured as
        it is: with no training. Tasks that write: `evaluate_writing` has the baselines too.
        """
        check_task(task)
        dataset = _capped(_load(data), split, max_events_per_user)
        if is_writing(task):
            check_own_split(task, split, label, targets)
            return self.evaluate_writing(task, dataset, part, baselines=False)[0]
        cut = _cut(dataset, task, split, label or self.rule(task), targets)
        # What may be known of the log is its train part, whatever the data set holds beside it.
        kept, self.dataset = self.dataset, replace(dataset, events=cut.train_events)
        self._opened.clear()
        try:
            if task == "retrieve":
                return evaluate_retrieval(self._catalogue(None)[0], cut, part)
            self.dataset = dataset
            return evaluate_ranking(self._ranker(), cut, part)
        finally:
            self.dataset = kept
            self._opened.clear()

    def _written(self, item: str, history: History, user_id: str | None) -> Reason:
        return Reason(self.explain(item, history, user_id=user_id).text, written=True)

    def _take(self, task: TaskFolder) -> None:
        self.tasks[task.spec.task] = task
        self._opened.clear()

    def rule(self, task: TaskName) -> LabelRule | None:
        """What a tuned task took for a yes and a no."""
        tuned = self.tasks.get(task)
        return LabelRule.from_dict(tuned.rule) if tuned is not None and tuned.rule else None

    def opener(self) -> Opener:
        """Opens tasks on this backbone, for callers that keep them beside other things."""
        return Opener(self._shared, self.fingerprint)


def _cut(
    dataset: Dataset,
    task: Task,
    split: SplitMethod | Split,
    label: LabelRule | None,
    targets: Collection[str] | None,
) -> Split:
    if isinstance(split, Split):
        return split
    positives = None if targets is None else frozenset(targets)
    return make_split(dataset, task, split, label=label, positives=positives)


def _capped(dataset: Dataset, split: SplitMethod | Split, cap: int | float | None) -> Dataset:
    """Raises DataError where a split that is cut already shall be cut otherwise."""
    if cap is not None and isinstance(split, Split):
        raise DataError(
            "max_events_per_user beside a Split: it was cut without; right is "
            "make_split(…, max_events_per_user=…)"
        )
    return capped(dataset, cap)


def _load(data: Data) -> Dataset:
    return data if isinstance(data, Dataset) else tables.load(data)
