"""Tuning: a split and a backbone → a trained task. (paper section 4)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from rich.console import Console

from m6rec.collaborative.dial import DialPoint, choose_boost
from m6rec.data.splits import Split
from m6rec.model.tuning import Method, Tuning, tuned_share
from m6rec.tasks.build import Backbone, TaskName, TaskSpec, build_ranker, build_retriever
from m6rec.tasks.ranking import FeatureSource, Ranker, RankingSettings
from m6rec.tasks.retrieval import RetrievalSettings, Retriever
from m6rec.tasks.writing import Author
from m6rec.text.past import YesNo
from m6rec.text.verbalize import Verbalizer
from m6rec.training.joining import Joined, join
from m6rec.training.loop import Outcome, fit
from m6rec.training.settings import TrainSettings
from m6rec.training.trainees import RankingTrainee, RetrievalTrainee

MANY_EXAMPLES, FEWEST_STEPS, MOST_STEPS = 2000, 20, 100
"""With fewer examples than MANY, there are about as many steps as examples, within these bounds."""

TaskT = TypeVar("TaskT", Retriever, Ranker, Author)


@dataclass(frozen=True)
class Tuned(Generic[TaskT]):
    """A trained task, how its training went, and its trainable share of the backbone.

    known: items of the catalogue that train knew; new_item_boost, dial: what retrieval by words
    alone adds for others, and what each boost finds; joined: with what people chose next.
    """

    task: TaskT
    spec: TaskSpec
    train: TrainSettings
    outcome: Outcome
    share: float
    known: tuple[str, ...] = ()
    new_item_boost: float = 0.0
    dial: Sequence[DialPoint] = ()
    joined: Joined | None = None

    def summary(self) -> dict[str, Any]:
        """JSON-ready: settings, share, seconds and the history of the run."""
        return {
            "train": self.train.model_dump(),
            "trainable_share": self.share,
            "new_item_boost": self.new_item_boost,
            "dial": [point.to_dict() for point in self.dial],
            "joined": None if self.joined is None else self.joined.to_dict(),
            "seconds": self.outcome.seconds,
            "steps": self.outcome.steps,
            "best_epoch": self.outcome.best_epoch,
            "best_score": self.outcome.best_score,
            "history": self.outcome.history,
        }


def recipe(
    task: TaskName,
    method: Method = "option-adapter",
    plan: Literal["late", "full"] = "late",
    examples: int = MANY_EXAMPLES,
    tuning: Mapping[str, Any] | None = None,
    **reading: Any,
) -> tuple[TaskSpec, TrainSettings]:
    """Settings that worked (docs/tuning.md has the measurements).

    tuning changes how the method is laid out (rank, prompts, layers), `reading` what is read.
    Small added parameters want ten times the learning rate of a fully tuned layer. A few examples
    want small batches, and few steps: what is started from is better than what they teach.
    """
    words = {"plan": plan, **reading}
    if task == "retrieve" and method == "option-adapter":
        # Two projections over means of whole-depth states: a quarter of the time, better figures.
        words.setdefault("online_layers", 0)
    layout = Tuning.parse({"method": method, **(tuning or {})}, "settings of the method")
    if task == "retrieve":
        retrieval = RetrievalSettings.parse(words, "settings of retrieve")
        spec = TaskSpec(task=task, tuning=layout, retrieval=retrieval)
    else:
        ranking = RankingSettings.parse(words, "settings of rank")
        spec = TaskSpec(task=task, tuning=layout, ranking=ranking)
    rate = 3e-4 if method == "full" else 3e-3
    batch, epochs, patience = 256, 8 if task == "retrieve" else 4, 2
    if spec.reading.online_layers == 0:
        rate, batch, epochs, patience = 1e-3, 512, 10, 4
    if examples < MANY_EXAMPLES:
        batch = min(batch, max(8, examples // 8))
        steps = min(max(examples, FEWEST_STEPS), MOST_STEPS)
        epochs = max(epochs, round(steps * batch / max(examples, 1)))
    return spec, TrainSettings(rate=rate, epochs=epochs, batch=batch, patience=patience)


def tune_retriever(
    backbone: Backbone,
    verbalizer: Verbalizer,
    split: Split,
    spec: TaskSpec,
    train: TrainSettings,
    folder: Path | None = None,
    console: Console | None = None,
) -> Tuned[Retriever]:
    """Contrastive training on the split's train part, best epoch by NDCG@10 on valid.

    folder: where the run keeps its state, so that it can be killed and resumed.
    """
    catalogue, known = split.items["item_id"].to_list(), known_items(split)
    retriever = build_retriever(backbone, verbalizer, spec, known)
    retriever.model.eval()
    items = retriever.pack_items(verbalizer.item_texts(), catalogue)
    online = retriever.settings.online_layers > 0
    (retriever.start_projections if online else retriever.start_untrained)(items)
    trainee = RetrievalTrainee(retriever, split, train.seed)
    outcome = fit(trainee, train, folder, console)
    curve = trainee.new_item_dial(set(known))
    boost = choose_boost(curve, retriever.settings.new_item_parity)
    joined = None
    if not retriever.settings.text_only:
        embed = partial(backbone.embed_items, templates=verbalizer.templates)
        joined = join(retriever, embed, split, train.seed, console)
    return Tuned(
        retriever, spec, train, outcome, tuned_share(retriever.model), known, boost, curve, joined
    )


def tune_ranker(
    backbone: Backbone,
    verbalizer: Verbalizer,
    split: Split,
    spec: TaskSpec,
    train: TrainSettings,
    features: FeatureSource | None = None,
    rule: YesNo | None = None,
    folder: Path | None = None,
    console: Console | None = None,
) -> Tuned[Ranker]:
    """Classification of labelled candidates, best epoch by AUC on valid (if it has labels)."""
    known = known_items(split)
    ranker = build_ranker(backbone, verbalizer, spec, features, known, rule)
    ranker.start_evidence(split.train)
    outcome = fit(RankingTrainee(ranker, split), train, folder, console)
    return Tuned(ranker, spec, train, outcome, tuned_share(ranker.model), known)


def known_items(split: Split) -> tuple[str, ...]:
    """Items of the catalogue that train knows; these may have a residual."""
    return tuple(i for i in split.items["item_id"].to_list() if i in split.train_item_ids)
