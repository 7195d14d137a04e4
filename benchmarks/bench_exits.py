"""What each exit of a model costs and finds: `python benchmarks/bench_exits.py DATA MODEL …`.

For the network of the first 1…L layers: HR@10 and NDCG@10 of untrained retrieval on
amazon_industrial, valid and test, and milliseconds for a history of 5 events and 50 candidates of
16 tokens (encoded anew), the depths in turns, so that what else the machine does meets all of them.
Writes benchmarks/results/exits/MODEL.json. The exits of m6-small were never trained; those of a
student are, unless it was made with exits=last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from m6rec.data.splits import Split, make_split
from m6rec.data.tables import load
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.model.exits import shallow
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.model.plans import SegmentTokens, encode_segments
from m6rec.tasks.build import Backbone, untrained_retriever
from m6rec.tasks.catalogue import Catalogue
from m6rec.text.templates import Templates
from m6rec.text.tokenizer import Tokenizer
from m6rec.text.verbalize import Verbalizer

RESULTS = Path(__file__).parent / "results" / "exits"
SEGMENTS, TOKENS = 55, 16
SHOWN = ("hr@10", "ndcg@10")


def found_at(
    view: M6, tokenizer: Tokenizer, words: Verbalizer, ids: list[str], split: Split
) -> dict[str, Any]:
    """Figures of both parts, each with its interval."""
    retriever = untrained_retriever(Backbone(view, tokenizer), words, ids)
    catalogue = Catalogue(retriever, words.item_texts(), ids, "exits")
    out: dict[str, Any] = {}
    for part in ("valid", "test"):
        metrics = evaluate_retrieval(catalogue, split, part).metrics
        out[part] = {name: metrics[name].to_dict() for name in SHOWN}
    return out


def milliseconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Medians of several calls, taken in turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for place, call in enumerate(calls):
            began = time.perf_counter()
            call()
            taken[place].append(1000 * (time.perf_counter() - began))
    return [statistics.median(times[1:]) for times in taken]


def encoding(view: M6, tokenizer: Tokenizer) -> Callable[[], object]:
    """Encodes segments of random words by all layers of an exit."""
    draw = torch.Generator().manual_seed(0)
    known = torch.tensor(sorted(tokenizer.writable_ids))
    ids_SN = known[torch.randint(len(known), (SEGMENTS, TOKENS), generator=draw)]
    tokens = SegmentTokens(ids_SN, torch.ones_like(ids_SN, dtype=torch.bool))

    def call() -> None:
        with torch.no_grad():
            encode_segments(view, tokens, view.config.layers)

    return call


def measure(root: Path, model: str, repeats: int) -> list[dict[str, Any]]:
    """A row for each exit."""
    backbone, tokenizer = load_start(model)
    backbone.eval()
    data = load(root / "amazon_industrial")
    split = make_split(data, "retrieve", "published")
    words = Verbalizer(Templates.load(data.templates), split.items)
    ids = split.items["item_id"].to_list()
    depths = range(1, backbone.config.layers + 1)
    views = [shallow(backbone, depth) for depth in depths]
    times = milliseconds([encoding(view, tokenizer) for view in views], repeats)
    rows = []
    for depth, view, spent in zip(depths, views, times, strict=True):
        rows.append({"exit": depth, "ms": spent, **found_at(view, tokenizer, words, ids, split)})
        print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    cells = [f"{row[part][name]['value']:.3f}" for part in ("valid", "test") for name in SHOWN]
    return f"| {row['exit']} | {row['ms']:.0f} | {' | '.join(cells)} |"


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("models", nargs="+", help="by name, or their folders")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for model in told.models:
        print(f"{model}\n| exit | ms | hr@10 valid | ndcg@10 valid | hr@10 test | ndcg@10 test |")
        rows = measure(told.root, model, told.repeats)
        name = Path(model).name
        text = json.dumps({"model": name, "threads": told.threads, "rows": rows}, indent=1)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
