"""What pretraining asks of a document: examples with a source to read and a target to write.

Paper section 1: text infilling, whole sentences, behaviour text. An example is drawn by a random
generator alone, so the same generator gives the same example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from m6rec.model.plans import FIRST_EVENT_SLOT, SLOTS
from m6rec.text import prompts
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.corpus.documents import Document

Job = Literal[
    "infill",
    "describe",
    "title",
    "name",
    "review",
    "headline",
    "reply",
    "converse",
    "explain",
    "next",
]
JOBS: tuple[Job, ...] = get_args(Job)
PROMPTS: dict[Job, str] = {
    "infill": "fill in the gaps",
    "describe": "write the description",
    "title": prompts.TITLE,
    "name": prompts.TITLE,
    "review": "write the review",
    "headline": "write the headline",
    "reply": prompts.REPLY,
    "converse": "go on with the conversation",
    "explain": prompts.EXPLAIN,
}
"""The first source segment of each job, of kind "context". Behaviour has none: a history alone."""
LONG, SHORT, TARGET = 96, 32, 128
"""Tokens of a long field, of an event or a turn, of a target."""
HISTORY, TURNS, TURNS_TO_GO_ON = 12, 6, 2
VERBS = ("clicked", "bought", "chose", "liked", "put in the cart")
OWN_VERB = 0.5
"""Share of histories told with the verb of the log; the others take one of VERBS throughout, since
what was wanted matters more than how it is called."""
NO_HISTORY = 0.1
"""Share of next events told without a history: how likely an event is by itself, which calibrated
scores subtract."""


@dataclass(frozen=True, slots=True)
class Example:
    """source: (row of the segment embedding, ids as read), in order; target: written ids."""

    source: tuple[tuple[int, tuple[int, ...]], ...]
    target: tuple[int, ...]
    target_bytes: int

    @property
    def tokens(self) -> int:
        """Tokens that the network computes, brackets included."""
        return sum(len(ids) + 2 for _, ids in self.source) + len(self.target) + 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A user (or a text) and what belongs to it: for the contrastive objective."""

    source: tuple[tuple[int, tuple[int, ...]], ...]
    item: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens that the network computes, brackets included."""
        return sum(len(ids) + 2 for _, ids in self.source) + len(self.item) + 2


class Asker:
    """Documents → examples."""

    def __init__(self, tokenizer: Tokenizer, infill_share: float, span: float) -> None:
        self.tokenizer = tokenizer
        self.infill_share, self.span = infill_share, span
        self._read: dict[tuple[str, int], tuple[int, ...]] = {}
        self._jobs: dict[Job, Callable[[Document, np.random.Generator], Example]] = {
            "infill": self._infill,
            "describe": self._describe,
            "title": self._title,
            "name": self._name,
            "review": self._review,
            "headline": self._headline,
            "reply": self._reply,
            "converse": self._converse,
            "explain": self._explain,
            "next": self._next,
        }

    def ask(self, job: Job, document: Document, rng: np.random.Generator) -> Example:
        """An example of a job; the document must fit it (see `fits`)."""
        return self._jobs[job](document, rng)

    def pair(self, document: Document, rng: np.random.Generator) -> Pair:
        """User and next item (behaviour), or two texts that say the same."""
        if document.kind == "behaviour":
            place = int(rng.integers(1, len(document.parts)))
            return Pair(self._history(document, place, rng), self.read(document.items[place], 48))
        short, long = ("summary", "review") if document.kind == "review" else PAIRED[document.kind]
        ids = self.read(document.part(short), SHORT)
        return Pair(((SLOTS["query"], ids),), self.read(document.part(long), LONG))

    def read(self, text: str, budget: int) -> tuple[int, ...]:
        """Ids of a text as the network reads it; short texts are remembered."""
        found = self._read.get((text, budget))
        if found is None:
            found = tuple(self.tokenizer.encode(text, budget))
            if len(text) < 200:
                self._read[text, budget] = found
        return found

    def _example(self, job: Job, fields: Sequence[tuple[int, str, int]], target: str) -> Example:
        prompt = (SLOTS["context"], self.read(PROMPTS[job], SHORT))
        source = [(slot, self.read(text, budget)) for slot, text, budget in fields if text]
        return self._to_write((prompt, *source), target)

    def _to_write(self, source: tuple[tuple[int, tuple[int, ...]], ...], target: str) -> Example:
        ids = self.tokenizer.write(target, TARGET)
        size = len(target.encode())
        if len(ids) == TARGET:
            size = len(self.tokenizer.decode(ids).encode())
        return Example(source, tuple(ids), size)

    def _infill(self, document: Document, rng: np.random.Generator) -> Example:
        text = document.parts[int(rng.integers(len(document.parts)))]
        if document.kind in ("item", "explanation"):
            text = ". ".join(document.parts)
        words = text.split()[:70]
        spans = draw_spans(len(words), self.infill_share, self.span, rng)
        mask, read, target = self.tokenizer.special.mask, [], []
        at = 0
        for first, last in spans:
            read += [*self.read(" ".join(words[at:first]), LONG), mask]
            target.append(" ".join(words[first:last]))
            at = last
        read += self.read(" ".join(words[at:]), LONG)
        prompt = (SLOTS["context"], self.read(PROMPTS["infill"], SHORT))
        ids: list[int] = []
        for span in target:
            ids += [*([mask] if ids else []), *self.tokenizer.write(span)]
        size = sum(len(span.encode()) + 1 for span in target)
        source = (prompt, (SLOTS["item"], tuple(read[: LONG + TARGET])))
        return Example(source, tuple(ids[:TARGET]), size)

    def _describe(self, document: Document, rng: np.random.Generator) -> Example:
        fields = [(SLOTS["item"], _heading(document), LONG)]
        return self._example("describe", fields, document.part("description"))

    def _title(self, document: Document, rng: np.random.Generator) -> Example:
        details = ", ".join(filter(None, (document.part("brand"), document.part("category"))))
        fields = [
            (SLOTS["profile"], details if rng.random() < 0.5 else "", SHORT),
            (SLOTS["item"], document.part("description"), LONG),
        ]
        return self._example("title", fields, document.part("title"))

    def _name(self, document: Document, rng: np.random.Generator) -> Example:
        details = ", ".join(filter(None, (document.part("brand"), document.part("category"))))
        return self._example("name", [(SLOTS["profile"], details, SHORT)], document.part("title"))

    def _review(self, document: Document, rng: np.random.Generator) -> Example:
        fields = [
            (SLOTS["item"], document.part("item"), SHORT),
            (FIRST_EVENT_SLOT, document.part("rating"), SHORT),
            (SLOTS["query"], document.part("summary") if rng.random() < 0.7 else "", SHORT),
        ]
        return self._example("review", fields, document.part("review"))

    def _headline(self, document: Document, rng: np.random.Generator) -> Example:
        fields = [
            (SLOTS["item"], document.part("item") if rng.random() < 0.5 else "", SHORT),
            (FIRST_EVENT_SLOT, document.part("rating"), SHORT),
            (SLOTS["query"], document.part("review"), LONG),
        ]
        return self._example("headline", fields, document.part("summary"))

    def _reply(self, document: Document, rng: np.random.Generator) -> Example:
        place = _reply_place(document, rng)
        return self._example("reply", _turns(document, place, TURNS), document.parts[place])

    def _converse(self, document: Document, rng: np.random.Generator) -> Example:
        place = min(_reply_place(document, rng) for _ in range(2))
        fields = _turns(document, place, TURNS_TO_GO_ON)
        return self._example("converse", fields, "\n".join(document.parts[place:]))

    def _explain(self, document: Document, rng: np.random.Generator) -> Example:
        fields = [
            (SLOTS["profile"], document.part("profile"), LONG),
            (SLOTS["item"], document.part("item"), LONG),
        ]
        return self._example("explain", fields, document.part("explanation"))

    def _next(self, document: Document, rng: np.random.Generator) -> Example:
        place = int(rng.integers(1, len(document.parts)))
        verb = _verb(document, rng)
        source = self._history(document, place, rng, verb) if rng.random() >= NO_HISTORY else ()
        return self._to_write(source, f"{verb}: {document.parts[place]}")

    def _history(
        self, document: Document, place: int, rng: np.random.Generator, verb: str = ""
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        verb = verb or _verb(document, rng)
        first = max(0, place - int(rng.integers(1, HISTORY + 1)))
        return tuple(
            (FIRST_EVENT_SLOT + place - 1 - i, self.read(f"{verb}: {document.parts[i]}", SHORT))
            for i in range(first, place)
        )


PAIRED = {"item": ("title", "description"), "explanation": ("explanation", "item")}
"""Which two parts of a document the contrastive objective brings together."""


def fits(job: Job, document: Document) -> bool:
    """Whether a document has what a job needs."""
    has = set(document.roles)
    if job == "infill":
        return document.kind != "behaviour" and len(document.text.split()) >= 4
    needs: dict[Job, tuple[str, set[str]]] = {
        "describe": ("item", {"title", "description"}),
        "title": ("item", {"title", "description"}),
        "name": ("item", {"title"}),
        "review": ("review", {"review"}),
        "headline": ("review", {"review", "summary"}),
        "reply": ("dialogue", set()),
        "converse": ("dialogue", set()),
        "explain": ("explanation", {"explanation"}),
        "next": ("behaviour", set()),
    }
    kind, parts = needs[job]
    return document.kind == kind and parts <= has


def pairs_up(document: Document) -> bool:
    """Whether a document has two texts that say the same, or a history."""
    if document.kind == "review":
        return len(document.part("summary").split()) >= 3
    if document.kind in PAIRED:
        return set(PAIRED[document.kind]) <= set(document.roles)
    return document.kind == "behaviour"


def draw_spans(
    words: int, share: float, mean: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Spans (first, last + 1) to be filled in: lengths ~ Poisson(mean), at least one word each.

    About `share` of the words, never next to each other, so that every gap is one span.
    """
    wanted = max(1, round(share * words))
    taken = np.zeros(words + 1, dtype=bool)
    covered = 0
    for _ in range(4 * words):
        if covered >= wanted:
            break
        length = int(min(max(1, rng.poisson(mean)), wanted - covered, words))
        first = int(rng.integers(0, words - length + 1))
        if not taken[max(0, first - 1) : first + length + 1].any():
            taken[first : first + length] = True
            covered += length
    edges = np.flatnonzero(np.diff(np.concatenate([[False], taken[:words], [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _heading(document: Document) -> str:
    brand, category = document.part("brand"), document.part("category")
    by = f" by {brand}" if brand else ""
    return f"{document.part('title')}{by}" + (f" ({category})" if category else "")


def _reply_place(document: Document, rng: np.random.Generator) -> int:
    """Which turn of a dialogue is to be written: one of the system's, or else the last."""
    replies = [i for i, role in enumerate(document.roles) if role == "system" and i > 0]
    return replies[int(rng.integers(len(replies)))] if replies else len(document.parts) - 1


def _turns(document: Document, place: int, most: int) -> list[tuple[int, str, int]]:
    """Fields of the newest turns before one, each a segment of its age."""
    return [
        (FIRST_EVENT_SLOT + place - 1 - i, f"{document.roles[i]}: {document.parts[i]}", 48)
        for i in range(max(0, place - most), place)
    ]


def _verb(document: Document, rng: np.random.Generator) -> str:
    if rng.random() < OWN_VERB:
        return document.roles[0]
    return VERBS[int(rng.integers(len(VERBS)))]
