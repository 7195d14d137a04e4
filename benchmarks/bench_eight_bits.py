"""What eight bits cost a tuned retriever: `bench_eight_bits.py DATA MODEL ADAPTER`.

HR@10 and NDCG@10 on test in float32, with weights and tables in int8, and with inputs of linear
maps rounded too, as a bundle for ONNX Runtime does (ranges found on texts) and as XNNPACK does (row
by row); item vectors are in int8 with a scale each, as a bundle keeps them. The network is rounded
as `m6rec edge export` rounds it, and exports are held to it. Writes
benchmarks/results/eight_bits/ADAPTER.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from m6rec.data.splits import make_split
from m6rec.data.tables import load
from m6rec.edge.export import (
    EdgeSettings,
    Source,
    budgets_of,
    in_precision,
    texts_of,
    tokenised,
)
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.model.int8 import rounded
from m6rec.recommender import M6Rec
from m6rec.tasks.catalogue import Catalogue

RESULTS = Path(__file__).parent / "results" / "eight_bits"
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "fp32"},
    "int8": {"precision": "int8"},
    "w8a8, ONNX Runtime": {"precision": "w8a8"},
    "w8a8, XNNPACK": {"precision": "w8a8", "runtime": "executorch"},
}
SHOWN = ("hr@10", "ndcg@10")


def rounded_as(catalogue: Catalogue, how: dict[str, Any], name: str) -> Catalogue:
    """The retriever with its network rounded, and its item vectors in int8 where anything is."""
    settings = EdgeSettings.parse(how, name)
    retriever = catalogue.retriever
    source = Source(catalogue, catalogue.item_ids, name, "")
    shelf = texts_of(source, settings.event)
    texts = tokenised(retriever.table.tokenizer, shelf, budgets_of(source), settings)
    network = in_precision(retriever.model, retriever.table.lower, texts, settings)
    retriever.model = retriever.table.model = network
    retriever.table.forget_states()
    made = Catalogue(retriever, shelf.texts, catalogue.item_ids, name, catalogue.prior_I)
    if settings.precision != "fp32":
        int8_IK, scale_I = rounded(torch.from_numpy(made.vectors_IK))
        made.vectors_IK = (int8_IK.float() * scale_I[:, None]).numpy()
    return made


def measure(data: Path, model: str, adapter: Path) -> dict[str, Any]:
    """Figures of each way."""
    dataset = load(data)
    split = make_split(dataset, "retrieve")
    known = replace(dataset, events=split.train_events)
    rec = M6Rec.from_pretrained(model).load_adapter(adapter)
    found: dict[str, Any] = {}
    for name, how in WAYS.items():
        catalogue = rec.opener().catalogue(rec.tasks["retrieve"], known, text_only=True)
        metrics = evaluate_retrieval(rounded_as(catalogue, how, name), split, "test").metrics
        found[name] = {metric: metrics[metric].to_dict() for metric in SHOWN}
        told = ", ".join(f"{metric} {metrics[metric].value:.4f}" for metric in SHOWN)
        print(f"{name}: {told}", flush=True)
    return found


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", help="by name, or its folder")
    parser.add_argument("adapter", type=Path, help="what `m6rec tune retrieve` made of it")
    told = parser.parse_args()
    found = measure(told.data, told.model, told.adapter)
    RESULTS.mkdir(parents=True, exist_ok=True)
    body = {"data": told.data.name, "model": Path(told.model).name, "figures": found}
    text = json.dumps(body, indent=1) + "\n"
    (RESULTS / f"{told.adapter.name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
