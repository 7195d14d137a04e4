"""Text ↔ written ids, without loss, over an uncased wordpiece vocabulary.

Reading (`Tokenizer.encode`) keeps the wordpieces that the vocabulary was trained with. Writing adds
markers for what they do not say: capitals, spaces where none is usual (and the other way round),
line breaks, and bytes for characters that no wordpiece spells. Markers and bytes take the places of
the vocabulary's [unusedN], so nothing grows. Only departures from the defaults of text/spacing.py
are marked: most words need no marker at all.

A written text is a row of units; before each one may stand, in this order: a mode, the gap, a case.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from m6rec.text.spacing import MODES, RAW, Case, Mode, Place, in_case

MARKERS = (
    *("sentence", "title", "upper", "lower"),  # modes, until the next one
    *("word lower", "word cap", "word upper", "camel"),  # the next word; camel: joined and capital
    *("join", "space", "wide", "tight", "newline"),  # the gap; wide, tight: around the next symbol
)
FIRST_MARKER, FIRST_BYTE = 100, 200
"""Which [unusedN] markers and the 256 bytes begin with."""
CASES: tuple[Case, ...] = ("lower", "cap", "upper")
PIECES = re.compile(r"[A-Za-z0-9]+|[ \n]+|[^A-Za-z0-9 \n]", re.DOTALL)
PARTS = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+|[A-Z]")
CONTINUES = "##"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of a text, the white space before it, and the ids that spell it in lower case."""

    text: str
    gap: str
    ids: tuple[int, ...]
    kind: str  # "word", "symbol" or "raw"


class Spelling:
    """Markers, bytes and wordpieces of one vocabulary.

    pieces: token → id, as `Tokenizer.get_vocab`. encode: wordpieces of a text in lower case.
    """

    def __init__(self, pieces: Mapping[str, int], encode: Callable[[str], Sequence[int]]) -> None:
        self.marker = {n: pieces[f"[unused{FIRST_MARKER + i}]"] for i, n in enumerate(MARKERS)}
        self.byte = [pieces[f"[unused{FIRST_BYTE + b}]"] for b in range(256)]
        self.marker_of = {number: name for name, number in self.marker.items()}
        self.byte_of = {number: value for value, number in enumerate(self.byte)}
        self.piece_of = {number: piece for piece, number in pieces.items()}
        self.case_id = {case: self.marker[f"word {case}"] for case in CASES}
        self._pieces, self._encode = pieces, encode
        self._unknown = pieces.get("[UNK]", -1)
        self._spelled: dict[str, tuple[tuple[int, ...], str]] = {}

    @classmethod
    def fits(cls, pieces: Mapping[str, int]) -> bool:
        """Whether a vocabulary is of uncased wordpieces and has room for markers and bytes."""
        return f"[unused{FIRST_BYTE + 255}]" in pieces and f"{CONTINUES}s" in pieces

    def write(self, text: str) -> list[int]:
        """Ids from which `Reader` makes exactly `text` again."""
        units, tail = self._units(text)
        modes = _best_modes(units)
        out: list[int] = []
        place, mode, forced = Place(), MODES[0], None
        for index, unit in enumerate(units):
            if modes[index] != mode:
                mode = modes[index]
                out.append(self.marker[mode])
            usual = place.gap(_first(unit)) if forced is None else forced
            forced = None
            case = self._case_marker(unit, place, mode)
            if unit.gap == "" != usual and case == self.case_id["cap"]:
                out.append(self.marker["camel"])
            else:
                both = self._both_sides(units, index, place, usual)
                if both is not None:
                    out.append(self.marker[both])
                    forced = units[index + 1].gap
                elif unit.gap != usual:
                    out += self._gap(unit.gap)
                if case is not None:
                    out.append(case)
            out += unit.ids
            place.advance(RAW if unit.kind == "raw" else unit.text, unit.gap)
        return out + (self._gap(tail) if tail else [])

    def writable(self) -> list[int]:
        """Every id that `write` can give, in order."""
        ids = [*self.marker.values(), *self.byte]
        for piece, number in self._pieces.items():
            word = piece.removeprefix(CONTINUES) or piece
            plain = word.isascii() and word.isalnum() and word == word.lower()
            if plain or (len(piece) == 1 and list(self._encode(piece)) == [number]):
                ids.append(number)
        return sorted(set(ids))

    def reader(self) -> Reader:
        """Turns ids into text, one by one."""
        return Reader(self)

    def read(self, ids: Sequence[int]) -> str:
        """The text of written ids; whatever is not spelled by them is left out."""
        reader = Reader(self)
        return "".join([reader.push(number) for number in ids]) + reader.finish()

    def _gap(self, gap: str) -> list[int]:
        names = {" ": "space", "\n": "newline"}
        return [self.marker[names[c]] for c in gap] if gap else [self.marker["join"]]

    def _case_marker(self, unit: Unit, place: Place, mode: Mode) -> int | None:
        if unit.kind != "word":
            return None
        lower = unit.text.lower()
        if in_case(lower, place.case(lower, unit.gap, mode)) == unit.text:
            return None
        return next(self.case_id[case] for case in CASES if in_case(lower, case) == unit.text)

    def _both_sides(
        self, units: Sequence[Unit], index: int, place: Place, usual: str
    ) -> str | None:
        """ "wide" or "tight" where both gaps around a symbol depart from the usual in one way."""
        unit = units[index]
        if unit.kind != "symbol" or index + 1 == len(units) or unit.gap == usual:
            return None
        after = units[index + 1]
        if unit.gap != after.gap or unit.gap not in ("", " "):
            return None
        beyond = Place(**{name: getattr(place, name) for name in Place.__slots__})
        beyond.advance(unit.text, unit.gap)
        if beyond.gap(_first(after)) == after.gap:
            return None
        return "wide" if unit.gap else "tight"

    def _units(self, text: str) -> tuple[list[Unit], str]:
        units: list[Unit] = []
        gap = ""
        for piece in PIECES.findall(text):
            if piece[0] in " \n":
                gap = piece
                continue
            for part in _even_parts(piece):
                ids, kind = self._spell(part)
                if kind == "raw" and len(part) > 1:
                    for char in part:
                        units.append(Unit(char, gap, self._bytes(char), "raw"))
                        gap = ""
                else:
                    units.append(Unit(part, gap, ids, kind))
                gap = ""
        return units, gap

    def _spell(self, part: str) -> tuple[tuple[int, ...], str]:
        found = self._spelled.get(part)
        if found is None:
            found = self._spelled[part] = self._spell_anew(part)
        return found

    def _spell_anew(self, part: str) -> tuple[tuple[int, ...], str]:
        if part.isascii() and part.isalnum():
            ids = tuple(self._encode(part.lower()))
            if ids and self._unknown not in ids:
                return ids, "word"
        elif part in self._pieces and list(self._encode(part)) == [self._pieces[part]]:
            return (self._pieces[part],), "symbol"
        return self._bytes(part), "raw"

    def _bytes(self, text: str) -> tuple[int, ...]:
        return tuple(self.byte[b] for b in text.encode("utf-8", errors="replace"))


class Reader:
    """Written ids → text as it comes: a word is given out when the next unit begins."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._place, self._mode = Place(), MODES[0]
        self._word: list[str] = []
        self._gap: str | None = None
        self._forced: str | None = None
        self._around: str | None = None
        self._case: Case | None = None
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._open_bytes = False

    def push(self, number: int) -> str:
        """Text that is now certain; often "" until a word is complete."""
        spelling = self._spelling
        value = spelling.byte_of.get(number)
        if value is not None:
            return self._end_word() + self._byte(value)
        marker = spelling.marker_of.get(number)
        if marker is not None:
            out = self._end_word() + self._end_bytes()
            self._mark(marker)
            return out
        piece = spelling.piece_of.get(number, "")
        if not piece or (piece[0] == "[" and len(piece) > 1):
            return ""
        if piece.startswith(CONTINUES) and len(piece) > len(CONTINUES):
            self._word.append(piece[len(CONTINUES) :])
            return ""
        out = self._end_word() + self._end_bytes()
        self._word.append(piece)
        return out

    def finish(self) -> str:
        """What is left: the last word, and white space at the end."""
        return self._end_word() + self._end_bytes() + (self._gap or "")

    def _mark(self, marker: str) -> None:
        if marker in MODES:
            self._mode = next(mode for mode in MODES if mode == marker)
        elif marker.startswith("word "):
            self._case = next(case for case in CASES if marker.endswith(case))
        elif marker == "camel":
            self._gap, self._case = "", "cap"
        elif marker in ("wide", "tight"):
            self._gap = self._around = " " if marker == "wide" else ""
        elif marker == "join":
            self._gap = ""
        else:
            self._gap = (self._gap or "") + (" " if marker == "space" else "\n")

    def _take_gap(self, right: str) -> str:
        usual = self._place.gap(right) if self._forced is None else self._forced
        gap = usual if self._gap is None else self._gap
        self._gap, self._forced, self._around = None, self._around, None
        return gap

    def _end_word(self) -> str:
        if not self._word:
            return ""
        word = "".join(self._word)
        self._word = []
        gap = self._take_gap(word[0])
        if word.isascii() and word.isalnum():
            shown = in_case(word, self._case or self._place.case(word, gap, self._mode))
        else:
            shown = word
        self._case = None
        self._place.advance(shown, gap)
        return gap + shown

    def _byte(self, value: int) -> str:
        gap = ""
        if not self._open_bytes:
            gap = self._take_gap(RAW)
            self._place.advance(RAW, gap)
            self._case = None
        char = self._utf8.decode(bytes([value]))
        self._open_bytes = not char
        return gap + char

    def _end_bytes(self) -> str:
        if not self._open_bytes:
            return ""
        self._open_bytes = False
        char = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return char


def _first(unit: Unit) -> str:
    return RAW if unit.kind == "raw" else unit.text[0]


def _even_parts(piece: str) -> list[str]:
    """A word, cut where its capitals follow no case ("iPhone" → "i", "Phone")."""
    if len(piece) == 1 or _is_even(piece):
        return [piece]
    parts: list[str] = PARTS.findall(piece)
    if "".join(parts) != piece:
        return list(piece)
    return [p for part in parts for p in ([part] if _is_even(part) else list(part))]


def _is_even(word: str) -> bool:
    lower = word.lower()
    return word == lower or word == word.upper() or word == in_case(lower, "cap")


def _best_modes(units: Sequence[Unit]) -> list[Mode]:
    """The mode of every unit that needs the fewest markers: a shortest path over the modes."""
    place, best = Place(), [0, 1, 1, 1]
    back: list[list[int]] = []
    for unit in units:
        if unit.kind == "word":
            lower = unit.text.lower()
            costs = [
                0 if in_case(lower, place.case(lower, unit.gap, mode)) == unit.text else 1
                for mode in MODES
            ]
            least = min(best)
            change = best.index(least)
            came = [m if best[m] <= least + 1 else change for m in range(len(MODES))]
            best = [min(best[m], least + 1) + costs[m] for m in range(len(MODES))]
        else:
            came = [0, 1, 2, 3]
        back.append(came)
        place.advance(RAW if unit.kind == "raw" else unit.text, unit.gap)
    mode = best.index(min(best))
    out: list[Mode] = []
    for came in reversed(back):
        out.append(MODES[mode])
        mode = came[mode]
    return out[::-1]
