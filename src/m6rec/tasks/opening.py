"""A tuned task beside a catalogue, users and a log: ready to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.collaborative.head import Head
from m6rec.collaborative.score import fit_score
from m6rec.data.known import popularity, rating_scale
from m6rec.data.labels import LabelRule
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.tasks.build import Backbone, build_ranker, build_retriever, untrained_retriever
from m6rec.tasks.build_writing import build_author
from m6rec.tasks.catalogue import Catalogue, Chosen, item_prior
from m6rec.tasks.folder import TaskFolder
from m6rec.tasks.ranking import FeatureSource, Ranker
from m6rec.tasks.retrieval import Retriever
from m6rec.tasks.writing import Author
from m6rec.text.aspects import Aspects
from m6rec.text.features import CrossFeatures
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

NO_ITEMS = pl.DataFrame({"item_id": [""], "title": ["an unknown item"]})
"""Stands for a catalogue where every candidate comes as free text."""


def templates_of(dataset: Dataset, *more: str | Path | None) -> Templates:
    """Templates of a data set, and others over them; the scale is that of its ratings, unless a
    file names one."""
    words = Templates.load(dataset.templates, *more)
    return words.scaled(rating_scale(dataset).highest)


class Opener:
    """Opens tasks on one backbone. fingerprint: of that backbone."""

    def __init__(self, backbone: Backbone, fingerprint: str) -> None:
        self.backbone, self.fingerprint = backbone, fingerprint

    def catalogue(
        self,
        task: TaskFolder | None,
        dataset: Dataset,
        words: Templates | None = None,
        text_only: bool = False,
    ) -> Catalogue:
        """Retrieval over the items of a data set; with no task, retrieval without training.

        words: instead of the templates of the data set; a tuned task has its own. With a log, what
        people chose next orders the items, beside what their words say (unless text_only).
        DataError where there are no items.
        """
        if not dataset.items.height:
            raise DataError(f"{dataset.name}: nothing to recommend: it needs a table items")
        ids = dataset.items["item_id"].to_list()
        words = (words or templates_of(dataset)) if task is None else _templates(task)
        verbalizer = Verbalizer(words, dataset.items, dataset.users)
        if task is None:
            name = "M6-Rec, no training"
            retriever = untrained_retriever(self.backbone, verbalizer, ids)
        else:
            name = _name(task)
            retriever = self.retriever(task, verbalizer)
        texts = verbalizer.item_texts()
        chosen = None
        if text_only or retriever.settings.text_only:
            name = f"{name}, words alone"
        else:
            chosen = self.chosen(task, dataset, texts, words)
        known = set() if task is None else set(task.known)
        new_I = np.array([item_id not in known for item_id in ids])
        # The head has a number of its own for new items.
        boost = 0.0 if task is None or chosen is not None else task.new_item_boost
        prior = item_prior(popularity(dataset), new_I, boost)
        titles = dataset.items["title"].to_list()
        return Catalogue(retriever, texts, ids, name, prior, titles, chosen)

    def chosen(
        self, task: TaskFolder | None, dataset: Dataset, texts: Sequence[str], words: Templates
    ) -> Chosen | None:
        """What people chose next; None where the log tells of no choice."""
        people_I = popularity(dataset)
        if dataset.events is None or people_I is None or not people_I.any():
            return None
        numbers = None if task is None else task.score_settings
        embed = partial(self.backbone.embed_items, templates=words)
        f_ID = embed(texts)
        ids = dataset.items["item_id"].to_list()
        score = fit_score(dataset.events, ids, f_ID, embed, numbers)
        head = None if task is None else task.head or Head()
        return Chosen(score, head, people_I, people_I == 0)

    def retriever(self, task: TaskFolder, verbalizer: Verbalizer) -> Retriever:
        """A tuned retriever without a catalogue."""
        retriever = build_retriever(self.backbone, verbalizer, task.spec, task.known)
        self._fill(task, retriever)
        return retriever

    def ranker(
        self, task: TaskFolder, dataset: Dataset, features: FeatureSource | None = None
    ) -> Ranker:
        """Ranking, its features counted over the log of a data set, or elsewhere (`features`)."""
        words, rule = _templates(task), LabelRule.from_dict(task.rule or {})
        items = dataset.items if dataset.items.height else NO_ITEMS
        features = features or CrossFeatures(dataset.events, items, rule, words)
        verbalizer = Verbalizer(words, items, dataset.users)
        ranker = build_ranker(self.backbone, verbalizer, task.spec, features, task.known)
        ranker.name = _name(task)
        self._fill(task, ranker)
        return ranker

    def author(self, task: TaskFolder, dataset: Dataset | None) -> Author:
        """A task that writes, over the items and users of a data set."""
        items = NO_ITEMS if dataset is None else dataset.items
        users = None if dataset is None else dataset.users
        aspects = Aspects(task.aspects)
        words = _templates(task)
        author = build_author(self.backbone, words, items, users, task.spec, aspects, task.known)
        self._fill(task, author)
        return author

    def _fill(self, task: TaskFolder, made: Retriever | Ranker | Author) -> None:
        task.fill(made, self.fingerprint, Path(f"the task {task.spec.task!r}"))
        made.model.eval()
        if made.residual is not None:
            made.residual.eval()


def _templates(task: TaskFolder) -> Templates:
    return Templates.from_dict(task.templates, "the task's templates")


def _name(task: TaskFolder) -> str:
    residual = " with residual" if task.spec.reading.residual else ""
    return f"M6-Rec, {task.spec.tuning.method}{residual}"
