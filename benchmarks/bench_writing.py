"""The tasks that write, tuned on real data: `python benchmarks/bench_writing.py DATA_ROOT [ROW …]`.

Each row is tuned on train; how it writes is chosen on valid; test is judged once, beside the named
baselines. Writes benchmarks/results/writing/ROW.json and prints a line for each result. `--keep`
names a folder for what was tuned: a row that lies there is judged without tuning it again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m6rec.cli.evaluate import WRITTEN
from m6rec.data.passages import WritingTask
from m6rec.data.shop import generate_shop
from m6rec.data.tables import Dataset, load
from m6rec.evaluation.result import Result
from m6rec.recommender import M6Rec

RESULTS = Path(__file__).parent / "results" / "writing"
SHOP = "the built-in shop"
Ways = Mapping[str, Mapping[str, Any]]
"""Names of decodings, and what each changes."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    fit: settings of tuning and of what is read; None: no training (chat alone). ways: decodings to
    choose from on `chosen_on` valid texts by `better` of the results there; judged_on: most test
    texts, drawn by seed 0.
    """

    data: str
    task: WritingTask
    fit: Mapping[str, Any] | None
    ways: Ways = field(default_factory=lambda: {"as it comes": {}})
    better: Callable[[Sequence[Result]], float] = lambda results: 0.0
    chosen_on: int = 100
    judged_on: int = 1000


def ours(results: Sequence[Result], kind: str = "") -> Mapping[str, float]:
    """Figures of one of our results; kind: "faithful", "checked", or "" for the free one."""
    names = [r for r in results if not r.baseline]
    of = names[0] if not kind else next(r for r in names if r.model.endswith(kind))
    return {name: found.value for name, found in of.metrics.items()}


def found_again(results: Sequence[Result]) -> float:
    """Queries: the round trip of the checked ones, by either search."""
    checked = ours(results, "checked")
    return checked["round-trip"] + checked["round-trip-words"]


def like_people(results: Sequence[Result]) -> float:
    """Explanations: likeness of the faithful ones."""
    faithful = ours(results, "faithful")
    return faithful["rouge1"] + faithful["rouge2"] + faithful["bleu-4"]


def like_people_in_own_words(results: Sequence[Result]) -> float:
    """Explanations: the same, as long as hardly two are one; else how far they are from that."""
    own = ours(results, "faithful")["usr"]
    return like_people(results) if own >= OWN_WORDS else own - 1


def varied_talk(results: Sequence[Result]) -> float:
    """Replies: likeness, as long as they are varied."""
    found = ours(results)
    return found["bleu-2"] if found["dist-4"] >= VARIED else found["dist-4"] - 1


VARIED = 0.45
OWN_WORDS = 0.98
"""Of 100 texts; of more, fewer are like no other."""
REPEATS: Ways = {"as it comes": {}, "words may repeat": {"repetition_penalty": 1.0}}
BEAMS: Ways = {"greedy": {}, "beams": {"method": "beam", "beams": 4}}
DRAWN: Ways = {
    **BEAMS,
    "cool": {"method": "sample", "temperature": 0.5},
    "drawn": {"method": "sample", "temperature": 0.7, "top_p": 0.9},
    "warm": {"method": "sample", "top_p": 0.9},
}
HEAT: Ways = {
    "as it comes": {},
    "cool": {"temperature": 0.5},
    "cold": {"temperature": 0.3},
}
SHORT: Mapping[str, Any] = {"train": {"epochs": 1}, "max_train": 4_000}
"""What two cores can tune in some minutes."""
ROWS = {
    "home_depot-query": Row(
        "home_depot",
        "query",
        {"train": {"epochs": 1}, "max_train": 16_000},
        REPEATS,
        found_again,
        judged_on=400,
    ),
    "redial-untrained": Row("redial", "chat", None),
    "redial-chat": Row(
        "redial", "chat", {"train": {"epochs": 1}}, HEAT, varied_talk, 150, judged_on=1000
    ),
    "xrec-explain": Row(
        "xrec",
        "explain",
        {"train": {"epochs": 1}, "max_history": 4},
        DRAWN,
        like_people_in_own_words,
        judged_on=400,
    ),
    "home_depot-title": Row(
        "home_depot", "title", {"train": {"epochs": 1}, "max_train": 8_000}, judged_on=500
    ),
    "catalogs-title": Row(
        "catalogs", "title", {"train": {"epochs": 1}, "max_train": 8_000}, judged_on=500
    ),
    "sgd-chat": Row(
        "sgd",
        "chat",
        SHORT,
        HEAT,
        varied_talk,
        judged_on=500,
    ),
    "shop-explain": Row(SHOP, "explain", SHORT, BEAMS, like_people, judged_on=200),
    "shop-title": Row(SHOP, "title", SHORT, judged_on=500),
    "shop-query": Row(SHOP, "query", {}, REPEATS, found_again, judged_on=200),
    "shop-chat": Row(SHOP, "chat", SHORT, HEAT, varied_talk, judged_on=500),
}


def data_of(row: Row, root: Path) -> Dataset:
    """The row's data set; the shop is made from its seed."""
    if row.data != SHOP:
        return load(root / row.data)
    folder = Path(tempfile.mkdtemp()) / "shop"  # its name is in the protocol card
    generate_shop(folder)
    return load(folder)


def tuned(rec: M6Rec, name: str, row: Row, dataset: Dataset, keep: Path | None) -> dict[str, Any]:
    """Tunes the row's task, or takes it from where it is kept; how it was trained."""
    if row.fit is None:
        return {}
    folder = None if keep is None else keep / name
    if folder is not None and folder.is_dir():
        rec.load_adapter(folder)
    else:
        rec.fit(row.task, dataset, **row.fit)
        if folder is not None:
            rec.tasks[row.task].write(folder)
    return dict(rec.tasks[row.task].trained_on)


def measure(
    rec: M6Rec, name: str, row: Row, dataset: Dataset, keep: Path | None = None
) -> dict[str, Any]:
    """Tunes, chooses on valid, judges on test: a body for JSON."""
    trained = tuned(rec, name, row, dataset, keep)
    tried: dict[str, dict[str, Any]] = {}
    best, chosen = -1.0, next(iter(row.ways))
    for way, decoding in row.ways.items() if len(row.ways) > 1 else ():
        found = rec.evaluate_writing(
            row.task, dataset, "valid", baselines=False, decoding=decoding, max_eval=row.chosen_on
        )
        value = row.better(found)
        tried[way] = {"value": value, "decoding": dict(decoding), **by_model(found)}
        print(lines(f"{name}, valid, {way} ({value:.4f})", row.task, found), flush=True)
        if value > best:
            best, chosen = value, way
    decoding = row.ways[chosen]
    results = rec.evaluate_writing(row.task, dataset, decoding=decoding, max_eval=row.judged_on)
    print(lines(f"{name}, test, {chosen}", row.task, results), flush=True)
    return {
        "trained": trained,
        "tried on valid": tried,
        "chosen": {"way": chosen, "decoding": dict(decoding)},
        "test": [result.to_dict() for result in results],
    }


def by_model(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Figures of each result without intervals."""
    return {r.model: {name: found.value for name, found in r.metrics.items()} for r in results}


def lines(name: str, task: str, results: Sequence[Result]) -> str:
    """Results as rows of a Markdown table."""
    shown = [metric for metric in WRITTEN[task] if metric in results[0].metrics]
    rows = [f"| {name} | {' | '.join(shown)} |"]
    for result in results:
        cells = []
        for metric in shown:
            found = result.metrics.get(metric)
            text = "" if found is None else f"{found.value:.3f}"
            if found is not None and found.low is not None:
                text += f" ({found.low:.3f}–{found.high:.3f})"
            cells.append(text)
        rows.append(" | ".join(["", result.model, *cells, ""]).strip())
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    parser.add_argument("--model", default="m6-small")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--cache", type=Path, help="encoded texts, found again by the next run")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in given.rows:
        started = time.monotonic()
        rec = M6Rec.from_pretrained(given.model, cache=given.cache)
        body = measure(rec, name, ROWS[name], data_of(ROWS[name], given.root), given.keep)
        (RESULTS / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {time.monotonic() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
