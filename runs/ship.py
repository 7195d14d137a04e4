"""Makes a shippable folder of a finished run: weights in bfloat16 and where they come from.

    python runs/ship.py OUT/run src/m6rec/models/m6-small --corpus OUT/corpus

RUN is where runs/m6_small.py (its OUT/run) or runs/m6_edge.py (its OUT) trained. Beside the
backbone lies pretraining.json: the recipe, steps, tokens, hours, and the corpus' manifest with the
licence of each source. The model card, README.md, is written by hand and kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from m6rec.model.checkpoint import load_backbone, save_backbone
from m6rec.training.beginning import BEGUN
from m6rec.training.corpus.documents import MANIFEST
from m6rec.training.pretrain import CHECKPOINT, STATE

TOLD = "pretraining.json"


def ship(run: Path, folder: Path, corpus: Path) -> int:
    """Writes the folder; its bytes."""
    model, tokenizer = load_backbone(run / CHECKPOINT)
    save_backbone(model, tokenizer, folder, torch.bfloat16)
    state = json.loads((run / STATE / "state.json").read_text(encoding="utf-8"))
    progress = state["progress"]
    told = {
        "recipe": state["settings"],
        "steps": progress["step"],
        "tokens": progress["tokens"],
        "hours": round(progress["seconds"] / 3600, 2),
        "start": _begun(run),
        "corpus": json.loads((corpus / MANIFEST).read_text(encoding="utf-8")),
    }
    (folder / TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


def _begun(run: Path) -> dict[str, str] | None:
    """What the run began with; of a folder's path the last two parts, which say what it was."""
    if not (run / BEGUN).is_file():
        return None
    begun: dict[str, str] = json.loads((run / BEGUN).read_text(encoding="utf-8"))
    return {**begun, "start": "/".join(Path(begun["start"]).parts[-2:])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    asked = parser.parse_args()
    print(f"{asked.folder}: {ship(asked.run, asked.folder, asked.corpus) / 1e6:.1f} MB")
