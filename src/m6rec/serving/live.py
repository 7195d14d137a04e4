"""An opened model beside a journal: words, vectors and counts follow what is appended to it.

Legend: N items, K projection width.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np

from m6rec.collaborative.head import Head
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data.labels import LabelRule
from m6rec.recommender import M6Rec
from m6rec.records import Event, Request
from m6rec.serving.batching import Batcher, BatchSettings
from m6rec.serving.candidates import Scores
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.counts import LiveCounts
from m6rec.serving.counts_snapshot import FOLDER
from m6rec.serving.engine import EngineSettings
from m6rec.serving.known import (
    ENTRIES_AT_ONCE,
    HISTORY,
    Known,
    Shown,
    acts,
    named_columns,
    newest_users,
)
from m6rec.serving.people import People
from m6rec.serving.pipeline import begin
from m6rec.serving.ranking import FastRanker
from m6rec.serving.runtimes.choose import AUTO
from m6rec.serving.runtimes.remembered import remember, remembered
from m6rec.serving.source import Source
from m6rec.serving.space import ItemVectors, Space
from m6rec.serving.steps import Served, Wanted
from m6rec.serving.titles import Titles
from m6rec.serving.words import ItemWords
from m6rec.serving.working import Working
from m6rec.serving.writer import Writer
from m6rec.stores.journal.base import Entry, Journal
from m6rec.stores.vectors.base import VectorIndex
from m6rec.tasks.opening import Opener
from m6rec.tasks.retrieval import Retriever
from m6rec.tasks.segments import SegmentTable
from m6rec.tasks.shelf import Shelf
from m6rec.text.feature_state import FeatureState
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

log = logging.getLogger(__name__)

WARM_USERS, WARM = 8, 0.25
"""Most requests that a model ranks for when it is opened; seconds of an answer that are quick."""
WARM_ITEMS, ITEMS_WARM_AT_ONCE = 20_000, 1024
"""Most items that are encoded for a ranker when it is opened; so many at once."""
ITEMS_AT_ONCE = 16
"""Items that are encoded between two batches of requests."""
GRAPHS = "graphs"
"""Folder beside a model's vectors for what the engine made of the network."""
CATALOGUE = "catalogue"
"""Whose turn it is in the batcher when items are taken in."""


@dataclass(frozen=True)
class Chunk:
    """Items whose vectors are to be made and put into the index."""

    item_ids: tuple[str, ...]


@final
class LiveModel:
    """Recommends from what the journal holds now. Safe to use from threads.

    `submit` answers in batches; `catch_up` takes in what came; `writer` is for all that writes.
    """

    def __init__(self, name: str, source: Source, journal: Journal) -> None:
        self.name, self.source, self.journal = name, source, journal
        batching = source.batching or BatchSettings()
        with ThreadPoolExecutor(1) as beside:
            reading = beside.submit(Known.read, journal)
            self.face = M6Rec.from_pretrained(source.model, cache=source.cache)
            for folder in source.adapters:
                self.face.load_adapter(folder)
            known = reading.result()
        named = named_columns(self._all_templates())
        self.face.use(known.dataset(source.base, named))
        self.shown = {item_id: Shown.of(body) for item_id, body in known.items.items()}
        self.shelf = Shelf()
        self.shelf.put(list(self.shown), [shown.offer for shown in self.shown.values()])
        self.titles = Titles(self.shelf, self.shown)
        self.number = known.number
        self._writer = Writer(self.face, journal, named)
        self._following = threading.Lock()
        self._using, self._used = 0, threading.Condition()
        self._templates: tuple[float, Templates] | None = None
        self.working = Working(self.texts, self._forget_texts)
        self.vectors = ItemVectors(self.face, source, journal, self.shown, self.working)
        self.scores = self._open_scores(known)
        chosen = None if self.scores is None else self.scores.chosen
        self.counts = LiveCounts(
            journal, known, self.shelf, self._open_features(), chosen, self._choices_folder
        )
        self.ranker = self._open_ranker(batching.workers)
        self.vectors.open()
        if self.scores is not None:
            self.scores.open(self.vectors.folder(), journal)
        self._batcher: Batcher[Wanted | Chunk | Space, Served | None] = Batcher(
            self._begin, batching
        )
        self._warm_catalogue()
        self._warm(known)

    def _warm_catalogue(self) -> None:
        """Encodes the items that people choose most, so that nobody waits for the texts of a
        catalogue: of a model that is opened beside another, before it answers."""
        counts = self.counts.choices.counts
        ids = sorted(self.shown, key=lambda item_id: -counts[item_id])[:WARM_ITEMS]
        for first in range(0, len(ids) if self.ranker is not None else 0, ITEMS_WARM_AT_ONCE):
            with self.working():
                assert self.ranker is not None
                self.ranker.warm(ids[first : first + ITEMS_WARM_AT_ONCE])

    def _warm(self, known: Known) -> None:
        """Ranks a few times, so that who asks first does not wait for what is done only once: words
        of features that are encoded, kernels that are made. It ends when that is over.

        Requests that come together have a graph of their own, which takes seconds to convert.
        """
        request = None
        for request in self._first_requests(known) if self.ranker is not None else ():
            started = time.monotonic()
            self.submit(Wanted(request)).result()
            if time.monotonic() - started < WARM:
                break
        if request is not None and self._batcher.settings.most > 1:
            self._begin([Wanted(request)] * 2)()

    def _first_requests(self, known: Known) -> Iterator[Request]:
        """Of the newest users; where nobody did anything yet, of somebody who clicked an item."""
        now = time.time()
        for user_id in newest_users(known.events, WARM_USERS):
            yield Request(acts(self.journal.history(user_id, HISTORY)), user_id, now)
        if known.events.is_empty():
            for item_id in islice(self.shown, WARM_USERS):
                yield Request((Event("click", item_id, timestamp=now),), None, now)

    def submit(self, wanted: Wanted, client: str | None = None) -> Future[Served | None]:
        """The answer to come. Raises OverloadedError where too many wait."""
        return self._batcher.submit(wanted, client)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._batcher.waiting

    def catch_up(self) -> int:
        """Takes in what the journal holds beyond; returns how many entries that were."""
        self.counts.catch_up()
        taken = 0
        with self._following:
            while batch := self.journal.entries(self.number, ENTRIES_AT_ONCE):
                self._apply(batch)
                self.number = batch[-1].number
                taken += len(batch)
            if taken and self.vectors.has_grown():
                self._begin_again()
            if self.scores is not None:
                self.scores.settle(bool(taken))
        return taken

    def writer(self) -> M6Rec:
        """`face`, over the catalogue as it is now: for the lane of what writes alone."""
        return self._writer.ready()

    @property
    def chosen(self) -> Counter[str]:
        """How many people chose each item and stayed with it, by id."""
        return self.counts.choices.counts

    @property
    def people(self) -> People:
        """How many people chose each item of the shelf and stayed with it."""
        return self.counts.people

    @property
    def retriever(self) -> Retriever:
        """What makes vectors of users and items."""
        return self.vectors.retriever

    @property
    def index(self) -> VectorIndex:
        """The items' vectors."""
        return self.vectors.index

    def item_vectors(self, item_ids: Sequence[str]) -> np.ndarray:
        """Unit vectors: float32 [N, K]."""
        return self.vectors.of(item_ids)

    @property
    def boost(self) -> float:
        """What retrieval adds for items that its training did not know."""
        return self.vectors.boost

    @property
    def _choices_folder(self) -> Path | None:
        folder = self.source.folder
        return None if folder is None else folder / FOLDER

    def save(self) -> None:
        """Writes snapshots, so that the next start makes no vectors and counts nothing again."""
        with self._following:
            self.vectors.save(self.number)
            if self.scores is not None:
                self.scores.save(self.vectors.folder(), self.number, self.journal.name)
        self.counts.save()

    def forget_user(self, user_id: str) -> None:
        """Drops what is held of a user in memory by name, and says who it is whose erasure the
        journal will tell of."""
        self.counts.erased.put(user_id)
        self._forget_words(user_id)
        self.counts.drop_snapshot()
        if self.scores is not None:
            self.scores.chosen.forget(user_id)

    def counted_pairs(self, user_id: str) -> int:
        """How many pairs of choices a user is counted for."""
        self.counts.keep_up()
        return 0 if self.scores is None else self.scores.chosen.pairs(user_id)

    def close(self) -> None:
        """What waits fails; the model is not used afterwards."""
        self._batcher.close()

    def use(self) -> LiveModel:
        """Counts a request that is under way."""
        with self._used:
            self._using += 1
        return self

    def done(self) -> None:
        """The end of what `use` began."""
        with self._used:
            self._using -= 1
            self._used.notify_all()

    def texts(self) -> int:
        """Texts that are kept in memory with their states."""
        tables = {id(table.memory): len(table) for table in self._tables()}
        return sum(tables.values())

    def _tables(self) -> list[SegmentTable]:
        tables = [self.retriever.table]
        return tables if self.ranker is None else [*tables, self.ranker.ranker.table]

    def _forget_texts(self) -> None:
        self.face.forget_texts()
        for table in self._tables():
            table.memory.clear()
        if self.ranker is not None:  # it has rows prepared by their number
            self.ranker = FastRanker(self.ranker.ranker, engine=self.ranker.engine)

    def wait_unused(self, seconds: float) -> bool:
        """Waits until nothing is under way; False: something still is."""
        with self._used:
            return self._used.wait_for(lambda: not self._using, seconds)

    def _begin(self, asks: Sequence[Wanted | Chunk | Space]) -> Callable[[], list[Served | None]]:
        """All but what the network does of answers; catalogues are taken in on the way."""
        self.counts.keep_up()
        self._follow_scale()
        for ask in asks:
            if not isinstance(ask, Wanted):
                self._take(ask)
        with ExitStack() as work:
            work.enter_context(self.working())
            network = begin(self, [ask for ask in asks if isinstance(ask, Wanted)])
            until_the_end = work.pop_all()

        def end() -> list[Served | None]:
            with until_the_end:
                served = iter(network())
            return [next(served) if isinstance(ask, Wanted) else None for ask in asks]

        return end

    @property
    def scale(self) -> float:
        """Highest rating, in histories that come in words: that of the log as it is now."""
        return float(self._scaled().word("scale"))

    def _scaled(self) -> Templates:
        """The templates of the data, for ratings up to the highest so far."""
        highest = self.counts.choices.scale.highest
        if self._templates is None or self._templates[0] != highest:
            own = None if self.face.dataset is None else self.face.dataset.templates
            self._templates = (highest, Templates.load(own).scaled(highest))
        return self._templates[1]

    def _all_templates(self) -> list[Templates]:
        """Those of the data, and those that tuned tasks brought."""
        tasks = self.face.tasks.values()
        told = [Templates.from_dict(task.templates, "the task's templates") for task in tasks]
        return [Templates.load(self.source.base.templates), *told]

    def _follow_scale(self) -> None:
        """Untrained retrieval reads ratings on the scale of the log, as after a restart; a tuned
        task has words of its own."""
        words = self.retriever.packer.verbalizer
        if "retrieve" not in self.face.tasks and words.templates is not self._scaled():
            words.write_by(self._scaled())

    def _take(self, what: Chunk | Space) -> None:
        if isinstance(what, Space):
            self.vectors.take(what)
            return
        self.vectors.put(what.item_ids)
        if self.scores is not None:
            self.scores.words.put(what.item_ids)

    def _begin_again(self) -> None:
        """Directions for a catalogue that has grown: made beside the answers, then put in place."""
        self._batcher.submit(self.vectors.anew(), CATALOGUE).result()

    def _apply(self, batch: Iterable[Entry]) -> None:
        """Where the index can not be reached, the same batch comes again."""
        fresh: dict[str, dict[str, Any]] = {}
        for entry in batch:
            if entry.kind == "item":
                fresh[entry.key] = entry.body
            elif entry.kind == "erase_item":
                self._writer.items_changed()
                fresh.pop(entry.key, None)
                self._remove(entry.key)
            elif entry.kind == "user":
                for words in self._verbalizers():
                    words.put_user(entry.key, entry.body)
            elif entry.kind == "erase_user":
                self._forget(entry)
        for item_id, body in fresh.items():
            for words in self._verbalizers():
                words.put_item(item_id, body)
            self.shown[item_id] = Shown.of(body)
            self.shelf.put([item_id], [self.shown[item_id].offer])
            if self.scores is not None:
                self.scores.chosen.put(item_id)
        ids = list(fresh)
        self.people.renew(ids)
        self.titles.put(ids)
        for first in range(0, len(ids), ITEMS_AT_ONCE):
            chunk = Chunk(tuple(ids[first : first + ITEMS_AT_ONCE]))
            self._batcher.submit(chunk, CATALOGUE).result()
        if ids:
            self._writer.items_changed()

    def _forget(self, erased: Entry) -> None:
        """Drops words and rows of a user who was erased, here or by another server."""
        held = self._writer.users()
        held.update(user_id for words in self._verbalizers() for user_id in words.user_ids())
        user_id = self.counts.erased.find(erased, held)
        if user_id is not None:
            self._forget_words(user_id)
            self.counts.erased.pop(user_id)

    def _forget_words(self, user_id: str) -> None:
        for words in self._verbalizers():
            words.put_user(user_id, None)
        self._writer.forget([user_id])

    def _remove(self, item_id: str) -> None:
        self.index.remove([item_id])
        self.shown.pop(item_id, None)
        self.people.leave(self.shelf.place_of.get(item_id, -1))
        self.shelf.remove(item_id)
        if self.scores is not None:
            self.scores.leave(item_id)
        for words in self._verbalizers():
            words.put_item(item_id, None)

    def _verbalizers(self) -> list[Verbalizer]:
        found = [self.retriever.packer.verbalizer]
        return found if self.ranker is None else [*found, self.ranker.ranker.packer.verbalizer]

    def _open_scores(self, known: Known) -> Scores | None:
        """What people chose next, what words say of it, and both as scores; None: words alone."""
        task = self.face.tasks.get("retrieve")
        if self.source.text_only or (task is not None and self.retriever.settings.text_only):
            return None
        settings, head = ScoreSettings(), None
        if task is not None:
            settings, head = task.score_settings or settings, task.head or Head()
        chosen = LiveChosen(self.journal, known, self.shelf, settings, self._choices_folder)

        def text(item_id: str) -> str:
            return self.retriever.packer.verbalizer.item(item_id).text

        templates = self.retriever.packer.verbalizer.templates
        embed = partial(self.face.opener().backbone.embed_items, templates=templates)
        words = ItemWords(self.shelf, self.shown, text, embed, self.working, settings.ridge)
        return Scores(self.shelf, chosen, words, head)

    def _open_features(self) -> FeatureState | None:
        """Counts of the journal so far, for a ranker; they follow what comes."""
        task, data = self.face.tasks.get("rank"), self.face.dataset
        if task is None:
            return None
        assert data is not None
        rule = LabelRule.from_dict(task.rule or {})
        words = Templates.from_dict(task.templates, "the task's templates")
        return FeatureState(data.items, rule, words, data.events, time.time())

    def _open_ranker(self, at_once: int) -> FastRanker | None:
        task, data = self.face.tasks.get("rank"), self.face.dataset
        if task is None:
            return None
        opener: Opener = self.face.opener()
        assert data is not None
        folder = self.vectors.folder()
        settings = EngineSettings(
            runtime=remembered(folder),
            at_once=at_once,
            kept=None if folder is None else folder / GRAPHS,
        )
        ranker = FastRanker(opener.ranker(task, data, self.counts.features), settings)
        if settings.runtime == AUTO:
            remember(folder, ranker.engine.runtime.name)
        return ranker
