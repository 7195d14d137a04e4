"""One batch of texts to write: what the ways of searching share.

Legend: B requests, W lanes of each, N = B·W, V words that compete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from m6rec.config import ConfigError
from m6rec.model.generation.cache import Cache
from m6rec.model.generation.constrain import Constraint, State
from m6rec.model.generation.decoding import Decoding, Finish, Written
from m6rec.model.generation.flow import Flow
from m6rec.model.generation.head import Head, Words
from m6rec.model.generation.steering import Steering
from m6rec.text.tokenizer import Tokenizer

Given = tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """constraints, given (the ids that a text begins with), seeds: one for each request."""

    tokenizer: Tokenizer
    decoding: Decoding
    words: Words
    head: Head
    cache: Cache
    steering: Steering
    constraints: Sequence[Constraint | None]
    given: Sequence[Given]
    seeds: Sequence[int]

    def limit(self, request: int) -> int:
        """Steps of a request at most, those of its given ids among them."""
        return limit(self.decoding, self.constraints[request], self.given[request])

    def first_state(self, request: int) -> State | None:
        """Where its constraint begins: after what is given."""
        constraint = self.constraints[request]
        return None if constraint is None else constraint.start()

    def next_state(self, request: int, state: State | None, token: int, step: int) -> State | None:
        """After a token that is no [EOS]; given tokens are outside the constraint."""
        constraint = self.constraints[request]
        if constraint is None or state is None or step < len(self.given[request]):
            return state
        return constraint.step(state, token)

    def can_end(self, request: int, state: State | None) -> bool:
        """Whether the text could end here."""
        constraint = self.constraints[request]
        return constraint is None or state is None or constraint.may_end(state)

    def written(
        self,
        request: int,
        ids: np.ndarray,
        sums: tuple[float, float],
        finish: Finish,
        flow: Flow | None = None,
    ) -> Written:
        """A finished text; sums: log p, and the score. flow: that has read all the ids."""
        constraint, told = self.constraints[request], len(self.given[request])
        numbers = tuple(int(i) for i in ids)
        text = self.tokenizer.decode(numbers) if flow is None else flow.text
        items = () if constraint is None else constraint.items(numbers[told:])
        return Written(numbers, text, float(sums[0]), finish, float(sums[1]), items)


def limit(decoding: Decoding, constraint: Constraint | None, given: Given) -> int:
    """Steps of a request at most; a constraint that knows its longest text is not cut."""
    own = None if constraint is None else constraint.longest
    return len(given) + (decoding.max_tokens if own is None else own)


def check_given(given: Sequence[Given], words: Words) -> None:
    """Raises ConfigError where a text is to begin with an id that can not be written."""
    for number, told in enumerate(given):
        for token in told:
            known = 0 <= token < len(words.place_of) and words.place_of[token] >= 0
            if not known or token == words.ids[words.eos]:
                raise ConfigError(
                    f"given: text {number} is to begin with id {token}, which is not a word that "
                    "can be written; right are ids of Tokenizer.write"
                )
