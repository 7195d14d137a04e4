"""Kills a pretraining run at random moments and compares it with one that was never killed.

    python benchmarks/bench_kills.py [--kills 20] [--steps 600] [--json FILE]

A small network on a made-up corpus, one thread. Each kill is SIGKILL after a random delay, whatever
the run is doing (stepping, saving, judging). Compared: the loss of every step in the log, the last
one written where a step ran twice, and the bytes of the final weights.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from m6rec.data.shop import generate_shop
from m6rec.data.tables import load
from m6rec.model.checkpoint import load_backbone, read_tensors, save_backbone
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.training import pretrain as module
from m6rec.training.corpus.documents import Document, is_held_out, write_corpus
from m6rec.training.pretrain import Pace, pretrain
from m6rec.training.recipe import m6_small

LAYERS, WIDTH = 2, 48
DELAY = (4.0, 14.0)
"""Seconds from start to kill; the first few go by before the first step."""


def prepare(folder: Path) -> None:
    """A corpus from the generated shop and a small network with MiniLM's vocabulary."""
    shop = folder / "shop"
    generate_shop(shop, size="tiny", seed=0)
    dataset = load(shop)
    documents = []
    for item in dataset.items.iter_rows(named=True):
        parts = {k: str(item[k]) for k in ("title", "category", "description") if item.get(k)}
        documents.append(
            Document(
                "shop", "item", str(item["item_id"]), tuple(parts), tuple(parts.values()), (),
                is_held_out(str(item["item_id"]), 0.05),
            )
        )  # fmt: skip
    write_corpus(folder / "corpus", documents, {"sources": {}})
    start, tokenizer = load_start("minilm-l6")
    config = start.config.model_copy(
        update={
            "layers": LAYERS,
            "d_model": WIDTH,
            "heads": 4,
            "kv_heads": 4,
            "head_dim": 12,
            "d_ff": 96,
        }
    )
    save_backbone(M6(config), tokenizer, folder / "start")


def worker(folder: Path, out: Path, steps: int) -> None:
    """One attempt: goes on from what lies in `out`, logs every step, saves often."""
    module.REPORT_STEPS = 1
    torch.set_num_threads(1)
    recipe = m6_small().model_copy(
        update={"tokens": 128, "pairs": 4, "pair_kinds": {"item": 1.0}, "rare": 1, "warmup": 5}
    )
    model, tokenizer = load_backbone(folder / "start")
    pretrain(
        recipe, folder / "corpus", out, (model, tokenizer), max_steps=steps,
        pace=Pace(save=0.02, check=0.2),
    )  # fmt: skip


def attempt(folder: Path, out: Path, steps: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--worker", str(folder), str(out), str(steps)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def curve(out: Path) -> dict[int, float]:
    """Step → loss, from the log; a line that was cut off by a kill is no line."""
    found = {}
    for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry["kind"] == "train":
            found[entry["step"]] = entry["loss"]
    return found


def measure(kills: int, steps: int, seed: int) -> dict[str, Any]:
    """Runs both and compares them."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder)
        assert attempt(folder, folder / "whole", steps).wait() == 0
        done = 0
        while done < kills:
            process = attempt(folder, folder / "killed", steps)
            try:
                process.wait(draw.uniform(*DELAY))
                break  # complete before its time: the count says so
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
        assert attempt(folder, folder / "killed", steps).wait() == 0
        whole, killed = curve(folder / "whole"), curve(folder / "killed")
        weights = [
            read_tensors(folder / name / "checkpoint" / "model.safetensors")[1]["fingerprint"]
            for name in ("whole", "killed")
        ]
    return {
        "kills": done,
        "steps": len(whole),
        "steps_that_differ": sum(whole[s] != killed.get(s) for s in whole),
        "same_weights": weights[0] == weights[1],
    }


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    found = measure(told.kills, told.steps, told.seed)
    print(json.dumps(found, indent=1))
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
