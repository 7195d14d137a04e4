"""The five ways of tuning on one backbone, as in the ablation of paper section 4.

`python benchmarks/bench_methods.py DATA_ROOT --model MODEL`: ranking on ml100k (temporal split,
rating ≥ 4, 3,000 samples, nine events of a history, 4,000 rows judged), one online layer, no
evidence, so that what is compared is read from words. Each method has its own default rate; the
best of three epochs by valid AUC is judged on test once for each seed. Writes
benchmarks/results/methods/MODEL.json; a run goes on where the last stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
from bench_ours import RATING

from m6rec.data.splits import make_split
from m6rec.data.tables import load
from m6rec.model.tuning import Method
from m6rec.recommender import M6Rec

RESULTS = Path(__file__).parent / "results" / "methods"
SHOWN = ("auc", "gauc", "logloss")
PROMPTS = 8
CUT = {"max_train": 3_000, "max_history": 9, "max_eval": 4_000}
EPOCHS = 3


def fit_of(method: str, seed: int) -> dict[str, Any]:
    """What `fit` is told; soft prompts where the method has any."""
    prompts = 0 if method in ("full", "adapter") else PROMPTS
    return {
        "method": method,
        "templates": "movies",
        "evidence": False,
        "tuning": {"prompts": prompts},
        "train": {"seed": seed, "epochs": EPOCHS},
    }


def measure(root: Path, model: str, seeds: int, kept: Path) -> dict[str, list[dict[str, Any]]]:
    """Figures of each method, one for each seed; written after each."""
    found: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    dataset = load(root / "ml100k")
    split = make_split(dataset, "rank", "temporal", label=RATING, **CUT)
    rec = M6Rec.from_pretrained(model)
    for seed in range(seeds):
        for method in get_args(Method):
            rows = found.setdefault(method, [])
            if len(rows) > seed:
                continue
            fit = fit_of(method, seed)
            how = rec.fit("rank", dataset, split=split, label=RATING, **fit).trained_on
            result = rec.evaluate("rank", dataset, split=split)
            rows.append({"result": result.to_dict(), "trained": dict(how)})
            rows[-1]["result"].pop("curves")
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            figures = ", ".join(f"{name} {result.metrics[name].value:.4f}" for name in SHOWN)
            print(f"seed {seed}, {method}: {figures}", flush=True)
    return found


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table: means over seeds and their spread."""
    lines = [f"| method | trained | {' | '.join(SHOWN)} |", "| --- " * (2 + len(SHOWN)) + "|"]
    for method, rows in found.items():
        cells = [f"{100 * rows[0]['trained']['trainable_share']:.2f} %"]
        for name in SHOWN:
            values = [row["result"]["metrics"][name]["value"] for row in rows]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / f"{Path(given.model).name}.json"
    print(table(measure(given.root, given.model, given.seeds, kept)))


if __name__ == "__main__":
    main()
