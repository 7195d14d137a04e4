"""Warming a segment cache: states of a catalogue and of past events, before anybody asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import track

from m6rec.data.tables import Dataset
from m6rec.data.verdicts import told
from m6rec.records import Event, M6Error
from m6rec.stores.states.cache import SegmentCache
from m6rec.tasks.build import UNTRAINED, Backbone, TaskSpec, segment_table
from m6rec.tasks.folder import TaskFolder
from m6rec.tasks.opening import templates_of
from m6rec.tasks.packing import EVENT_KEYS
from m6rec.tasks.segments import SegmentMemory, SegmentTable
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

TEXTS_AT_ONCE = 1024
READ_TOKENS = 2
"""Rows of every table that are no texts."""
Text = tuple[str, int]
"""A segment's text and the most tokens it may have."""


@dataclass(frozen=True)
class Warmed:
    """What `warm` did, in segments: asked for, found there, encoded now, and held at the end.

    Fewer held than asked for means that the cache is too small for all of them.
    """

    segments: int
    there: int
    encoded: int
    held: int
    seconds: float

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


def warm_task(
    backbone: Backbone, task: TaskFolder | None, dataset: Dataset, console: Console | None = None
) -> Warmed:
    """Warms the cache with what a tuned task reads of a data set; with None, untrained retrieval.

    Raises as `warm` does.
    """
    if task is None:
        spec, words = UNTRAINED, templates_of(dataset)
    else:
        spec, words = task.spec, Templates.from_dict(task.templates, "the task's templates")
    verbalizer = Verbalizer(words, dataset.items, dataset.users)
    return warm(backbone, spec, segment_texts(verbalizer, dataset, spec), console)


def segment_texts(verbalizer: Verbalizer, dataset: Dataset, spec: TaskSpec) -> list[Text]:
    """Texts that requests of a task are made of: items, distinct past events, profiles.

    Events are told without how long ago they were; with `recency` the rest is met as it comes.
    """
    budget = verbalizer.templates.budget
    texts = [(text, budget("item")) for text in verbalizer.item_texts()]
    if dataset.events is not None:
        shown = dataset.events.filter(told(dataset.events))
        there = [name for name in EVENT_KEYS if name in shown.columns]
        keys = shown.select(there).unique(maintain_order=True)
        events = (Event(**row) for row in keys.iter_rows(named=True))
        texts += [(verbalizer.event(event, None, 0).text, budget("event")) for event in events]
    if spec.reading.profile and dataset.users is not None:
        profiles = (verbalizer.profile(user) for user in dataset.users["user_id"].to_list())
        texts += [(segment.text, budget("profile")) for segment in profiles if segment is not None]
    return list(dict.fromkeys(texts))


def warm(
    backbone: Backbone, spec: TaskSpec, texts: Sequence[Text], console: Console | None = None
) -> Warmed:
    """Encodes what the backbone's cache lacks of the texts, for a task of this spec.

    Each batch is kept when it is done: stopped at any point, a second call goes on from there.
    Raises M6Error where there is no cache, or the task does not read cached states.
    """
    table = segment_table(backbone, spec)
    cache = table.memory.cache
    if backbone.cache is None:
        raise M6Error("there is no cache to warm: open the model with cache=FOLDER")
    if cache is None or spec.reading.plan != "late":
        raise M6Error(
            "this task reads no cached states: it needs the late plan, and tuning of the online "
            "layers only (layers=online)"
        )
    begin, there, encoded = time.perf_counter(), 0, 0
    by_length = sorted(texts, key=lambda text: len(text[0]))  # batches of about equal lengths
    parts = range(0, len(texts), TEXTS_AT_ONCE)
    said = f"warming {len(texts)} segments"
    for start in track(parts, said, console=console or Console(quiet=True), transient=True):
        part = _table_of(table, by_length[start : start + TEXTS_AT_ONCE])
        found, asked = _held(cache, part), len(part) - READ_TOKENS
        there, encoded = there + found, encoded + asked - found
        if found < asked:
            part.states()
    held = sum(
        _held(cache, _table_of(table, by_length[start : start + TEXTS_AT_ONCE])) for start in parts
    )
    return Warmed(there + encoded, there, encoded, held, time.perf_counter() - begin)


def _held(cache: SegmentCache, table: SegmentTable) -> int:
    """How many of a table's texts the cache holds, whole."""
    return int((cache.get(table.memory.ids[READ_TOKENS:]).length_S > 0).sum())


def _table_of(table: SegmentTable, texts: Sequence[Text]) -> SegmentTable:
    """A table of its own for some texts, so that a large catalogue is never in memory at once."""
    memory = SegmentMemory(table.tokenizer.special, table.memory.cache)
    made = SegmentTable(table.model, table.tokenizer, table.lower, table.segment_states, memory)
    for budget in {budget for _, budget in texts}:
        made.add([text for text, most in texts if most == budget], budget)
    return made
