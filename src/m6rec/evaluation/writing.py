"""Written texts judged: likeness to what people wrote, variety, newness, faithfulness, round trip.

Figures that are sums or ratios over texts have intervals by resampling users; USR, Dist-n and FCR
are figures of the whole set, where a draw with repeats would count every repeat against it, and
have none. Legend: N texts, U users, B draws, C columns of sums, M metrics.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Protocol

import numpy as np

from m6rec.data.passages import Passage, WritingSplit
from m6rec.evaluation.result import EvaluationError, Measures, Result
from m6rec.evaluation.sums import Sums
from m6rec.metrics import text as metrics
from m6rec.metrics import text_variety as variety
from m6rec.metrics.bootstrap import DEFAULT, Estimate, Resampling, safe_divide
from m6rec.tasks.explanation import aspects_for
from m6rec.tasks.grounds import Grounds
from m6rec.tasks.query import Search
from m6rec.text.aspects import claims, unsupported

Part = Literal["valid", "test"]
COPIED_OVER = 8
"""A run of more words than this that stands in a known text is a copy."""
FOUND_WITHIN = 10


class WritingModel(Protocol):
    """Writes a text for each passage; it is shown passages without their references."""

    @property
    def name(self) -> str: ...

    def write(self, passages: Sequence[Passage]) -> list[str]: ...


class WritingJudge:
    """Judges texts for one part of a split; what it needs to know of the split is made once.

    searches: for the round trip of queries, by the name of the metric.
    """

    def __init__(
        self,
        split: WritingSplit,
        part: Part = "test",
        searches: Mapping[str, Search] | None = None,
        resampling: Resampling = DEFAULT,
    ) -> None:
        self.split, self.part, self.resampling = split, part, resampling
        self.passages = split.part(part)
        self.questions = [replace(p, references=()) for p in self.passages]
        self.references = [p.references for p in self.passages]
        self.searches = dict(searches or {}) if split.task == "query" else {}
        self.known = split.known_texts
        self.user_N = _units(self.passages)
        self.grounds = Grounds(split.items, split.users)
        self.aspects = aspects_for(split)
        self.wanted = self._wanted()

    def _wanted(self) -> list[str | None]:
        """The feature that each text was written about: named, else the first it speaks of."""
        if self.split.features:
            return [p.feature for p in self.passages]
        return [next(iter(self.aspects.find(p.references[0])), None) for p in self.passages]

    def evaluate(self, model: WritingModel) -> Result:
        """Lets a model write, and judges what it wrote."""
        started = time.perf_counter()
        texts = model.write(self.questions)
        return self.judge(model.name, texts, time.perf_counter() - started)

    def perplexity(self, nats_N: np.ndarray, tokens_N: np.ndarray) -> Estimate:
        """exp of the mean -log p per token, with its interval, of what people wrote.

        nats, tokens: sums over the references of each passage.
        """
        sums = Sums(self.user_N)
        both_N2 = np.stack([nats_N, tokens_N], 1)
        sums.add("", both_N2, lambda s: np.exp(safe_divide(s[:, 0], s[:, 1])))
        return sums.measures().estimates(self.resampling)[""]

    def mean(self, values_N: np.ndarray) -> Estimate:
        """The mean over texts, its interval over users."""
        sums = Sums(self.user_N)
        sums.mean("", values_N)
        return sums.measures().estimates(self.resampling)[""]

    def judge(self, name: str, texts: Sequence[str], seconds: float = 0.0) -> Result:
        """A result with all metrics of the task. Raises EvaluationError for a wrong number."""
        if len(texts) != len(self.passages):
            raise EvaluationError(
                f"model {name!r} wrote {len(texts)} texts for {len(self.passages)} passages"
            )
        named = [self.aspects.find(text) for text in texts]
        measures = self._measures(texts, named)
        whole = {name: Estimate(value) for name, value in self._whole(texts, named).items()}
        return Result(
            model=name,
            task=self.split.task,
            part=self.part,
            card=self.split.card,
            metrics={**measures.estimates(self.resampling), **whole},
            breakdown={},
            counts={
                "texts": len(texts),
                "users": int(self.user_N.max()) + 1,
                "aspects": len(self.aspects.names),
            },
            curves={},
            seconds=seconds,
            resampling=self.resampling,
            measures=measures,
            evidence={},
            notes=self._notes(),
        )

    def _measures(self, texts: Sequence[str], named: variety.Features) -> Measures:
        explains = self.split.task == "explain"
        sums = Sums(self.user_N)
        bleu_NC = metrics.bleu_counts(texts, self.references)
        for n in (1, 4) if explains else (1, 2, 4):
            sums.add(f"bleu-{n}", bleu_NC, partial(metrics.bleu, most=n))
        for name, (above_N, below_N) in self._ratios(texts, named).items():
            sums.ratio(name, above_N, below_N)
        if explains:
            sums.weighted("div", variety.feature_diversity(named))
        return sums.measures()

    def _ratios(
        self, texts: Sequence[str], named: variety.Features
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        ones = np.ones(len(texts))
        values = {
            **metrics.rouge(texts, self.references),
            **metrics.rouge_ascii(texts, self.references),
            "novel": variety.novel(texts, self.known),
            "copied": variety.copied(texts, self.known, COPIED_OVER),
            "words": np.array([len(metrics.words(text)) for text in texts]),
        }
        if self.split.task == "title":
            titles = self.split.items["title"].drop_nulls().to_list()
            values["copied"] = variety.copied(texts, titles, COPIED_OVER)
            values["novel"] = variety.novel(texts, titles)
        for name, search in self.searches.items():
            found = [ids[:FOUND_WITHIN] for ids in search(texts)]
            about = [p.item_id or "" for p in self.passages]
            values[name] = variety.round_trip(found, about)
        ratios = {name: (np.asarray(of, np.float64), ones) for name, of in values.items()}
        if self.split.task == "explain":
            ratios |= self._about_claims(texts, named)
        return ratios

    def _about_claims(
        self, texts: Sequence[str], named: variety.Features
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        matched = variety.feature_matching(named, self.wanted)
        made = np.array([len(claims(text)) for text in texts], dtype=np.float64)
        wrong = np.array(
            [
                len(unsupported(text, self.grounds.facts(passage)))
                for text, passage in zip(texts, self.passages, strict=True)
            ]
        )
        ones = np.ones(len(texts))
        return {
            "fmr": (np.nan_to_num(matched), (~np.isnan(matched)).astype(np.float64)),
            "faithful": (made - wrong, made),
            "faithful-texts": ((wrong == 0).astype(np.float64), ones),
            "claims": (made, ones),
        }

    def _whole(self, texts: Sequence[str], named: variety.Features) -> dict[str, float]:
        found = {"usr": variety.unique_sentence_ratio(texts)}
        found |= {f"dist-{n}": variety.distinct(texts, n) for n in (1, 2, 3)}
        if self.split.task == "explain" and self.aspects.names:
            found["fcr"] = variety.feature_coverage(named, self.aspects.names)
        return found

    def _notes(self) -> tuple[str, ...]:
        if self.split.task != "explain":
            return ()
        learned = "named by the data" if self.split.features else "learned from the texts of train"
        return (f"features are {learned}: {len(self.aspects.names)}",)


def _units(passages: Sequence[Passage]) -> np.ndarray:
    """Each passage's user as a number from 0; without one, the passage is a unit of its own."""
    keys = [p.user_id or f"\0{number}" for number, p in enumerate(passages)]
    return np.unique(keys, return_inverse=True)[1]
