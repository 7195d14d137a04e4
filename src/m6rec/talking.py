"""Conversation over a data set: its finder, and its figures beside the named baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl

from m6rec.data.known import popularity
from m6rec.data.tables import Dataset
from m6rec.data.talks import Ask, TalkSplit, passage_of, talk_split
from m6rec.evaluation.baselines.talking import people, talking_baselines
from m6rec.evaluation.result import Result
from m6rec.evaluation.talking import TalkJudge
from m6rec.records import M6Error
from m6rec.tasks.dialogue import Dialogist
from m6rec.tasks.dialogue_finder import Embed, Finder
from m6rec.tasks.writing import Author
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer


def open_finder(embed: Embed, dataset: Dataset, past: int = 0) -> Finder:
    """Items of a data set, with those that only its dialogues name; popularity is that of train.

    past: newest replies of train that are asked too. Raises M6Error where there is no item.
    """
    if dataset.dialogs is None:
        if not dataset.items.height:
            raise M6Error(
                f"{dataset.name}: there is nothing to recommend: it needs a table items, or "
                "dialogs.jsonl"
            )
        return _finder(embed, dataset, dataset.items, popularity(dataset), [])
    split = talk_split(dataset)
    asks = split.asks("train")[-past:] if past else []
    return _finder(embed, dataset, split.items, _counts(split, dataset), asks, _named(split))


def evaluate_talks(
    embed: Embed,
    author: Author | None,
    dataset: Dataset,
    part: Literal["valid", "test"] = "test",
    baselines: bool = True,
    **cutting: Any,
) -> list[Result]:
    """Figures of our conversation, then of the baselines and of what people said."""
    split = talk_split(dataset, **cutting)
    asks = split.asks("train")
    finder = _finder(embed, dataset, split.items, split.counts, asks, _named(split))
    name = "M6-Rec, no training" if author is None else author.name
    judge = TalkJudge(split, part)
    nats = None
    if author is not None:
        nats = author.nats(author.lessons([passage_of(ask) for ask in judge.asks]))
    found = [judge.evaluate(Dialogist(name, finder, author), nats)]
    if baselines:
        others = [judge.evaluate(one) for one in talking_baselines(split)]
        others.append(judge.judge("what people said", None, people(judge.asks)))
        found += [replace(result, baseline=True) for result in others]
    return found


def _counts(split: TalkSplit, dataset: Dataset) -> np.ndarray:
    """How often dialogues recommend an item; where they recommend none, how often it is chosen."""
    if split.counts.any():
        return split.counts
    known = popularity(dataset)
    counts = np.zeros(split.items.height)
    if known is not None:
        counts[: len(known)] = known
    return counts


def _named(split: TalkSplit) -> list[list[str]]:
    """Ids that each dialogue of train names, by either side."""
    return [[i for turn in talk.turns for i in turn.item_ids] for talk in split.train]


def _finder(
    embed: Embed,
    dataset: Dataset,
    items: pl.DataFrame,
    counts: np.ndarray | None,
    past: list[Ask],
    dialogues: Sequence[Sequence[str]] = (),
) -> Finder:
    texts = Verbalizer(Templates.load(dataset.templates), items).item_texts()
    ids, titles = items["item_id"].to_list(), items["title"].to_list()
    return Finder(ids, titles, texts, embed, counts, past, dialogues=dialogues)
