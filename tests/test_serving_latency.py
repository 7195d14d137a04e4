"""What the latency benchmark measures is what it says: shapes, counts of operations, tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import tiny
from m6rec.cli.app import build_app
from m6rec.cli.bench_latency import accuracy, accuracy_table
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.recommender import M6Rec
from m6rec.serving.latency import clock
from m6rec.serving.latency.clock import Spent, spent
from m6rec.serving.latency.report import markdown, plot
from m6rec.serving.latency.rivals import DIN, MOST_TOKENS, din, pairs_of
from m6rec.serving.latency.rows import _ratios, layer_gflop
from m6rec.serving.latency.world import Kept, Request, Shape, World
from model_worlds import SPECIAL, bert_config, close, lively


def model() -> M6:
    return lively(bert_config(vocab_size=80))


@pytest.mark.parametrize(("kept", "online"), [(1, 1), ("all", 2)])
def test_a_measured_request_is_the_late_plan_over_the_same_states(kept: Kept, online: int) -> None:
    world = World(model(), Shape(history=3, candidates=4, tokens=5, kept=kept, online=online))
    found = Request(world, "torch-fp32")()
    with torch.no_grad():
        wanted = plans.late(world.model, world.states(), world.rows(4), world.lower)
    assert close(found, wanted[:, 1], 2e-2)  # the catalogue is kept in float16


def test_a_catalogue_smaller_than_the_request_repeats() -> None:
    world = World(model(), Shape(history=2, candidates=7), distinct=3)
    assert world.items == 3
    assert world.chosen().tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_pairs_of_the_cross_encoder_hold_the_same_words_within_512_tokens() -> None:
    world = World(model(), Shape(history=2, candidates=3, tokens=5))
    ids_NT = pairs_of(world, 2)
    segments = world.tokens.ids_SN[:, 1:-1]
    wanted = [SPECIAL.bos_source, *segments[2].tolist(), *segments[3].tolist(), SPECIAL.eos_source]
    wanted += [*segments[5].tolist(), SPECIAL.eos_source]
    assert ids_NT.shape[0] == 2
    assert ids_NT[1].tolist() == wanted
    long = World(model(), Shape(history=300, candidates=3, tokens=5))
    assert pairs_of(long, 1).shape[1] == MOST_TOKENS


def test_din_scores_each_candidate_as_alone() -> None:
    network = DIN(10).eval()
    history, items = torch.arange(4), torch.tensor([7, 8, 9])
    with torch.no_grad():
        assert close(network(history, items)[1:2], network(history, items[1:2]))
    answer = din(World(model(), Shape(history=2, candidates=5)))()
    assert isinstance(answer, torch.Tensor)
    assert answer.shape == (5,)


def test_operations_of_a_layer_by_hand() -> None:
    """Width 16, FFN 24, two heads of 8: keys and values 512 a row, the rest 1,280 a query."""
    gflop = layer_gflop(model(), rows=10, queries=4, keys=10)
    assert gflop * 1e9 == 2 * (10 * 2 * 16 * 16 + 4 * (2 * 16 * 16 + 2 * 16 * 24)) + 4 * 4 * 10 * 16


def test_calls_are_counted_and_a_slow_call_is_cut_off() -> None:
    calls: list[int] = []
    time = spent(lambda: calls.append(1), repeats=10, warm=2)
    assert len(calls) == 12
    assert time.repeats == 10
    assert 0 <= time.least <= time.p50 <= time.p99
    assert spent(lambda: calls.append(1), repeats=1000, warm=0, most_s=0).repeats == 3


def test_the_peak_is_two_operations_for_each_product_over_the_least_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "PEAK_SIZE", 100)
    monkeypatch.setattr(clock, "spent", lambda call, repeats: Spent(9.0, 9.0, 2.0, repeats))
    assert clock.peak_gflops(torch.float32) == pytest.approx(1.0)  # 2 million in 2 ms


def test_ratios_are_to_the_best_rival_that_ran() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "cross-encoder, a", "pairs_per_s": 10},
        {"name": "cross-encoder, b", "pairs_per_s": 20},
        {"name": "cross-encoder, c", "missing": "needs c"},
        {"name": "ours, full plan", "pairs_per_s": 40},
        {"name": "ours, late", "pairs_per_s": 4000},
    ]
    late = _ratios(rows)[-1]
    assert (late["to_cross_encoder"], late["to_full"]) == (200, 100)
    assert "to_full" not in rows[2]


def found() -> dict[str, Any]:
    time = {"p50": 4.0, "p99": 6.0, "least": 3.5, "repeats": 10}
    point = {"history": 100, "candidates": 1000, **time}
    shape = {"history": 100, "candidates": 1000, "kept": 1, "online": 1, "tokens": 12}
    speed = {"gflop": 1.0, "gflops": 250, "bytes_per_item": 2353}
    return {
        "machine": {"cpu": "a chip", "cores": 2, "threads": 2, "isa": ["avx2"], "torch": "2"},
        "peak_gflops": {"bf16": 500, "fp32": 200},
        "runtime": "torch-bf16",
        "requests": [{**shape, "runtime": "torch-bf16", "ahead": True, **time, **speed}],
        "encode": [
            {
                "runtime": "torch-bf16",
                **time,
                "gflops": 400,
                "share_of_peak": 0.8,
                "segments_per_s": 16000,
            },
            {"runtime": "openvino-bf16", "missing": "needs OpenVINO"},
        ],
        "pairs": [{"name": "ours", **time, "pairs_per_s": 250_000, "to_cross_encoder": 1250.0}],
        "growth": {"history": [point], "candidates": [point, {**point, "candidates": 10_000}]},
    }


def test_the_page_holds_every_figure() -> None:
    page = markdown(found())
    row = "| 1000 | 100 | 1 | 1 | torch-bf16 | yes | 4.0 | 6.0 | 3.5 | 1.0 | 50% | 2,353 |"
    assert row in page
    assert "| torch-bf16 | 4.0 | 400 | 80% | 16,000 |" in page
    assert "| ours | 250,000 | 1,250× | – |" in page
    assert "| 100 | 10,000 | 4.0 | 6.0 | 0.4 |" in page
    assert page.endswith("\n\nNot run: openvino-bf16: needs OpenVINO\n")


def test_the_plot_is_written(tmp_path: Path) -> None:
    plot(found(), tmp_path / "new" / "latency.svg")
    assert "<svg" in (tmp_path / "new" / "latency.svg").read_text("utf-8")


def test_accuracy_stands_beside_the_time() -> None:
    metrics = {"auc": {"value": 0.75, "low": 0.7, "high": 0.8}, "logloss": {"value": 0.5}}
    row = {
        "adapter": "late",
        "plan": "late",
        "online_layers": 1,
        "seconds": 2.5,
        "result": {"metrics": metrics},
    }
    assert "| late | late | 1 | 2.5 | auc 0.7500 |" in accuracy_table([row])
    assert accuracy_table([]) == ""


@pytest.mark.parametrize("lone", [["--data", "shop"], ["--adapter", "late"]])
def test_accuracy_without_data_or_without_a_task_is_refused_before_anything_runs(
    lone: list[str],
) -> None:
    result = CliRunner().invoke(build_app(["bench latency"]), ["bench latency", *lone])
    assert result.exit_code == 2
    assert "both --data and --adapter" in result.output


def test_a_device_that_is_not_there_is_refused_before_anything_runs() -> None:
    result = CliRunner().invoke(build_app(["bench latency"]), ["bench latency", "--device", "tpu"])
    assert result.exit_code == 2
    assert "no such device" in result.output


def test_accuracy_is_of_the_adapter_whatever_tasks_the_model_carries(tmp_path: Path) -> None:
    tiny.write_shop(tmp_path / "data")
    tiny.write_backbone(tmp_path / "model")
    rec = M6Rec.from_pretrained(tmp_path / "model")
    rec.fit("rank", tmp_path / "data", split="temporal", train={"epochs": 1, "bf16": False})
    rec.save_pretrained(tmp_path / "carrying")
    folder = tmp_path / "carrying" / "tasks" / "rank"
    shutil.copytree(folder, folder.with_name("other"))
    (row,) = accuracy(str(tmp_path / "carrying"), tmp_path / "data", [folder], "cpu")
    assert (row["task"], row["plan"], row["online_layers"]) == ("rank", "late", 1)
    assert "auc" in row["result"]["metrics"]
