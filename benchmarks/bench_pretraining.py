"""Tokens a second of pretraining beside a plain loop: `python benchmarks/bench_pretraining.py`.

Both train 22 million parameters (MiniLM's shape, random weights of its size) in bfloat16 on texts
of 128 tokens of which 32 are written, 4,096 tokens an update, in turns, so that what else the
machine does meets both.
plain: transformers' BertModel over 32 texts at once, a head of 30,522 words over the written rows,
PyTorch's cross-entropy, AdamW.
m6rec: `pretrain` with batches of that shape (96 tokens to read, 32 to write) under the full plan,
four parts of eight texts, a head of the words that the corpus writes (some 23,000), AdamW.
recipe: with --corpus, `pretrain` as m6-small is made, on that corpus: three plans, conversations,
pairs, the anchor, Muon; its tokens are counted the same way, padding apart.
On Linux, GLIBC_TUNABLES as docs/pretraining.md has them make all three faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from m6rec.model.hf import load_start
from m6rec.text.tokenizer import Tokenizer
from m6rec.training.corpus.documents import Document, write_corpus
from m6rec.training.objectives import PROMPTS
from m6rec.training.pretrain import LOG, REPORT_STEPS, pretrain
from m6rec.training.recipe import PretrainRecipe, m6_small

LENGTH, WRITTEN, ROWS, MICRO_BATCHES = 128, 32, 8, 4
START = "minilm-l6"
COUNTED = LENGTH + 3
"""An example's tokens as draws count them, with brackets around each segment."""
DOCUMENTS = 3000


def words_of(tokenizer: Tokenizer) -> list[str]:
    """Words that are one id each, read or written."""
    some = (tokenizer.decode([number]).lower() for number in sorted(tokenizer.writable_ids))
    words = (word for word in some if word.isascii() and word.isalpha() and len(word) > 1)
    return [word for word in words if len(tokenizer.write(word)) == 2]  # a marker and the word


def made_up(folder: Path, tokenizer: Tokenizer) -> None:
    """Documents whose examples have LENGTH tokens, WRITTEN of them to write."""
    words, draw = np.array(words_of(tokenizer)), np.random.default_rng(0)
    prompt = len(tokenizer.encode(PROMPTS["title"], LENGTH))
    read = LENGTH - WRITTEN - 2 - prompt  # the source's brackets
    documents = []
    for number in range(DOCUMENTS):
        description, title = (" ".join(draw.choice(words, n)) for n in (read, WRITTEN - 2))
        roles, parts = ("title", "description"), (title, description)
        documents.append(Document("made up", "item", str(number), roles, parts))
    write_corpus(folder, documents, {"sources": {}})


def plain_loop() -> Callable[[int], float]:
    """A function of the number of updates; gives tokens a second."""
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    body, head = BertModel(config, add_pooling_layer=False), nn.Linear(384, config.vocab_size)
    head.weight = body.embeddings.word_embeddings.weight
    parameters = {id(p): p for p in (*body.parameters(), *head.parameters())}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-4, fused=True)
    draw = torch.Generator().manual_seed(0)
    body.train()

    def run(updates: int) -> float:
        began = time.perf_counter()
        for _ in range(updates):
            shape = (ROWS * MICRO_BATCHES, LENGTH)
            ids = torch.randint(1000, config.vocab_size, shape, generator=draw)
            label = ids[:, -WRITTEN:].flatten()
            with torch.autocast("cpu", torch.bfloat16):
                states = body(ids).last_hidden_state[:, -WRITTEN:].flatten(0, 1)
                loss = F.cross_entropy(head(states), label)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return updates * ROWS * MICRO_BATCHES * LENGTH / (time.perf_counter() - began)

    return run


def same_batches() -> PretrainRecipe:
    """The recipe that asks for what the plain loop learns, and nothing else."""
    return PretrainRecipe(
        jobs={"title": 1.0},
        plans=("full",) * MICRO_BATCHES,
        tokens=ROWS * COUNTED,
        pairs=0,
        anchor=0.0,
        optimizer="adamw",
    )


def our_loop(recipe: PretrainRecipe, corpus: Path, out: Path) -> Callable[[int], float]:
    """The same for `pretrain`, which goes on where it was and reports every REPORT_STEPS."""
    done = 0

    def run(updates: int) -> float:
        nonlocal done
        done += updates
        pretrain(recipe, corpus, out, START, max_steps=done, console=Console(quiet=True))
        last = [json.loads(line) for line in (out / LOG).read_text().splitlines()][-1]
        return float(last["tokens_per_s"])

    return run


def main() -> None:
    """Reads the arguments and measures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--corpus", type=Path, help="measure the recipe of m6-small on it too")
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--json", type=Path)
    told = asked.parse_args()
    torch.set_num_threads(told.threads)
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        made_up(room / "corpus", load_start(START)[1])
        loops = {
            "plain": plain_loop(),
            "m6rec": our_loop(same_batches(), room / "corpus", room / "same"),
        }
        if told.corpus:
            loops["recipe"] = our_loop(m6_small(), told.corpus, room / "recipe")
        found: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(told.rounds):
            for name, loop in loops.items():
                found[name].append(loop(REPORT_STEPS))
                print(f"round {number + 1}: {name} {found[name][-1]:.0f} tokens/s", flush=True)
    ratios = {
        name: [ours / base for ours, base in zip(found[name], found["plain"], strict=True)]
        for name in found
    }
    rows = [
        {
            "loop": name,
            "tokens_per_s": round(statistics.median(found[name])),
            "range": [round(min(found[name])), round(max(found[name]))],
            "times_plain": round(statistics.median(ratios[name]), 3),
        }
        for name in found
    ]
    body = {
        "threads": told.threads,
        "torch": torch.__version__,
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        "rows": rows,
    }
    print(json.dumps(body, indent=2))
    if told.json:
        told.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
