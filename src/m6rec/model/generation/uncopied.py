"""Text that copies nobody: no run of more than so many words of a known text.

An automaton over written ids. What counts are the pieces of words; capitals, spaces and signs do
not, so a copy in capitals is one too. The last piece of a run is what is held back, which also
holds back longer words that begin with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from m6rec.config import ConfigError
from m6rec.model.generation.constrain import Constraint, State
from m6rec.model.generation.facts import Alphabet
from m6rec.text.tokenizer import Tokenizer


class Uncopied(Constraint):
    """At most `longest_copy` words in a row that stand in one of the texts.

    The runs of the texts are kept as hashes, 16 bytes for each, and made when they are first asked
    for. Raises ConfigError where the tokenizer has no markers, by which a word's borders are known.
    """

    def __init__(self, texts: Iterable[str], longest_copy: int, tokenizer: Tokenizer) -> None:
        if tokenizer.spelling is None:
            raise ConfigError(
                "texts without copies need the word borders of an uncased wordpiece vocabulary "
                "with free places for markers; this tokenizer is of another family"
            )
        self.eos = tokenizer.special.eos
        self._texts, self._words, self._tokenizer = tuple(texts), longest_copy, tokenizer
        self._alphabet = Alphabet(tokenizer.spelling)
        self.ids = np.array(sorted({*tokenizer.writable_ids} - {self.eos}), dtype=np.int64)
        self._all = np.union1d(self.ids, [self.eos])

    def start(self) -> State:
        """The pieces of the newest words, as many as make a run."""
        return ()

    def step(self, state: State, token: int) -> State:
        """After a token: pieces are kept, all else is passed over."""
        return self._after(state, token) if self._counts(token) else state

    def may_end(self, state: State) -> bool:
        """Always."""
        return True

    def allowed(self, state: State) -> np.ndarray:
        """All ids but those that complete a run."""
        keys, lasts = self._runs
        found = [
            lasts[np.searchsorted(keys, key, "left") : np.searchsorted(keys, key, "right")]
            for key in {hash(self._begun(state, new)) for new in (True, False)}
        ]
        ends = np.concatenate(found)
        return np.setdiff1d(self._all, ends, assume_unique=True) if len(ends) else self._all

    @cached_property
    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of runs without their last piece, ascending, and that piece."""
        pairs = sorted({pair for text in self._texts for pair in self._of(text)})
        return np.array([key for key, _ in pairs], np.int64), np.array(
            [last for _, last in pairs], np.int64
        )

    def _of(self, text: str) -> Iterator[tuple[int, int]]:
        state: State = ()
        pieces = [token for token in self._tokenizer.write(text) if self._counts(token)]
        for place, token in enumerate(pieces):
            begun = self._begun(state, not self._alphabet.continues(token))
            last = place + 1 == len(pieces) or not self._alphabet.continues(pieces[place + 1])
            if begun and last:
                yield hash(begun), token
            state = self._after(state, token)

    def _counts(self, token: int) -> bool:
        alphabet = self._alphabet
        return token in alphabet.bytes or alphabet.is_word(token) or alphabet.continues(token)

    def _after(self, state: State, token: int) -> State:
        """The newest words, the open one among them, as many as a run has."""
        pieces = (*state, token)
        starts = self._starts(pieces)
        return pieces[starts[-self._words - 1] :] if len(starts) > self._words + 1 else pieces

    def _begun(self, state: State, new: bool) -> State:
        """A run without its last piece, which begins a new word or goes on with one."""
        starts = self._starts(state)
        whole = self._words if new else self._words + 1
        return state[starts[-whole] :] if len(starts) >= whole else ()

    def _starts(self, pieces: State) -> list[int]:
        continues = self._alphabet.continues
        return [place for place, token in enumerate(pieces) if not (place and continues(token))]
