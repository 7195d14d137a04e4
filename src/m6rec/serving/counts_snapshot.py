"""Counts of what people chose next on the disk, so that a start counts only what came since.

Only sums are written, whole numbers by pair of items: no user, and nobody's sequence. They belong
to one journal up to one of its entries. A start reads the journal's events anyway; of people who
did something since then the pairs of before are taken off and those of now are added. After an
erasure nothing is taken over, since what was erased can not be taken off any more: the files are
removed when it happens, or when a server opens that was closed then.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.collaborative.counts import TransitionCounts, add_counts
from m6rec.data.verdicts import Scale
from m6rec.serving.known import Known
from m6rec.stores.vectors.base import VectorError
from m6rec.stores.vectors.snapshot import CURRENT, SnapshotReader, SnapshotWriter

log = logging.getLogger(__name__)

FOLDER = "choices"
"""Folder beside the vectors of all models."""


@dataclass(frozen=True)
class CountsSnapshot:
    """counts: of the journal up to entry `number`. item_ids: by code. scale: that ratings were
    judged by; ordered: whether anything told what came first. dropped: events that the journal had
    left out as too old when this was opened: they are not counted, those that went later are."""

    counts: TransitionCounts
    item_ids: list[str]
    number: int
    scale: Scale
    ordered: bool
    dropped: int = 0

    def save(self, folder: Path, journal: str) -> None:
        """Writes all of it or nothing. journal: its name. Raises VectorError where the disk is full
        or the like."""
        try:
            writer = SnapshotWriter(folder)
        except OSError as error:
            raise VectorError(f"{folder} can not be written: {error}") from error
        try:
            writer.array("keys", self.counts.key_P)
            writer.array("counts", self.counts.count_P)
            writer.words("items", self.item_ids)
            writer.finish(
                {
                    "journal": journal,
                    "number": self.number,
                    "scale": [self.scale.highest, self.scale.lowest],
                    "ordered": self.ordered,
                    "dropped": self.dropped,
                }
            )
        except OSError as error:
            writer.give_up()
            raise VectorError(f"{folder}: the counts were not written: {error}") from error

    @classmethod
    def open(cls, folder: Path | None, journal: str, known: Known) -> CountsSnapshot | None:
        """The one in a folder; None where there is none, or it is not of this journal as it was."""
        if folder is None or not (folder / CURRENT).exists():
            return None
        try:
            reader = SnapshotReader(folder)
            about = reader.about
            if about["journal"] == journal and about["number"] < known.last_erasure:
                log.info("a user was erased: what people chose next is counted anew")
                drop(folder)
                return None
            if (problem := _problem(about, journal, known)) is not None:
                raise VectorError(problem)
            item_ids = reader.words("items")
            counts = TransitionCounts(reader.array("keys"), reader.array("counts"), len(item_ids))
            scale = Scale(*about["scale"])
            ordered = bool(about["ordered"])
            return cls(counts, item_ids, int(about["number"]), scale, ordered, known.dropped)
        except (VectorError, KeyError, TypeError, ValueError) as error:
            log.warning(
                "%s is left aside, and what people chose next counted anew: %s", folder, error
            )
            return None

    def followed(
        self, events: pl.DataFrame, counted: Callable[[pl.DataFrame], TransitionCounts], items: int
    ) -> TransitionCounts | None:
        """Counts of all events of the journal, column `number` among them. counted: those of the
        events of some people. None: they can not be, so these are not the journal's counts."""
        late = events.filter(pl.col("number") > self.number)
        own = events.join(late.select("user_id").unique(), on="user_id", how="semi")
        now, before = counted(own), counted(own.filter(pl.col("number") <= self.number))
        key_P, count_P = add_counts(
            np.concatenate([self.counts.key_P, now.key_P, before.key_P]),
            np.concatenate([self.counts.count_P, now.count_P, -before.count_P]),
        )
        if len(count_P) and int(count_P.min()) < 0:
            log.warning("kept counts of what people chose next do not fit the journal: left aside")
            return None
        return TransitionCounts(key_P, count_P, items)


def _problem(about: dict[str, object], journal: str, known: Known) -> str | None:
    if about["journal"] != journal:
        return "it is of another journal"
    number = about["number"]
    if not isinstance(number, int) or number > known.number:
        return f"it is of entry {number}, beyond the journal's end"
    if about.get("dropped", 0) != known.dropped:
        return "older events are left out of the journal now"
    scale = known.choices.scale
    if about["scale"] != [scale.highest, scale.lowest]:
        return "the scale of the ratings is another one now"
    return None


def drop(folder: Path | None) -> None:
    """Removes what is on the disk."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
