"""The calls of `M6Rec` that write: explanations, titles, search queries and replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from m6rec.data.passages import Passage, WritingTask
from m6rec.data.tables import Dataset
from m6rec.data.verdicts import Scale, liked
from m6rec.data.writing import known_reviews, writing_split
from m6rec.evaluation.author import OURS, judge_author
from m6rec.evaluation.baselines.writing import people, writing_baselines
from m6rec.evaluation.result import Result
from m6rec.evaluation.writing import FOUND_WITHIN, WritingJudge
from m6rec.metrics.ranking import top_k
from m6rec.model.generation.decoding import Decoding
from m6rec.records import Event, M6Error, Request
from m6rec.talking import evaluate_talks, open_finder
from m6rec.tasks.build import TaskName
from m6rec.tasks.dialogue import AuthorWriter, Conversation
from m6rec.tasks.explanation import ExplanationForm
from m6rec.tasks.folder import NotTunedError, TaskFolder
from m6rec.tasks.opening import Opener
from m6rec.tasks.query import CHECKED, Search, found_first
from m6rec.tasks.title import TitleForm
from m6rec.tasks.weaving import Weaver
from m6rec.tasks.writing import Author
from m6rec.text.aspects import facts, unsupported
from m6rec.text.text_index import TextIndex

if TYPE_CHECKING:
    from typing_extensions import TypeIs

WRITING: tuple[WritingTask, ...] = ("explain", "title", "query", "chat")
CAREFUL = {"method": "sample", "top_p": 0.9, "temperature": 0.8}
"""How several texts are written, where no way is asked for."""
History = Sequence[str | Event | Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a user may like an item.

    features: the aspects that the writer was told to speak of. unsupported: word groups that stand
    in neither the item nor the history, as stems. log_p: likelihood of the text, in nats.
    """

    text: str
    features: tuple[str, ...]
    unsupported: tuple[str, ...]
    log_p: float


@dataclass(frozen=True, slots=True)
class Design:
    """A product that would suit a user or a group.

    category: "" where none is written. log_p: likelihood of the text, in nats.
    """

    category: str
    title: str
    log_p: float


class Authors(ABC):
    """What `M6Rec` can write. Its state belongs to M6Rec."""

    tasks: dict[str, TaskFolder]
    dataset: Dataset | None
    _opened: dict[str, tuple[object, Any]]

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> np.ndarray: ...

    @abstractmethod
    def opener(self) -> Opener: ...

    @abstractmethod
    def _request(self, history: History, user_id: str | None) -> Request: ...

    @property
    @abstractmethod
    def scale(self) -> float: ...

    def explain(
        self,
        item: str,
        history: History = (),
        *,
        user_id: str | None = None,
        profile: str | None = None,
        faithful: bool = True,
        **decoding: Any,
    ) -> Explanation:
        """Why a user may like an item, in a sentence.

        item: an item_id of the data set in use, or a title. history, user_id: as in `recommend`.
        profile: what is known of the user, in words. faithful: only words that the item or the
        history have, beside those that state nothing. decoding: changes to Decoding (method,
        beams, max_tokens, seed, …). Raises NotTunedError before `fit("explain", …)`.
        """
        author = self._author("explain")
        passage = self._passage(history, user_id, item, profile)
        form = author.form
        assert isinstance(form, ExplanationForm)
        held = [author.constraint(passage)] if faithful else None
        found = author.write_all([passage], _changed(author.decoding, decoding), held)[0]
        if not found:
            return Explanation("", tuple(form.features(passage)), (), float("-inf"))
        text = form.read(found[0].text)
        wrong = unsupported(text, facts(form.facts(passage)))
        claims = tuple(" ".join(claim) for claim in wrong)
        return Explanation(text, tuple(form.features(passage)), claims, found[0].log_p)

    def title(
        self,
        history: History = (),
        *,
        user_id: str | None = None,
        group: Collection[str] = (),
        profile: str | None = None,
        category: str | None = None,
        n: int = 1,
        woven: bool = False,
        **decoding: Any,
    ) -> list[Design]:
        """n products that a user or a group would choose: category and title.

        group: user ids of the data set in use, whose histories are read as one. category: what it
        has to be, where the task was tuned with category = "given". woven: put together from the
        titles of the catalogue that read most like them (tasks/weaving.py), fewer than n where it
        gives no more; written all the same where nothing is known of them. The rest as in
        `explain`; of the decoding, only the seed counts for what is woven.
        """
        author = self._author("title")
        passage = self._passage(history, user_id, category, profile)
        if group:
            passage = replace(passage, history=self._of_group(group), user_id=None)
        form = author.form
        assert isinstance(form, TitleForm)
        how = _several(_changed(author.decoding, decoding), n, decoding)
        if woven and (texts := self._weaver(form).weave([passage], n, how.seed)[0]):
            log_p_N = author.log_likelihoods(passage, texts)
            pairs = zip(texts, log_p_N.tolist(), strict=True)
            return [Design(*form.parts(text), log_p) for text, log_p in pairs]
        found = author.write_all([passage], how)[0]
        return [Design(*form.parts(one.text), one.log_p) for one in found]

    def query(
        self,
        item: str | None = None,
        history: History = (),
        *,
        user_id: str | None = None,
        n: int = 1,
        faithful: bool = False,
        checked: bool = False,
        **decoding: Any,
    ) -> list[str]:
        """n searches: those that an item should be found by, or what a user types next.

        Which of the two is settled when the task is tuned (query_from). faithful: only words of the
        item, or of the user and the history. checked: writes more of such ones, and those come
        first whose search over the data set in use has the item highest. Raises M6Error where what
        that needs is not given: a task for items, and an item of the data set.
        """
        author = self._author("query")
        wants_item = getattr(author.settings, "query_from", "item") == "item"
        if wants_item and not item:
            raise M6Error("this task was tuned to write queries for items: give item=…")
        passage = self._passage(history, user_id, item if wants_item else None, None)
        if checked and (self.dataset is None or passage.item_id is None):
            raise M6Error(
                "checked queries need the item_id of an item of the data set in use, and a task "
                "that was tuned to write queries for items; else leave out checked"
            )
        asked = max(n, CHECKED) if checked else n
        how = _several(_changed(author.decoding, decoding), asked, decoding)
        held = [author.constraint(passage)] if faithful or checked else None
        found = [author.form.read(one.text) for one in author.write_all([passage], how, held)[0]]
        if checked and self.dataset is not None:
            found = found_first([found], [passage.item_id], self._search(self.dataset))[0]
        return found[:n]

    def chat(self, *, past: int = 0, **decoding: Any) -> Conversation:
        """A conversation over the data set in use: `.say(text)`, or `.stream(text)`.

        Replies are set phrases before `fit("chat", …)`, and written by the network after it; what
        is recommended is always an item of the data. past: replies of past dialogues that are read
        to see what was recommended in such a place (each costs an encoding at the start).
        decoding: changes to Decoding; beams can not stream. Raises M6Error without a data set, and
        NotTunedError for a decoding before `fit("chat", …)`.
        """
        if self.dataset is None:
            raise M6Error("there is nothing to recommend: name a data set first with use(folder)")
        writer = None
        if "chat" in self.tasks:
            author = self._author("chat")
            writer = AuthorWriter(author, _changed(author.decoding, decoding))
        elif decoding:
            raise NotTunedError("chat", f"set phrases have no {', '.join(decoding)}")
        key = f"finder {past}"
        if key not in self._opened:
            self._opened[key] = (None, open_finder(self.embed, self.dataset, past))
        return Conversation(self._opened[key][1], writer)

    def evaluate_writing(
        self,
        task: WritingTask,
        dataset: Dataset,
        part: Literal["valid", "test"] = "test",
        *,
        baselines: bool = True,
        decoding: Mapping[str, Any] | None = None,
        **cutting: Any,
    ) -> list[Result]:
        """Figures of a tuned task, then of the named baselines and of what people wrote.

        Explanations are judged twice: free, and held to the facts. baselines: whether to judge
        these too. decoding: changes to how the task writes. cutting: limits of the split (max_eval,
        …), which the card says.
        """
        kept, self.dataset = self.dataset, dataset
        self._opened.clear()
        try:
            if task == "chat":
                replies = self._author("chat") if "chat" in self.tasks else None
                if replies is not None:
                    replies.decoding = _changed(replies.decoding, decoding or {})
                return evaluate_talks(self.embed, replies, dataset, part, baselines, **cutting)
            author = self._author(task)
            author.decoding = _changed(author.decoding, decoding or {})
            options = _split_options(author, cutting)
            split = writing_split(dataset, task, **options)
            judge = WritingJudge(split, part, self._searches(dataset, task, options))
            found = judge_author(author, judge)
            if baselines:
                others = [judge.evaluate(one) for one in writing_baselines(split)]
                others.append(judge.judge("what people wrote", people(judge.passages)))
                found += [replace(result, baseline=True) for result in others]
            return found
        finally:
            self.dataset = kept
            self._opened.clear()

    def _search(self, dataset: Dataset) -> Search:
        """Our retrieval over the data set in use; its titles are encoded once."""
        if "search" not in self._opened:
            options = {"query_from": "item"}
            self._opened["search"] = (None, self._searches(dataset, "query", options)[OURS])
        found: Search = self._opened["search"][1]
        return found

    def _weaver(self, form: TitleForm) -> Weaver:
        """The weaver of the titles of the data set in use."""
        if "weaver" not in self._opened:
            self._opened["weaver"] = (None, Weaver(form))
        found: Weaver = self._opened["weaver"][1]
        return found

    def _searches(
        self, dataset: Dataset, task: WritingTask, options: Mapping[str, Any]
    ) -> dict[str, Search]:
        """Our retrieval and a search by words, for queries that are written for items."""
        if task != "query" or options.get("query_from", "item") != "item":
            return {}
        ids, titles = dataset.items["item_id"].to_list(), dataset.items["title"].to_list()
        index, vectors_IK = TextIndex(titles), self.embed(titles)

        def ours(queries: Sequence[str]) -> list[list[str]]:
            found = []
            for first in range(0, len(queries), 64):
                scores = self.embed(queries[first : first + 64]) @ vectors_IK.T
                found += [[ids[n] for n in row] for row in top_k(scores, FOUND_WITHIN).tolist()]
            return found

        def by_words(queries: Sequence[str]) -> list[list[str]]:
            return [[ids[n] for n in index.best(query, FOUND_WITHIN)] for query in queries]

        return {OURS: ours, "round-trip-words": by_words}

    def _author(self, task: WritingTask) -> Author:
        folder = self.tasks.get(task)
        if folder is None:
            raise NotTunedError(task)
        if task not in self._opened:
            self._opened[task] = (None, self.opener().author(folder, self.dataset))
        found: Author = self._opened[task][1]
        return found

    def _passage(
        self, history: History, user_id: str | None, item: str | None, profile: str | None
    ) -> Passage:
        """A question; the item by id where the data set has it, else by its words."""
        data = self.dataset
        known = item is not None and data is not None and data.items["item_id"].is_in([item]).any()
        own, others = known_reviews(data, user_id, item if known else None)
        return Passage(
            user_id=user_id,
            item_id=item if known else None,
            about=None if known else item,
            history=self._liked(history, user_id),
            profile=profile,
            own=own,
            others=others,
        )

    def _liked(self, history: History, user_id: str | None) -> tuple[Event, ...]:
        """The history without what the user is against: nothing is written on that ground."""
        return liked(self._request(history, user_id).history, Scale(self.scale))

    def _of_group(self, group: Collection[str]) -> tuple[Event, ...]:
        """What some users did, in the order of time."""
        events = [event for user in group for event in self._liked((), user)]
        return tuple(sorted(events, key=lambda event: event.timestamp or 0.0))


def _split_options(author: Author, cutting: Mapping[str, Any]) -> dict[str, Any]:
    """How the author's task cuts its data."""
    options = {"max_history": author.settings.max_history, **cutting}
    if hasattr(author.settings, "query_from"):
        options["query_from"] = author.settings.query_from
    return options


def _changed(decoding: Decoding, changes: Mapping[str, Any]) -> Decoding:
    return Decoding.parse({**decoding.model_dump(), **changes}, "decoding")


def _several(decoding: Decoding, n: int, asked: Mapping[str, Any]) -> Decoding:
    """The same for n texts: as many beams as it takes, or samples."""
    if n == 1:
        return decoding
    if decoding.method == "beam":
        return _changed(decoding, {"n": n, "beams": max(n, decoding.beams)})
    return _changed(decoding, {**CAREFUL, **asked, "n": n})


def is_writing(task: TaskName) -> TypeIs[WritingTask]:
    """Whether a task writes texts."""
    return task in WRITING


def check_own_split(task: TaskName, split: object, label: object, targets: object) -> None:
    """Raises M6Error where a task that writes is given rules for events."""
    if split != "auto" or label is not None or targets is not None:
        raise M6Error(
            f"the task {task!r} has a split of its own (docs/writing.md): leave out split, label "
            "and targets"
        )
