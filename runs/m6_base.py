"""What m6-base learns of shops: builds the corpus of runs/m6_small.py, then trains a low-rank
change of SmolLM2-135M on it. One command:

    python runs/m6_base.py --data DATA --out OUT [--minutes 480] [--threads 2]

Run it again to go on; `touch OUT/run/DECAY` ends it early with a decay of the learning rate. The
checkpoint, OUT/run/checkpoint, is the folder of the change: 10 MB in bfloat16, 3.8 % of the
weights; `M6Rec.from_pretrained` takes it and adds it to m6-base.
`--source bidirectional` lets the source be read both ways, which the network has to learn first.
`--set KEY=VALUE` changes the recipe.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from m6rec.cli.distill import settings_of
from m6rec.model.base import BASE
from m6rec.model.hf import load_start
from m6rec.training.beginning import Beginning, remember
from m6rec.training.corpus.build import build_corpus
from m6rec.training.corpus.documents import MANIFEST
from m6rec.training.pretrain import Pace, pretrain
from m6rec.training.recipe import PretrainRecipe, m6_base_change
from m6rec.training.runlock import run_lock


def main() -> None:
    """Reads the arguments and runs."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, required=True, help="folder of the sources")
    asked.add_argument("--out", type=Path, required=True, help="folder for corpus and run")
    asked.add_argument("--start", default=BASE, help="another language model: a folder or a file")
    asked.add_argument("--source", choices=("causal", "bidirectional"), default="causal")
    asked.add_argument("--minutes", type=float, default=0.0, help="0: until OUT/run/DECAY exists")
    asked.add_argument("--check", type=float, default=60, help="minutes between measures")
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe")
    told = asked.parse_args()
    torch.set_num_threads(told.threads)
    console = Console(width=400)
    corpus, run = told.out / "corpus", told.out / "run"
    changes = {"seed": told.seed, **settings_of(told.set)}
    recipe = PretrainRecipe.parse({**m6_base_change().model_dump(), **changes}, "--set")
    model, tokenizer = load_start(told.start)
    model.config = model.config.model_copy(update={"source": told.source})
    with run_lock(run):
        remember(run, Beginning(recipe, model, tokenizer, f"{told.start}, {told.source}"))
        if not (corpus / MANIFEST).is_file():
            build_corpus(told.data, corpus, say=console.print)
        done = pretrain(
            recipe,
            corpus,
            run,
            (model, tokenizer),
            minutes=told.minutes,
            pace=Pace(save=10, check=told.check),
            device=told.device,
            console=console,
            base=told.start,
        )
    console.print(f"{'complete' if done.complete else 'stopped'}: {done.checkpoint}")


if __name__ == "__main__":
    main()
