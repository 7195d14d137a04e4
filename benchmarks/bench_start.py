"""What a pretrained start is worth: MiniLM-L6 beside random weights, with the same recipe.

    python benchmarks/bench_start.py CORPUS [--steps 80] [--json FILE]

Both runs see the same batches in the same order, without the anchor (random weights have nothing to
hold on to). Held-out losses after 1/8, 1/4, 1/2 and all of the steps, over the same examples; then
how many tokens the start needs for the loss that the cold one ends with (linear between two looks).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from m6rec.model.checkpoint import load_backbone
from m6rec.model.hf import load_start
from m6rec.training.corpus.documents import Corpus, read_corpus
from m6rec.training.judge import Judge
from m6rec.training.objectives import JOBS, Asker
from m6rec.training.pretrain import Pace, pretrain
from m6rec.training.recipe import m6_small
from m6rec.training.start import cold

SHARES = (0.125, 0.25, 0.5, 1.0)
START = "minilm-l6"
EACH = 24
Look = dict[str, Any]


def follow(name: str, corpus_folder: Path, corpus: Corpus, out: Path, steps: int) -> list[Look]:
    """Trains one of the two and looks up at every share: tokens and loss of each job."""
    model, tokenizer = load_start(START)
    if name == "cold":
        model = cold(model.config, seed=0)
    recipe = m6_small().model_copy(update={"anchor": 0.0, "warmup": steps // 4})
    judge = Judge(corpus, Asker(tokenizer, 0.3, 3.0), JOBS, EACH)
    pace, looks = Pace(save=1e9, check=1e9), []
    for share in SHARES:
        done = pretrain(
            recipe, corpus_folder, out, (model, tokenizer),
            max_steps=round(share * steps), pace=pace, console=Console(quiet=True),
        )  # fmt: skip
        found = judge.measure(load_backbone(done.checkpoint)[0])
        losses = {job: measured.nats_per_token for job, measured in found.items()}
        mean = float(np.mean(list(losses.values())))
        looks.append({"tokens": done.progress.tokens, "mean": mean, **losses})
        print(f"{name}: {done.progress.tokens / 1e3:.0f} k tokens, loss {mean:.3f}", flush=True)
    return looks


def tokens_to_reach(looks: Sequence[Look], loss: float) -> float:
    """Tokens at which the mean loss first falls to a value; infinite where it does not."""
    before = {"tokens": 0, "mean": float("inf")}
    for look in looks:
        if look["mean"] <= loss:
            if before["tokens"] == 0:
                return float(look["tokens"])  # an upper bound: reached before the first look
            share = (before["mean"] - loss) / (before["mean"] - look["mean"])
            return float(before["tokens"] + share * (look["tokens"] - before["tokens"]))
        before = look
    return float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    corpus = read_corpus(told.corpus)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        for name in ("cold", START):
            found[name] = follow(name, told.corpus, corpus, Path(made) / name, told.steps)
    last = found["cold"][-1]
    needed = tokens_to_reach(found[START], last["mean"])
    found["ratio"] = last["tokens"] / needed
    print(
        f"cold ends at {last['mean']:.3f} after {last['tokens'] / 1e3:.0f} k tokens; {START} is "
        f"there after {needed / 1e3:.0f} k: {found['ratio']:.1f} times fewer"
    )
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
