"""Our models on the real data sets: `python benchmarks/bench_ours.py DATA_ROOT [ROW …]`.

Each row is tuned on train, chosen on valid, judged once on test. Writes
benchmarks/results/ours/MODEL/ROW.json and prints a line per row. `--model` names the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from m6rec.data.labels import LabelRule
from m6rec.data.splits import Split, few_shot, make_split
from m6rec.data.tables import load
from m6rec.evaluation.result import Result
from m6rec.recommender import M6Rec

RESULTS = Path(__file__).parent / "results" / "ours"
SHOWN = ("hr@10", "ndcg@10", "hr@100", "auc", "gauc", "logloss")
RATING = LabelRule(event="rating", threshold=4)
SEEDS = range(5)


@dataclass(frozen=True)
class Row:
    """One line of the table: data, how it is split, what is tuned. fit None: no training.

    shots: few-shot rows draw that many train requests, once for each seed.
    """

    data: str
    task: Any
    split: Any
    fit: Mapping[str, Any] | None
    options: Mapping[str, Any] = field(default_factory=dict)
    shots: int = 0


def amazon(**fit: Any) -> Row:
    return Row("amazon_industrial", "retrieve", "published", fit)


def planned(plan: str) -> Row:
    """The same little tuning under either plan; the full one reads a whole history at once,
    which has to fit its 512 positions."""
    fit = {"plan": plan, "online_layers": 1, "train": {"epochs": 2}}
    cut = {"max_train": 3_000, "max_history": 9}
    return Row("amazon_industrial", "retrieve", "published", fit, cut)


def films_planned(plan: str) -> Row:
    """The same of ranking, from words alone: no evidence stands in for what is read."""
    reading = {"templates": "movies", "plan": plan, "online_layers": 1, "evidence": False}
    fit = {**reading, "train": {"epochs": 1}}
    cut = {"label": RATING, "max_train": 3_000, "max_history": 9, "max_eval": 4_000}
    return Row("ml100k", "rank", "temporal", fit, cut)


def retail(**fit: Any) -> Row:
    """60,000 of the 450,000 training requests, drawn negatives: minutes instead of an hour."""
    train = {"epochs": 3, "batch": 512}
    fit = {"train": train, "online_layers": 1, "full_softmax": 2000, "negatives": 1024, **fit}
    return Row("online_retail", "retrieve", "temporal", fit, {"max_train": 60_000})


def books(shots: int) -> Row:
    fit = {"templates": "books"}
    return Row("tallrec_book", "rank", "published", fit, shots=shots)


ROWS = {
    "amazon-untrained": Row("amazon_industrial", "retrieve", "published", None),
    "amazon-text": amazon(),
    "amazon-online": amazon(online_layers=1),
    "amazon-online-wide": amazon(online_layers=1, tuning={"rank": 96}, train={"patience": 3}),
    "amazon-full": amazon(method="full"),
    "amazon-residual": amazon(residual=True),
    "amazon-plan-late": planned("late"),
    "amazon-plan-full": planned("full"),
    "beauty-untrained": Row("amazon14_beauty", "retrieve", "leave-one-out", None),
    "news-untrained": Row("mind_sample", "retrieve", "published", None),
    "retail-untrained": Row("online_retail", "retrieve", "temporal", None),
    "retail-text": retail(),
    "retail-residual": retail(residual=True),
    "books-16": books(16),
    "books-64": books(64),
    "books-256": books(256),
    "films": Row("ml100k", "rank", "temporal", {"templates": "movies"}, {"label": RATING}),
    "films-residual": Row(
        "ml100k",
        "rank",
        "temporal",
        {"templates": "movies", "residual": True},
        {"label": RATING},
    ),
    "films-plan-late": films_planned("late"),
    "films-plan-full": films_planned("full"),
    "films-tenth": Row(
        "ml100k",
        "rank",
        "temporal",
        {"templates": "movies"},
        {"label": RATING, "max_train": 7_000},
    ),
}


def measure(row: Row, root: Path, model: str) -> list[tuple[Result, dict[str, Any]]]:
    """Result and how it was trained, one for each seed."""
    dataset = load(root / row.data)
    split = make_split(dataset, row.task, row.split, **row.options)
    found = []
    rec = M6Rec.from_pretrained(model)
    for seed in SEEDS if row.shots else (0,):
        cut: Split = few_shot(split, row.shots, seed) if row.shots else split
        how: dict[str, Any] = {}
        if row.fit is not None:
            fit = {**row.fit, "train": {"seed": seed, **row.fit.get("train", {})}}
            fitted = rec.fit(row.task, dataset, split=cut, label=row.options.get("label"), **fit)
            how = dict(fitted.trained_on)
        found.append((rec.evaluate(row.task, dataset, split=cut), how))
    return found


def line(name: str, found: Sequence[tuple[Result, Mapping[str, Any]]]) -> str:
    """Means over the seeds, as a row of a Markdown table."""
    results = [result for result, _ in found]
    cells = []
    for metric in SHOWN:
        values = [result.metrics[metric].value for result in results if metric in result.metrics]
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.4f}{spread}" if values else "")
    unseen = results[0].breakdown.get("unseen", {}).get("hr@100")
    seen = results[0].breakdown.get("seen", {}).get("hr@100")
    cells.append("" if unseen is None or seen is None else f"{unseen.value / seen.value:.2f}")
    how = found[0][1]
    cells.append(f"{how.get('seconds', 0):.0f}")
    cells.append(f"{100 * how.get('trainable_share', 0):.2f} %")
    return " | ".join(["", name, *cells, ""]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    parser.add_argument("--model", default="minilm-l6")
    given = parser.parse_args()
    results = RESULTS / Path(given.model).name
    results.mkdir(parents=True, exist_ok=True)
    print(f"| row | {' | '.join(SHOWN)} | unseen/seen hr@100 | train s | trained |", flush=True)
    for name in given.rows:
        started = time.monotonic()
        found = measure(ROWS[name], given.root, given.model)
        body = [{"result": result.to_dict(), "trained": how} for result, how in found]
        for one in body:
            one["result"].pop("curves")  # type: ignore[attr-defined]
        (results / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        print(line(name, found), f"{time.monotonic() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
