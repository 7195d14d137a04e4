"""A bundle opened: what a device does, in Python. Its files: edge/manifest.py.

Legend: I items, A of them that are asked about, G events of a history, K projection width, S texts,
N tokens, or things that are scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from m6rec.config import Settings, SpecialIds
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import CATALOGUE, CONFIG, STATES, TOKENIZER, VECTORS, check
from m6rec.edge.runners import open_runner
from m6rec.edge.transitions import TRANSITIONS, NextChoice, Transitions, TransitionsConfig
from m6rec.text.tokenizer import Tokenizer


class RankConfig(Settings):
    """The ranking of a bundle. parity: share of requests with PyTorch's first ten; off: the largest
    difference of a chance among them."""

    name: str
    max_history: int
    parity: float
    requests: int
    off: float


class BundleConfig(Settings):
    """What a device has to know beside the files.

    runtime: what runs it. budgets are in tokens, between the brackets. event: what choosing an item
    is called. parity: share of generated requests for which it gave the same first ten as PyTorch.
    """

    format: Literal[1] = 1
    runtime: Literal["onnx", "executorch"] = "onnx"
    name: str
    backbone: str
    precision: Literal["int8", "w8a8", "fp32"]
    layers: int
    lower: int
    width: int
    projection: int
    special: SpecialIds
    item_budget: int
    event_budget: int
    max_history: int
    event: str
    parity: float
    requests: int
    rank: RankConfig | None = None
    transitions: TransitionsConfig | None = None


@dataclass(frozen=True)
class Shelf:
    """The catalogue as a device has it, by position: vectors_IK is int8, scale_I float32."""

    ids: list[str]
    titles: list[str]
    texts: list[str]
    events: list[str]
    prior_I: np.ndarray
    vectors_IK: np.ndarray
    scale_I: np.ndarray

    def to_json(self) -> str:
        """All but the vectors. A text that is the title, and priors of zero, are left out."""
        told: dict[str, Any] = {"ids": self.ids, "titles": self.titles, "events": self.events}
        told["texts"] = [
            None if text == title else text
            for text, title in zip(self.texts, self.titles, strict=True)
        ]
        told["prior"] = (
            [float(f"{value:.9g}") for value in self.prior_I] if self.prior_I.any() else []
        )
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    def packed_vectors(self) -> bytes:
        """vectors.bin."""
        return self.scale_I.astype("<f4").tobytes() + self.vectors_IK.tobytes()

    @classmethod
    def read(cls, folder: Path) -> Shelf:
        """From a bundle's files."""
        told = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
        count = len(told["ids"])
        body = (folder / VECTORS).read_bytes()
        texts = [t or title for t, title in zip(told["texts"], told["titles"], strict=True)]
        prior = told["prior"] or [0.0] * count
        return cls(
            told["ids"],
            told["titles"],
            texts,
            told["events"],
            np.array(prior, np.float64),
            np.frombuffer(body, np.int8, offset=4 * count).reshape(count, -1),
            np.frombuffer(body, "<f4", count),
        )


@dataclass(frozen=True)
class Ranked:
    """One item of an answer. because: position in the history of the event that carried it: the one
    nearest to it, or, where there are transitions, the one with the largest share of its score."""

    item_id: str
    title: str
    score: float
    because: int


@dataclass(frozen=True)
class Bend:
    """A person's part of an answer (edge/personal.py). change: user vector → personal one, float64
    [K]. scale: logits that a cosine is worth. hidden: items of a history that are no choice."""

    change: Callable[[np.ndarray], np.ndarray]
    scale: float
    hidden: Collection[str] = ()


class EdgeBundle:
    """A bundle opened with the runtime it is for: what a device does, in Python."""

    def __init__(self, folder: Path, config: BundleConfig, threads: int = 1) -> None:
        self.folder, self.config = folder, config
        self.tokenizer = Tokenizer.load(folder / TOKENIZER, config.special)
        self.shelf = Shelf.read(folder)
        self._place = {item_id: place for place, item_id in enumerate(self.shelf.ids)}
        self._runner = open_runner(folder, threads)
        self._next = self._transitions(config.transitions)

    @classmethod
    def open(cls, folder: str | Path, threads: int = 1) -> EdgeBundle:
        """Opens a folder. Raises EdgeError for what is no bundle, or is damaged."""
        path = Path(folder)
        check(path)
        return cls(path, BundleConfig.read(path / CONFIG), threads)

    def _transitions(self, config: TransitionsConfig | None) -> NextChoice | None:
        if config is None:
            return None
        shelf, body = self.shelf, (self.folder / TRANSITIONS).read_bytes()
        numbers = Transitions.unpack(body, config, len(shelf.ids), self.config.projection)
        return NextChoice(config, numbers, shelf.vectors_IK, shelf.scale_I)

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The one output of a part (encode, user, item; of ONNX bundles model as well)."""
        return self._runner.run(graph, inputs)

    def encode(self, texts: Sequence[str], budget: int) -> np.ndarray:
        """States of texts: float32 [S, D]."""
        ids_SN, _ = self.tokenizer.segments(texts, [budget] * len(texts))
        return self.run("encode", {"ids": ids_SN.astype(np.int32)})

    def rerank(
        self,
        history: Sequence[str],
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
        bend: Bend | None = None,
    ) -> list[Ranked]:
        """The k best items for a history (oldest first) of item ids and of free texts.

        Where the bundle has transitions, by what people chose next: the answer's score is
        log(1 + 2λ · score), plus what `bend` changes of the similarity. Elsewhere by the user
        vector. candidates: ids of items; None: the whole catalogue. Raises EdgeError for an empty
        history, or a candidate that the catalogue has not.
        """
        if not history:
            raise EdgeError("the history is empty; right is at least one item id or text")
        asked = self._asked(candidates, history if exclude_seen else ())
        hidden = () if bend is None else bend.hidden
        chosen = [place for place, entry in enumerate(history) if entry not in hidden]
        if self._next is not None and chosen:
            return self._by_transitions(self._next, history, chosen, asked, k, bend)
        user_K = self.user_vector(history)
        user_K = user_K if bend is None else bend.change(user_K)
        score_N = self._similarity(user_K, asked) + self.shelf.prior_I[asked]
        return self._best(history, asked, score_N, k)

    def _by_transitions(
        self,
        score: NextChoice,
        history: Sequence[str],
        chosen: Sequence[int],
        asked: np.ndarray,
        k: int,
        bend: Bend | None,
    ) -> list[Ranked]:
        """chosen: positions of the entries that are choices."""
        newest = chosen[-score.config.max_history :]
        entries = [history[place] for place in newest]
        places = [self._place.get(entry) for entry in entries]
        told = score.entries(places, self._vectors_of(entries, places))
        head = score.config.head
        user_K = None if bend is None and head is None else self.user_vector(history)
        if head is None or user_K is None:
            score_N = score.logits(score.scores(told)[asked])
        else:
            every = np.arange(len(self.shelf.ids))
            similarity_I = self._similarity(user_K, every) + self.shelf.prior_I
            score_N = score.joined(told, similarity_I)[asked]
        if bend is not None and user_K is not None:
            score_N += bend.scale * self._similarity(bend.change(user_K) - user_K, asked)
        best = np.argsort(-score_N, kind="stable")[:k]
        share_NA = score.shares(told, asked[best])
        last = len(newest) - 1
        why = [newest[last - int(column[::-1].argmax())] for column in share_NA.T]
        return self._answers(asked, score_N, best, why)

    def _similarity(self, user_K: np.ndarray, asked: np.ndarray) -> np.ndarray:
        vectors_NK = self.shelf.vectors_IK[asked].astype(np.float64)
        return np.asarray((vectors_NK @ user_K) * self.shelf.scale_I[asked])

    def rank(
        self,
        history: Sequence[str],
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
    ) -> list[Ranked]:
        """The k items that a yes is likeliest for; the score is its chance. Arguments as `rerank`.

        Raises EdgeError, also for a bundle without a ranking.
        """
        if self.config.rank is None:
            raise EdgeError("the bundle has no ranking; export it with --rank ADAPTER")
        if not history:
            raise EdgeError("the history is empty; right is at least one item id or text")
        asked = self._asked(candidates, history if exclude_seen else ())
        if not len(asked):
            return []
        texts, budget = self._told(history, self.config.rank.max_history), self.config.event_budget
        ids_GN, _ = self.tokenizer.segments(texts, [budget] * len(texts))
        states_GD = self.run("rank_encode", {"ids": ids_GN.astype(np.int32)})
        states_ID = self._item_states[asked].astype(np.float32)
        chance_N = self.run("rank", {"history": states_GD, "items": states_ID})
        return self._best(history, asked, chance_N, k)

    @cached_property
    def _item_states(self) -> np.ndarray:
        body = (self.folder / STATES).read_bytes()
        return np.frombuffer(body, "<f2").reshape(len(self.shelf.ids), -1)

    def _best(
        self, history: Sequence[str], asked: np.ndarray, score_N: np.ndarray, k: int
    ) -> list[Ranked]:
        shelf, places = self.shelf, [self._place.get(entry) for entry in history]
        best = np.argsort(-score_N, kind="stable")[:k]
        why = self._because(history, places, shelf.vectors_IK[asked[best]].astype(np.float64))
        return self._answers(asked, score_N, best, why)

    def _answers(
        self, asked: np.ndarray, score_N: np.ndarray, best: np.ndarray, why: Sequence[int]
    ) -> list[Ranked]:
        shelf = self.shelf
        return [
            Ranked(shelf.ids[asked[n]], shelf.titles[asked[n]], float(score_N[n]), because)
            for n, because in zip(best.tolist(), why, strict=True)
        ]

    def user_vector(self, history: Sequence[str]) -> np.ndarray:
        """The unit vector of a history, oldest first: float64 [K]. EdgeError for an empty one."""
        if not history:
            raise EdgeError("the history is empty; right is at least one item id or text")
        texts = self._told(history, self.config.max_history)
        states_GD = self.encode(texts, self.config.event_budget)
        return self.run("user", {"states": states_GD}).astype(np.float64)

    def _told(self, history: Sequence[str], most: int) -> list[str]:
        """The newest events in words."""
        newest = history[max(0, len(history) - most) :]
        places = [self._place.get(entry) for entry in newest]
        return [
            entry if place is None else self.shelf.events[place]
            for entry, place in zip(newest, places, strict=True)
        ]

    def _asked(self, candidates: Sequence[str] | None, without: Sequence[str]) -> np.ndarray:
        """Positions of the candidates (None: of all items), `without` left out."""
        names = self.shelf.ids if candidates is None else candidates
        unknown = [name for name in names if name not in self._place]
        if unknown:
            raise EdgeError(f"the bundle's catalogue has no item {unknown[0]!r}")
        left = set(without)
        return np.array([self._place[name] for name in names if name not in left], dtype=np.int64)

    def _because(
        self, history: Sequence[str], places: Sequence[int | None], found_NK: np.ndarray
    ) -> list[int]:
        """For each item the event whose thing is nearest to it; of equals the newest."""
        likeness_NG = found_NK @ self._vectors_of(history, places).T
        last = likeness_NG.shape[1] - 1
        return [last - int(row[::-1].argmax()) for row in likeness_NG]

    def _vectors_of(self, history: Sequence[str], places: Sequence[int | None]) -> np.ndarray:
        """Item vectors of what the events are about: float64 [G, K]."""
        free = [entry for entry, place in zip(history, places, strict=True) if place is None]
        told = iter(self.item_vectors(free)) if free else iter(())
        rows = []
        for place in places:
            if place is None:
                rows.append(next(told).astype(np.float64))
            else:
                rows.append(self.shelf.vectors_IK[place] * float(self.shelf.scale_I[place]))
        return np.stack(rows)

    def item_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of free texts, read as items: float32 [S, K]."""
        return self.run("item", {"states": self.encode(texts, self.config.item_budget)})
