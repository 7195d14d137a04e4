"""A tuned author judged: what it writes, and how likely it finds what people wrote."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from m6rec.evaluation.result import Result
from m6rec.evaluation.writing import FOUND_WITHIN, WritingJudge
from m6rec.metrics.bootstrap import Estimate
from m6rec.tasks.query import CHECKED, Search, found_first
from m6rec.tasks.title import TitleForm
from m6rec.tasks.weaving import Weaver
from m6rec.tasks.writing import Author

OURS = "round-trip"
"""The search with which queries are checked."""


def judge_author(author: Author, judge: WritingJudge) -> list[Result]:
    """One result; for explanations and for queries for items a second one, held to the facts; for
    such queries a third one, where the one of 16 counts whose search finds the item best; for
    titles a second one, woven of those that read most like the user.

    ppl: perplexity per token of what people wrote, over the whole vocabulary. category: share of
    titles whose category is that of what was chosen.
    """
    started = time.perf_counter()
    raw = author.write_raw(judge.questions)
    seconds = time.perf_counter() - started
    free = judge.judge(author.name, [author.form.read(text) for text in raw], seconds)
    more = {"ppl": _perplexity(author, judge)}
    if isinstance(author.form, TitleForm):
        more |= _category(author.form, raw, judge)
    found = [replace(free, metrics={**free.metrics, **more})]
    if isinstance(author.form, TitleForm):
        found.append(_woven(author.name, author.form, raw, judge))
    if judge.split.task == "explain" or judge.searches:
        found.append(_faithful(author, judge))
    if OURS in judge.searches:
        found.append(_checked(author, judge, judge.searches[OURS]))
    return found


def _perplexity(author: Author, judge: WritingJudge) -> Estimate:
    owner = np.repeat(np.arange(len(judge.passages)), [len(p.references) for p in judge.passages])
    nats, tokens = author.nats(author.lessons(judge.passages))
    count = len(judge.passages)
    return judge.perplexity(np.bincount(owner, nats, count), np.bincount(owner, tokens, count))


def _category(form: TitleForm, raw: Sequence[str], judge: WritingJudge) -> dict[str, Estimate]:
    """Share of texts in the right category, where one is written."""
    if form.settings.category != "written":
        return {}
    right = [
        form.parts(text)[0] == form.category(passage)
        for text, passage in zip(raw, judge.passages, strict=True)
    ]
    return {"category": judge.mean(np.array(right))}


def _woven(name: str, form: TitleForm, raw: Sequence[str], judge: WritingJudge) -> Result:
    """raw: what was written, for those of whom nothing is known."""
    started = time.perf_counter()
    found = Weaver(form).weave(judge.questions)
    texts = [of[0] if of else text for of, text in zip(found, raw, strict=True)]
    seconds = time.perf_counter() - started
    result = judge.judge(f"{name}, woven", [form.read(text) for text in texts], seconds)
    return replace(result, metrics={**result.metrics, **_category(form, texts, judge)})


def _faithful(author: Author, judge: WritingJudge) -> Result:
    name, author.faithful = author.name, True
    author.name = f"{name}, faithful"
    try:
        return judge.evaluate(author)
    finally:
        author.name, author.faithful = name, False


def _checked(author: Author, judge: WritingJudge, search: Search) -> Result:
    started = time.perf_counter()
    many = author.decoding.model_copy(update={"method": "beam", "beams": CHECKED, "n": CHECKED})
    held = [author.constraint(passage) for passage in judge.questions]
    written = author.write_all(judge.questions, many, held)
    queries = [[author.form.read(one.text) for one in texts] for texts in written]

    def within(asked: Sequence[str]) -> list[list[str]]:
        return [ids[:FOUND_WITHIN] for ids in search(asked)]

    first = found_first(queries, [p.item_id for p in judge.questions], within)
    texts = [of[0] if of else "" for of in first]
    return judge.judge(f"{author.name}, checked", texts, time.perf_counter() - started)
