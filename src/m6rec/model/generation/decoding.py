"""How a text is to be written, and what was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from m6rec.config import Settings

Finish = Literal["end", "stop", "length", "cancelled"]
"""[EOS] was written; a stop string was; max_tokens were; the reader had enough."""


class Decoding(Settings):
    """How texts are written.

    method: "greedy" takes the likeliest token, "sample" draws, "beam" keeps the likeliest
    beginnings. max_tokens: [EOS] is one of them (a constraint that knows its longest text sets its
    own bound); min_tokens: without [EOS]; neither counts what a text was told to begin with.
    n: texts for each request (samples, or the best of the beams). beams: beginnings that are kept;
    length_penalty: a text of L tokens ([EOS] is one) is worth log p / L^length_penalty;
    early: whether a search ends where no beginning is worth more as it stands than the worst text
    found (else: can ever be). temperature, top_k (0: all), top_p: of sampling. seed: of every
    request that has none of its own.
    repetition_penalty: log p of a word that was written is multiplied by it. no_repeat_ngram: so
    many ids in a row are never written twice (0: off; markers of capitals and spaces are ids too,
    so 3 or more). stop: strings before which the text ends. banned: ids that are never written.
    """

    method: Literal["greedy", "sample", "beam"] = "greedy"
    max_tokens: int = Field(default=64, ge=1)
    min_tokens: int = Field(default=0, ge=0)
    n: int = Field(default=1, ge=1)
    beams: int = Field(default=4, ge=1)
    length_penalty: float = 1.0
    early: bool = True
    temperature: float = Field(default=1.0, gt=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0)
    no_repeat_ngram: int = Field(default=0, ge=0)
    stop: tuple[str, ...] = ()
    banned: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) exceeds max_tokens")
        if self.method == "greedy" and self.n > 1:
            raise ValueError("greedy writing gives one text: use method = 'sample' or 'beam'")
        if self.method == "beam" and self.n > self.beams:
            raise ValueError(f"{self.beams} beams can not give n = {self.n} texts")
        if "" in self.stop:
            raise ValueError("a stop string is empty")
        return self

    @property
    def lanes(self) -> int:
        """Texts that are written at once for a request."""
        return self.beams if self.method == "beam" else self.n


GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class Written:
    """A text. ids: without [EOS], and with what the text was told to begin with.

    log_p: sum over the tokens that were chosen, [EOS] among them, of the model's own log p over
    the words that compete (nats; before temperature, penalties and constraints). score: what beams
    are ordered by; log_p elsewhere. items: numbers of the catalogue's items that the text names,
    where it was held to titles.
    """

    ids: tuple[int, ...]
    text: str
    log_p: float
    finish: Finish
    score: float
    items: tuple[int, ...] = ()
