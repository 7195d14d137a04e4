"""Writing: passages → sources that are read and targets that are written (paper section 2).

What is read and what is written is the form of a task (explanation.py, title.py, query.py); this
is what they share: rows, loss, likelihood, decoding. Sources and targets are laid out as in
pretraining: a segment that says what to do, then segments of their kinds.

Legend: B passages, R rows of a source, T tokens of a target, M kept states, D width, N tokens to be
foretold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from m6rec.config import ConfigError, Settings
from m6rec.data.passages import Passage
from m6rec.model import plans
from m6rec.model.generation.byte_level import facts
from m6rec.model.generation.constrain import Constraint
from m6rec.model.generation.decoding import Decoding, Written
from m6rec.model.generation.writer import Stream
from m6rec.model.generation.writer import Writer as Decoder
from m6rec.model.language import SourceRows, full_writing, late_writing
from m6rec.model.m6 import M6
from m6rec.records import Segment
from m6rec.tasks.likelihood import (
    Source,
    full_rows,
    late_rows,
    log_likelihood_of,
    padded_rows,
    written_rows,
)
from m6rec.tasks.segments import Plan, SegmentTable, below_is_frozen
from m6rec.text.aspect_words import FRAME
from m6rec.text.verbalize import Verbalizer

MOST_CACHED = 1 << 30
"""Bytes of segment states that are kept between batches; beyond it they are computed again."""
AT_ONCE = 32
SAID_ANYWAY = tuple(sorted(FRAME))
"""Words of a faithful text beside the facts."""


class WritingSettings(Settings):
    """What every writing task reads and writes.

    plan, online_layers: as in retrieval. max_history: newest events told. profile: whether the
    user's attributes are. item_tokens, event_tokens, profile_tokens: of a segment; budget: of what
    is written. drawn: words that compete in training beside those of the texts of train (0: all).
    """

    plan: Plan = "late"
    online_layers: int = Field(default=2, ge=1)
    max_history: int = Field(default=12, ge=0)
    profile: bool = True
    item_tokens: int = Field(default=96, ge=1)
    event_tokens: int = Field(default=32, ge=1)
    profile_tokens: int = Field(default=96, ge=1)
    budget: int = Field(default=96, ge=1)
    drawn: int = Field(default=2048, ge=0)

    @property
    def segment_states(self) -> Literal["all"]:
        """Every token's state is kept: what is to be copied must be there."""
        return "all"

    def tokens_of(self, kind: str) -> int:
        """Tokens of a segment of a kind."""
        budgets = {"item": self.item_tokens, "event": self.event_tokens}
        return budgets.get(kind, self.profile_tokens)


class Form(Protocol):
    """What a task reads of a passage, and how its text is written."""

    def source(self, passage: Passage) -> list[Segment]:
        """What is read, in order."""
        ...

    def target(self, passage: Passage, reference: str) -> str:
        """What is written where people wrote `reference`."""
        ...

    def facts(self, passage: Passage) -> list[str]:
        """Texts that hold all that may be claimed."""
        ...

    def read(self, text: str) -> str:
        """A written text → what stands in for the reference."""
        ...


@dataclass(frozen=True, slots=True)
class Lesson:
    """A source, and the written ids that belong after it."""

    source: Source
    target: tuple[int, ...]


class Author:
    """A network that writes one task's texts.

    decoding: how `write` writes. faithful: whether it may only say what `Form.facts` say, and words
    that state nothing (text/aspect_words.py). bound: what every text is held to that is held to
    nothing else.
    """

    residual: None = None

    def __init__(
        self,
        model: M6,
        table: SegmentTable,
        form: Form,
        settings: WritingSettings,
        name: str = "M6-Rec",
    ) -> None:
        self.model, self.table, self.form, self.settings = model, table, form, settings
        self.name = name
        self.tokenizer = table.tokenizer
        self.decoding, self.faithful = Decoding(max_tokens=settings.budget), False
        self.bound: Constraint | None = None
        if settings.plan == "full" and model.prompts is not None:
            raise ConfigError("soft prompts (prompts > 0) stand before segments: use plan = 'late'")
        self._decoder: Decoder | None = None

    def lessons(self, passages: Sequence[Passage]) -> list[Lesson]:
        """One for each text that people wrote."""
        sources = self.sources(passages)
        budget = self.settings.budget
        return [
            Lesson(source, tuple(self.tokenizer.write(self.form.target(p, text), budget)))
            for p, source in zip(passages, sources, strict=True)
            for text in p.references
        ]

    def sources(self, passages: Sequence[Passage]) -> list[Source]:
        """Rows of the segment table, with their slots."""
        return [self._source(self.form.source(passage)) for passage in passages]

    def _source(self, segments: Sequence[Segment]) -> Source:
        config = self.model.config
        found = []
        for segment in segments:
            row = self.table.add([segment.text], self.settings.tokens_of(segment.kind))[0]
            found.append((plans.slot(segment.kind, segment.age, config), int(row)))
        return tuple(found)

    def loss(self, lessons: Sequence[Lesson], words: Tensor | None = None) -> Tensor:
        """Mean -log p over all tokens, [EOS] among them, a scalar in nats.

        words: ids that compete, every label among them (None: all).
        """
        h_ND, label_N = self._states(lessons)
        return F.cross_entropy(*self._logits(h_ND, label_N, words))

    @torch.no_grad()
    def nats(self, lessons: Sequence[Lesson]) -> tuple[np.ndarray, np.ndarray]:
        """-log p of each target over the whole vocabulary, and its tokens: float64 [len] each."""
        sums = np.zeros(len(lessons))
        lengths = np.array([len(lesson.target) + 1 for lesson in lessons], dtype=np.float64)
        order = np.argsort(lengths, kind="stable")
        for first in range(0, len(order), AT_ONCE):
            chosen = order[first : first + AT_ONCE]
            some = [lessons[i] for i in chosen]
            h_ND, label_N = self._states(some)
            owner = np.repeat(np.arange(len(some)), lengths[chosen].astype(int))
            logs_N = log_likelihood_of(self.model, h_ND, label_N)
            sums[chosen] = -np.bincount(owner, logs_N, len(some))
        return sums, lengths

    def log_likelihoods(self, passage: Passage, texts: Sequence[str]) -> np.ndarray:
        """log p of texts in the form in which they are written, in nats: float64 [len]."""
        source, budget = self.sources([passage])[0], self.settings.budget
        targets = [tuple(self.tokenizer.write(text, budget)) for text in texts]
        return -self.nats([Lesson(source, target) for target in targets])[0]

    def write(self, passages: Sequence[Passage]) -> list[str]:
        """The best text for each passage, by `decoding`, as the form reads it."""
        return [self.form.read(text) for text in self.write_raw(passages)]

    def write_raw(self, passages: Sequence[Passage]) -> list[str]:
        """The same as it was written; "" where a constraint leaves nothing."""
        held = [self.constraint(p) for p in passages] if self.faithful else None
        found = self.write_all(passages, self.decoding, held)
        return [texts[0].text if texts else "" for texts in found]

    def constraint(self, passage: Passage) -> Constraint:
        """What a faithful text may say."""
        return facts(self.form.facts(passage), SAID_ANYWAY, self.tokenizer)

    def write_all(
        self,
        passages: Sequence[Passage],
        decoding: Decoding,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> list[list[Written]]:
        """decoding.n texts for each passage, best first; constraints: one for each passage."""
        sources = self.sources(passages)
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        found: list[list[Written]] = [[] for _ in sources]
        decoder = self.decoder()
        for first in range(0, len(order), AT_ONCE):
            chosen = order[first : first + AT_ONCE]
            held = [self.bound if constraints is None else constraints[i] for i in chosen]
            with torch.no_grad():
                prefix = decoder.read(*self.rows([sources[i] for i in chosen]))
            texts = decoder.write(prefix, decoding, constraints=held)
            for i, of in zip(chosen, texts, strict=True):
                found[i] = of
        return found

    def stream(
        self, passage: Passage, decoding: Decoding, constraint: Constraint | None = None
    ) -> Stream:
        """Pieces of one text as they come."""
        decoder = self.decoder()
        with torch.no_grad():
            prefix = decoder.read(*self.rows(self.sources([passage])))
        return decoder.stream(prefix, decoding, constraints=constraint)

    def decoder(self) -> Decoder:
        """The network with its words, ready to write."""
        if self._decoder is None:
            lower, plan = self.table.lower, self.settings.plan
            self._decoder = Decoder(self.model, self.tokenizer, lower, plan)
        return self._decoder

    def rows(self, sources: Sequence[Source]) -> tuple[SourceRows, Tensor | None]:
        """Sources as rows; under the late plan of kept states [M, D].

        Soft prompts are none of them: model/language.py and model/prefix.py put them first.
        """
        device = self.table.device
        if self.settings.plan == "full":
            return padded_rows(full_rows(self.table, sources), device), None
        frozen = below_is_frozen(self.model, self.table.lower)
        kept_MD, rows = late_rows(self.table, sources, frozen and self._fits())
        if frozen:
            kept_MD = kept_MD.detach()
        return padded_rows(rows, device), kept_MD

    def _fits(self) -> bool:
        longest = max(len(ids) for ids in self.table.memory.ids)
        return len(self.table) * longest * self.model.config.d_model * 2 <= MOST_CACHED

    def _states(self, lessons: Sequence[Lesson]) -> tuple[Tensor, Tensor]:
        """States of the rows that foretell a token, in order, and the tokens: [N, D], [N]."""
        source, kept_MD = self.rows([lesson.source for lesson in lessons])
        targets = written_rows([lesson.target for lesson in lessons], self.tokenizer.special)
        ids_BT, label_BT, valid_BT = (torch.from_numpy(x).to(self.table.device) for x in targets)
        target, lower = (ids_BT, valid_BT), self.table.lower
        if kept_MD is None:
            h_BTD = full_writing(self.model, source, target, lower)
        else:
            h_BTD = late_writing(self.model, kept_MD, source, target, lower)
        return h_BTD[valid_BT], label_BT[valid_BT]

    def _logits(self, h_ND: Tensor, label_N: Tensor, words: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of the words that compete, and each label's column."""
        head = self.model.lm_head
        if words is None:
            return head(h_ND), label_N
        h_ND = head.transformed(h_ND)
        bias = head.decoder.bias
        place_V = torch.full((self.model.config.vocab_size,), -1, device=h_ND.device)
        place_V[words] = torch.arange(len(words), device=h_ND.device)
        logits = F.linear(h_ND, head.decoder.weight[words], None if bias is None else bias[words])
        return logits, place_V[label_N]


def words_of(lessons: Sequence[Lesson], eos: int) -> Tensor:
    """Ids that some lessons write, ascending."""
    found = {token for lesson in lessons for token in lesson.target}
    return torch.tensor(sorted(found | {eos}))


def history_segments(
    verbalizer: Verbalizer, passage: Passage, settings: WritingSettings
) -> Iterator[Segment]:
    """The user's attributes, then the newest events, oldest first."""
    if settings.profile:
        told = passage.profile or ""
        known = verbalizer.profile(passage.user_id)
        text = ", ".join(part for part in (told, known.text if known else "") if part)
        if text:
            yield Segment(text, "profile")
    events = passage.history[max(0, len(passage.history) - settings.max_history) :]
    for place, event in enumerate(events, start=1):
        yield verbalizer.event(event, None, len(events) - place)
