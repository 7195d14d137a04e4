"""A backbone, words and settings → a task that can be trained or asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import model_validator
from torch.nn import functional as F

from m6rec.config import ConfigError, Settings
from m6rec.model.m6 import M6
from m6rec.model.residual import ItemResidual
from m6rec.model.tuning import Tuning, branch
from m6rec.stores.states.cache import SegmentCache, StateCache
from m6rec.tasks.cached import below_fingerprint
from m6rec.tasks.dialogue import DialogueSettings
from m6rec.tasks.evidence import Evidence
from m6rec.tasks.explanation import ExplanationSettings
from m6rec.tasks.packing import Packer
from m6rec.tasks.query import QuerySettings
from m6rec.tasks.ranking import CLASS_WORDS, FeatureSource, Ranker, RankingSettings
from m6rec.tasks.retrieval import RetrievalSettings, Retriever
from m6rec.tasks.segments import SegmentMemory, SegmentTable, below_is_frozen
from m6rec.tasks.title import TitleSettings
from m6rec.text.past import YesNo
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer

TaskName = Literal["retrieve", "rank", "explain", "title", "query", "chat"]
EMBED_BUDGET = 128
"""Tokens of a text that `embed` reads."""
READS: dict[str, str] = {
    "retrieve": "retrieval",
    "rank": "ranking",
    "explain": "explanation",
    "title": "title",
    "query": "query",
    "chat": "dialogue",
}
"""Task → the field of TaskSpec that says what it reads."""


def check_task(name: object) -> None:
    """Raises ConfigError for what is no task, naming the nearest."""
    if name not in READS:
        near = difflib.get_close_matches(str(name), READS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"right is one of {', '.join(READS)}"
        raise ConfigError(f"there is no task {name!r}; {hint}")


class TaskSpec(Settings):
    """Everything that makes a task's network: which task, what it reads, how it is tuned.

    The number of classes follows from the task. One of `retrieval`, `ranking`, `explanation`,
    `title`, `query` and `dialogue` is what it reads; the others are None.
    """

    task: TaskName
    tuning: Tuning = Tuning()
    retrieval: RetrievalSettings | None = None
    ranking: RankingSettings | None = None
    explanation: ExplanationSettings | None = None
    title: TitleSettings | None = None
    query: QuerySettings | None = None
    dialogue: DialogueSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        reads = READS.get(raw.get("task", ""))
        filled = {reads: {}, **raw} if reads else dict(raw)
        tuning = filled.get("tuning", {})
        tuning = tuning.model_dump() if isinstance(tuning, Tuning) else dict(tuning)
        classes = len(CLASS_WORDS) if raw.get("task") == "rank" else 0
        return {**filled, "tuning": {**tuning, "classes": classes}}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        own = READS[self.task]
        for name in READS.values():
            if name != own and getattr(self, name) is not None:
                told = f"reads no settings of the other tasks ({name})"
                raise ValueError(f"task {self.task!r} {told}")
        return self

    @property
    def reading(self) -> RetrievalSettings | RankingSettings:
        """What retrieval or ranking reads and how."""
        found = self.retrieval if self.task == "retrieve" else self.ranking
        if found is None:
            raise ConfigError(f"the task {self.task!r} is neither retrieval nor ranking")
        return found

    @property
    def writing(self) -> ExplanationSettings | TitleSettings | QuerySettings | DialogueSettings:
        """What a task that writes reads and how."""
        found = self.explanation or self.title or self.query or self.dialogue
        if found is None:
            raise ConfigError(f"the task {self.task!r} writes no texts")
        return found


class Backbone:
    """A pretrained network, its tokenizer, and the segment states that its tasks share.

    cache: keeps those states beyond this process.
    """

    def __init__(self, model: M6, tokenizer: Tokenizer, cache: StateCache | None = None) -> None:
        self.model, self.tokenizer, self.cache = model, tokenizer, cache
        self._fingerprints: dict[int, str] = {}
        self._memories: dict[tuple[int, int | str], SegmentMemory] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Text vectors of the network: float32 [N, D], unit length, cosine is similarity."""
        return self._embed(*self._segments(texts))

    def embed_items(self, texts: Sequence[str], templates: Templates) -> np.ndarray:
        """`embed`, but zeros where the vocabulary reads nothing of a text: all such texts have one
        vector, which says nothing of them. templates: what writes the texts of items."""
        table, rows = self._segments(texts)
        unread_N = table.tells_nothing(rows, templates.own_words("item"))
        f_ND = self._embed(table, rows)
        f_ND[unread_N] = 0
        return f_ND

    def _segments(self, texts: Sequence[str]) -> tuple[SegmentTable, np.ndarray]:
        """A table of whole texts, and their rows in it: int64 [N]."""
        layers = self.model.config.layers
        table = SegmentTable(self.model, self.tokenizer, layers, 1, self.memory(layers, 1))
        budget = min(EMBED_BUDGET, self.model.config.max_positions - 2)  # a mark at either end
        return table, table.add(texts, budget)

    def _embed(self, table: SegmentTable, rows_N: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(rows_N)
        h_ND = table.states(rows_N).h_SKD[rows.to(self.model.read_token.device), 0].float()
        return F.normalize(h_ND, dim=1).cpu().numpy()

    def memory(self, lower: int, segment_states: int | Literal["all"]) -> SegmentMemory:
        """The one memory for tasks that read `segment_states` of each segment after layer L'."""
        key = (lower, segment_states)
        if key not in self._memories:
            cache = self.segment_cache(lower, segment_states)
            self._memories[key] = SegmentMemory(self.tokenizer.special, cache)
        return self._memories[key]

    def forget_texts(self) -> None:
        """Empties the memories. No task may be at work, or hold row numbers from before."""
        for memory in self._memories.values():
            memory.clear()

    def segment_cache(
        self, lower: int, segment_states: int | Literal["all"]
    ) -> SegmentCache | None:
        """What the cache holds of this network's states after layer L'; None without a cache."""
        if self.cache is None:
            return None
        if lower not in self._fingerprints:
            self._fingerprints[lower] = below_fingerprint(self.model, lower)
        made = self._fingerprints[lower]
        return self.cache.segments(made, lower, segment_states, self.model.config.d_model)


@contextmanager
def same_start() -> Iterator[None]:
    """What begins at random begins the same way for the same backbone and settings, whatever ran
    before; the process' own random numbers go on as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def build_retriever(
    backbone: Backbone,
    verbalizer: Verbalizer,
    spec: TaskSpec,
    known: Sequence[str] = (),
) -> Retriever:
    """A retriever on a branch of the backbone, projections started from the catalogue.

    known: ids of the items that get a collaborative residual, where the spec asks for one.
    """
    settings = spec.retrieval
    assert settings is not None
    table = segment_table(backbone, spec)
    packer, residual = _packer(table, verbalizer, settings, known)
    return Retriever(table.model, table, packer, settings, residual)


def build_ranker(
    backbone: Backbone,
    verbalizer: Verbalizer,
    spec: TaskSpec,
    features: FeatureSource | None = None,
    known: Sequence[str] = (),
    rule: YesNo | None = None,
) -> Ranker:
    """A ranker on a branch of the backbone, its options started from the words no and yes."""
    settings = spec.ranking
    assert settings is not None
    table = segment_table(backbone, spec)
    packer, residual = _packer(table, verbalizer, settings, known)
    evidence = None
    if settings.evidence:
        with same_start():
            evidence = Evidence(table.model.config.d_model).to(table.device)
    return Ranker(
        table.model, table, packer, settings, spec.tuning, features, residual, evidence, rule
    )


UNTRAINED = TaskSpec(
    task="retrieve",
    retrieval=RetrievalSettings(online_layers=0, segment_states=1, dropout=0.0),
    tuning=Tuning(method="full"),
)
"""What retrieval with no training is."""


def untrained_retriever(
    backbone: Backbone, verbalizer: Verbalizer, item_ids: Sequence[str]
) -> Retriever:
    """Retrieval with no training at all (see `Retriever.start_untrained`)."""
    retriever = build_retriever(backbone, verbalizer, UNTRAINED)
    retriever.model.eval()
    retriever.start_untrained(retriever.pack_items(verbalizer.item_texts(), item_ids))
    return retriever


def _packer(
    table: SegmentTable,
    verbalizer: Verbalizer,
    settings: RetrievalSettings | RankingSettings,
    known: Sequence[str],
) -> tuple[Packer, ItemResidual | None]:
    """The packer of a task, and the residual of the known items where the settings ask for one."""
    codes = {item_id: code for code, item_id in enumerate(known)} if settings.residual else {}
    packer = Packer(
        table, verbalizer, settings.max_history, codes, settings.profile, settings.recency
    )
    if not settings.residual:
        return packer, None
    config = table.model.config
    with same_start():
        residual = ItemResidual(
            len(known),
            config.d_model,
            config.projection,
            settings.residual_size,
            settings.residual_dropout,
        ).to(table.device)
    return packer, residual


def segment_table(backbone: Backbone, spec: TaskSpec) -> SegmentTable:
    """A table on a branch of the backbone that is prepared for a task."""
    reading = spec.reading if spec.task in ("retrieve", "rank") else spec.writing
    tokenizer = backbone.tokenizer
    lower = backbone.model.config.layers - reading.online_layers
    words = CLASS_WORDS if spec.task == "rank" else ()
    ids = tuple(tuple(tokenizer.encode(word, budget=4)) for word in words)
    with same_start():
        model = branch(backbone.model, spec.tuning, lower, ids)
    shared = below_is_frozen(model, lower) and not backbone.model.training
    memory = backbone.memory(lower, reading.segment_states) if shared else None
    return SegmentTable(model, tokenizer, lower, reading.segment_states, memory)
