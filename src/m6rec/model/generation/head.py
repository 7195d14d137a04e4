"""The words that compete to be written, and their probabilities.

Only ids that `Tokenizer.write` can give compete: no special token, no [UNK], no piece that stands
for nothing. So no text, however it is asked for, holds one.

Legend: V words that compete, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m6rec.config import ConfigError
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer


class Words:
    """The ids that compete, [EOS] among them; place_of is their column, -1 for other ids.

    ids: those that a checkpoint has learned to write (None: all that the tokenizer can write).
    Raises ConfigError for ids that can not be written.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, ids: Sequence[int] | None = None) -> None:
        can = np.array(tokenizer.writable_ids, dtype=np.int64)
        chosen = can if ids is None else np.array(ids, dtype=np.int64).ravel()
        special = tokenizer.special
        chosen = np.setdiff1d(chosen, list(special.model_dump().values()))
        strange = np.setdiff1d(chosen, can)
        if len(strange):
            raise ConfigError(
                f"id {strange[0]} ({len(strange)} such ids) can not be written: it is outside the "
                "vocabulary, or a piece that written text never uses"
            )
        self.ids = np.union1d(chosen, [special.eos])
        self.place_of = np.full(size, -1, dtype=np.int64)
        self.place_of[self.ids] = np.arange(len(self.ids))
        self.eos = int(self.place_of[special.eos])

    def __len__(self) -> int:
        return len(self.ids)


class Head:
    """log p of the words that compete, after a state."""

    def __init__(self, model: M6, words: Words) -> None:
        self._head = model.lm_head
        self._ids = torch.from_numpy(words.ids).to(model.read_token.device)
        decoder = self._head.decoder
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None
        if type(decoder) is nn.Linear:  # a decoder of another kind is asked for all words
            self._weight = decoder.weight.detach().index_select(0, self._ids)
            bias = decoder.bias
            self._bias = None if bias is None else bias.detach().index_select(0, self._ids)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._ids.device

    def __call__(self, h_BWD: Tensor) -> Tensor:
        """float32 [B, W, V]."""
        if self._weight is None:
            logits = self._head(h_BWD).index_select(-1, self._ids)
        else:
            logits = F.linear(self._head.transformed(h_BWD), self._weight, self._bias)
        out: Tensor = logits.float().log_softmax(-1)
        return out
