"""The vectors of a model's items: opened from a snapshot where there is one, else made.

Legend: N items, K projection width.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from m6rec.model.checkpoint import fingerprint
from m6rec.recommender import M6Rec
from m6rec.serving.directions import (
    directions_key,
    pack_directions,
    read_directions,
    take_directions,
    write_directions,
)
from m6rec.serving.known import ENTRIES_AT_ONCE, Shown
from m6rec.serving.source import Source
from m6rec.serving.working import Working
from m6rec.stores.journal.base import Journal
from m6rec.stores.vectors.base import VectorError, VectorIndex
from m6rec.stores.vectors.opening import new_index, open_index
from m6rec.tasks.build import UNTRAINED, build_retriever
from m6rec.tasks.opening import templates_of
from m6rec.tasks.retrieval import Retriever
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

log = logging.getLogger(__name__)

FIT_ON = 20_000
"""Most items that untrained projections are started from."""
GROWN = 2
"""Untrained projections are started anew when there are so many times the items, up to FIT_ON."""
ATTRIBUTES = "offers 1"
"""Names what of an item stands beside its vector: vectors of another form are made anew."""


@dataclass(frozen=True)
class Space:
    """A retriever and the vectors that it made: they change together."""

    retriever: Retriever
    index: VectorIndex


@final
class ItemVectors:
    """A retriever over the items of a journal; `open` first. shown: the items that are there, kept
    by others. fitted_on: how many items untrained directions were started from.
    """

    def __init__(
        self,
        face: M6Rec,
        source: Source,
        journal: Journal,
        shown: Mapping[str, Shown],
        working: Working,
    ) -> None:
        self._face, self._source, self._journal = face, source, journal
        self._shown, self._working = shown, working
        self._task = face.tasks.get("retrieve")
        self.fitted_on, self._begun = 0, 0
        self.retriever = self._open_retriever()
        self.index: VectorIndex

    @property
    def boost(self) -> float:
        """What retrieval adds for items that its training did not know."""
        return 0.0 if self._task is None else self._task.new_item_boost

    def of(self, item_ids: Sequence[str]) -> np.ndarray:
        """Unit vectors: float32 [N, K]."""
        return _vectors(self.retriever, item_ids)

    def take(self, space: Space) -> None:
        """Lets another pair answer from now on."""
        self.retriever, self.index = space.retriever, space.index

    def put(self, item_ids: Sequence[str]) -> None:
        """Makes the vectors of items that are there, anew where they have one."""
        self._put(Space(self.retriever, self.index), item_ids)

    def has_grown(self) -> bool:
        """Whether untrained directions were started from a much smaller catalogue."""
        if self._task is not None or self.fitted_on >= FIT_ON or not self._shown:
            return False
        return len(self._shown) >= GROWN * self.fitted_on

    def anew(self) -> Space:
        """Directions for the catalogue as it is now, and all vectors; the old ones stay in use."""
        with self._working():
            retriever = self._untrained(self.retriever.packer.verbalizer)
            self._start_projections(retriever)
        return self._whole(retriever)

    def save(self, number: int) -> None:
        """Writes a snapshot, so that the next start makes no vectors again."""
        folder = self._snapshot_folder(self.retriever)
        if folder is not None and len(self.index):
            self.index.save(folder, number, journal=self._journal.name)

    def folder(self) -> Path | None:
        """Where a model's things are kept."""
        folder = self._source.folder
        return None if folder is None else folder / self._key()

    def open(self) -> None:
        """Finds the vectors in a snapshot, or makes them."""
        self.take(self._opened(self.retriever))

    def _opened(self, retriever: Retriever) -> Space:
        kept = self.folder()
        if self._task is None:
            self._take_earlier(retriever, kept)
        if self._task is not None or self.fitted_on:
            folder = self._snapshot_folder(retriever)
            if folder is not None:
                try:
                    index, number = open_index(folder, self._journal.name, self._journal.last())
                    return self._caught_up(Space(retriever, index), number)
                except VectorError as error:
                    log.info("vectors are made anew: %s", error)
        else:
            self._start_projections(retriever)
        return self._whole(retriever)

    def _open_retriever(self) -> Retriever:
        data = self._face.dataset
        assert data is not None
        if self._task is not None:
            words = Templates.from_dict(self._task.templates, "the task's templates")
            verbalizer = Verbalizer(words, data.items, data.users)
            return self._face.opener().retriever(self._task, verbalizer)
        words = templates_of(data)
        return self._untrained(Verbalizer(words, data.items, data.users))

    def _untrained(self, words: Verbalizer) -> Retriever:
        retriever = build_retriever(self._face.opener().backbone, words, UNTRAINED)
        retriever.model.eval()
        return retriever

    def _caught_up(self, space: Space, number: int) -> Space:
        """A snapshot with what came after it."""
        fresh: dict[str, None] = {}
        while batch := self._journal.entries(number, ENTRIES_AT_ONCE):
            for entry in batch:
                if entry.kind == "item":
                    fresh[entry.key] = None
                elif entry.kind == "erase_item":
                    space.index.remove([entry.key])
            number = batch[-1].number
        self._put(space, list(fresh))
        return space

    def _whole(self, retriever: Retriever) -> Space:
        width = self._face.backbone.config.projection + bool(self.boost)
        made = f"m6rec-{self._key()}-{directions_key(retriever.model)}"
        ids = list(self._shown)
        space = Space(retriever, new_index(width, len(ids), self._source.index, made))
        for first in range(0, len(ids), 1024):
            self._put(space, ids[first : first + 1024])
        return space

    def _put(self, space: Space, item_ids: Sequence[str]) -> None:
        there = [item_id for item_id in item_ids if item_id in self._shown]
        if there:
            with self._working():
                vectors = self._extended(_vectors(space.retriever, there), there)
            attributes = [self._shown[item_id].offer._asdict() for item_id in there]
            space.index.put(there, vectors, attributes)

    def _extended(self, vectors_NK: np.ndarray, item_ids: Sequence[str]) -> np.ndarray:
        """With the boost of new items as one more dimension, which queries have as 1."""
        if self._task is None or not self.boost:
            return vectors_NK
        known = set(self._task.known)
        boost_N = np.array([0.0 if i in known else self.boost for i in item_ids], np.float32)
        return np.concatenate([vectors_NK, boost_N[:, None]], axis=1)

    def _take_earlier(self, retriever: Retriever, folder: Path | None) -> None:
        """The newest directions that servers of the journal share, or those of an earlier start."""
        found = None
        while (newer := self._journal.shared(self._name_of_directions())) is not None:
            found, self._begun = newer, self._begun + 1
        if found is None and folder is not None:
            found = read_directions(folder)
            if found is not None and take_directions(retriever.model, found):
                found = self._journal.share(self._name_of_directions(), found)
                self._begun += 1
        if found is not None:
            self.fitted_on = take_directions(retriever.model, found)

    def _name_of_directions(self) -> str:
        return f"directions {self._key()} {self._begun}"

    def _start_projections(self, retriever: Retriever) -> None:
        """Directions for the catalogue as it is now: one server finds them, all take them."""
        if not self._shown:
            return
        name = self._name_of_directions()
        found = self._journal.shared(name)
        if found is None or not take_directions(retriever.model, found):
            self._find_directions(retriever)
            own = pack_directions(retriever.model, len(self._shown))
            found = self._journal.share(name, own) if found is None else own
        self.fitted_on = take_directions(retriever.model, found)
        self._begun += 1
        folder = self.folder()
        if folder is not None:
            write_directions(found, folder)

    def _find_directions(self, retriever: Retriever) -> None:
        ids = list(self._shown)
        ids = ids[:: max(1, len(ids) // FIT_ON)]
        words = retriever.packer.verbalizer
        texts = [words.item(item_id).text for item_id in ids]
        retriever.start_untrained(retriever.pack_items(texts, ids))

    def _key(self) -> str:
        """Names what item vectors depend on beside untrained projections."""
        templates = self.retriever.packer.verbalizer.templates.to_dict()
        made = [
            ATTRIBUTES,
            self._face.fingerprint,
            json.dumps(templates, sort_keys=True, default=str),
        ]
        if self._task is not None:
            made += [fingerprint(self._task.tensors), self._task.spec.model_dump_json()]
        return hashlib.sha256("\0".join(made).encode()).hexdigest()[:16]

    def _snapshot_folder(self, retriever: Retriever) -> Path | None:
        folder = self.folder()
        if folder is None or self._task is not None:
            return folder
        return folder / directions_key(retriever.model)


def _vectors(retriever: Retriever, item_ids: Sequence[str]) -> np.ndarray:
    words = retriever.packer.verbalizer
    return retriever.encode_items([words.item(i).text for i in item_ids], item_ids)
