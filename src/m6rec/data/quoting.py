"""Cuts the lines of delimited text into fields, where a `"` may protect separators and line ends.

RFC 4180, and what files do against it: a quote within a field that does not begin with one is a
character; a field that begins with a quote and goes on behind the closing one is kept as written;
a quote that is opened and never closed costs its own line, never those behind it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from m6rec.data.lines import LineAccount, bare, is_blank

LONGEST_RECORD = 8 * 2**20
"""Characters of a record over several lines; above it a quote counts as never closed."""
RUNS = re.compile('"+')
NEEDS_QUOTES = re.compile(r'["\r\n]')


class Record(NamedTuple):
    """The fields of one record; None where a quote is opened and not closed.

    line: where it starts; text: as it is in the file; more: its lines after the first.
    """

    line: int
    fields: list[str] | None
    text: str
    more: int = 0


@dataclass
class Evidence:
    """How often the quotes of a file protect, as a writer of CSV sets them, and are words."""

    protecting: int = 0
    literal: int = 0

    def weigh(self, part: str, separator: str) -> None:
        """A writer of CSV sets quotes where a field holds one, a separator or a line end."""
        needed = separator in part or NEEDS_QUOTES.search(part) is not None
        self.protecting += needed
        self.literal += not needed


@dataclass
class Cutter:
    """The records of a file. width: fields of a row, where they are known (the header tells);
    fewest: where rows may be shorter.

    quotes: whether `"` protects. Blank lines and lines inside a record go to the account.
    """

    account: LineAccount
    separator: str
    quotes: bool
    width: int | None = None
    fewest: int | None = None
    evidence: Evidence | None = None
    _ahead: deque[str] = field(default_factory=deque)
    _line: int = 0

    def __post_init__(self) -> None:
        self._lines = self.account.lines()

    @property
    def ahead(self) -> int:
        """Lines that were taken from the file and are still to be cut."""
        return len(self._ahead)

    def records(self) -> Iterator[Record]:
        """All further records, in order."""
        separator, quotes, take = self.separator, self.quotes, self._take
        while (text := take()) is not None:
            if quotes and '"' in text:
                yield self._quoted(text)
            elif is_blank(text):
                self.account.blank += 1
            else:
                text = text.rstrip("\n").rstrip("\r")
                yield Record(self._line, text.split(separator), text)

    def _take(self) -> str | None:
        text = self._ahead.popleft() if self._ahead else next(self._lines, None)
        self._line += text is not None
        return text

    def _give_back(self, texts: list[str]) -> None:
        self._ahead.extendleft(reversed(texts))
        self._line -= len(texts)

    def _quoted(self, text: str) -> Record:
        line = self._line
        more: list[str] = []
        whole = bare(text)
        fields = self._cut(whole)
        while fields is None and (found := self._to_odd_run(len(whole))):
            more += found
            whole = bare(text + "".join(more))
            fields = self._cut(whole)
        if not fields or (more and not self._is_one_record(fields, [text, *more])):
            self._give_back(more)
            if self.evidence is not None:
                self.evidence.literal += 1
            return Record(line, None, bare(text))
        self.account.inside += len(more)
        return Record(line, fields, whole, len(more))

    def _to_odd_run(self, characters: int) -> list[str]:
        """Lines up to the next one with a quote that is not doubled; none where none comes."""
        found: list[str] = []
        while characters < LONGEST_RECORD and (text := self._take()) is not None:
            found.append(text)
            characters += len(text)
            quotes = text.count('"')
            if quotes % 2 or (quotes and any(len(run) % 2 for run in RUNS.findall(text))):
                return found
        self._give_back(found)
        return []

    def _is_one_record(self, fields: list[str], texts: list[str]) -> bool:
        """Whether lines that a quote holds together are no rows of their own.

        Two stray quotes may embrace whole rows: then the lines, each alone, have the width of a row
        and a first field that looks like the others'. No text is written like that.
        """
        if self.width is None or self.width == 1:
            return True
        if not (self.fewest or self.width) <= len(fields) <= self.width:
            return False
        if any(text.count(self.separator) < self.width - 1 for text in texts):
            return True  # a line is too short for a row
        alone = [cut_alone(bare(text), self.separator, self.width) for text in texts]
        forms = {_form(parts[0]) for parts in alone}
        return (
            len(forms) > 1
            or any(len(parts) != self.width for parts in alone)
            or any(part[:1].isspace() for parts in alone for part in parts)
        )

    def _cut(self, text: str) -> list[str] | None:
        """The fields of a record; None where a quote is open at the end of the text, [] where one
        over several lines closes within a field."""
        fields: list[str] = []
        position = 0
        while True:
            if not text.startswith('"', position):
                stop = text.find(self.separator, position)
                part = text[position:] if stop < 0 else text[position:stop]
                if self.evidence is not None:
                    self.evidence.literal += '"' in part
                fields.append(part)
            else:
                end = closing(text, position + 1)
                if end < 0:
                    return None
                stop = end + 1
                if stop == len(text):
                    stop = -1
                elif not text.startswith(self.separator, stop):
                    if "\n" in text[position:end] or "\r" in text[position:end]:
                        return []
                    if self.evidence is not None:
                        self.evidence.literal += 1
                    return cut_alone(text, self.separator, self.width)
                part = text[position + 1 : end]
                if self.evidence is not None:
                    self.evidence.weigh(part, self.separator)
                fields.append(part.replace('""', '"') if '"' in part else part)
            if stop < 0:
                return fields
            position = stop + len(self.separator)


def closing(text: str, position: int) -> int:
    """The first quote from `position` on that is not doubled; -1 where there is none."""
    while (position := text.find('"', position)) >= 0:
        if not text.startswith('"', position + 1):
            return position
        position += 2
    return -1


def cut_alone(text: str, separator: str, width: int | None) -> list[str]:
    """A line cut by itself, its irregular quotes as written.

    Separators between two quotes are protected where the line has its right width only so.
    """
    plain = _spans(text, separator, protect=False)
    if width is None or len(plain) == width:
        return plain
    protected = _spans(text, separator, protect=True)
    return protected if len(protected) == width else plain


def _spans(text: str, separator: str, protect: bool) -> list[str]:
    fields: list[str] = []
    position = 0
    while True:
        start = position
        quoted = text.startswith('"', position)
        end = closing(text, position + 1) if quoted else -1
        regular = end >= 0 and (end + 1 == len(text) or text.startswith(separator, end + 1))
        if end >= 0 and (regular or protect):
            start = end + 1
        stop = text.find(separator, start)
        part = text[position:] if stop < 0 else text[position:stop]
        fields.append(part[1:-1].replace('""', '"') if regular else part)
        if stop < 0:
            return fields
        position = stop + len(separator)


def _form(words: str) -> str:
    """What a value looks like: digits as 9, letters as a, runs of either as one."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", words.strip()))
