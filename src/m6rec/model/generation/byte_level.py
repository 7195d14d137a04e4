"""Facts and texts without copies over a byte-level vocabulary (Llama's, Qwen's), where ids spell
capitals and spaces as they are and a word is a row of ids.

Both are automata over bytes that ids are run through. Letters of ASCII are compared in lower case;
other letters as they stand in the texts, and in lower, upper and title case.
"""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from m6rec.config import ConfigError
from m6rec.model.generation.constrain import Constraint, State
from m6rec.model.generation.facts import PUNCTUATION, SIGNS, Facts
from m6rec.model.generation.uncopied import Uncopied
from m6rec.text.tokenizer import Tokenizer

SPACES = frozenset(b" \n")
DIGITS = frozenset(b"0123456789")
OTHER = 0x80
"""Bytes from here on are of characters outside ASCII."""
APOSTROPHE = "'"
UNIT = re.compile(r"[^\W_]+|[\W_]")
START, GAP, SPACE, WORD, SIGN, SIGN_ONLY, MARK = range(7)
"""What a text has come to: nothing; a symbol or a space; within a word; after a number and a sign,
where the number could end, or could not; within a symbol of several bytes."""
KINDS = 8
LETTERS = re.compile(r"[^\W_]+")


def facts(
    texts: Iterable[str], function_words: Iterable[str], tokenizer: Tokenizer
) -> Facts | ByteFacts:
    """What a text may say that says nothing new, by the tokenizer's family; see `Facts`."""
    if tokenizer.written_bytes:
        return ByteFacts(texts, function_words, tokenizer)
    # Of "you've" the wordpieces would make "ve" a word.
    return Facts(texts, [w for w in function_words if APOSTROPHE not in w], tokenizer)


def uncopied(
    texts: Iterable[str], longest_copy: int, tokenizer: Tokenizer
) -> Uncopied | ByteUncopied:
    """Texts that copy nobody, by the tokenizer's family; see `Uncopied`."""
    if tokenizer.written_bytes:
        return ByteUncopied(texts, longest_copy, tokenizer)
    return Uncopied(texts, longest_copy, tokenizer)


def _is_digit(character: str) -> bool:
    return character.isascii() and character.isdigit()


class ByteFacts(Constraint):
    """Only words of the allowed texts and function words, in any order and any capitals.

    A word is a row of letters and digits; numbers that a sign joins are one ("4.5" allows neither
    "4" nor "5.4"). One space or line break may stand between units, and none has to beside a
    symbol; "it's" is a word of its own. A state is a set of numbers (trie node · KINDS + kind),
    since a byte may begin two characters.
    """

    def __init__(
        self, texts: Iterable[str], function_words: Iterable[str], tokenizer: Tokenizer
    ) -> None:
        self.eos, self._bytes = tokenizer.special.eos, tokenizer.written_bytes
        self._id_of = tokenizer.id_of_bytes
        self._begun = tokenizer.begun_bytes
        self._children: list[dict[int, int]] = [{}, {}]  # two roots: of words, and of symbols
        self._whole: set[int] = set()
        self._last: list[int] = [0, 0]
        self._symbols = set(PUNCTUATION)
        for text in (*texts, *function_words):
            self._read(text)
        if not self._whole:
            raise ConfigError("nothing may be said: no allowed text and no function word")
        self._marks = {node for node in (self._add(1, s) for s in self._symbols) if node}
        self._known: dict[int, frozenset[int]] = {}
        self._allowed: dict[State, np.ndarray] = {}
        self.ids = np.array(sorted(self._bytes), dtype=np.int64)

    def _read(self, text: str) -> None:
        """Puts the words and the symbols of a text into the tries."""
        units = UNIT.findall(text)
        word = ""
        for place, unit in enumerate(units):
            if unit.isalnum():
                word += unit
                continue
            after = units[place + 1][:1] if place + 1 < len(units) else ""
            if not unit.isspace():
                self._symbols.add(unit)
            if unit in SIGNS and _is_digit(word[-1:]) and _is_digit(after):
                word += unit
                continue
            self._close(word)
            word = word + unit if unit == APOSTROPHE and word and after.isalpha() else ""
        self._close(word)

    def _close(self, word: str) -> None:
        for form in {word, word.lower(), word.upper(), word.title()} if word else ():
            self._whole.add(self._add(0, form))

    def _add(self, node: int, text: str) -> int:
        for byte in text.encode().lower():
            following = self._children[node]
            if byte not in following:
                following[byte] = len(self._children)
                self._children.append({})
                self._last.append(byte)
            node = following[byte]
        return node

    def start(self) -> State:
        """Nothing is written."""
        return (START,)

    def may_end(self, state: State) -> bool:
        """After a whole word or a symbol."""
        return any(
            one % KINDS in (GAP, SIGN) or (one % KINDS == WORD and one // KINDS in self._whole)
            for one in state
        )

    def step(self, state: State, token: int) -> State:
        """After an allowed token."""
        for byte in self._bytes[token]:
            state = tuple(sorted({after for one in state for after in self._after(one, byte)}))
        return state

    def allowed(self, state: State) -> np.ndarray:
        """Ids that stay within the words."""
        found = self._allowed.get(state)
        if found is None:
            ids = frozenset[int]().union(*(self._following(one) for one in state))
            ends = {self.eos} if self.may_end(state) else set()
            # A character that was begun, and whose other bytes no id brings, could not be ended.
            found = np.array(sorted(ids | ends) or [self.eos], dtype=np.int64)
            self._allowed[state] = found
        return found

    def _following(self, one: int) -> frozenset[int]:
        known = self._known.get(one)
        if known is not None:
            return known
        node, kind = divmod(one, KINDS)
        found = frozenset(self._ids(one, self._children[node] if kind == WORD else None))
        if kind == WORD and node in self._whole and self._last[node] not in DIGITS:
            found |= self._following(GAP)  # but for letters, which would go on with the word
            found -= self._beginning_words
        elif kind == WORD and node in self._whole:
            found |= frozenset(self._ids(one, None))
        self._known[one] = found
        return found

    @cached_property
    def _beginning_words(self) -> frozenset[int]:
        """Ids that begin with a letter or a digit of a new word."""
        return frozenset(self._ids(GAP, self._children[0]))

    def _ids(self, one: int, firsts: Iterable[int] | None) -> Iterator[int]:
        """Ids whose bytes all lead somewhere, beginning with one of `firsts` (None: any)."""
        capitals = {b - 32 for b in firsts or () if 97 <= b <= 122}
        wanted = None if firsts is None else {*firsts, *capitals}
        open_: list[tuple[bytes, frozenset[int]]] = [(b"", frozenset([one]))]
        while open_:
            prefix, states = open_.pop()
            for byte in self._begun.get(prefix, b""):
                if not prefix and wanted is not None and byte not in wanted:
                    continue
                after = frozenset(n for state in states for n in self._after(state, byte))
                if not after:
                    continue
                whole = prefix + bytes([byte])
                if whole in self._id_of:
                    yield self._id_of[whole]
                open_.append((whole, after))

    def _after(self, one: int, byte: int) -> Iterator[int]:
        """What a byte leads to."""
        node, kind = divmod(one, KINDS)
        low = byte + 32 if 65 <= byte <= 90 else byte
        if kind == MARK:
            yield from self._mark(node, low)
        elif kind == WORD:
            yield from self._in_word(node, low)
        elif kind in (SIGN, SIGN_ONLY):
            if low in DIGITS:
                following = self._children[node].get(low) if node else None
                yield from () if following is None else (following * KINDS + WORD,)
            elif kind == SIGN:
                yield from self._after(GAP, byte)
        elif low in SPACES:
            yield from (SPACE,) if kind == GAP else ()
        else:
            following = self._children[0].get(low)
            if following is not None:
                yield following * KINDS + WORD
            yield from self._mark(1, low)

    def _in_word(self, node: int, low: int) -> Iterator[int]:
        following, whole = self._children[node].get(low), node in self._whole
        sign = low < OTHER and chr(low) in SIGNS and self._last[node] in DIGITS
        if sign:
            ends = whole and chr(low) in self._symbols
            if following is not None or ends:
                yield (following or 0) * KINDS + (SIGN if ends else SIGN_ONLY)
        elif following is not None:
            yield following * KINDS + WORD
            whole = whole and not chr(low).isalnum()  # an apostrophe may be a quotation's end, too
        if whole and low in SPACES:
            yield SPACE
        elif whole and not sign and (low >= OTHER or not chr(low).isalnum()):
            yield from self._mark(1, low)

    def _mark(self, node: int, low: int) -> Iterator[int]:
        following = self._children[node].get(low)
        if following is not None:
            yield GAP if following in self._marks else following * KINDS + MARK


class ByteUncopied(Constraint):
    """At most `longest_copy` words in a row that stand in one of the texts; see `Uncopied`.

    A word is a row of letters and digits. What is held back is the id that ends the last word of a
    run, which holds longer words back, too. A state is the numbers of the newest whole words, then
    that of the open one with the bytes of a character that is not there yet.
    """

    def __init__(self, texts: Iterable[str], longest_copy: int, tokenizer: Tokenizer) -> None:
        self.eos, self._words, self._texts = tokenizer.special.eos, longest_copy, tuple(texts)
        self._bytes = {i: spelled.lower() for i, spelled in tokenizer.written_bytes.items()}
        self._spelled: list[bytes] = [b""]
        self._number = {b"": 0}
        self._joined: dict[bytes, list[int]] = {}
        self._apart: dict[bytes, list[int]] = {}
        for number, spelled in list(self._bytes.items()):
            whole, open_ = _words(spelled)
            if len(whole) + bool(open_) > 1:
                del self._bytes[number]  # no tokenizer that splits at words writes such an id
            elif open_:
                where = self._joined if open_ == spelled else self._apart
                where.setdefault(open_, []).append(number)
        self.ids = np.array(sorted(self._bytes), dtype=np.int64)
        self._all = np.union1d(self.ids, [self.eos])

    def start(self) -> State:
        """No word, and none is open."""
        return (0,)

    def step(self, state: State, token: int) -> State:
        """After a token."""
        whole, open_ = _words(self._spelled[state[-1]] + self._bytes[token])
        newest = (*state[:-1], *map(self._number_of, whole))
        return (*self._newest(newest), self._number_of(open_))

    def may_end(self, state: State) -> bool:
        """Always."""
        return True

    def allowed(self, state: State) -> np.ndarray:
        """All ids but those that complete a run."""
        open_, ends = self._spelled[state[-1]], set[int]()
        whole, _ = _words(open_ + b" ")
        closed = self._newest((*state[:-1], *map(self._number_of, whole)))
        for last in self._runs.get(closed, ()):
            ends.update(self._apart.get(last, ()))
        for last in self._runs.get(state[:-1], ()):
            if last.startswith(open_):
                ends.update(self._joined.get(last[len(open_) :], ()))
        return np.setdiff1d(self._all, list(ends), assume_unique=True) if ends else self._all

    @cached_property
    def _runs(self) -> dict[State, set[bytes]]:
        """The first words of a run → its last words."""
        runs = defaultdict[State, set[bytes]](set)
        for text in self._texts:
            words, _ = _words(text.encode().lower() + b" ")
            numbers = [self._number_of(word) for word in words]
            for end in range(self._words, len(words)):
                runs[tuple(numbers[end - self._words : end])].add(words[end])
        return runs

    def _newest(self, words: State) -> State:
        return words[-self._words :] if self._words else ()

    def _number_of(self, word: bytes) -> int:
        if word not in self._number:
            self._number[word] = len(self._spelled)
            self._spelled.append(word)
        return self._number[word]


def _words(spelled: bytes) -> tuple[list[bytes], bytes]:
    """The words that are over, and the one that the bytes end in, with those of a character that
    is not there yet."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(spelled)
    begun = decoder.getstate()[0]
    words = list(LETTERS.finditer(text))
    open_ = words.pop().group() if words and words[-1].end() == len(text) else ""
    return [word.group().encode() for word in words], open_.encode() + begun
