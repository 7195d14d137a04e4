"""Conversation: asks, recommends from the catalogue, or chats, and keeps in mind what was said.

A reply is written with slots (data/talks.py: NEW, OLD), and an item of the catalogue is put into
each: so whatever is recommended exists. Without a tuned task the words are a few set phrases; with
one (`fit("chat", …)`) the network writes them, and whether it writes a slot or a question is how it
decides. Insults, empty turns and talk of other things are answered by phrases in either case, and
insults are never read by the network.

Read, as in pretraining: "write the reply", then the newest turns as events of their age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pydantic import Field

from m6rec.data.passages import Passage
from m6rec.data.talks import NEW, OLD, Ask, Turn, passage_of
from m6rec.model.generation.decoding import Decoding
from m6rec.records import Segment
from m6rec.tasks.dialogue_finder import Finder
from m6rec.tasks.dialogue_state import Act, State, Wish, readable
from m6rec.tasks.dialogue_words import ABUSE
from m6rec.tasks.writing import Author, WritingSettings
from m6rec.text.prompts import REPLY

MOST_ITEMS = 3
"""Items of a reply; further slots are filled with words."""
PATIENCE = 2
"""Replies without an offer in a row, before one is made to whoever wants an item."""
PHRASES: dict[str, tuple[str, ...]] = {
    "offer": (f"How about {NEW}?", f"You could try {NEW}.", f"{NEW} may be what you want."),
    "because": ("Since you like {liked}, how about {new}?", "{new} goes well with {liked}."),
    "greeting": ("Hello! What are you looking for?",),
    "vague": ("What do you like, or what is it for?", "Which one did you like before?"),
    "nothing": ("I am listening: what are you looking for?",),
    "abuse": ("I would rather keep this friendly. I can help you to find something.",),
    "off-topic": ("I can only help you to find something here. What are you looking for?",),
    "leave": ("You are welcome. Goodbye!",),
    "return": (f"That was {OLD}.",),
    "no more": ("I have nothing else to offer. What else do you like?",),
}
FIXED: tuple[Wish, ...] = ("nothing", "abuse", "off-topic", "return")
"""Answered by phrases, whoever writes."""


class DialogueSettings(WritingSettings):
    """What a reply is written from: the newest turns."""

    max_history: int = Field(default=6, ge=1)
    event_tokens: int = Field(default=48, ge=1)
    budget: int = Field(default=64, ge=1)


class DialogueForm:
    """What a reply reads and writes; turns are the passage's events."""

    def __init__(self, settings: DialogueSettings) -> None:
        self.settings = settings

    def source(self, passage: Passage) -> list[Segment]:
        """The prompt, then the newest turns, oldest first."""
        turns = passage.history[-self.settings.max_history :]
        told = [
            Segment(f"{turn.event}: {turn.text or ''}", "event", age=len(turns) - place)
            for place, turn in enumerate(turns, start=1)
        ]
        return [Segment(REPLY, "context"), *told]

    def target(self, passage: Passage, reference: str) -> str:
        """The reply, with slots."""
        return reference

    def read(self, text: str) -> str:
        """The reply, with slots."""
        return text.strip()

    def facts(self, passage: Passage) -> list[str]:
        """What was said."""
        return [turn.text or "" for turn in passage.history]


@dataclass(frozen=True, slots=True)
class Offer:
    """An item of the catalogue that a reply recommends. score: comparable within a reply."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its words, the items in it, and what it does."""

    text: str
    items: tuple[Offer, ...]
    act: Act


class ReplyWriter(Protocol):
    """Writes a reply with slots, piece by piece."""

    def pieces(self, turns: Sequence[Turn]) -> Iterator[str]: ...


class AuthorWriter:
    """A tuned author that writes replies. decoding: how (no beams: they can not stream)."""

    def __init__(self, author: Author, decoding: Decoding | None = None) -> None:
        self.author, self.decoding = author, decoding or author.decoding

    def pieces(self, turns: Sequence[Turn]) -> Iterator[str]:
        """What is certain so far; closing it ends the writing."""
        stream = self.author.stream(passage_of(Ask("", tuple(turns))), self.decoding)
        try:
            for piece in stream:
                if piece.text:
                    yield piece.text
        finally:
            stream.close()


class Filler:
    """Text with slots, in pieces → text with items in their place; a slot may span pieces.

    A word that is not over yet is held back, so that an insult never gets out in part.
    fill: slot → what stands in its place; read once, so no title becomes a slot.
    """

    def __init__(self, fill: Callable[[str], str]) -> None:
        self._fill, self._open = fill, ""

    def push(self, more: str) -> str:
        """What is certain."""
        self._open += more
        cut = max(self._open.rfind(" "), self._open.rfind("\n")) + 1
        sure, self._open = self._open[:cut], self._open[cut:]
        return self._filled(sure)

    def finish(self) -> str:
        """The rest; the beginning of a slot, cut short by the budget, is left out."""
        rest, self._open = self._open, ""
        for slot in (NEW, OLD):
            for size in range(len(slot) - 1, 0, -1):
                if rest.endswith(slot[:size]):
                    return self._filled(rest[:-size])
        return self._filled(rest)

    def _filled(self, text: str) -> str:
        done = []
        while text:
            places = [(text.find(slot), slot) for slot in (NEW, OLD) if slot in text]
            if not places:
                break
            at, slot = min(places)
            done += [text[:at], self._fill(slot)]
            text = text[at + len(slot) :]
        return "".join(done) + text


class Conversation:
    """One dialogue with one person. finder: of items; writer: of words (None: set phrases)."""

    def __init__(self, finder: Finder, writer: ReplyWriter | None = None) -> None:
        self.finder, self.writer = finder, writer
        self.state = State(finder.index)
        self.last = Reply("", (), "chat")

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said so far; insults are there as an empty turn."""
        return tuple(self.state.turns)

    @property
    def liked(self) -> list[str]:
        """Titles that the user likes, by what was said."""
        return [self.finder.titles[row] for row in self.state.liked]

    @property
    def rejected(self) -> list[str]:
        """Titles that the user does not want."""
        return [self.finder.titles[row] for row in self.state.rejected]

    def say(self, text: str) -> Reply:
        """What the user says → the reply."""
        for _ in self.stream(text):
            pass
        return self.last

    def stream(self, text: str) -> Iterator[str]:
        """The same reply piece by piece; whole it is in `last`, also where it is left early."""
        text = readable(text)
        abusive = ABUSE.search(text) is not None
        named = self.state.hear(Turn("user", "" if abusive else text))
        wish: Wish = "abuse" if abusive else self.state.wish(named, self.finder.index.words)
        offers = _Offers(self.finder, self.state, wish == "return")
        filler, given = Filler(offers.fill), list[str]()
        try:
            for piece in self._slotted(wish, offers):
                if more := filler.push(piece):
                    if ABUSE.search("".join(given) + more):
                        break
                    given.append(more)
                    yield more
            else:
                if more := filler.finish():
                    given.append(more)
                    yield more
        finally:
            self._keep("".join(given).strip(), offers, wish)

    def _keep(self, text: str, offers: _Offers, wish: Wish) -> None:
        items = tuple(offers.made)
        act: Act = "recommend" if items else "ask" if text.endswith("?") else "chat"
        rows = [self.finder.place[offer.item_id] for offer in items]
        ids, titles = tuple(o.item_id for o in items), tuple(o.title for o in items)
        self.state.told(Turn("system", text, ids, titles), rows)
        self.last = Reply(text, items, act)

    def _slotted(self, wish: Wish, offers: _Offers) -> Iterator[str]:
        """The reply with slots."""
        written = ""
        if self.writer is not None and wish not in FIXED:
            for piece in self.writer.pieces(self.turns):
                written += piece
                yield piece
        offered = NEW in written
        wants = wish == "open" or (wish == "vague" and self.state.questions >= PATIENCE)
        if not written.strip() or (wants and not offered and self.state.questions >= PATIENCE):
            yield (" " if written.strip() else "") + self.phrase("open" if wants else wish, offers)

    def phrase(self, wish: Wish, offers: _Offers) -> str:
        """A set phrase with slots; the same turn of the same dialogue has the same one."""
        number = len(self.state.turns) // 2
        if wish != "open":
            return _pick("no more" if wish == "return" and not offers.left else wish, number)
        if not offers.left:
            return _pick("no more", number)
        liked = self.finder.titles[self.state.liked[-1]] if self.state.liked else NEW
        if NEW in liked or OLD in liked or number % 2:
            return _pick("offer", number)
        return _pick("because", number // 2).format(liked=liked, new=NEW)


class _Offers:
    """Items in the order in which they will be offered; found when the first one is needed."""

    def __init__(self, finder: Finder, state: State, again: bool) -> None:
        self._finder, self._state, self._again = finder, state, again
        self._queue: list[tuple[int, float]] | None = None
        self.made: list[Offer] = []

    @property
    def left(self) -> bool:
        """Whether there is one."""
        return bool(self._found())

    def fill(self, slot: str) -> str:
        """The title in place of a slot; words where there is no item."""
        if slot == OLD and not self._again and self._state.mentioned:
            return self._finder.titles[self._state.mentioned[-1]]
        queue = self._found()
        if not queue or len(self.made) >= MOST_ITEMS:
            return "something else"
        row, score = queue.pop(0)
        self.made.append(Offer(self._finder.item_ids[row], self._finder.titles[row], score))
        return self.made[-1].title

    def _found(self) -> list[tuple[int, float]]:
        if self._queue is None:
            scores_I = self._finder.of([self._state])[0]
            if self._again:
                order = self._state.offered_again()
            else:
                out = set(self._state.shut_out())
                best = np.argsort(-scores_I, kind="stable")[: MOST_ITEMS + len(out)].tolist()
                wished = [row for row in self._state.asked if row not in self._state.rejected]
                order = wished + [row for row in best if row not in out]
            self._queue = [(row, float(scores_I[row])) for row in order]
        return self._queue


def _pick(name: str, number: int) -> str:
    phrases = PHRASES[name]
    return phrases[number % len(phrases)]


class Dialogist:
    """A finder and a writer as one that is judged (evaluation/talking.py)."""

    def __init__(self, name: str, finder: Finder, author: Author | None = None) -> None:
        self.name, self.finder, self.author = name, finder, author

    def scores(self, asks: Sequence[Ask]) -> np.ndarray:
        """How well each item fits into each reply: [A, I]."""
        return self.finder.scores(asks)

    def replies(self, asks: Sequence[Ask]) -> list[str]:
        """Replies with slots: of the author, or phrases."""
        if self.author is not None:
            return self.author.write([passage_of(ask) for ask in asks])
        return [self._phrase(ask) for ask in asks]

    def _phrase(self, ask: Ask) -> str:
        talk = Conversation(self.finder)
        talk.state = self.finder.state(ask)
        named = [self.finder.place[i] for t in ask.before[-1:] for i in t.item_ids]
        wish = talk.state.wish(named, self.finder.index.words)
        return talk.phrase(wish, _Offers(self.finder, talk.state, wish == "return"))
