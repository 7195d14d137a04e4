"""What a dialogue says so far: items named, liked, rejected; and what the last word asks for.

By words alone and in English: no label of a data set is read, so that a dialogue that is judged and
one that is held are understood in the same way. What no rule knows counts as neutral.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from m6rec.data.talks import LONGEST_TURN, NEW, OLD, Turn
from m6rec.tasks.dialogue_words import (
    ABUSE,
    ASKED,
    CLAUSE,
    ELSE,
    GENERIC,
    GREETING,
    KNOWN,
    LEAVE,
    NEUTRAL,
    NO,
    RETURN,
    ROLE,
    WANT,
    YES,
)
from m6rec.text.aspects import is_content, split, stem
from m6rec.text.hygiene import clean

Act = Literal["ask", "recommend", "chat"]
Wish = Literal["nothing", "abuse", "leave", "greeting", "return", "off-topic", "vague", "open"]
"""What a turn asks for: nothing was said; an insult; the end; a hello; what was named before;
something else than items; an item of no kind in particular; an item."""

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
YEAR = re.compile(r"\s*\(\d{4}\)\s*$")
SLOTS = re.compile(f"{NEW}|{OLD}", re.IGNORECASE)


def readable(text: str) -> str:
    """What a person said, as it is kept: one line, no label of a role, no slot of ours."""
    return clean(SLOTS.sub(" ", ROLE.sub("", clean(text, LONGEST_TURN))), LONGEST_TURN)


class TitleIndex:
    """Titles of a catalogue, found in a text.

    A title is found by its words; one that ends in a year in brackets also without it. A single
    short or common word is a title only where it is written with a capital within a sentence, or
    with its year. rank: the higher, the likelier is an item meant where titles are equal.
    """

    def __init__(self, titles: Sequence[str], rank: Sequence[float] | None = None) -> None:
        order = range(len(titles))
        if rank is not None:
            order = sorted(order, key=lambda n: rank[n])[::-1]  # type: ignore[assignment]
        self.titles = list(titles)
        self._row: dict[tuple[str, ...], int] = {}
        bare: dict[tuple[str, ...], int] = {}
        for number in order:
            title = titles[number]
            self._row.setdefault(_key(title), number)
            bare.setdefault(_key(YEAR.sub("", title)), number)
        for key, number in bare.items():
            self._row.setdefault(key, number)
        self._row.pop((), None)
        self.longest = max((len(key) for key in self._row), default=1)

    @cached_property
    def words(self) -> frozenset[str]:
        """Stems of the content words of all titles: what may be spoken of."""
        return frozenset(
            stem(word) for title in self.titles for word in split(title) if is_content(word)
        )

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """(first character, past the last, row) of every title, in order; the longest wins."""
        places = list(WORD.finditer(text))
        words = [place[0].casefold() for place in places]
        found, at = [], 0
        while at < len(words):
            size = min(self.longest, len(words) - at)
            while size and not self._is_title(text, places, words, at, size):
                size -= 1
            if size:
                row = self._row[tuple(words[at : at + size])]
                found.append((places[at].start(), places[at + size - 1].end(), row))
            at += max(size, 1)
        return found

    def _is_title(
        self, text: str, places: list[re.Match[str]], words: list[str], at: int, size: int
    ) -> bool:
        if tuple(words[at : at + size]) not in self._row:
            return False
        if size > 1:
            return True
        word = places[at][0]
        begins = not text[: places[at].start()].strip() or bool(
            re.search(r"[.!?]\s*$", text[: places[at].start()])
        )
        return word[0].isupper() and not begins and len(word) > 3 and is_content(words[at])


def _key(title: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in WORD.findall(title))


@dataclass
class State:
    """A dialogue so far. Rows of the catalogue, in the order in which they were named.

    liked, rejected: as the words of the user tell; the last word counts. offered: what the system
    named. asked: what the last turn of the user wishes for by name. questions: turns of the system
    without an offer, since the last one.
    """

    index: TitleIndex
    turns: list[Turn] = field(default_factory=list)
    mentioned: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)
    liked: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    questions: int = 0
    _last_offer: tuple[int, ...] = ()

    def hear(self, turn: Turn, rows: Iterable[int] | None = None) -> list[int]:
        """Takes in a turn of the user; the rows it names (found in its words, if not given)."""
        places = self.index.find(turn.text)
        named = list(dict.fromkeys(row for _, _, row in places))
        given = list(rows or ())
        for row in given:
            if row not in named:
                named.append(row)
        self.asked = [row for a, _, row in places if ASKED.search(turn.text[:a])]
        self._react(turn.text, named)
        for row in named:
            place = next(((a, b) for a, b, r in places if r == row), None)
            self._judge(row, turn.text if place is None else _around(turn.text, *place))
            _add(self.mentioned, row)
        self.turns.append(turn)
        return named

    def told(self, turn: Turn, rows: Iterable[int]) -> None:
        """Takes in a turn of the system, and what it offers."""
        self._last_offer = tuple(rows)
        for row in self._last_offer:
            _add(self.mentioned, row)
            _add(self.offered, row)
        self.questions = 0 if self._last_offer else self.questions + 1
        self.turns.append(turn)

    def wish(self, named: Sequence[int], words: frozenset[str] = frozenset()) -> Wish:
        """What the last turn asks for. named: rows it names. words: stems that the catalogue
        has."""
        text = self.turns[-1].text if self.turns else ""
        if not WORD.search(text):
            return "nothing"
        if ABUSE.search(text):
            return "abuse"
        if self.offered and RETURN.search(text):
            return "return"
        content = [stem(word) for word in split(text) if is_content(word)]
        special = [word for word in content if word not in GENERIC]
        if LEAVE.search(text) and not (WANT.search(text) and special) and not ELSE.search(text):
            return "leave"
        if GREETING.search(text) and not named and not (special and WANT.search(text)):
            return "greeting"
        reacts = bool(self.offered) and bool(
            YES.search(text) or NO.search(text) or ELSE.search(text)
        )
        about = bool(named) or reacts or bool(WANT.search(text)) or bool(words & set(special))
        if not about:
            return "off-topic" if special and not self.questions else "vague"
        known = self.liked or self.rejected or any(map(self._says_something, self.turns))
        return "open" if known else "vague"

    def wanted_text(self, turns: int) -> str:
        """The newest turns of the user, without titles of what is not wanted."""
        mine = [turn.text for turn in self.turns if turn.role == "user" and turn.text][-turns:]
        return " ".join(self._without_rejected(text) for text in mine)

    def _without_rejected(self, text: str) -> str:
        if not self.rejected:
            return text
        for start, stop, row in reversed(self.index.find(text)):
            if row in self.rejected:
                text = text[:start] + text[stop:]
        return text

    def shut_out(self) -> list[int]:
        """Rows that are not to be offered (again)."""
        return list(dict.fromkeys([*self.mentioned, *self.rejected]))

    def offered_again(self) -> list[int]:
        """What was offered, for somebody who asks for it: the newest first, or the first."""
        text = self.turns[-1].text if self.turns else ""
        order = self.offered if re.search(r"\bfirst\b", text) else self.offered[::-1]
        return list(order)

    def _says_something(self, turn: Turn) -> bool:
        stems = (stem(word) for word in split(turn.text) if is_content(word))
        return turn.role == "user" and any(word not in GENERIC for word in stems)

    def _react(self, text: str, named: Sequence[int]) -> None:
        """What the user says of the last offer, where it is not named again."""
        plain = NEUTRAL.sub(" ", text)
        for row in self._last_offer:
            if row in named:
                continue
            if NO.search(plain) or (ELSE.search(plain) and not YES.search(plain)):
                self._set(row, self.rejected)
            elif YES.search(plain) and not KNOWN.search(NEUTRAL.sub(" ", text)):
                self._set(row, self.liked)

    def _judge(self, row: int, clause: str) -> None:
        plain = NEUTRAL.sub(" ", clause)
        if NO.search(plain):
            self._set(row, self.rejected)
        elif YES.search(plain) or not (KNOWN.search(clause) or clause.rstrip().endswith("?")):
            self._set(row, self.liked)

    def _set(self, row: int, where: list[int]) -> None:
        for rows in (self.liked, self.rejected):
            if row in rows:
                rows.remove(row)
        where.append(row)


def replay(turns: Sequence[Turn], index: TitleIndex, place: dict[str, int]) -> State:
    """The state after some turns, whose items are known (data/talks.py)."""
    state = State(index)
    for turn in turns:
        rows = [place[i] for i in turn.item_ids if i in place]
        if turn.role == "user":
            state.hear(turn, rows)
        else:
            state.told(turn, rows)
    return state


def _around(text: str, start: int, stop: int) -> str:
    """The clause around a title, without the title itself."""
    begin, end = 0, len(text)
    for cut in CLAUSE.finditer(text):
        if cut.end() <= start:
            begin = cut.end()
        elif cut.start() >= stop:
            end = min(end, cut.end())
    return text[begin:start] + " " + text[stop:end]


def _add(rows: list[int], row: int) -> None:
    """Puts a row last, once."""
    if row in rows:
        rows.remove(row)
    rows.append(row)
