"""Zero-shot scoring: how likely the model finds a verbalised event after a history (section 2).

Nothing is trained. The source is the history, one segment for each event, as pretraining presents
behaviour; the target is the candidate's event, written with the lossless ids of `Tokenizer.write`.
A history is read once, whatever the number of its candidates (likelihood.py, model/prefix.py).

Legend: N candidates over all requests, P distinct pairs of source and target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import log
from typing import Literal

import numpy as np
from pydantic import Field

from m6rec.config import ConfigError, Settings
from m6rec.data.kinds import Verdict, kind_of
from m6rec.data.requests import Requests
from m6rec.data.stances import AGAINST, stances
from m6rec.data.verdicts import Scale
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.records import Candidate, Event, Request
from m6rec.tasks.likelihood import Questions, Reading, Source, Target, log_likelihoods
from m6rec.tasks.segments import Plan, SegmentTable
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer

REQUESTS_AT_ONCE = 512
MOST_SEGMENTS, MOST_TARGETS = 20_000, 200_000
"""What is remembered between calls; beyond it, memory is begun anew."""
PLACEHOLDER = "¤item¤"


class ZeroShotSettings(Settings):
    """What zero-shot scoring reads, writes and compares.

    plan, online_layers, segment_states, max_history, profile: as in retrieval; cached: whether the
    late plan reads remembered states of half precision. form: what of a candidate is judged: the
    words of the "item" after the verb ("bought: " is told), the whole "event", or the bare "title".
    event: how the candidate's event is told (None: like the newest choice of the history, else as
    a click). normalise: per judged token, or the sum. calibration: weight of the candidate's own
    log-likelihood, which is taken off (0: nothing): under an empty history, and in the mean under
    those of so many `others`. budget: tokens of a target. yes, no: the two events of a judgement;
    asked: whether the item is "written" after the verb, or "read" before it; prior: weight of the
    judgement under an empty history, taken off. bf16: whether all is computed in bfloat16, which is
    faster and less exact (about 0.01 nats). rows_at_once: states held at once, of sources and of
    targets with their sources.
    """

    plan: Plan = "late"
    online_layers: int = Field(default=1, ge=1)
    segment_states: int | Literal["all"] = "all"
    cached: bool = True
    max_history: int = Field(default=12, ge=0)
    profile: bool = False
    form: Literal["item", "event", "title"] = "item"
    event: str | None = None
    normalise: Literal["mean", "sum"] = "mean"
    calibration: float = Field(default=1.0, ge=0)
    others: int = Field(default=0, ge=0)
    budget: int = Field(default=64, ge=1)
    yes: str = "like"
    no: str = "dislike"
    asked: Literal["written", "read"] = "written"
    prior: float = Field(default=0.0, ge=0)
    bf16: bool = False
    rows_at_once: int = Field(default=16_384, ge=1)


DEFAULT = ZeroShotSettings()


@dataclass(frozen=True)
class Evidence:
    """Sums of log p over a candidate's judged tokens, after its history and alone (the log of the
    mean likelihood, where other histories count), and how many tokens those are: [N] each."""

    after_N: np.ndarray
    alone_N: np.ndarray
    judged_N: np.ndarray

    @classmethod
    def nothing(cls) -> Evidence:
        """Of no candidates."""
        return cls(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))

    def score(self, calibration: float, normalise: Literal["mean", "sum"] = "mean") -> np.ndarray:
        """(after - calibration · alone), for each judged token under "mean": float64 [N]."""
        total_N = self.after_N - calibration * self.alone_N
        return total_N / self.judged_N if normalise == "mean" else total_N


class ZeroShot:
    """Scores candidates by likelihood, and says whether a user will like them.

    others: what other users did, of which the first `settings.others` stand for anybody's history.
    """

    def __init__(
        self,
        model: M6,
        tokenizer: Tokenizer,
        verbalizer: Verbalizer,
        settings: ZeroShotSettings = DEFAULT,
        name: str = "M6-Rec, zero-shot",
        others: Sequence[Request] = (),
    ) -> None:
        self.model, self.tokenizer, self.verbalizer = model, tokenizer, verbalizer
        self.settings, self.name = settings, name
        self.others = tuple(others[: settings.others])
        self.lower = model.config.layers - settings.online_layers
        if self.lower < 0:
            raise ConfigError(
                f"online_layers = {settings.online_layers}: the model has "
                f"{model.config.layers} layers, right is that many or fewer"
            )
        self._targets: dict[tuple[str, Candidate], Target] = {}
        self._alone: dict[Target, float] = {}
        self._begin_anew()

    def score(self, requests: Requests) -> np.ndarray:
        """Log-likelihood (nats, normalised, calibrated) of each candidate of every request in
        order: float64 [N]. Higher is likelier.

        After what the user is for; by how much what they are against makes it likelier, as a
        history of its own, is taken off in the same share as in retrieval.
        """
        weight, normalise = self.settings.calibration, self.settings.normalise
        parts = stances(requests, self.scale)
        score_N = self.evidence(parts.liked, alone=weight > 0).score(weight, normalise)
        if parts.disliked is None:
            return score_N
        share_R = np.where(parts.is_blank, 1.0, AGAINST) * parts.is_against
        share_N = np.repeat(share_R, [len(request.candidates) for request in requests])
        rows = np.flatnonzero(parts.is_against)
        against = self.evidence(parts.disliked.take(rows)).score(1.0, normalise)
        score_N[share_N > 0] -= share_N[share_N > 0] * against
        return score_N

    @property
    def scale(self) -> Scale:
        """Of ratings in histories: the one that the templates know."""
        return Scale(float(self.verbalizer.templates.word("scale")))

    def evidence(self, requests: Requests, alone: bool = True) -> Evidence:
        """What scores are made of; alone: whether likelihoods under an empty history too."""
        parts = [Evidence.nothing()]
        for block in self._blocks(requests):
            questions, targets, after = Questions(), list[Target](), list[int]()
            for request in block:
                source, kind = self.source(request), self._kind(request)
                for candidate in request.candidates:
                    targets.append(self.target(candidate, kind))
                    after.append(questions.add(source, targets[-1]))
            fresh = dict.fromkeys(t for t in targets if t not in self._alone) if alone else {}
            anybody = [(), *map(self.source, self.others)]
            numbers = {t: [questions.add(source, t) for source in anybody] for t in fresh}
            sums_P = self.log_likelihoods(questions)
            for target, under in numbers.items():
                self._alone[target] = float(np.logaddexp.reduce(sums_P[under])) - log(len(anybody))
            own = [self._alone[target] if alone else 0.0 for target in targets]
            judged = [target.judged for target in targets]
            parts.append(Evidence(sums_P[after], np.array(own), np.array(judged, dtype=np.int64)))
        return Evidence(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Evidence))
        )

    def predict(self, requests: Requests) -> np.ndarray:
        """P(yes) / (P(yes) + P(no)) of each candidate of every request in order: float32 [N]."""
        weight = self.settings.prior
        parts = [np.zeros(0)]
        for block in self._blocks(requests):
            questions = Questions()
            after: list[tuple[int, int]] = []
            alone: list[tuple[int, int]] = []
            for request in block:
                history = self.source(request)
                for candidate in request.candidates:
                    after.append(self._judgement(questions, history, candidate))
                    own = self._judgement(questions, (), candidate) if weight else after[-1]
                    alone.append(own)
            sums_P = self.log_likelihoods(questions)
            yes_no, own_yes_no = (sums_P[np.array(x, int).reshape(-1, 2)] for x in (after, alone))
            parts.append(yes_no @ [1.0, -1.0] - weight * (own_yes_no @ [1.0, -1.0]))
        odds = np.concatenate(parts)
        return ((1 + np.tanh(odds / 2)) / 2).astype(np.float32)

    def source(self, request: Request) -> Source:
        """The newest events, oldest first, after the user's profile where it is read."""
        segments = []
        if self.settings.profile and (found := self.verbalizer.profile(request.user_id)):
            segments.append(found)
        newest = request.history[max(0, len(request.history) - self.settings.max_history) :]
        for place, event in enumerate(newest, start=1):
            segments.append(self.verbalizer.event(event, None, len(newest) - place))
        rows = [
            int(self.table.add([s.text], self.verbalizer.templates.budget(s.kind))[0])
            for s in segments
        ]
        slots = [plans.slot(s.kind, s.age, self.model.config) for s in segments]
        return tuple(zip(slots, rows, strict=True))

    def target(self, candidate: Candidate, event: str) -> Target:
        """What is written of a candidate, in the settings' form."""
        key = (event, candidate)
        if key not in self._targets:
            text = self._event_text(event, candidate)
            before, _, after = self._event_text(event, Candidate(text=PLACEHOLDER)).partition(
                PLACEHOLDER
            )
            before = before if text.startswith(before) else ""
            if self.settings.form == "title":
                text = text.removeprefix(before).removesuffix(after)
            ids = tuple(self.tokenizer.write(text, self.settings.budget))
            told = self._told(ids, before) if self.settings.form == "item" else 0
            self._targets[key] = Target(ids, told)
        return self._targets[key]

    def log_likelihoods(self, questions: Questions) -> np.ndarray:
        """Sum of log p over each pair's judged tokens, in nats: float64 [P]."""
        reading = self.settings
        how = Reading(reading.plan, reading.cached, reading.bf16, reading.rows_at_once)
        return log_likelihoods(self.table, questions, how)

    def _blocks(self, requests: Requests) -> Iterator[Requests]:
        for block in requests.blocks(REQUESTS_AT_ONCE):
            if len(self.table) > MOST_SEGMENTS or len(self._targets) > MOST_TARGETS:
                self._begin_anew()
            yield block

    def _begin_anew(self) -> None:
        states = self.settings.segment_states
        self.table = SegmentTable(self.model, self.tokenizer, self.lower, states)
        self._targets.clear()
        self._alone.clear()

    def _kind(self, request: Request) -> str:
        if self.settings.event is not None:
            return self.settings.event
        kinds = (event.event for event in reversed(request.history))
        return next((kind for kind in kinds if kind_of(kind).verdict == Verdict.YES), "click")

    def _event_text(self, kind: str, candidate: Candidate) -> str:
        event = Event(kind, candidate.item_id, candidate.text)
        return self.verbalizer.event(event, None, 0).text

    def _told(self, ids: Sequence[int], before: str) -> int:
        """How many ids say `before` (a marker for the words after it may stand among them)."""
        wanted = _squeezed(before)
        for count in range(len(ids) + 1):
            if _squeezed(self.tokenizer.decode(ids[:count])).startswith(wanted):
                return count
        return 0

    def _judgement(
        self, questions: Questions, history: Source, candidate: Candidate
    ) -> tuple[int, int]:
        """Numbers of the pairs of yes and no."""
        kinds = (self.settings.yes, self.settings.no)
        if self.settings.asked == "read":
            budget = self.verbalizer.templates.budget("item")
            row = int(self.table.add([self.verbalizer.item(candidate).text], budget)[0])
            history = (*history, (plans.SLOTS["item"], row))
            texts = [self.verbalizer.templates.verb(kind) for kind in kinds]
        else:
            texts = [self._event_text(kind, candidate) for kind in kinds]
        yes, no = (Target(tuple(self.tokenizer.write(t, self.settings.budget))) for t in texts)
        return questions.add(history, yes), questions.add(history, no)


def _squeezed(text: str) -> str:
    return "".join(text.split()).lower()
