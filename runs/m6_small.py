"""Makes m6-small: builds the corpus from a data root, then pretrains. One command:

    python runs/m6_small.py --data DATA --out OUT [--minutes 480] [--threads 2]

Run it again to go on; `touch OUT/run/DECAY` ends it early with a decay of the learning rate.
`--start m6-small --seed 1 --near minilm-l6` goes on from the shipped checkpoint with other
examples, its plain means held near those of the first start.
`--set KEY=VALUE` changes the recipe: `--set pair_weight=0 --set anchor=80` for a last, short stage
that brings the means back.
`--start cold` begins with random weights of the start's shape, to measure a start against.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from rich.console import Console

from m6rec.cli.distill import settings_of
from m6rec.data import tables
from m6rec.data.splits import make_split
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.tasks.build import Backbone, untrained_retriever
from m6rec.tasks.catalogue import Catalogue
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer
from m6rec.training.beginning import COLD, RECIPES, beginning, remember
from m6rec.training.corpus.build import build_corpus
from m6rec.training.corpus.documents import MANIFEST
from m6rec.training.lesson import PlainLesson
from m6rec.training.pretrain import Check, Pace, pretrain
from m6rec.training.recipe import PretrainRecipe
from m6rec.training.runlock import run_lock

START = "minilm-l6"


def retrieval_check(folder: Path) -> Check | None:
    """Untrained retrieval on the valid rows of amazon_industrial, None where it is missing."""
    if not folder.is_dir():
        return None
    dataset = tables.load(folder)
    split = make_split(dataset, "retrieve")
    words = Verbalizer(Templates.load(dataset.templates), split.items)
    ids = split.items["item_id"].to_list()

    def check(model: M6, tokenizer: Tokenizer) -> dict[str, float]:
        apart = copy.deepcopy(model)  # a task may freeze what it is given
        retriever = untrained_retriever(Backbone(apart, tokenizer), words, ids)
        catalogue = Catalogue(retriever, words.item_texts(), ids, "check")
        ranks = evaluate_retrieval(catalogue, split, "valid")
        return {name: ranks.metrics[name].value for name in ("hr@10", "ndcg@10")}

    return check


def main() -> None:
    """Reads the arguments and runs."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, required=True, help="folder of the sources")
    asked.add_argument("--out", type=Path, required=True, help="folder for corpus and run")
    asked.add_argument("--size", choices=sorted(RECIPES), default="m6-small")
    asked.add_argument("--start", help=f"a start, or {COLD} (default: {START})")
    asked.add_argument("--near", help="whose plain means are held near (default: the start's)")
    asked.add_argument("--minutes", type=float, default=0.0, help="0: until OUT/run/DECAY exists")
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--seed", type=int, default=0, help="another one when a checkpoint goes on")
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe")
    asked.add_argument("--tensorboard", action="store_true")
    told = asked.parse_args()
    torch.set_num_threads(told.threads)
    console = Console(width=400)
    corpus = told.out / "corpus"
    begin = beginning(told.size, told.start, START)
    changes = {"seed": told.seed, **settings_of(told.set)}
    recipe = PretrainRecipe.parse({**begin.recipe.model_dump(), **changes}, "--set")
    with run_lock(told.out / "run"):
        remember(told.out / "run", begin)
        if not (corpus / MANIFEST).is_file():
            build_corpus(told.data, corpus, say=console.print)
        done = pretrain(
            recipe,
            corpus,
            told.out / "run",
            (begin.model, begin.tokenizer),
            minutes=told.minutes,
            check=retrieval_check(told.data / "amazon_industrial"),
            pace=Pace(save=5, check=15),
            tensorboard=told.tensorboard,
            device=told.device,
            console=console,
            lesson=PlainLesson(load_start(told.near)[0].to(told.device)) if told.near else None,
        )
    console.print(f"{'complete' if done.complete else 'stopped'}: {done.checkpoint}")


if __name__ == "__main__":
    main()
