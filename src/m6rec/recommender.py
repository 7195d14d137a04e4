"""`M6Rec`: one backbone, its tasks, and the calls that people make. The Python face of the project.

Shapes: histories are oldest first; lists of answers are best first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from m6rec.authors import Authors, NotTunedError, check_own_split, is_writing
from m6rec.data import tables
from m6rec.data.catalogue import Items, as_items
from m6rec.data.known import own_events, popularity, some_histories
from m6rec.data.labels import LabelRule, default_rule
from m6rec.data.options import Task
from m6rec.data.requests import Requests
from m6rec.data.splits import Method as SplitMethod
from m6rec.data.splits import Split, make_split
from m6rec.data.tables import Dataset
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.result import Result
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.metrics.ranking import top_k
from m6rec.model.checkpoint import backbone_tensors, fingerprint, save_backbone
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.records import Candidate, Event, M6Error, Request
from m6rec.stores.states.cache import StateCache
from m6rec.stores.states.opening import open_cache
from m6rec.tasks.build import Backbone, TaskName, TaskSpec
from m6rec.tasks.folder import TaskFolder, trained
from m6rec.tasks.opening import Opener
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.retrieval import Catalogue, Retriever
from m6rec.tasks.warm import Warmed, warm_task
from m6rec.tasks.zero_shot import ZeroShot, ZeroShotSettings
from m6rec.text.features import CrossFeatures
from m6rec.text.history import parse_history
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer
from m6rec.training.settings import TrainSettings
from m6rec.training.tune import Tuned, recipe, tune_ranker, tune_retriever
from m6rec.training.writing import fit_author

TASKS = "tasks"
NOTHING = Dataset(name="no data")
History = Sequence[str | Event | Mapping[str, object]]
Data = str | Path | Dataset


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer.

    score: cosine similarity (retrieval), probability (ranking) or log-likelihood (scoring).
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Fitted:
    """What `fit` did: settings, trainable share, seconds, the validation figures of every epoch."""

    task: TaskName
    spec: TaskSpec
    trained_on: Mapping[str, Any]


class M6Rec(Authors):
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
    ) -> None:
        self.backbone, self.tokenizer = backbone.eval(), tokenizer
        self._shared = Backbone(backbone, tokenizer, cache)
        self.tasks = dict(tasks or {})
        self.dataset: Dataset | None = None
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
        return cls(backbone.to(device), tokenizer, tasks, cache)

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

    def use(self, data: Data) -> M6Rec:
        """Takes catalogue, users and events from a data set, for calls that name none."""
        self.dataset = _load(data)
        self._opened.clear()
        return self

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

    def recommend(
        self,
        history: History = (),
        items: Items | None = None,
        k: int = 10,
        *,
        user_id: str | None = None,
        exclude_seen: bool = True,
    ) -> list[Recommendation]:
        """The k items of a catalogue that fit a history best.

        history: entries such as "clicked: trail running shoes", events, or mappings; with
        `user_id` and no history, the user's own events of the data set that `use` named. items:
        titles, rows, a table, or title by id; default: the data set's catalogue (hand in the same
        object again, and its items are encoded once only). exclude_seen: leaves out items that
        the history names by id. A user with no history gets what most people chose, if the data
        set tells, else what is nearest to the whole catalogue.
        Raises M6Error for a history, a catalogue or a user that can not be read.
        """
        return self.recommend_batch(
            [history], items, k, user_ids=[user_id], exclude_seen=exclude_seen
        )[0]

    def recommend_batch(
        self,
        histories: Sequence[History],
        items: Items | None = None,
        k: int = 10,
        *,
        user_ids: Sequence[str | None] | None = None,
        exclude_seen: bool = True,
    ) -> list[list[Recommendation]]:
        """`recommend` for many users at once."""
        if k < 1:
            raise M6Error(f"k = {k}: right is 1 or more")
        users = list(user_ids) if user_ids is not None else [None] * len(histories)
        asked = [self._request(h, user) for h, user in zip(histories, users, strict=True)]
        catalogue, titles = self._catalogue(items)
        answers = []
        for block in Requests.of(asked).blocks(256):
            scores = self._scores(catalogue, block, items is None)
            if exclude_seen:
                _leave_out_seen(scores, block, catalogue.item_ids)
            answers += [_best(row, catalogue.item_ids, titles, k) for row in scores]
        return answers

    def rank(
        self,
        history: History,
        items: Items,
        *,
        user_id: str | None = None,
        timestamp: float | None = None,
    ) -> list[Recommendation]:
        """All of the given items, best first, each with the probability of a yes.

        timestamp: the moment of the question in seconds, for features counted over the data set's
        events. Raises NotTunedError before `fit("rank", …)`.
        """
        request, ids, titles = self._candidates(history, items, user_id)
        request = replace(request, timestamp=timestamp)
        chances = self._ranker().predict(Requests.of([request]))
        return _best_first(chances, ids, titles)

    def score(
        self,
        history: History,
        items: Items,
        *,
        user_id: str | None = None,
        calibrated: bool | float = True,
        liked: bool = False,
        **reading: Any,
    ) -> list[Recommendation]:
        """All of the given items, best first, by how likely their words are after the history.

        With no training (paper section 2). score: log-likelihood in nats, the mean over the
        tokens of the item's words. calibrated: takes off the same without a history (a number:
        that share of it), so that common words do not win; with `others`, in the mean with those
        of so many users of the data set in use. liked: the score is the probability
        that the user likes the item rather than dislikes it. reading: changes to ZeroShotSettings
        (plan, form, normalise, …). Raises ConfigError for a setting that is none.
        """
        settings = ZeroShotSettings.parse({"calibration": float(calibrated), **reading}, "score")
        request, ids, titles = self._candidates(history, items, user_id)
        scorer = self.zero_shot(settings)
        asked = Requests.of([request])
        return _best_first(scorer.predict(asked) if liked else scorer.score(asked), ids, titles)

    def zero_shot(self, settings: ZeroShotSettings) -> ZeroShot:
        """What `score` asks: for many requests at once, and for `evaluate_ranking`."""
        kept = self._opened.get("score")
        if kept is None or kept[0] != settings:
            data = self.dataset
            items = as_items(["an unknown item"]) if data is None else data.items
            own, users = (None, None) if data is None else (data.templates, data.users)
            words = Verbalizer(Templates.load(own), items, users)
            others = [] if data is None else some_histories(data, settings.others)
            scorer = ZeroShot(self.backbone, self.tokenizer, words, settings, others=others)
            kept = (settings, scorer)
            self._opened["score"] = kept
        found: ZeroShot = kept[1]
        return found

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Text vectors of the backbone: float32 [N, D], unit length, cosine is similarity."""
        return self._shared.embed(texts)

    def warm(self, task: TaskName = "retrieve", console: Console | None = None) -> Warmed:
        """Encodes items and past events of the data set in use into the cache, for a task.

        What is there is skipped; stopped at any point, a second call goes on. Raises M6Error where
        there is no cache or no data set, or the task reads no cached states.
        """
        tuned = self.tasks.get(task)
        if tuned is None and task == "rank":
            raise NotTunedError("ranking is not tuned yet: load_adapter(folder), then warm('rank')")
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
        templates: str | Path | None = None,
        tuning: Mapping[str, Any] | None = None,
        train: Mapping[str, Any] | None = None,
        state: Path | None = None,
        console: Console | None = None,
        **reading: Any,
    ) -> Fitted:
        """Tunes a task on the train part of a data set and keeps the best epoch by its valid part.

        method, plan: paper sections 4 and 3. split, label, targets: as in `make_split` (targets are
        the kinds of events that retrieval has to foresee), or a Split. tuning: changes to Tuning
        (rank, prompts, layers); train: to TrainSettings (rate, epochs, minutes, …); reading: to
        the settings of the task (online_layers, max_history, residual, …). Tasks that write have a
        split of their own (data/writing.py), of which `reading` may limit the parts (max_train).
        state: folder from which an interrupted run goes on. The backbone stays as it is.
        Raises M6Error with what is wrong in the data or the settings.
        """
        dataset = _load(data)
        words = Templates.load(dataset.templates, templates)
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
    ) -> Result:
        """Full-ranking (retrieve) or candidate-wise (rank) figures with intervals and the card.

        label: None is what the task was tuned with. Retrieval without a tuned task is measured as
        it is: with no training. Tasks that write: `evaluate_writing` has the baselines too.
        """
        dataset = _load(data)
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

    def _data(self) -> Dataset:
        if self.dataset is None:
            raise M6Error(
                "there is no catalogue: give items=[…], or name a data set first with use(folder)"
            )
        return self.dataset

    def _scale(self) -> float:
        """Highest rating, by the templates of the data set in use."""
        own = None if self.dataset is None else self.dataset.templates
        return float(Templates.load(own).word("scale"))

    def _request(self, history: History, user_id: str | None) -> Request:
        events = parse_history(history, self._scale())
        if not events and user_id is not None:
            events = own_events(self._data(), user_id)
        return Request(history=events, user_id=user_id)

    def _candidates(
        self, history: History, items: Items, user_id: str | None
    ) -> tuple[Request, list[str], list[str]]:
        """A request that asks for some items, their ids and titles."""
        frame = as_items(items)
        ids, titles = frame["item_id"].to_list(), frame["title"].to_list()
        known = set() if self.dataset is None else set(self.dataset.items["item_id"])
        candidates = tuple(
            Candidate(item_id if item_id in known else None, title)
            for item_id, title in zip(ids, titles, strict=True)
        )
        return replace(self._request(history, user_id), candidates=candidates), ids, titles

    def _catalogue(self, items: Items | None) -> tuple[Catalogue, list[str]]:
        key = self._data().items if items is None else items
        if (kept := self._opened.get("retrieve")) is not None and kept[0] is key:
            found: tuple[Catalogue, list[str]] = kept[1]
            return found
        if items is None:
            asked = self._data()
        else:
            asked = replace(self.dataset or NOTHING, items=as_items(items), events=None)
        catalogue = self.opener().catalogue(self.tasks.get("retrieve"), asked)
        titles = asked.items["title"].to_list()
        self._opened["retrieve"] = (key, (catalogue, titles))
        return catalogue, titles

    def _ranker(self) -> Ranker:
        task = self.tasks.get("rank")
        if task is None:
            raise NotTunedError(
                "ranking is not tuned yet: call fit('rank', data), or load_adapter(folder)"
            )
        if "rank" not in self._opened:
            ranker = self.opener().ranker(task, self.dataset or NOTHING)
            self._opened["rank"] = (None, ranker)
        found: Ranker = self._opened["rank"][1]
        return found

    def _scores(self, catalogue: Catalogue, asked: Requests, own: bool) -> np.ndarray:
        """float32 [B, I]; people with no history get the popular items of the data set."""
        scores = catalogue.score(asked)
        empty = (asked.rows["stop"] == asked.rows["start"]).to_numpy()
        if empty.any() and own and (counts := popularity(self._data())) is not None:
            scores[empty] = counts / max(float(counts.sum()), 1.0)
        return scores


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


def _load(data: Data) -> Dataset:
    return data if isinstance(data, Dataset) else tables.load(data)


def _leave_out_seen(scores: np.ndarray, asked: Requests, item_ids: list[str]) -> None:
    lengths = (asked.rows["stop"] - asked.rows["start"]).to_numpy()
    longest = int(lengths.max(initial=0))
    if longest:
        codes_BH, _ = asked.history_codes(item_ids, longest)
        rows, columns = np.nonzero(codes_BH >= 0)
        scores[rows, codes_BH[rows, columns]] = -np.inf


def _best(
    scores: np.ndarray, item_ids: list[str], titles: list[str], k: int
) -> list[Recommendation]:
    order = top_k(scores[None], k)[0]
    return [
        Recommendation(item_ids[i], titles[i], float(scores[i]))
        for i in order.tolist()
        if np.isfinite(scores[i])
    ]


def _best_first(scores: np.ndarray, item_ids: list[str], titles: list[str]) -> list[Recommendation]:
    """All items; equal scores keep their order."""
    order = np.argsort(-scores, kind="stable").tolist()
    return [Recommendation(item_ids[i], titles[i], float(scores[i])) for i in order]
