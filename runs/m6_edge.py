"""Makes M6-Edge from a corpus that m6_small.py or `m6rec pretrain` built. One command:

    python runs/m6_edge.py --corpus CORPUS --out OUT --size m6-edge-2m --minutes 60 [--threads 1]

Run it again to go on. `--set teaching=logits` and `--set teaching=none` are the two rivals of the
relation loss; with equal minutes and threads the three have equal compute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import torch
from m6_small import retrieval_check
from rich.console import Console

from m6rec.cli.distill import settings_of
from m6rec.training.edge.distill import EdgeRun, distill
from m6rec.training.edge.recipe import EdgeSize
from m6rec.training.pretrain import Pace
from m6rec.training.runlock import run_lock


def main() -> None:
    """Reads the arguments and runs."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--corpus", type=Path, required=True, help="folder with the corpus")
    asked.add_argument("--data", type=Path, help="folder of the data sets, to watch retrieval")
    asked.add_argument("--out", type=Path, required=True, help="folder for the run")
    asked.add_argument("--size", choices=get_args(EdgeSize), default="m6-edge-10m")
    asked.add_argument("--teacher", default="m6-small", help="a model by name, or its folder")
    asked.add_argument("--start", help="an earlier student, or 'cold' (default: of the teacher)")
    asked.add_argument("--minutes", type=float, default=60.0)
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe")
    asked.add_argument("--shape", action="append", default=[], metavar="KEY=VALUE", help="shape")
    asked.add_argument("--steps", type=int, default=0, help="stop (and save) at this step")
    asked.add_argument("--tensorboard", action="store_true")
    told = asked.parse_args()
    torch.set_num_threads(told.threads)
    console = Console(width=400)
    recipe, shape = settings_of(told.set), settings_of(told.shape)
    with run_lock(told.out):
        done = distill(
            EdgeRun(told.size, told.teacher, told.start, recipe, shape),
            told.corpus,
            told.out,
            minutes=told.minutes,
            max_steps=told.steps,
            check=retrieval_check(told.data / "amazon_industrial") if told.data else None,
            pace=Pace(save=5, check=15),
            tensorboard=told.tensorboard,
            device=told.device,
            console=console,
        )
    console.print(f"{'complete' if done.complete else 'stopped'}: {done.checkpoint}")


if __name__ == "__main__":
    main()
