"""What is recommended from, where people chose something: candidates, and the parts of their score.

Of a small catalogue every item is one. Of a large one candidates are what was counted most after
the history, what words say the most for, and what the text tower finds nearest where a head asks
for it; each has its exact parts (collaborative/score.py has the formula).

Legend: N candidates, E entries of a history, I places of the shelf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from m6rec.collaborative.head import FEATURES, Features, Head, chosen_feature
from m6rec.collaborative.sequences import Histories
from m6rec.data.stances import Stances
from m6rec.offers import Filter
from m6rec.serving.chosen import LiveChosen
from m6rec.serving.people import People
from m6rec.serving.words import Fitted, ItemWords
from m6rec.stores.journal.base import Journal
from m6rec.stores.vectors.base import Found
from m6rec.tasks.shelf import Shelf

SAMPLED = 2000
"""Items of a large catalogue that tell how similarities are spread."""


@dataclass(frozen=True)
class Entries:
    """One history: codes (-1: unknown), weights (below 0: a no) and texts of E entries."""

    code: np.ndarray
    weight: np.ndarray
    text: list[str | None]


class PartsOfItem(NamedTuple):
    """counted, words: the two parts of the score of an item. head: what the head read of it."""

    counted: float | None = None
    words: float | None = None
    head: dict[str, float] | None = None


@dataclass(frozen=True)
class Parts:
    """Of N candidates: places, ascending; what was counted and what words say, float32 [N].
    copies: float32 [N], how many items of a large catalogue each stands for; None: itself.
    features: what the head read of each, where one joins."""

    place: np.ndarray
    counted: np.ndarray
    words: np.ndarray
    copies: np.ndarray | None = None
    features: Features | None = None

    @property
    def score(self) -> np.ndarray:
        """The collaborative score."""
        return np.asarray(self.counted + self.words)

    def at(self, place_K: np.ndarray) -> list[PartsOfItem]:
        """Of some places; nothing of what is no candidate."""
        row_K = np.minimum(np.searchsorted(self.place, place_K), len(self.place) - 1)
        return [
            PartsOfItem(float(self.counted[row]), float(self.words[row]), self._read(row))
            if self.place[row] == place
            else PartsOfItem()
            for row, place in zip(row_K.tolist(), place_K.tolist(), strict=True)
        ]

    def _read(self, row: int) -> dict[str, float] | None:
        if self.features is None:
            return None
        parts = zip(FEATURES, self.features.parts(), strict=True)
        return {name: round(float(part[..., row].item()), 6) for name, part in parts}


@dataclass(frozen=True)
class Similar:
    """Similarities of a user to items: places, float32 [N]; mean and spread over the catalogue.
    others: of items that are not among them, by id, those that have a vector; None: all are.
    nearest: so many of the places, the first, are found by the towers; the others are a sample of
    the catalogue."""

    place: np.ndarray
    score: np.ndarray
    mean: float
    spread: float
    others: Callable[[Sequence[str]], Found] | None = None
    nearest: int | None = None

    def of(self, place_N: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """In standard deviations, float32 [N]; 0 for what has no vector yet. place_N: ascending."""
        if self.others is None:
            room = 1 + max(int(self.place.max(initial=-1)), int(place_N.max(initial=-1)))
            score_I = np.full(room, self.mean, dtype=np.float32)
            score_I[self.place] = self.score
            return self._standard(score_I[place_N])
        order = np.argsort(self.place)
        place_M, score_M = self.place[order], self.score[order]
        row_N = np.minimum(np.searchsorted(place_M, place_N), max(len(place_M) - 1, 0))
        score_N = np.full(len(place_N), self.mean, dtype=np.float32)
        here = place_M[row_N] == place_N if len(place_M) else np.zeros(len(place_N), dtype=bool)
        score_N[here] = score_M[row_N[here]]
        missing = np.flatnonzero(~here).tolist()
        missing = [row for row in missing if ids[place_N[row]]]
        if missing:
            row_of = {ids[place_N[row]]: row for row in missing}
            found = self.others(list(row_of))
            score_N[[row_of[one] for one in found.ids]] = found.scores
        return self._standard(score_N)

    def _standard(self, score_N: np.ndarray) -> np.ndarray:
        return np.asarray((score_N - self.mean) / max(self.spread, 1e-6), dtype=np.float32)


def entries_of(histories: Histories, number: int) -> Entries:
    """One of several."""
    rows = np.flatnonzero(histories.request == number)
    texts = [histories.text[row] for row in rows.tolist()]
    return Entries(histories.code[rows], histories.weight[rows], texts)


@final
class Scores:
    """What people chose next and what words say of it, over one shelf, which both follow. One
    thread at a time asks. head: joins them with the towers of a tuned task; None: their sum stands.
    """

    def __init__(
        self, shelf: Shelf, chosen: LiveChosen, words: ItemWords, head: Head | None
    ) -> None:
        self._shelf, self.chosen, self.words, self.head = shelf, chosen, words, head
        self._counted_I = np.zeros(0, dtype=np.float32)
        self._sample: tuple[object, np.ndarray, np.ndarray] = (
            None,
            self._counted_I,
            self._counted_I,
        )
        self._places: tuple[object, np.ndarray] = (None, self._counted_I)

    def open(self, folder: Path | None, journal: Journal) -> None:
        """Words of all items, from a snapshot where there is one."""
        self.words.open(folder, journal)

    def save(self, folder: Path | None, number: int, journal: str) -> None:
        """Writes a snapshot of the words, as of an entry of the journal."""
        self.words.save(folder, number, journal)

    def leave(self, item_id: str) -> None:
        """Says that an item left the shelf."""
        self.chosen.put(item_id)
        self.words.remove(item_id)

    def settle(self, grown: bool) -> None:
        """What need not be done at every entry. grown: whether items may have come."""
        if grown and self.words.has_grown():
            self.words.fit()
        self.chosen.live.fold()

    def is_large(self) -> bool:
        """Whether candidates are fewer than the catalogue."""
        return self.words.is_large()

    def histories(self, parts: Stances) -> Histories:
        """What requests say of items, weighted."""
        decay = self.chosen.decay
        return Histories.of_parts(parts, self.chosen.live.codes, decay)

    def joined(
        self, parts: Parts, entries: Entries, similar: Similar | None, people: People
    ) -> tuple[np.ndarray, Parts]:
        """The score of candidates from their parts, with a head their probability: float32 [N];
        and the parts with what the head read."""
        if self.head is None or similar is None:
            return parts.score, parts
        place_N = parts.place
        yes = (entries.weight > 0) & (entries.code >= 0)
        own_E = self.chosen.places(entries.code[yes])
        newest_E = own_E[entries.weight[yes] == 1]
        features = Features(
            chosen_feature(parts.score[None], self.chosen.settings.shrinkage),
            similar.of(place_N, self._shelf.ids)[None],
            people.feature(place_N),
            _marked(place_N, own_E)[None],
            _marked(place_N, newest_E)[None],
            (people.of(place_N) == 0).astype(np.float32),
            parts.copies,
        )
        return self.head.probabilities(features)[0], replace(parts, features=features)

    def places(self, ids: list[str]) -> np.ndarray:
        """Places of all items of an index, which gives the same list until it changes."""
        if self._places[0] is not ids:
            self._places = ids, self._shelf.places(ids)
        return self._places[1]

    def sample(
        self, key: object, vectors: Callable[[Sequence[str]], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and vectors of some items of a large catalogue, which stand for it: for mean and
        spread of similarities, and in the sum over which probabilities are shares. key: of what
        made the vectors."""
        if self._sample[0] is not key:
            ids = list(self._shelf.place_of)
            some = ids[:: max(1, len(ids) // SAMPLED)]
            self._sample = key, np.array(some), vectors(some)
        return self._sample[1:]

    def parts(
        self,
        entries: Entries,
        k: int,
        where: Filter,
        more: np.ndarray,
        sampled: np.ndarray | None = None,
    ) -> Parts:
        """Candidates for k items. more: places that are to be among them. sampled: places of a
        large catalogue that stand for the rest of it."""
        settings = self.chosen.settings
        x_E = self._shares(entries)
        place_E = self.chosen.places(entries.code)
        counted_I, touched = self._count(entries, x_E)
        fitted = self.words.fitted  # one and the same throughout, though another may come
        query_D = None if fitted is None else self._query(fitted, entries, x_E, place_E)
        if self.words.is_large():
            place_N = self._best(touched, counted_I, fitted, query_D, k, where, more)
        else:
            place_N = np.arange(len(counted_I))
        copies = None
        if sampled is not None:
            place_N, copies = _with_rest(place_N, sampled, len(self._shelf))
        counted_N = counted_I[place_N]
        counted_I[touched] = 0
        words_N = np.zeros(len(place_N), dtype=np.float32)
        if fitted is not None and query_D is not None:
            everything = len(place_N) == len(counted_I)
            words_N = (
                fitted.first_priors(query_D, len(place_N))
                if everything
                else fitted.priors(query_D, place_N)
            )
            words_N *= settings.prior
            own = (place_E >= 0) & (entries.weight > 0)
            less_E = settings.prior * x_E[own] * fitted.itself(place_E[own])
            _take_off(words_N, place_N, place_E[own], less_E)
        return Parts(place_N, counted_N, words_N, copies)

    def _shares(self, entries: Entries) -> np.ndarray:
        """w_i / (a_i + λ) of each entry; a no is counted nowhere."""
        live, shrinkage = self.chosen.live, self.chosen.settings.shrinkage
        norm_E = np.zeros(len(entries.code))
        yes = (entries.code >= 0) & (entries.weight > 0)
        norm_E[yes] = live.counted(entries.code[yes])[1]
        return np.asarray(entries.weight / (norm_E + shrinkage))

    def _count(self, entries: Entries, x_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ_i x_i R_ij by place, in memory that is used again, and the places that are not 0.
        Towards itself an item has w_i · rate_i."""
        if len(self._counted_I) < len(self._shelf):
            self._counted_I = np.zeros(len(self._shelf), dtype=np.float32)
        counted_I = self._counted_I[: len(self._shelf)]
        laters, weights = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        live = self.chosen.live
        yes = np.flatnonzero((entries.weight > 0) & (entries.code >= 0))
        code_E = entries.code[yes]
        laters.append(code_E)
        weights.append(entries.weight[yes] * live.repeat_rates(code_E))
        for code, x in zip(code_E.tolist(), x_E[yes].tolist(), strict=True):
            later, weight = live.row(code)
            other = later != code
            laters.append(later[other])
            weights.append(x * weight[other])
        place = self.chosen.places(np.concatenate(laters))
        there = (place >= 0) & (place < len(counted_I))
        touched = place[there]
        np.add.at(counted_I, touched, np.concatenate(weights)[there])
        return counted_I, touched

    def _query(
        self, fitted: Fitted, entries: Entries, x_E: np.ndarray, place_E: np.ndarray
    ) -> np.ndarray:
        f_ED = np.zeros((len(x_E), fitted.prior.m_DD.shape[0]), dtype=np.float32)
        own = place_E >= 0
        f_ED[own] = fitted.of(place_E[own])
        told = [row for row in np.flatnonzero(~own).tolist() if entries.text[row]]
        if told:
            texts = [str(entries.text[row]) for row in told]
            f_ED[told] = fitted.prior.whitening(self.words.vectors(texts))
        return fitted.query(x_E, f_ED)

    def _best(
        self,
        touched: np.ndarray,
        counted_I: np.ndarray,
        fitted: Fitted | None,
        query_D: np.ndarray | None,
        k: int,
        where: Filter,
        more: np.ndarray,
    ) -> np.ndarray:
        """Places of the candidates of a large catalogue, ascending."""
        passes_I = self._shelf.passing(where)
        counted = touched[passes_I[touched]]
        if len(counted) > k:  # an item stands here once for each row that has it
            counted = np.unique(counted)
        if len(counted) > k:
            counted = counted[np.argpartition(-counted_I[counted], k)[:k]]
        parts = [counted, more]
        if fitted is not None and query_D is not None:
            parts.append(self.words.nearest(fitted, query_D, k, where))
        return np.unique(np.concatenate(parts))


def _with_rest(
    place_N: np.ndarray, sampled: np.ndarray, items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates and the sample, ascending, and how many items each stands for: a candidate for
    itself, the others of the sample for the rest of the catalogue."""
    place_M = np.union1d(place_N, sampled)
    others = len(place_M) - len(place_N)
    own_M = np.isin(place_M, place_N)
    rest = (items - len(place_N)) / max(others, 1)
    return place_M, np.where(own_M, 1.0, rest).astype(np.float32)


def _take_off(
    words_N: np.ndarray, place_N: np.ndarray, own_E: np.ndarray, less_E: np.ndarray
) -> None:
    """An item of the history is no evidence of itself."""
    row_E, here = _rows_of(place_N, own_E)
    np.subtract.at(words_N, row_E[here], less_E[here].astype(np.float32))


def _marked(place_N: np.ndarray, own_E: np.ndarray) -> np.ndarray:
    """1 where a candidate is one of these places: float32 [N]."""
    marked_N = np.zeros(len(place_N), dtype=np.float32)
    row_E, here = _rows_of(place_N, own_E)
    marked_N[row_E[here]] = 1
    return marked_N


def _rows_of(place_N: np.ndarray, own_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where places stand among candidates, which ascend, and whether they do: [E] each."""
    if not len(place_N):
        return np.zeros(len(own_E), dtype=np.int64), np.zeros(len(own_E), dtype=bool)
    row_E = np.minimum(np.searchsorted(place_N, own_E), len(place_N) - 1)
    return row_E, place_N[row_E] == own_E
