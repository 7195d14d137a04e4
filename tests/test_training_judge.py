"""What held-out losses are taken over."""

from __future__ import annotations

from dataclasses import replace

from language_worlds import documents, tokenizer
from m6rec.training.corpus.documents import Corpus
from m6rec.training.judge import Judge
from m6rec.training.objectives import Asker

ASKER = Asker(tokenizer(), infill_share=0.3, span=3.0)


def test_a_text_that_stands_in_a_train_document_is_not_judged() -> None:
    items = [d for d in documents(6) if d.kind == "item"]
    copied = replace(
        items[0], parts=(items[0].parts[0] + " mini", *items[0].parts[1:]), heldout=True
    )
    fresh = replace(
        items[1],
        parts=tuple("a lamp of another kind" if r == "description" else p + " new"
                    for r, p in zip(items[1].roles, items[1].parts, strict=True)),
        heldout=True,
    )  # fmt: skip
    corpus = Corpus(tuple(items), (copied, fresh), {})
    judge = Judge(corpus, ASKER, ["describe", "title"])
    written = [tokenizer().decode(e.target) for e in judge.examples["describe"]]
    assert written == ["a lamp of another kind"]
    assert len(judge.examples["title"]) == 2


def test_no_more_than_asked_for() -> None:
    some = documents(8)
    corpus = Corpus(tuple(some[:2]), tuple(replace(d, heldout=True) for d in some[2:]), {})
    assert {len(e) for e in Judge(corpus, ASKER, ["infill"], each=3).examples.values()} == {3}
