"""What the words of items say of what is chosen next: the prior of collaborative/words.py, kept
while a catalogue grows.

Of every item its key is held, f / (1 - fᵀ M f). A whitened vector f has length 1, so the key's
length tells fᵀ M f, and no other vector is needed. An item that comes needs its text vector only;
when the catalogue has grown, whitening and M are found anew.

Legend: I places of the shelf, N items, D width of whitened vectors.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from m6rec.collaborative.words import HalfWhitening, WordsPrior
from m6rec.offers import Filter
from m6rec.serving.known import ENTRIES_AT_ONCE, Shown
from m6rec.serving.working import Working
from m6rec.stores.journal.base import Journal
from m6rec.stores.vectors.local import LocalIndex
from m6rec.tasks.shelf import Shelf

log = logging.getLogger(__name__)
Vectors = Callable[[Sequence[str]], np.ndarray]
"""Texts → vectors of the backbone, float32."""
EXACT_BELOW = 20_000
"""Items from which on the nearest are looked up in an index; of fewer all are compared."""
EFFORT = 0.25
"""Of a search among many: of the ten that words say the most for it finds 99 in 100, of the fifty
97 (docs/dev/log.md), at two thirds of the time."""
FIT_ON = 100_000
"""Most items that whitening and M are found from."""
GROWN = 2
"""They are found anew when there are so many times the items."""
AT_ONCE = 4096
FILE = "words.npz"


@dataclass
class Fitted:
    """A prior, and the keys of the items that it made. count: items that it was found from."""

    prior: WordsPrior
    count: int
    key_ID: np.ndarray
    index: LocalIndex | None = None

    def of(self, place_N: np.ndarray) -> np.ndarray:
        """Whitened vectors of items by their places: float32 [N, D]."""
        key_ND = self.keys(place_N)
        return np.asarray(key_ND / np.maximum(_lengths(key_ND), 1e-9)[:, None])

    def query(self, weight_N: np.ndarray, f_ND: np.ndarray) -> np.ndarray:
        """M Σ x_i f_i of a history: float32 [D]."""
        return np.asarray(self.prior.query(weight_N[None], f_ND)[0])

    def priors(self, query_D: np.ndarray, place_N: np.ndarray) -> np.ndarray:
        """Σ_i x_i prior_ij of the items at some places, float32 [N]; with what an item says of
        itself, see `itself`."""
        return np.asarray(self.keys(place_N) @ query_D)

    def first_priors(self, query_D: np.ndarray, count: int) -> np.ndarray:
        """The same of the first `count` places."""
        self.grow(count)
        return np.asarray(self.key_ID[:count] @ query_D)

    def itself(self, place_N: np.ndarray) -> np.ndarray:
        """f_jᵀ M f_j / (1 - f_jᵀ M f_j), what an item would say of itself: float32 [N]."""
        return np.asarray(np.maximum(_lengths(self.keys(place_N)) - 1, 0))

    def keys(self, place_N: np.ndarray) -> np.ndarray:
        """By place, 0 where none is made yet: float32 [N, D]."""
        self.grow(int(place_N.max(initial=-1)) + 1)
        return np.asarray(self.key_ID[place_N])

    def grow(self, rows: int) -> None:
        """Makes room for so many places."""
        if rows > len(self.key_ID):
            larger = np.zeros((max(rows, 2 * len(self.key_ID)), self.key_ID.shape[1]), np.float32)
            larger[: len(self.key_ID)] = self.key_ID
            self.key_ID = larger


@final
class ItemWords:
    """Keys of the items of a shelf. text: of an item, by id; shown: what of it a filter asks. Safe
    to search while it is changed."""

    def __init__(
        self,
        shelf: Shelf,
        shown: Mapping[str, Shown],
        text: Callable[[str], str],
        vectors: Vectors,
        working: Working,
        ridge: float,
    ) -> None:
        self._shelf, self._shown, self._text = shelf, shown, text
        self.vectors, self._working, self._ridge = vectors, working, ridge
        self._fitted: Fitted | None = None

    @property
    def fitted(self) -> Fitted | None:
        """None before there is an item."""
        return self._fitted

    def fit(self) -> None:
        """Finds whitening and M for the items as they are, and all keys."""
        ids = list(self._shelf.place_of)
        if not ids:
            self._fitted = None
            return
        f_ND = np.concatenate(
            [self._read(ids[first : first + AT_ONCE]) for first in range(0, len(ids), AT_ONCE)]
        )
        prior = WordsPrior.fit(f_ND[:: -(-len(ids) // FIT_ON)], self._ridge)
        width = prior.m_DD.shape[0]
        fitted = Fitted(prior, len(ids), np.zeros((len(self._shelf), width), np.float32))
        for first in range(0, len(ids), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            self._take(fitted, ids[part], prior.keys(prior.whitening(f_ND[part])))
        self._fitted = fitted

    def has_grown(self) -> bool:
        """Whether the prior is that of a much smaller catalogue."""
        count = 0 if self._fitted is None else self._fitted.count
        there = len(self._shelf.place_of)
        return count < FIT_ON and there > 0 and there >= GROWN * count

    def put(self, item_ids: Sequence[str]) -> None:
        """Makes the keys of items that are there, anew where they have one."""
        there = [item_id for item_id in item_ids if item_id in self._shelf.place_of]
        if not there or self._fitted is None:
            return
        prior = self._fitted.prior
        self._take(self._fitted, there, prior.keys(prior.whitening(self._read(there))))

    def remove(self, item_id: str) -> None:
        """Forgets an item that has left the shelf."""
        fitted = self._fitted
        if fitted is not None and fitted.index is not None:
            fitted.index.remove([item_id])

    def nearest(self, fitted: Fitted, query_D: np.ndarray, k: int, where: Filter) -> np.ndarray:
        """Places of the k items that words say the most for, of those that pass: int64."""
        index = fitted.index or self._indexed(fitted)
        place_K = self._shelf.places(index.search(query_D, k, where).ids)
        return np.asarray(place_K[place_K >= 0])

    def is_large(self) -> bool:
        """Whether the nearest have to be looked up."""
        return len(self._shelf) > EXACT_BELOW

    def _read(self, item_ids: Sequence[str]) -> np.ndarray:
        with self._working():
            return self.vectors([self._text(item_id) for item_id in item_ids])

    def _take(self, fitted: Fitted, item_ids: Sequence[str], key_ND: np.ndarray) -> None:
        place_N = self._shelf.places(item_ids)
        there = place_N >= 0
        place_N, key_ND = place_N[there], key_ND[there]
        fitted.grow(int(place_N.max(initial=-1)) + 1)
        fitted.key_ID[place_N] = key_ND
        if fitted.index is not None:
            ids = [one for one, is_there in zip(item_ids, there.tolist(), strict=True) if is_there]
            fitted.index.put(ids, key_ND, self._offers(ids))

    def _offers(self, item_ids: Sequence[str]) -> list[dict[str, object]]:
        return [self._shown[item_id].offer._asdict() for item_id in item_ids]

    def _indexed(self, fitted: Fitted) -> LocalIndex:
        """The index, made when it is asked for first."""
        ids = list(self._shelf.place_of)
        index = LocalIndex(fitted.key_ID.shape[1], EXACT_BELOW, len(ids), EFFORT)
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            index.put(some, fitted.keys(self._shelf.places(some)), self._offers(some))
        fitted.index = index
        return index

    def save(self, folder: Path | None, number: int, journal: str) -> None:
        """Keeps keys and prior, with the number of the journal's entry that they are of."""
        fitted = self._fitted
        if fitted is None or folder is None:
            return
        ids = list(self._shelf.place_of)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{FILE}"
        with unfinished.open("wb") as file:
            np.savez(
                file,
                ids=np.array(ids, dtype=np.str_),
                keys=fitted.keys(self._shelf.places(ids)),
                mean=fitted.prior.whitening.mean,
                turn=fitted.prior.whitening.turn,
                m=fitted.prior.m_DD,
                about=np.array([number, fitted.count]),
                ridge=np.array(self._ridge),
                journal=np.array(journal),
            )
        unfinished.replace(folder / FILE)

    def open(self, folder: Path | None, journal: Journal) -> None:
        """Takes what was kept, and makes keys of what came since; or makes all anew."""
        number = None if folder is None else self._opened(folder, journal.name)
        if number is None or number > journal.last() or self.has_grown():
            self.fit()
            return
        fresh: dict[str, None] = {}
        while batch := journal.entries(number, ENTRIES_AT_ONCE):
            fresh.update((entry.key, None) for entry in batch if entry.kind == "item")
            number = batch[-1].number
        ids = list(fresh)
        for first in range(0, len(ids), AT_ONCE):
            self.put(ids[first : first + AT_ONCE])

    def _opened(self, folder: Path, journal: str) -> int | None:
        """Takes what was kept; the number of the entry it is of. None: there is nothing of use."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as kept:
                if str(kept["journal"]) != journal or float(kept["ridge"]) != self._ridge:
                    return None
                ids, key_ND = kept["ids"].tolist(), kept["keys"]
                whitening = HalfWhitening(kept["mean"], kept["turn"])
                prior = WordsPrior(whitening, kept["m"])
                number, count = (int(one) for one in kept["about"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s can not be read (%s); it is made anew", folder / FILE, error)
            return None
        fitted = Fitted(prior, count, np.zeros((len(self._shelf), key_ND.shape[1]), np.float32))
        self._take(fitted, ids, key_ND)
        self._fitted = fitted
        return number


def _lengths(key_ND: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", key_ND, key_ND)))
