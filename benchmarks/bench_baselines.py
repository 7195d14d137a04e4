"""Baselines on the real data sets: `python benchmarks/bench_baselines.py DATA_ROOT [SET …]`.

Writes benchmarks/results/SET.json and out/SET.html for each set, and prints the tables.
What reads text vectors runs where DATA_ROOT/../vectors or `--vectors FOLDER` holds SET.npy, made by
item_vectors.py. `--ranks FOLDER` keeps each model's ranks or predictions as SET.MODEL.NAME.npy, for
paired comparisons with models that are measured elsewhere. Needs the `bench` extra for SASRec,
UniSRec, DIN and FinalMLP; without it they are named as missing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.data.labels import LabelRule
from m6rec.data.splits import Split, few_shot, make_split
from m6rec.data.tables import load
from m6rec.evaluation.report import write_report
from m6rec.evaluation.result import Result, write_results
from m6rec.evaluation.suite import SuiteOptions, run_suite

RESULTS = Path(__file__).parent / "results"
RATING = LabelRule(event="rating", threshold=4)
SHOTS = (16, 64, 256)
SHOWN = ("hr@3", "hr@5", "hr@10", "ndcg@10", "hr@100", "auc", "gauc", "logloss")
SEEDS = range(5)


def say(words: str) -> None:
    """Progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


@dataclass(frozen=True)
class Cut:
    """How a data set is split."""

    task: Any
    method: Any
    options: dict[str, Any]


CUTS = {
    "amazon_industrial": Cut("retrieve", "published", {}),
    "online_retail": Cut("retrieve", "temporal", {}),
    "amazon14_beauty": Cut("retrieve", "leave-one-out", {}),
    "ml100k": Cut("rank", "temporal", {"label": RATING}),
    "tallrec_book": Cut("rank", "published", {}),
}


def splits_of(name: str, root: Path) -> list[Split]:
    """One split; for the few-shot set, one for each number of shots and seed, seeds first."""
    cut = CUTS[name]
    split = make_split(load(root / name), cut.task, cut.method, **cut.options)
    if name != "tallrec_book":
        return [split]
    return [few_shot(split, shots, seed) for shots in SHOTS for seed in SEEDS]


def table(results: list[Result]) -> str:
    """Markdown: one row per model."""
    names = [name for name in SHOWN if name in results[0].metrics]
    head = ["model", *names, "unseen hr@100", "CPU min", "tuned s", "scored s"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for result in results:
        cells = [f"{result.metrics[n].value:.4f}" for n in names]
        unseen = result.breakdown.get("unseen", {}).get("hr@100")
        cells.append("" if unseen is None else f"{unseen.value:.3f}")
        made = 0.0 if result.made is None else result.made.seconds
        cost = None if result.made is None else result.made.cpu_seconds
        cells += ["" if cost is None else f"{cost / 60:.2f}", f"{made:.0f}"]
        lines.append(" | ".join([result.model, *cells, f"{result.seconds:.1f}"]))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("sets", nargs="*", default=list(CUTS))
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--ranks", type=Path)
    parser.add_argument("--budget", type=float, default=240.0)
    parser.add_argument("--only", nargs="*", help="measure these baselines, keep the others' rows")
    given = parser.parse_args()
    for name in given.sets:
        path = (given.vectors or given.root.parent / "vectors") / f"{name}.npy"
        vectors = np.load(path) if path.is_file() else None
        options = SuiteOptions(
            budget=given.budget, vectors=vectors, rule=CUTS[name].options.get("label")
        )
        found = measure(name, given.root, options, given.only)
        if given.ranks is not None:
            keep_evidence(found, given.ranks, name)


def keep_evidence(results: list[Result], folder: Path, name: str) -> None:
    """Ranks or predictions of each model; of a few-shot set those of its last draw."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        model = result.model.lower().replace(",", "").replace(" ", "-")
        for what, values in result.evidence.items():
            np.save(folder / f"{name}.{model}.{what}.npy", values)


def measure(name: str, root: Path, options: SuiteOptions, only: list[str] | None) -> list[Result]:
    """The baselines on one set; the report shows the first seed of a few-shot set."""
    found: list[Result] = []
    missing: dict[str, str] = {}
    for split in splits_of(name, root):
        suite = run_suite(split, only, options, say)
        found += suite.results
        missing |= suite.missing
    path = RESULTS / f"{name}.json"
    kept = rows_of(path) if only else []
    write_results(found, path)
    if only:
        keep_others(path, kept)
    print(f"\n{name}\n\n{table(found)}\n", flush=True)
    for who, why in missing.items():
        print(f"not run: {who}: {why}")
    shown = found[:: len(SEEDS)] if name == "tallrec_book" else found
    write_report(shown, Path("out") / f"{name}.html", f"Baselines: {name}", missing)
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The results of an earlier run; none where there was none."""
    return list(json.loads(path.read_text())["results"]) if path.is_file() else []


def keep_others(path: Path, kept: list[dict[str, Any]]) -> None:
    """Puts new rows in the place of old ones of the same model and protocol."""

    def key(row: dict[str, Any]) -> tuple[str, str]:
        return row["model"], row["card"]["card_hash"]

    body = json.loads(path.read_text())
    new = {key(row): row for row in body["results"]}
    merged = [new.pop(key(row), row) for row in kept]
    body["results"] = [*merged, *new.values()]
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
