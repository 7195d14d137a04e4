"""Holding lanes to what they may write: banned ids, least length, repetition, constraints.

Legend: N lanes, V words that compete, t tokens written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from m6rec.config import ConfigError
from m6rec.model.generation.constrain import Constraint, State
from m6rec.model.generation.decoding import Decoding
from m6rec.model.generation.head import Words
from m6rec.model.generation.sampling import penalise, repeated

NEVER = float("-inf")


class Steering:
    """What a decoding and its constraints make of the model's log-probabilities.

    spared: ids that the penalty leaves alone (markers). Raises ConfigError where a banned id is
    not written anyway.
    """

    def __init__(self, decoding: Decoding, words: Words, spared: Sequence[int]) -> None:
        self.decoding, self._words = decoding, words
        place_V = words.place_of
        wrong = [
            i for i in decoding.banned if not 0 <= i < len(place_V) or i == words.ids[words.eos]
        ]
        if wrong:
            raise ConfigError(
                f"banned: {wrong[0]} is not a token that can be banned (right: 0 to "
                f"{len(place_V) - 1}, but not [EOS])"
            )
        banned = place_V[list(decoding.banned)] if decoding.banned else np.zeros(0, np.int64)
        self._banned = torch.from_numpy(banned[banned >= 0])
        self._penalised_V = place_V.copy()
        self._penalised_V[list(spared)] = words.eos  # never penalised
        self._penalised_V[self._penalised_V < 0] = words.eos

    def check(self, constraint: Constraint) -> None:
        """Raises ConfigError where a constraint asks for what can not be written."""
        place = self._words.place_of[constraint.ids]
        if (place < 0).any():
            raise ConfigError(
                f"a constraint needs id {constraint.ids[place < 0][0]}, which is not among the "
                "words that compete; give the writer those ids too"
            )

    def __call__(
        self,
        log_p_NV: Tensor,
        written_Nt: np.ndarray,
        constraints: Sequence[Constraint | None],
        states: Sequence[State | None],
        told: Sequence[int],
    ) -> Tensor:
        """log p of what may follow, -inf for the rest: [N, V]; the argument is left alone.

        written_Nt: ids, of which `told` each lane was given. A lane without a state is over.
        Constraints come before everything else: where repetition control leaves nothing of what
        they allow, it is given up for that token.
        """
        decoding = self.decoding
        free = decoding.repetition_penalty == 1 and not decoding.no_repeat_ngram
        least = decoding.min_tokens
        short_N = np.array([written_Nt.shape[1] - given < least for given in told])
        bound = any(c is not None for c in constraints)
        if free and not short_N.any() and not bound and not len(self._banned):
            return log_p_NV
        out_NV = log_p_NV.clone()
        if decoding.repetition_penalty != 1 and written_Nt.shape[1]:
            columns = torch.from_numpy(self._penalised_V[written_Nt]).to(out_NV.device)
            penalise(out_NV, columns, decoding.repetition_penalty, self._words.eos)
        if decoding.no_repeat_ngram:
            lane, ids = repeated(written_Nt, decoding.no_repeat_ngram)
            out_NV[torch.from_numpy(lane), torch.from_numpy(self._words.place_of[ids])] = NEVER
        if len(self._banned):
            out_NV[:, self._banned.to(out_NV.device)] = NEVER
        if short_N.any():
            out_NV[torch.from_numpy(short_N).to(out_NV.device), self._words.eos] = NEVER
        if bound:
            self._hold(out_NV, log_p_NV, constraints, states)
        return out_NV

    def _hold(
        self,
        out_NV: Tensor,
        log_p_NV: Tensor,
        constraints: Sequence[Constraint | None],
        states: Sequence[State | None],
    ) -> None:
        for lane, (constraint, state) in enumerate(zip(constraints, states, strict=True)):
            if constraint is None or state is None:
                continue
            place = torch.from_numpy(self._words.place_of[constraint.allowed(state)])
            place = place.to(out_NV.device)
            kept = out_NV[lane, place]
            if not bool(torch.isfinite(kept).any()):
                kept = log_p_NV[lane, place]
            out_NV[lane].fill_(NEVER)
            out_NV[lane, place] = kept
