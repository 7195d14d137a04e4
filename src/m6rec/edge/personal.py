"""One person's likes and hides on top of a bundle: kept on the device, and learned from there.

A record is one small file (`Record`): what was liked or hidden, beside what, and the user vector of
that moment in int8. It belongs to one bundle, whose hash it names. What is learned
(edge/choices.py) follows from the record alone, so taking a like back undoes all of it.
edge-web/src/personal.ts is the same in the browser.

Legend: N things on offer, I items, K projection width, F = 1 + K parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from m6rec.config import ConfigError, Settings
from m6rec.edge.bundle import Bend, EdgeBundle, Ranked
from m6rec.edge.choices import Choice, bent, learned, retrieval_choice
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import MANIFEST

MOST_KEPT = 64
MOST_BESIDE = 20
LEVELS = 127


class PersonalSettings(Settings):
    """How a person's choices are learned (docs/edge-personal.md: how the values were chosen).

    scale: 1 / temperature of the contrastive loss. pull: holds the parameters near what was
    shipped. steps: of gradient descent. spread: items from all over the catalogue that stand beside
    each choice.
    """

    scale: float = Field(default=1 / 0.07, gt=0, le=1000)
    pull: float = Field(default=100.0, gt=0)
    steps: int = Field(default=30, ge=0, le=1000)
    spread: int = Field(default=100, ge=1, le=1000)


class Told(Settings):
    """One like or hide. user, times user_scale: the user vector of that moment."""

    item: str
    liked: bool
    beside: list[str] = Field(default=[], max_length=MOST_BESIDE)
    user: list[int]
    user_scale: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _fits_in_a_byte(self) -> Told:
        if not all(-LEVELS <= level <= LEVELS for level in self.user):
            raise ValueError("user holds a number beyond -127…127")
        return self

    def vector(self) -> np.ndarray:
        """float64 [K]."""
        return np.array(self.user, np.float64) * self.user_scale


class Record(Settings):
    """The file. bundle: sha256 of the bundle that it belongs to. told: oldest first."""

    format: Literal[1] = 1
    bundle: str
    told: list[Told] = Field(default=[], max_length=MOST_KEPT)


class Personal:
    """A bundle with one person's likes and hides. Nothing of it leaves the device."""

    def __init__(
        self,
        bundle: EdgeBundle,
        settings: PersonalSettings | None = None,
        record: Record | None = None,
    ) -> None:
        """Raises EdgeError for a record of another bundle, or one that does not fit this bundle."""
        self.bundle, self.settings = bundle, settings or PersonalSettings()
        self.sha256 = str(
            json.loads((bundle.folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        )
        self._place = {item_id: place for place, item_id in enumerate(bundle.shelf.ids)}
        self._told = list(self._checked(record).told) if record else []
        self.theta_F = self._learned()

    @classmethod
    def read(
        cls, path: Path, bundle: EdgeBundle, settings: PersonalSettings | None = None
    ) -> Personal:
        """Opens a record; raises EdgeError as the constructor does, and for what is no record."""
        try:
            return cls(bundle, settings, Record.read(path))
        except ConfigError as error:
            raise EdgeError(f"no personal record: {error}") from None

    def write(self, path: Path) -> None:
        """Writes the record. It tells what a person liked: treat it as theirs."""
        path.write_text(self.record.model_dump_json() + "\n", encoding="utf-8")

    @property
    def record(self) -> Record:
        """All that is kept."""
        return Record(bundle=self.sha256, told=list(self._told))

    @property
    def liked(self) -> list[str]:
        """Ids of liked items, oldest first."""
        return [told.item for told in self._told if told.liked]

    @property
    def hidden(self) -> list[str]:
        """Ids of hidden items, oldest first."""
        return [told.item for told in self._told if not told.liked]

    def like(self, item: str, history: Sequence[str], beside: Sequence[str] = ()) -> None:
        """The person likes an item that this history led to. beside: what was shown with it."""
        self._tell(item, True, history, beside)

    def hide(self, item: str, history: Sequence[str], beside: Sequence[str] = ()) -> None:
        """The person never wants to see an item again."""
        self._tell(item, False, history, beside)

    def take_back(self, item: str) -> None:
        """As if nothing had been said of the item."""
        self._told = [told for told in self._told if told.item != item]
        self.theta_F = self._learned()

    def reset(self) -> None:
        """Takes back every like; what is hidden stays hidden."""
        self._told = [told for told in self._told if not told.liked]
        self.theta_F = self._learned()

    def forget(self) -> None:
        """As if nothing had been said at all."""
        self._told = []
        self.theta_F = self._learned()

    def rerank(
        self, history: Sequence[str], k: int = 10, exclude_seen: bool = True
    ) -> list[Ranked]:
        """The bundle's answer with what was learned, and without what was hidden, which is no
        choice that others could follow either."""
        hidden = set(self.hidden)
        asked = [name for name in self.bundle.shelf.ids if name not in hidden]
        bend = Bend(lambda user_K: bent(user_K, self.theta_F), self.settings.scale, hidden)
        return self.bundle.rerank(history, k, asked, exclude_seen, bend)

    def _tell(self, item: str, liked: bool, history: Sequence[str], beside: Sequence[str]) -> None:
        levels, scale = _in_eight_bits(self.bundle.user_vector(history))
        others = [name for name in dict.fromkeys(beside) if name != item][:MOST_BESIDE]
        told = Told(item=item, liked=liked, beside=others, user=levels, user_scale=scale)
        kept = [other for other in self._told if other.item != item]
        kept = [*kept[-(MOST_KEPT - 1) :], told]
        self._checked(Record(bundle=self.sha256, told=kept))
        self._told = kept
        self.theta_F = self._learned()

    def _checked(self, record: Record) -> Record:
        if record.bundle != self.sha256:
            raise EdgeError(
                f"the personal record belongs to the bundle {record.bundle[:12]}…, this one is "
                f"{self.sha256[:12]}…; a record is of use with its own bundle only"
            )
        for told in record.told:
            unknown = [name for name in (told.item, *told.beside) if name not in self._place]
            if unknown:
                raise EdgeError(f"the bundle's catalogue has no item {unknown[0]!r}")
            if len(told.user) != self.bundle.config.projection:
                raise EdgeError(
                    f"the personal record has a user vector of {len(told.user)} numbers; "
                    f"right is {self.bundle.config.projection}"
                )
        return record

    def _learned(self) -> np.ndarray:
        choices = [self._choice(told) for told in self._told]
        width = 1 + self.bundle.config.projection
        return learned(choices, width, self.settings.pull, self.settings.steps)

    def _choice(self, told: Told) -> Choice:
        shelf, liked = self.bundle.shelf, {self._place[name] for name in self.liked}
        first = self._place[told.item]
        around = spread(first, len(shelf.ids), self.settings.spread)
        others = dict.fromkeys([*(self._place[name] for name in told.beside), *around])
        places = np.array([first, *(n for n in others if n != first and n not in liked)])
        vectors_NK = shelf.vectors_IK[places] * shelf.scale_I[places, None].astype(np.float64)
        return retrieval_choice(
            vectors_NK, shelf.prior_I[places], told.vector(), self.settings.scale, told.liked
        )


def spread(first: int, items: int, count: int) -> list[int]:
    """Places at even distances from `first`, all over a catalogue; where it is small, all of it."""
    count = min(count, items)
    return [(first + n * items // count) % items for n in range(count)]


def _in_eight_bits(user_K: np.ndarray) -> tuple[list[int], float]:
    scale = max(float(np.abs(user_K).max()), 1e-12) / LEVELS
    return [int(level) for level in np.floor(user_K / scale + 0.5)], scale
