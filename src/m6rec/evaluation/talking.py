"""Conversation judged: what is recommended in a reply, and how the reply reads.

Recall@k counts each item that the person named in a reply (so a reply may count several times), by
its place among all items of the catalogue, of equal scores the worst. "new" leaves out items that
were named before in the dialogue, from the answers and from the lists. BLEU and Dist are of replies
with a slot in place of each item. Intervals are by dialogue; Dist-n is a figure of the whole set,
and has none. Legend: A replies, I items, T targets, D dialogues, C columns, B draws, M metrics.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from m6rec.data.talks import NEW, OLD, Ask, TalkSplit, question, slotted
from m6rec.evaluation.result import EvaluationError, Result
from m6rec.evaluation.sums import Sums
from m6rec.metrics import text as metrics
from m6rec.metrics.bootstrap import DEFAULT, Estimate, Resampling, safe_divide
from m6rec.metrics.text_variety import distinct

KS = (1, 10, 50)
AT_ONCE = 256
SLOT = re.compile(f"{NEW}|{OLD}")


class Talker(Protocol):
    """Recommends and replies; it is shown dialogues without their answers."""

    @property
    def name(self) -> str: ...

    def scores(self, asks: Sequence[Ask]) -> np.ndarray | None:
        """How well each item of the catalogue would fit into each reply: [A, I], if it can say."""
        ...

    def replies(self, asks: Sequence[Ask]) -> list[str] | None:
        """What it would say, with slots (NEW, OLD) in place of items, if it says anything."""
        ...


@dataclass(frozen=True)
class Found:
    """Places of targets in the lists. owner: the reply of each target; rank from 1: int [T] each.

    new: whether it was not named before; its rank is then among items of that kind (rank_new).
    """

    owner: np.ndarray
    rank: np.ndarray
    new: np.ndarray
    rank_new: np.ndarray


class TalkJudge:
    """Judges replies of one part of a split."""

    def __init__(
        self,
        split: TalkSplit,
        part: Literal["valid", "test"] = "test",
        resampling: Resampling = DEFAULT,
    ) -> None:
        self.split, self.part, self.resampling = split, part, resampling
        self.asks = split.asks(part)
        self.questions = [question(ask) for ask in self.asks]
        self.references = [(as_words(slotted(ask)),) for ask in self.asks]
        self.place = {item_id: row for row, item_id in enumerate(split.items["item_id"])}
        keys = [ask.dialog_id for ask in self.asks]
        self.dialog_A = np.unique(keys, return_inverse=True)[1]

    def evaluate(self, talker: Talker, nats: tuple[np.ndarray, np.ndarray] | None = None) -> Result:
        """All metrics that a talker has. nats: -log p and tokens of each reply, for "ppl"."""
        started = time.perf_counter()
        found = self.find(talker)
        texts = talker.replies(self.questions)
        seconds = time.perf_counter() - started
        return self.judge(talker.name, found, texts, nats, seconds)

    def find(self, talker: Talker) -> Found | None:
        """Where the targets stand in a talker's lists; None if it has no list."""
        blocks = []
        for first in range(0, len(self.asks), AT_ONCE):
            scores_AI = talker.scores(self.questions[first : first + AT_ONCE])
            if scores_AI is None:
                return None
            blocks.append(self._ranks(talker.name, scores_AI, first))
        return Found(*(np.concatenate(of) for of in zip(*blocks, strict=True)))

    def _ranks(self, name: str, scores_AI: np.ndarray, first: int) -> tuple[np.ndarray, ...]:
        count = min(AT_ONCE, len(self.asks) - first)
        if scores_AI.shape != (count, len(self.place)) or np.isnan(scores_AI).any():
            raise EvaluationError(
                f"{name!r} gave scores of shape {scores_AI.shape}, right is "
                f"{(count, len(self.place))} without NaN"
            )
        rows = []
        for row, scores_I in enumerate(scores_AI):
            ask = self.asks[first + row]
            assert ask.reply is not None
            before = [self.place[i] for i in ask.mentioned if i in self.place]
            masked_I = scores_I.astype(np.float64)
            masked_I[before] = -np.inf
            for item_id in dict.fromkeys(ask.reply.item_ids):
                at = self.place[item_id]
                new = at not in before
                rank = int((scores_I >= scores_I[at]).sum())
                rank_new = int((masked_I >= masked_I[at]).sum()) if new else 0
                rows.append((first + row, rank, new, rank_new))
        found = np.array(rows, dtype=np.int64).reshape(-1, 4)
        return found[:, 0], found[:, 1], found[:, 2].astype(bool), found[:, 3]

    def judge(
        self,
        name: str,
        found: Found | None,
        texts: Sequence[str] | None,
        nats: tuple[np.ndarray, np.ndarray] | None = None,
        seconds: float = 0.0,
    ) -> Result:
        """The result of lists and texts. Raises EvaluationError for a wrong number of texts."""
        sums = Sums(self.dialog_A)
        if found is not None:
            self._add_recall(sums, found)
        whole = {}
        if texts is not None:
            if len(texts) != len(self.asks):
                raise EvaluationError(
                    f"{name!r} gave {len(texts)} replies where {len(self.asks)} were asked for"
                )
            words = [as_words(text) for text in texts]
            sums.add("bleu-2", metrics.bleu_counts(words, self.references), _bleu_2)
            lengths = np.array([len(metrics.words(text)) for text in words], dtype=np.float64)
            sums.mean("words", lengths)
            offers = np.array([float(NEW in text) for text in texts])
            sums.mean("recommends", offers)
            whole = {f"dist-{n}": Estimate(distinct(words, n)) for n in (2, 3, 4)}
        if nats is not None:
            sums.add("ppl", np.stack(nats, 1), lambda s: np.exp(safe_divide(s[:, 0], s[:, 1])))
        measures = sums.measures()
        targets = 0 if found is None else len(found.rank)
        new = 0 if found is None else int(found.new.sum())
        return Result(
            model=name,
            task="chat",
            part=self.part,
            card=self.split.card,
            metrics={**measures.estimates(self.resampling), **whole},
            breakdown={},
            counts={
                "replies": len(self.asks),
                "dialogues": int(self.dialog_A.max()) + 1,
                "items": targets,
                "new items": new,
            },
            curves={},
            seconds=seconds,
            resampling=self.resampling,
            measures=measures,
            evidence={},
        )

    def _add_recall(self, sums: Sums, found: Found) -> None:
        A = len(self.asks)
        for suffix, of, rank in (
            ("", np.ones(len(found.rank), bool), found.rank),
            ("-new", found.new, found.rank_new),
        ):
            owner, ranks = found.owner[of], rank[of]
            total_A = np.bincount(owner, minlength=A).astype(np.float64)
            for k in KS:
                hit_A = np.bincount(owner, ranks <= k, A)
                sums.ratio(f"recall@{k}{suffix}", hit_A, total_A)


def _bleu_2(sums_BC: np.ndarray) -> np.ndarray:
    return metrics.bleu(sums_BC, 2)


def as_words(text: str) -> str:
    """A reply with one word in place of each slot, for metrics of words."""
    return SLOT.sub(" item ", text)
