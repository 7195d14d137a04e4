"""Makes a shippable folder of a finished run: weights in bfloat16 and where they come from.

    python runs/ship.py OUT src/m6rec/models/m6-small

OUT is the folder of runs/m6_small.py. Beside the backbone lies pretraining.json: the recipe, steps,
tokens, hours, and the corpus' manifest with the licence of each source. The model card, README.md,
is written by hand and kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from m6rec.model.checkpoint import load_backbone, save_backbone
from m6rec.training.corpus.documents import MANIFEST
from m6rec.training.pretrain import CHECKPOINT, STATE

TOLD = "pretraining.json"


def ship(out: Path, folder: Path) -> int:
    """Writes the folder; its bytes."""
    model, tokenizer = load_backbone(out / "run" / CHECKPOINT)
    save_backbone(model, tokenizer, folder, torch.bfloat16)
    state = json.loads((out / "run" / STATE / "state.json").read_text(encoding="utf-8"))
    progress = state["progress"]
    told = {
        "recipe": state["settings"],
        "steps": progress["step"],
        "tokens": progress["tokens"],
        "hours": round(progress["seconds"] / 3600, 2),
        "corpus": json.loads((out / "corpus" / MANIFEST).read_text(encoding="utf-8")),
    }
    (folder / TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    print(f"{asked.folder}: {ship(asked.out, asked.folder) / 1e6:.1f} MB")
