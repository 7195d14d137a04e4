"""Text that says nothing new: every word of it comes from allowed texts, or is a function word.

An automaton over written ids (text/spelling.py). The words of the allowed texts stand in a trie of
their ids; a word that was begun must be one of them to its end. What is written together counts
as one word: "WiFi" does not allow "FiWi", "4.5" allows neither "4" nor "5.4", and characters that
are spelled in bytes stay in their row. Capitals, spaces and usual punctuation are free.

It holds words, not sentences: "not" or an order of words can still turn a fact around.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from m6rec.config import ConfigError
from m6rec.model.generation.constrain import Constraint, State
from m6rec.text.spacing import IN_NUMBERS, MODES, TIGHT
from m6rec.text.spelling import CONTINUES, Spelling
from m6rec.text.tokenizer import Tokenizer

PUNCTUATION = ".,;:!?'\"()-–/&’"
"""Signs that state nothing."""
SIGNS = IN_NUMBERS | TIGHT
"""Signs that make one number of two."""
GLUED = -1
"""Stands in the trie between two words that are written together."""
START, WORD, RAW, SYMBOL, SIGN, SIGN_ONLY = range(6)
"""What was written last; SIGN: a sign after a number, SIGN_ONLY: one that must be gone on from."""
USUAL, APART, JOINED, AROUND = range(4)
"""The gap before the next unit; AROUND: "wide" or "tight", which stand before a symbol."""
FRESH, MODED, CASED = range(3)
"""Markers since the last unit: none, a mode, or the case of a word that must follow."""


class Alphabet:
    """What each written id is."""

    def __init__(self, spelling: Spelling) -> None:
        self.marker = spelling.marker
        self.bytes = frozenset(spelling.byte)
        pieces = {i: p for i, p in spelling.piece_of.items() if i not in spelling.byte_of}
        pieces = {i: p for i, p in pieces.items() if i not in spelling.marker_of}
        self.piece = pieces
        self.modes = frozenset(self.marker[mode] for mode in MODES)
        self.cases = frozenset(self.marker[f"word {case}"] for case in ("lower", "cap", "upper"))
        self.apart = frozenset(self.marker[name] for name in ("space", "newline"))
        self.joined = frozenset(self.marker[name] for name in ("join", "camel"))
        self.around = frozenset(self.marker[name] for name in ("wide", "tight"))

    def spelled(self, word: Sequence[int]) -> str:
        """A word of pieces in lower case (characters in bytes are left out)."""
        return "".join(self.piece.get(token, "").removeprefix(CONTINUES) for token in word)

    def continues(self, token: int) -> bool:
        """Whether it goes on with a word."""
        return len(self.piece.get(token, "")) > 2 and self.piece[token].startswith(CONTINUES)

    def is_word(self, token: int) -> bool:
        """Whether it is a word or begins one."""
        return self.piece.get(token, "").isalnum()

    def begins_with_digit(self, token: int) -> bool:
        """Whether it is a number or begins one."""
        return self.piece.get(token, "")[:1].isdigit()

    def ends_with_digit(self, token: int) -> bool:
        """Whether a word that ends with it ends with a digit."""
        return self.piece.get(token, "")[-1:].isdigit()

    def is_symbol(self, token: int) -> bool:
        """Whether it is a sign of one character."""
        return token in self.piece and not self.is_word(token) and not self.continues(token)

    def is_sign(self, token: int) -> bool:
        """Whether it may stand within a number."""
        return self.piece.get(token, "") in SIGNS


def words_of(ids: Sequence[int], alphabet: Alphabet) -> tuple[list[tuple[int, ...]], set[int]]:
    """The words of a written text, as paths in the trie, and its symbols."""
    words, symbols = list[tuple[int, ...]](), set[int]()
    word, sign, gap, last = list[int](), 0, USUAL, START

    def close() -> None:
        if word:
            words.append(tuple(word))
        word.clear()

    for token in ids:
        if token in alphabet.joined:
            gap = JOINED
        elif token in alphabet.apart or token == alphabet.marker["wide"]:
            gap = APART
        elif token in alphabet.modes or token in alphabet.cases or token in alphabet.around:
            continue
        elif alphabet.is_symbol(token):
            symbols.add(token)
            number = last == WORD and alphabet.ends_with_digit(word[-1]) and gap != APART
            if number and alphabet.is_sign(token):
                sign, last = token, SIGN
            else:
                close()
                last = SYMBOL
            gap = USUAL
        elif alphabet.continues(token):
            word.append(token)
        else:
            raw = token in alphabet.bytes
            if last == SIGN and gap != APART and alphabet.begins_with_digit(token):
                word += [sign, token]
            elif gap != APART and (last == RAW or (raw and last == WORD)):
                word.append(token)
            elif gap == JOINED and last == WORD:
                word += [GLUED, token]
            else:
                close()
                word.append(token)
            gap, last = USUAL, RAW if raw else WORD
    close()
    return words, symbols


class Facts(Constraint):
    """Only words of the allowed texts and function words, in any order.

    texts: the item, the history, features, as they are shown. function_words: what may always be
    said (m6rec.text.aspect_words has lists). Raises ConfigError where nothing may be said, or the
    tokenizer has no markers, by which a word's borders are known.
    """

    def __init__(
        self, texts: Iterable[str], function_words: Iterable[str], tokenizer: Tokenizer
    ) -> None:
        if tokenizer.spelling is None:
            raise ConfigError(
                "allowed facts need the word borders of an uncased wordpiece vocabulary with free "
                "places for markers; this tokenizer is of another family"
            )
        self.eos = tokenizer.special.eos
        self._alphabet = Alphabet(tokenizer.spelling)
        self._children: list[dict[int, int]] = [{}]
        self._whole: set[int] = set()
        self._last: list[int] = [0]
        usual = tokenizer.write(" ".join(PUNCTUATION))
        symbols = {token for token in usual if self._alphabet.is_symbol(token)}
        for text in (*texts, *function_words):
            words, own = words_of(tokenizer.write(text), self._alphabet)
            symbols |= own
            for word in words:
                self._add(word)
                if GLUED in word:  # "WiFi" may be written "wifi" as well
                    joined = self._alphabet.spelled(word)
                    for other in words_of(tokenizer.write(joined), self._alphabet)[0]:
                        self._add(other)
        if not self._whole:
            raise ConfigError("nothing may be said: no allowed text and no function word")
        self._symbols = frozenset(symbols)
        self._known: dict[State, np.ndarray] = {}
        paths = {token for children in self._children for token in children} - {GLUED}
        markers = set(self._alphabet.marker.values())
        self.ids = np.array(sorted(paths | markers | symbols), dtype=np.int64)

    def _add(self, word: Sequence[int]) -> None:
        node = 0
        for token in word:
            following = self._children[node]
            if token not in following:
                following[token] = len(self._children)
                self._children.append({})
                self._last.append(token)
            node = following[token]
        self._whole.add(node)

    def start(self) -> State:
        """(node of the open word, what was last, the gap, markers since)."""
        return 0, START, USUAL, FRESH

    def may_end(self, state: State) -> bool:
        """After a whole word or a symbol, with no marker left open."""
        node, last, gap, marked = state
        if gap != USUAL or marked != FRESH or last in (START, SIGN_ONLY):
            return False
        return last in (SYMBOL, SIGN) or node in self._whole

    def allowed(self, state: State) -> np.ndarray:
        """Units that go on, and markers and signs where a word is whole."""
        found = self._known.get(state)
        if found is None:
            units, signs, markers = self._units(state), self._signs(state), self._markers(state)
            ends = {self.eos} if self.may_end(state) else set()
            found = np.array(sorted(units | signs | markers | ends), dtype=np.int64)
            self._known[state] = found
        return found

    def step(self, state: State, token: int) -> State:
        """After an allowed token."""
        node, last, gap, marked = state
        alphabet = self._alphabet
        if token in alphabet.modes:
            return node, last, gap, MODED
        if token in alphabet.cases:
            return node, last, gap, CASED
        if token in alphabet.apart:
            return 0, SYMBOL if last == SIGN else last, APART, marked
        if token in alphabet.joined:
            return node, last, JOINED, CASED if token == alphabet.marker["camel"] else marked
        if token in alphabet.around:
            open_node = node if token == alphabet.marker["tight"] else 0
            return open_node, last, AROUND, marked
        if token in self._symbols and self._after_number(state) and alphabet.is_sign(token):
            whole = node in self._whole
            return self._children[node].get(token, 0), SIGN if whole else SIGN_ONLY, USUAL, FRESH
        if token in self._symbols:
            barred = last == SIGN and alphabet.is_sign(token)
            return 0, SIGN if barred else SYMBOL, USUAL, FRESH
        kind = RAW if token in alphabet.bytes else WORD
        within = self._within(state).get(token)
        following = self._children[0][token] if within is None else within
        return following, kind, USUAL, FRESH

    def _after_number(self, state: State) -> bool:
        node, last, gap, _ = state
        return (
            last == WORD
            and node > 0
            and gap != APART
            and (self._alphabet.ends_with_digit(self._last[node]))
        )

    def _within(self, state: State) -> dict[int, int]:
        """Units that go on with the open word, and the nodes that they lead to."""
        node, last, gap, marked = state
        alphabet = self._alphabet
        if not node or gap in (APART, AROUND):
            return {}
        children = self._children[node]
        if gap == JOINED and last == WORD and GLUED in children:
            raw = {t: n for t, n in children.items() if t in alphabet.bytes}
            return {**raw, **self._children[children[GLUED]]}
        if last in (SIGN, SIGN_ONLY):
            return dict(children)
        fits = {}
        for token, following in children.items():
            goes_on = alphabet.continues(token) and marked == FRESH and gap == USUAL
            after_raw = last == RAW and alphabet.is_word(token)
            if goes_on or after_raw or token in alphabet.bytes:
                fits[token] = following
        return fits

    def _units(self, state: State) -> set[int]:
        node, last, gap, _ = state
        within = set(self._within(state))
        if gap == AROUND or last == SIGN_ONLY or (gap == JOINED and last in (WORD, RAW)):
            return within
        alphabet, root = self._alphabet, self._children[0]
        if gap == APART or last in (START, SYMBOL):
            return set(root)
        words = {token for token in root if token not in alphabet.bytes}
        if last == SIGN:  # a number that goes on must be an allowed one
            numbers = {token for token in words if alphabet.begins_with_digit(token)}
            return within | (set(root) - numbers)
        return within | words if last == WORD and node in self._whole else within

    def _signs(self, state: State) -> set[int]:
        node, last, gap, marked = state
        if marked == CASED or last == SIGN_ONLY:
            return set()
        if gap == APART or not node or last == SIGN or node in self._whole:
            return set(self._symbols)
        if self._after_number(state):
            return {t for t in self._children[node] if self._alphabet.is_sign(t)}
        return set()

    def _markers(self, state: State) -> set[int]:
        """Modes, gaps and cases; never one after which nothing could follow."""
        node, last, gap, marked = state
        alphabet = self._alphabet
        if marked == CASED or gap == AROUND or last == SIGN_ONLY:
            return set()
        markers = set(alphabet.cases) if self._can_take_case(state) else set()
        whole = not node or node in self._whole or last == SIGN
        if gap == APART:
            newline = alphabet.marker["newline"]
            return markers | {newline}
        if gap == JOINED:
            return markers
        if whole:
            markers |= alphabet.modes if marked == FRESH else set()
            markers |= alphabet.apart | alphabet.around if last != START else set()
        if last == SIGN:
            return markers - {alphabet.marker["tight"]}
        glued = last == WORD and GLUED in self._children[node]
        if glued or (whole and last == SYMBOL):
            markers |= alphabet.joined if glued else {alphabet.marker["join"]}
        return markers | ({alphabet.marker["join"]} if whole and last == WORD else set())

    def _can_take_case(self, state: State) -> bool:
        """Whether a word may follow, which a marker of its case stands before."""
        cased = (*state[:3], CASED)
        return any(self._alphabet.is_word(token) for token in self._units(cased))
