"""The calls of `M6Rec` that answer with items: recommend, similar, rank and score.

Shapes: histories are oldest first; lists of answers are best first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, get_args

import numpy as np

from m6rec.collaborative.reasons import Reason
from m6rec.data.catalogue import Items, as_items
from m6rec.data.history import as_id, parse_history
from m6rec.data.kinds import kind_of
from m6rec.data.known import (
    item_places,
    once,
    own_events,
    popularity,
    some_histories,
    user_log,
)
from m6rec.data.requests import Requests
from m6rec.data.schema import DataError
from m6rec.data.tables import Dataset
from m6rec.data.where import Where, filter_of
from m6rec.model.m6 import M6
from m6rec.records import Candidate, Event, M6Error, Request
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.folder import NotTunedError, TaskFolder
from m6rec.tasks.opening import Opener, templates_of
from m6rec.tasks.ranking import Ranker
from m6rec.tasks.reasons import CatalogueReasons
from m6rec.tasks.shelf import Shelf, choose
from m6rec.tasks.similar import AlikeItems, Likeness, next_scores
from m6rec.tasks.zero_shot import ZeroShot, ZeroShotSettings
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer

NOTHING = Dataset(name="no data")
REQUESTS_AT_ONCE = 256
History = Sequence[str | Event | Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer.

    score: of retrieval with a log the score of what people chose next, which is no probability, and
    after tuning the probability that the item is chosen next (docs/collaborative.md); without a log
    cosine similarity. Of ranking a probability, of scoring a log-likelihood. reason: why, where
    that was asked for.
    """

    item_id: str
    title: str
    score: float
    reason: Reason | None = None


class Answers(ABC):
    """What `M6Rec` answers with items. Its state belongs to M6Rec."""

    backbone: M6
    tokenizer: Tokenizer
    tasks: dict[str, TaskFolder]
    dataset: Dataset | None
    text_only: bool
    _opened: dict[str, tuple[object, Any]]

    @abstractmethod
    def opener(self) -> Opener: ...

    @abstractmethod
    def _written(self, item: str, history: History, user_id: str | None) -> Reason:
        """A reason by the task that was tuned to explain."""

    def recommend(
        self,
        history: History = (),
        items: Items | None = None,
        k: int = 10,
        *,
        user_id: str | int | None = None,
        exclude_seen: bool = True,
        where: Where | Mapping[str, Any] | None = None,
        reasons: bool = False,
    ) -> list[Recommendation]:
        """The k items of a catalogue that fit a history best.

        history: entries such as "clicked: trail running shoes", events, or mappings; with
        `user_id` and no history, the user's own events of the data set that `use` named. items:
        titles, rows, a table, or title by id; default: the data set's catalogue (hand in the same
        object again, and its items are encoded once only). exclude_seen: leaves out items that
        the history names by id, and what the user bought. What was disliked, rated low, skipped,
        sent back or taken out of the cart counts against what is like it. A user who is for nothing
        gets what most people chose, if the data set tells, else what is nearest to the whole
        catalogue.
        where: which items may come, {"categories": ["Comedy"], "price_max": 20} (data/where.py);
        unless told otherwise, none that is available later only, hidden or out of stock.
        reasons: with each item, why (docs/collaborative.md); a tuned `explain` writes it.
        Raises M6Error for a history, a catalogue or a user that can not be read.
        """
        return self.recommend_batch(
            [history],
            items,
            k,
            user_ids=[user_id],
            exclude_seen=exclude_seen,
            where=where,
            reasons=reasons,
        )[0]

    def recommend_batch(
        self,
        histories: Sequence[History],
        items: Items | None = None,
        k: int = 10,
        *,
        user_ids: Sequence[str | int | None] | None = None,
        exclude_seen: bool = True,
        where: Where | Mapping[str, Any] | None = None,
        reasons: bool = False,
    ) -> list[list[Recommendation]]:
        """`recommend` for many users at once."""
        _check_k(k)
        users = _user_ids(user_ids, len(histories))
        if len(users) != len(histories):
            raise M6Error(f"{len(histories)} histories and {len(users)} user_ids: right is as many")
        catalogue, titles, shelf = self._catalogue(items)
        out_I = ~shelf.passing(filter_of(where))
        answers = []
        for start in range(0, len(users), REQUESTS_AT_ONCE):
            part = slice(start, start + REQUESTS_AT_ONCE)
            asked = self._requests(histories[part], users[part])
            scores = self._scores(catalogue, asked, items is None)
            scores[:, out_I] = -np.inf
            if exclude_seen:
                _leave_out_seen(scores, asked, catalogue.places)
                self._leave_out_bought(scores, histories[part], users[part], catalogue.places)
            chosen = [choose(row, k) for row in scores]
            found = [_named(*one, catalogue.item_ids, titles) for one in chosen]
            if reasons and "explain" in self.tasks:
                found = self._with_written(found, histories[part], users[part], items is None)
            elif reasons:
                people = popularity(self._data()) if items is None else None
                why = CatalogueReasons(catalogue, asked, people)
                found = _explained(found, why.of([place_K for place_K, _ in chosen]))
            answers += found
        return answers

    def similar(
        self,
        item: str | int,
        k: int = 10,
        kind: Likeness = "next",
        *,
        items: Items | None = None,
        where: Where | Mapping[str, Any] | None = None,
    ) -> list[Recommendation]:
        """The k items of a catalogue that go with an item; itself is left out.

        item: an item_id, a title of the catalogue, or the text of an item that nobody knows. kind:
        "next" is what people chose after it (score: `collaborative`), by words where the log knows
        nothing of it; without a log it is "alike", the nearest by words (score: cosine of
        half-whitened text vectors). items, where: as in `recommend`.
        Raises M6Error for what can be no item, and for an unknown kind.
        """
        _check_k(k)
        if kind not in get_args(Likeness):
            raise M6Error(f"kind = {kind!r}: right is 'next' or 'alike'")
        name = as_id(item)
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"item = {item!r}: right is an item_id, a title, or a text")
        catalogue, titles, shelf = self._catalogue(items)
        place = catalogue.places.get(name)
        if place is None and titles.count(name) == 1:
            place = titles.index(name)
        if kind == "next" and catalogue.chosen is not None:
            item_id = name if place is None else catalogue.item_ids[place]
            scores = next_scores(catalogue.chosen.score, item_id)
        else:
            scores = self._alike(catalogue)(name if place is None else place)
        passes_I = shelf.passing(filter_of(where))
        if place is not None:
            passes_I[place] = False
        return _named(*choose(scores, k, passes_I), catalogue.item_ids, titles)

    def rank(
        self,
        history: History,
        items: Items,
        *,
        user_id: str | int | None = None,
        timestamp: float | None = None,
    ) -> list[Recommendation]:
        """All of the given items, best first, each with the probability of a yes.

        timestamp: the moment of the question in seconds, for features counted over the data set's
        events. Raises NotTunedError before `fit("rank", …)`.
        """
        request, ids, titles = self._candidates(history, items, user_id)
        request = replace(request, timestamp=timestamp)
        chances = self._ranker().predict(Requests.of([request]))
        return _best_first(chances, ids, titles)

    def score(
        self,
        history: History,
        items: Items,
        *,
        user_id: str | int | None = None,
        calibrated: bool | float = True,
        liked: bool = False,
        **reading: Any,
    ) -> list[Recommendation]:
        """All of the given items, best first, by how likely their words are after the history.

        With no training (paper section 2). score: log-likelihood in nats, the mean over the
        tokens of the item's words. calibrated: takes off the same without a history (a number:
        that share of it), so that common words do not win; with `others`, in the mean with those
        of so many users of the data set in use. What the history is against is read as a history
        of its own, and counts against the items that it makes likelier. liked: the score is the
        probability that the user likes the item rather than dislikes it. reading: changes to
        ZeroShotSettings (plan, form, normalise, …). Raises ConfigError for a setting that is none.
        """
        settings = ZeroShotSettings.parse({"calibration": float(calibrated), **reading}, "score")
        request, ids, titles = self._candidates(history, items, user_id)
        scorer = self.zero_shot(settings)
        asked = Requests.of([request])
        return _best_first(scorer.predict(asked) if liked else scorer.score(asked), ids, titles)

    def zero_shot(self, settings: ZeroShotSettings) -> ZeroShot:
        """What `score` asks: for many requests at once, and for `evaluate_ranking`."""
        kept = self._opened.get("score")
        if kept is None or kept[0] != settings:
            data = self.dataset
            items = as_items(["an unknown item"]) if data is None else data.items
            users = None if data is None else data.users
            words = Verbalizer(_templates(data or NOTHING), items, users)
            others = [] if data is None else some_histories(data, settings.others)
            scorer = ZeroShot(self.backbone, self.tokenizer, words, settings, others=others)
            kept = (settings, scorer)
            self._opened["score"] = kept
        found: ZeroShot = kept[1]
        return found

    def _data(self) -> Dataset:
        if self.dataset is None:
            raise M6Error(
                "there is no catalogue: give items=[…], or name a data set first with use(folder)"
            )
        return self.dataset

    @property
    def scale(self) -> float:
        """Highest rating, by the templates of the data set in use."""
        return float(_templates(self.dataset or NOTHING).word("scale"))

    def _request(self, history: History, user_id: str | int | None) -> Request:
        user_id = _user_ids([user_id], 1)[0]
        events = parse_history(history, self.scale)
        if not events and user_id is not None:
            events = own_events(self._data(), user_id)
        return Request(history=events, user_id=user_id)

    def _requests(self, histories: Sequence[History], users: Sequence[str | None]) -> Requests:
        """`_request` for many; what users did is taken from the log in one piece."""
        scale = self.scale
        events = [parse_history(history, scale) for history in histories]
        bare = [n for n, user in enumerate(users) if not events[n] and user is not None]
        log = user_log(self._data()) if bare else None
        if log is None:
            return Requests.of([Request(e, user) for e, user in zip(events, users, strict=True)])
        own = log.requests([str(users[n]) for n in bare])
        if len(bare) == len(users):
            return own
        order = np.zeros(len(users), dtype=np.int64)
        order[bare] = np.arange(len(bare))
        rest = np.setdiff1d(np.arange(len(users)), bare)
        order[rest] = len(bare) + np.arange(len(rest))
        told = Requests.of([Request(events[n], users[n]) for n in rest.tolist()])
        return (own + told).take(order)

    def _candidates(
        self, history: History, items: Items, user_id: str | int | None
    ) -> tuple[Request, list[str], list[str]]:
        """A request that asks for some items, their ids and titles."""
        frame = as_items(items)
        ids, titles = frame["item_id"].to_list(), frame["title"].to_list()
        known = item_places(self.dataset or NOTHING)
        candidates = tuple(
            Candidate(item_id if item_id in known else None, title)
            for item_id, title in zip(ids, titles, strict=True)
        )
        return replace(self._request(history, user_id), candidates=candidates), ids, titles

    def _leave_out_bought(
        self,
        scores_BI: np.ndarray,
        histories: Sequence[History],
        users: Sequence[str | None],
        place_of: Mapping[str | None, int],
    ) -> None:
        """What a user bought by the log, where another history came along."""
        if self.dataset is None:
            return
        for row, (history, user) in enumerate(zip(histories, users, strict=True)):
            if user is None or not len(history):
                continue
            own = own_events(self.dataset, user)
            bought = (place_of.get(e.item_id, -1) for e in own if kind_of(e.event).bought)
            scores_BI[row, [place for place in bought if place >= 0]] = -np.inf

    def _catalogue(self, items: Items | None) -> tuple[Catalogue, list[str], Shelf]:
        key = self._data().items if items is None else items
        if (kept := self._opened.get("retrieve")) is not None and kept[0] is key:
            found: tuple[Catalogue, list[str], Shelf] = kept[1]
            return found
        if items is None:
            asked = self._data()
        else:
            asked = replace(self.dataset or NOTHING, items=as_items(items), events=None)
        words = _templates(self.dataset or NOTHING)
        task = self.tasks.get("retrieve")
        catalogue = self.opener().catalogue(task, asked, words, text_only=self.text_only)
        titles = asked.items["title"].to_list()
        shelf = Shelf.of(asked.items)
        self._opened["retrieve"] = (key, (catalogue, titles, shelf))
        return catalogue, titles, shelf

    def _with_written(
        self,
        answers: Sequence[Sequence[Recommendation]],
        histories: Sequence[History],
        users: Sequence[str | None],
        own: bool,
    ) -> list[list[Recommendation]]:
        """With reasons that a tuned task writes; own: items are those of the data set in use."""
        written = [
            [self._written(one.item_id if own else one.title, history, user) for one in row]
            for row, history, user in zip(answers, histories, users, strict=True)
        ]
        return _explained(answers, written)

    def _alike(self, catalogue: Catalogue) -> AlikeItems:
        if catalogue.chosen is not None:
            return AlikeItems.of(catalogue.chosen.score)
        kept = self._opened.get("alike")
        if kept is None or kept[0] is not catalogue:
            texts = catalogue.retriever.packer.verbalizer.item_texts()
            kept = (catalogue, AlikeItems.fit(texts, self.opener().backbone.embed))
            self._opened["alike"] = kept
        found: AlikeItems = kept[1]
        return found

    def _ranker(self) -> Ranker:
        task = self.tasks.get("rank")
        if task is None:
            raise NotTunedError("rank")
        if "rank" not in self._opened:
            ranker = self.opener().ranker(task, self.dataset or NOTHING)
            self._opened["rank"] = (None, ranker)
        found: Ranker = self._opened["rank"][1]
        return found

    def _scores(self, catalogue: Catalogue, asked: Requests, own: bool) -> np.ndarray:
        """float32 [B, I]; people who are for nothing get the popular items of the data set."""
        return catalogue.score(asked, popularity(self._data()) if own else None)


@once
def _templates(dataset: Dataset) -> Templates:
    return templates_of(dataset)


def _check_k(k: int) -> None:
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise M6Error(f"k = {k!r}: right is a whole number, 1 or more")


def _leave_out_seen(
    scores_BI: np.ndarray, asked: Requests, place_of: Mapping[str | None, int]
) -> None:
    """Items that a history names get no score. place_of: column of each item."""
    ids = asked.pool["item_id"].to_list()
    place_E = np.array([place_of.get(item_id, -1) for item_id in ids], dtype=np.int64)
    start_B, stop_B = asked.rows["start"].to_numpy(), asked.rows["stop"].to_numpy()
    for row, (start, stop) in enumerate(zip(start_B.tolist(), stop_B.tolist(), strict=True)):
        seen = place_E[start:stop]
        scores_BI[row, seen[seen >= 0]] = -np.inf


def _user_ids(user_ids: Sequence[str | int | None] | None, count: int) -> list[str | None]:
    """Ids as text, as tables have them; DataError for what can be none."""
    if user_ids is None:
        return [None] * count
    ids = [as_id(user_id) for user_id in user_ids]
    for user_id in ids:
        if not isinstance(user_id, str | None):
            raise DataError(f"user_id = {user_id!r}: right is an id of the events, as text")
    return [user_id for user_id in ids if isinstance(user_id, str | None)]


def _named(
    place_K: np.ndarray, score_K: np.ndarray, item_ids: list[str], titles: list[str]
) -> list[Recommendation]:
    found = zip(place_K.tolist(), score_K.tolist(), strict=True)
    return [Recommendation(item_ids[i], titles[i], score) for i, score in found]


def _explained(
    answers: Sequence[Sequence[Recommendation]], why: Sequence[Sequence[Reason | None]]
) -> list[list[Recommendation]]:
    return [
        [replace(one, reason=reason) for one, reason in zip(row, reasons, strict=True)]
        for row, reasons in zip(answers, why, strict=True)
    ]


def _best_first(scores: np.ndarray, item_ids: list[str], titles: list[str]) -> list[Recommendation]:
    """All items; equal scores keep their order."""
    order = np.argsort(-scores, kind="stable").tolist()
    return [Recommendation(item_ids[i], titles[i], float(scores[i])) for i in order]
