"""A tuned author judged: what it writes, and how likely it finds what people wrote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from m6rec.evaluation.result import Result
from m6rec.evaluation.writing import WritingJudge
from m6rec.tasks.writing import Author


def judge_author(author: Author, judge: WritingJudge) -> list[Result]:
    """One result; for explanations a second one, held to the facts.

    ppl: perplexity per token of what people wrote, over the whole vocabulary.
    """
    owner = np.repeat(np.arange(len(judge.passages)), [len(p.references) for p in judge.passages])
    nats, tokens = author.nats(author.lessons(judge.passages))
    count = len(judge.passages)
    ppl = judge.perplexity(np.bincount(owner, nats, count), np.bincount(owner, tokens, count))
    free = judge.evaluate(author)
    found = [replace(free, metrics={**free.metrics, "ppl": ppl})]
    if judge.split.task == "explain":
        name, author.faithful = author.name, True
        author.name = f"{name}, faithful"
        try:
            found.append(judge.evaluate(author))
        finally:
            author.name, author.faithful = name, False
    return found
