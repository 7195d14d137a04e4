"""Perplexity on held-out documents beside a 5-gram and other checkpoints.

    python benchmarks/bench_perplexity.py CORPUS NAME=FOLDER … [--each 200] [--json FILE]

CORPUS: the folder that runs/m6_small.py built; its held-out documents are judged, job by job, and
the 5-gram (benchmarks/ngram.py) is counted on all parts of its train documents. All see the same
targets in the same ids and end each with [EOS]; every word of the vocabulary competes. The network
also reads the source (title, rating, turns before); the 5-gram gets the four ids before the word,
which at the beginning of a target are those of a beginning.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ngram import KneserNey

from m6rec.metrics.bootstrap import bootstrap_statistic, safe_divide
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.batches import ReadPlan, collate_writing
from m6rec.training.corpus.documents import Corpus, read_corpus
from m6rec.training.judge import Judge
from m6rec.training.losses import writing_loss
from m6rec.training.objectives import JOBS, Asker, Example, Job

JUDGED: tuple[Job, ...] = ("describe", "review", "reply", "title", "explain", "next")
PLANS: tuple[ReadPlan, ...] = ("full", "summary")
ORDER = 5


def five_gram(corpus: Corpus, tokenizer: Tokenizer) -> KneserNey:
    """Counted on every distinct part of the train documents, each ended with [EOS]."""
    special = tokenizer.special
    texts = dict.fromkeys(part for document in corpus.train for part in document.parts)
    ids = [[*tokenizer.write(text), special.eos] for text in texts]
    return KneserNey(ids, ORDER, tokenizer.vocab_size, special.bos)


def row(loss_E: np.ndarray, tokens_E: np.ndarray, bytes_E: np.ndarray) -> dict[str, Any]:
    """Perplexity per token and per byte from sums over examples, the first with its interval."""

    def mean(weight_RE: np.ndarray) -> np.ndarray:
        return safe_divide(weight_RE @ loss_E, weight_RE @ tokens_E)[:, None]

    (mean_loss,) = bootstrap_statistic(mean, len(loss_E))
    return {
        "perplexity": math.exp(mean_loss.value),
        "low": math.exp(mean_loss.low),
        "high": math.exp(mean_loss.high),
        "per_byte": math.exp(loss_E.sum() / bytes_E.sum()),
        "examples": len(loss_E),
        "tokens": int(tokens_E.sum()),
    }


def measure(
    corpus: Corpus, tokenizer: Tokenizer, models: Mapping[str, str], each: int
) -> dict[str, dict[str, Any]]:
    """Name → job → figures; "plan" is part of a network's name."""
    judge = Judge(corpus, Asker(tokenizer, 0.3, 3.0), [j for j in JOBS if j in JUDGED], each)
    out: dict[str, dict[str, Any]] = {}
    gram = five_gram(corpus, tokenizer)
    for job, examples in judge.examples.items():
        eos = tokenizer.special.eos
        loss = [-gram.log_probability([*e.target, eos]).sum() for e in examples]
        out.setdefault("5-gram", {})[job] = row(np.array(loss), *_sizes(examples))
    for name, folder in models.items():
        model, _ = load_start(folder)
        for plan in PLANS:
            for job, examples in judge.examples.items():
                loss = np.array([_loss(model, example, plan, tokenizer) for example in examples])
                out.setdefault(f"{name}, {plan}", {})[job] = row(loss, *_sizes(examples))
    return out


@torch.no_grad()
def _loss(model: M6, example: Example, plan: ReadPlan, tokenizer: Tokenizer) -> float:
    batch = collate_writing([example], plan, tokenizer.special, model.config.sink)
    with torch.autocast("cpu", torch.bfloat16):
        return writing_loss(model, batch, model.config.layers - 1, None, torch.float32).item()


def _sizes(examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([len(e.target) + 1 for e in examples], dtype=float)
    return tokens, np.array([e.target_bytes for e in examples], dtype=float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("models", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--each", type=int, default=200, help="held-out examples of a job, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    models = dict(pair.split("=", 1) for pair in told.models)
    _, tokenizer = load_start(next(iter(models.values())))
    found = measure(read_corpus(told.corpus), tokenizer, models, told.each)
    jobs = next(iter(found.values()))
    print(f"| model | {' | '.join(jobs)} |\n| --- |{' --- |' * len(jobs)}")
    for name, rows in found.items():
        cells = [
            f"{r['perplexity']:.1f} [{r['low']:.1f}–{r['high']:.1f}] ({r['per_byte']:.2f})"
            for r in rows.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
