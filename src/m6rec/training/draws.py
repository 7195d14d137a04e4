"""Which documents a step learns from: a function of the seed and the number of the step alone.

So a run that was killed draws the same batches when it goes on, with nothing to remember.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from m6rec.training.batches import ReadPlan
from m6rec.training.corpus.documents import Corpus, Document, Kind
from m6rec.training.objectives import Asker, Example, Job, Pair, fits, pairs_up
from m6rec.training.recipe import PretrainRecipe

STEPS_OF_A_POOL = 32
"""Examples are drawn for so many steps at once, then laid into batches of like lengths."""


class Draws:
    """Examples and pairs of every step."""

    def __init__(self, corpus: Corpus, asker: Asker, recipe: PretrainRecipe) -> None:
        self.asker, self.recipe = asker, recipe
        documents = corpus.train
        found: dict[Job, list[Document]] = {
            job: [d for d in documents if fits(job, d)] for job in recipe.jobs
        }
        self.of_job = {job: some for job, some in found.items() if some and recipe.jobs[job]}
        self.of_kind: dict[Kind, dict[str, list[Document]]] = {}
        for document in documents:
            if pairs_up(document) and recipe.pair_kinds.get(document.kind, 0) > 0:
                sources = self.of_kind.setdefault(document.kind, {})
                sources.setdefault(document.source, []).append(document)
        self._pools: dict[int, tuple[int, list[list[Example]]]] = {}

    def examples(self, step: int, part: int) -> list[Example]:
        """Examples of a step's micro-batch: about `recipe.tokens` tokens."""
        pool, within = divmod(step, STEPS_OF_A_POOL)
        kept = self._pools.get(part)
        if kept is None or kept[0] != pool:
            kept = (pool, self._pool(pool, part))
            self._pools[part] = kept
        return kept[1][within]

    def pairs(self, step: int) -> list[Pair]:
        """Pairs of a step, all of one kind and source (drawn by how many documents it has)."""
        rng = np.random.default_rng([self.recipe.seed, 1, step])
        if not self.of_kind:
            return []
        kinds = list(self.of_kind)
        kind = kinds[_weighted(rng, [self.recipe.pair_kinds[kind] for kind in self.of_kind])]
        sources = list(self.of_kind[kind].values())
        documents = sources[_weighted(rng, [len(some) for some in sources])]
        return [self.asker.pair(_any(documents, rng), rng) for _ in range(self.recipe.pairs)]

    def _pool(self, pool: int, part: int) -> list[list[Example]]:
        plan = self.recipe.plans[part]
        rng = np.random.default_rng([self.recipe.seed, 0, pool, part])
        jobs = jobs_under(plan, self.of_job)
        weights = np.array([self.recipe.jobs[job] for job in jobs])
        weights = weights / weights.sum()
        budget = STEPS_OF_A_POOL * self.recipe.tokens
        drawn: list[Example] = []
        while sum_of_tokens(drawn) < budget or len(drawn) < STEPS_OF_A_POOL:
            for index in rng.choice(len(jobs), 32, p=weights):
                job = jobs[index]
                drawn.append(self.asker.ask(job, _any(self.of_job[job], rng), rng))
        batches = alike(drawn, STEPS_OF_A_POOL)
        return [batches[i] for i in rng.permutation(len(batches))]


def jobs_under(plan: ReadPlan, jobs: Sequence[Job] | dict[Job, list[Document]]) -> list[Job]:
    """Jobs that make sense under a plan; all of them where none would be left."""
    left = [job for job in jobs if plan != "summary" or job != "infill"]
    return left or list(jobs)


def sum_of_tokens(examples: Sequence[Example]) -> int:
    """Tokens of all examples."""
    return sum(example.tokens for example in examples)


def alike(examples: Sequence[Example], parts: int) -> list[list[Example]]:
    """Batches of about the same number of tokens in which sources are about as long as each other,
    and targets too, so that little of either is padding; at least one example in each.

    Halves the examples by the length whose halves are padded least, and each half again.
    """
    if parts == 1:
        return [list(examples)]
    left = parts // 2
    low, high = min(
        (_halved(sorted(examples, key=length), left, parts) for length in (_read, _written)),
        key=lambda halves: sum(_padded(half) for half in halves),
    )
    return alike(low, left) + alike(high, parts - left)


def _halved(examples: list[Example], left: int, parts: int) -> tuple[list[Example], list[Example]]:
    """Cut where `left` of `parts` of the tokens are; enough examples on both sides."""
    ends = np.cumsum([example.tokens for example in examples])
    edge = int(np.searchsorted(ends, ends[-1] * left / parts))
    edge = min(max(edge, left), len(examples) - (parts - left))
    return examples[:edge], examples[edge:]


def _read(example: Example) -> int:
    return sum(len(ids) for _, ids in example.source)


def _written(example: Example) -> int:
    return len(example.target)


def _padded(examples: Sequence[Example]) -> int:
    """Tokens of a batch with its padding."""
    longest = max(map(_read, examples)) + max(map(_written, examples))
    return len(examples) * longest


def written_counts(corpus: Corpus, asker: Asker, size: int) -> np.ndarray:
    """How often the train documents write each id: int64 [size]."""
    texts = Counter(text for document in corpus.train for text in document.parts)
    counts: Counter[int] = Counter()
    for text, times in texts.items():
        for number in asker.tokenizer.write(text):
            counts[number] += times
    out = np.zeros(size, dtype=np.int64)
    for number, count in counts.items():
        out[number] = count
    return out


def _weighted(rng: np.random.Generator, weights: Sequence[float]) -> int:
    shares = np.array(weights, dtype=float)
    return int(rng.choice(len(shares), p=shares / shares.sum()))


def _any(documents: Sequence[Document], rng: np.random.Generator) -> Document:
    return documents[int(rng.integers(len(documents)))]
