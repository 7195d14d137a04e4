"""The five ways of tuning on one backbone, as in the ablation of paper section 4 (Table 8).

`python benchmarks/bench_methods.py DATA_ROOT --model MODEL`: ranking on ml100k (temporal split,
rating ≥ 4, 5,000 samples, nine events of a history, 6,000 rows judged), one online layer, no
evidence, so that what is compared is read from words. Each method's rate is chosen by valid AUC
with seed 0, the best of four epochs with every seed; test is judged once for each seed. Writes
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
CUT = {"max_train": 5_000, "max_history": 9, "max_eval": 6_000}
EPOCHS = 4
RATES = {**dict.fromkeys(get_args(Method), (1e-3, 3e-3, 1e-2)), "full": (1e-4, 3e-4, 1e-3)}
Found = dict[str, dict[str, Any]]
"""For each method: "rates" with their valid AUC, and "rows", one for each seed."""


def fit_of(method: str, seed: int, rate: float) -> dict[str, Any]:
    """What `fit` is told; soft prompts where the method has any."""
    prompts = 0 if method in ("full", "adapter") else PROMPTS
    return {
        "method": method,
        "templates": "movies",
        "evidence": False,
        "tuning": {"prompts": prompts},
        "train": {"seed": seed, "rate": rate, "epochs": EPOCHS},
    }


def measure(root: Path, model: str, seeds: int, kept: Path) -> Found:
    """Figures of each method; written after each run."""
    found: Found = json.loads(kept.read_text()) if kept.exists() else {}
    dataset = load(root / "ml100k")
    split = make_split(dataset, "rank", "temporal", label=RATING, **CUT)
    rec = M6Rec.from_pretrained(model)

    def fit(method: str, seed: int, rate: float) -> dict[str, Any]:
        told = fit_of(method, seed, rate)
        return dict(rec.fit("rank", dataset, split=split, label=RATING, **told).trained_on)

    def keep() -> None:
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for method in get_args(Method):
        tried = found.setdefault(method, {"rates": {}, "rows": []})["rates"]
        for rate in RATES[method]:
            if str(rate) not in tried:
                tried[str(rate)] = fit(method, 0, rate)["best_score"]
                keep()
                print(f"{method}, rate {rate}: valid auc {tried[str(rate)]:.4f}", flush=True)
    for seed in range(seeds):
        for method in get_args(Method):
            rates, rows = found[method]["rates"], found[method]["rows"]
            if len(rows) > seed:
                continue
            how = fit(method, seed, float(max(rates, key=lambda rate: rates[rate])))
            result = rec.evaluate("rank", dataset, split=split).to_dict()
            result.pop("curves")
            rows.append({"result": result, "trained": how})
            keep()
            figures = (f"{name} {result['metrics'][name]['value']:.4f}" for name in SHOWN)
            print(f"seed {seed}, {method}: {', '.join(figures)}", flush=True)
    return found


def table(found: Found) -> str:
    """A Markdown table: means over seeds and their spread."""
    lines = [f"| method | trained | {' | '.join(SHOWN)} |", "| --- " * (2 + len(SHOWN)) + "|"]
    for method, of in found.items():
        rows = of["rows"]
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
