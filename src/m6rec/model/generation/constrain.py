"""What a text may say: constraints on the next token, and the titles of a catalogue as one.

A constraint is an automaton over written ids. Its states are small tuples that never change, so
that a beam can split. model/generation/facts.py has another one.

Legend: N titles, M their tokens, laid end to end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from m6rec.config import ConfigError
from m6rec.text.tokenizer import Tokenizer

State = tuple[int, ...]
REMEMBERED = 4096
"""Ranges of at least so many titles are split once and remembered."""


class Constraint(ABC):
    """Which ids may follow. `ids` are all that ever may; `eos` says that the text may end.

    longest: tokens of the longest text, with [EOS]; None where there is no bound.
    """

    eos: int
    ids: np.ndarray
    longest: int | None = None

    @abstractmethod
    def start(self) -> State:
        """Before the first token."""

    @abstractmethod
    def allowed(self, state: State) -> np.ndarray:
        """Ids that may follow, ascending; never none. [EOS] is one where the text may end."""

    @abstractmethod
    def step(self, state: State, token: int) -> State:
        """After an allowed token other than [EOS]."""

    @abstractmethod
    def may_end(self, state: State) -> bool:
        """Whether [EOS] may follow."""

    def items(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the catalogue's items that a finished text names; none by default."""
        return ()


class Titles(Constraint):
    """Only titles of a catalogue, each to its end.

    The titles stand sorted in one array; a state is the range of those that begin with what is
    written, found by binary search. So a million titles take some 20 bytes and 4 more for each
    token, with no node of a tree.

    rows: written ids of each title. Empty ones are never written; of equal ones all numbers are
    found. Raises ConfigError where no title is left.
    """

    def __init__(self, rows: Sequence[Sequence[int]], eos: int) -> None:
        self.eos = eos
        # Big-endian bytes sort as the ids do, a beginning before what goes on from it.
        keys = [np.asarray(row, dtype=">u4").tobytes() for row in rows]
        order = sorted((n for n in range(len(keys)) if keys[n]), key=keys.__getitem__)
        if not order:
            raise ConfigError("there is no title to write: the catalogue is empty, or no title is")
        self._order = np.array(order, dtype=np.int64)
        lengths = np.array([len(keys[n]) // 4 for n in order], dtype=np.int64)
        self._end = lengths.cumsum()
        self._begin = self._end - lengths
        joined = b"".join([keys[n] for n in order])
        self._tokens = np.frombuffer(joined, dtype=">u4").astype(np.int32)
        self.longest = int(lengths.max()) + 1
        self.ids = np.unique(self._tokens).astype(np.int64)
        self._split_of: dict[State, tuple[np.ndarray, np.ndarray]] = {}

    @classmethod
    def of(cls, titles: Sequence[str], tokenizer: Tokenizer, budget: int = 64) -> Titles:
        """Titles as `Tokenizer.write` spells them, cut at `budget` tokens."""
        return cls([tokenizer.write(title, budget) for title in titles], tokenizer.special.eos)

    def start(self) -> State:
        """All titles: (first, past the last, tokens written)."""
        return 0, len(self._order), 0

    def allowed(self, state: State) -> np.ndarray:
        """The next tokens of the titles that are left."""
        ids, _ = self._split(state)
        if not self.may_end(state):
            return ids
        return np.union1d(ids, [self.eos])

    def step(self, state: State, token: int) -> State:
        """The titles that go on with the token."""
        ids, bound = self._split(state)
        place = int(np.searchsorted(ids, token))
        if place == len(ids) or ids[place] != token:
            raise ValueError(f"no title goes on with id {token}")
        return int(bound[place]), int(bound[place + 1]), state[2] + 1

    def may_end(self, state: State) -> bool:
        """Whether a title ends here; the shortest of a range stands first."""
        low, _, depth = state
        return bool(self._end[low] - self._begin[low] == depth)

    def items(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the titles that are spelled so, ascending; none if there is no such title."""
        state = self.start()
        for token in ids:
            following, _ = self._split(state)
            if token not in following:
                return ()
            state = self.step(state, token)
        low, high, depth = state
        length = self._end[low:high] - self._begin[low:high]
        same = int(np.searchsorted(length != depth, True)) if depth else 0
        return tuple(int(n) for n in np.sort(self._order[low : low + same]))

    def _split(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Next tokens in a range, ascending; where each one's titles begin, and the last's end."""
        known = self._split_of.get(state)
        if known is not None:
            return known
        low, high, depth = state
        # Titles that end here come first, and have no next token.
        over = low + int(np.searchsorted(self._end[low:high] - self._begin[low:high] > depth, True))
        tokens = self._tokens[self._begin[over:high] + depth]
        first = np.flatnonzero(np.r_[True, tokens[1:] != tokens[:-1]]) if len(tokens) else tokens
        found = tokens[first].astype(np.int64), np.r_[over + first, high]
        if high - low >= REMEMBERED:
            self._split_of[state] = found
        return found
