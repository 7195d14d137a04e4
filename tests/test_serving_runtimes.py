"""Every runtime says what eager float32 says, within its stated tolerance."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.config import ConfigError
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.tuning import Tuning, branch
from m6rec.serving.engine import Ask, Engine, EngineSettings
from m6rec.serving.online import OnlineBatch
from m6rec.serving.prepare import split
from m6rec.serving.runtimes import choose as choosing
from m6rec.serving.runtimes import openvino as with_openvino
from m6rec.serving.runtimes.base import TOLERANCE, Network, RuntimeMissingError, distance
from m6rec.serving.runtimes.choose import AUTO, REFERENCE, choose, make_runtime
from m6rec.serving.runtimes.kept_graphs import key_of
from m6rec.serving.runtimes.openvino import rounded
from m6rec.serving.runtimes.remembered import FILE, remember, remembered
from model_worlds import CONFIGS, Request, lively, pack, random_texts, segments

LOWER = 1
WIDE = {"d_model": 64, "d_ff": 128, "head_dim": 32}
"""Wide enough for matrices that int8 rounds."""
PAIRS = [
    ("torch-bf16", "bert"),
    ("torch-bf16", "qwen"),
    ("openvino-fp32", "bert"),
    ("openvino-fp32", "qwen"),
    ("openvino-bf16", "bert"),
    ("openvino-int8", "qwen"),
    ("openvino-int8", "bert"),
]
"""Not every pair: OpenVINO takes a second to trace a graph."""
REQUESTS: list[Request] = [
    ([2, 3, 4], [[5], [6, 7]]),
    ([8], [[9]]),
    ([3, 2], [[7], [5], [2]]),
]


def two_tasks(family: str) -> dict[str, M6]:
    backbone = lively(CONFIGS[family](**WIDE), scale=0.12)
    tasks = {}
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        task = branch(backbone, Tuning(classes=2, rank=3 + seed, prompts=1), LOWER).eval()
        with torch.no_grad():
            for parameter in task.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        tasks[name] = task
    return tasks


ENGINES: dict[tuple[str, str], Engine] = {}


def engine_of(family: str, runtime: str) -> Engine:
    """Kept: OpenVINO traces a graph for each kind of batch."""
    if (family, runtime) not in ENGINES:
        running = EngineSettings(runtime=runtime)
        ENGINES[family, runtime] = Engine(two_tasks(family), LOWER, running)
    return ENGINES[family, runtime]


def answers(engine: Engine, kept: int | Literal["all"], ahead: bool, seed: int) -> torch.Tensor:
    """States of three requests of two tasks, answered in one call."""
    tokens = segments(random_texts(8, 5, seed))
    states = plans.encode_segments(engine.models["one"], tokens, LOWER)
    states = states if kept == "all" else plans.summarise(states, kept)
    packed = pack(REQUESTS, engine.models["one"].config)
    asks = []
    for request, task in enumerate(("one", "other", "one")):
        source, candidates = split(packed, request)
        user = engine.sources(task, states, source)[0]
        asks.append(Ask(task, user, engine.candidates(task, states, candidates, ahead=ahead)))
    found = engine.answer(asks)
    return torch.cat([torch.cat([one.source_D[None], one.candidates_ND]) for one in found])


@pytest.mark.parametrize(("name", "family"), PAIRS)
@settings(max_examples=2, deadline=None)
@given(kept=st.sampled_from([1, 2, "all"]), ahead=st.booleans(), seed=st.integers(0, 100))
def test_a_runtime_answers_as_eager_float32_does(
    name: str, family: str, kept: int | Literal["all"], ahead: bool, seed: int
) -> None:
    with torch.no_grad():
        wanted = answers(engine_of(family, REFERENCE), kept, ahead, seed)
        found = answers(engine_of(family, name), kept, ahead, seed)
    assert found.dtype == torch.float32
    assert distance(found, wanted) <= TOLERANCE[name]


@pytest.mark.parametrize("name", [REFERENCE, "openvino-fp32"])
def test_threads_get_their_own_answers_side_by_side(name: str) -> None:
    engine = Engine(two_tasks("bert"), LOWER, EngineSettings(runtime=name, at_once=2))
    reference = engine_of("bert", REFERENCE)
    with torch.no_grad():
        wanted = [answers(reference, 1, ahead=True, seed=seed) for seed in range(16)]
    ask = partial(answers, engine, 1, True)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ask, range(16)))
    for one, other in zip(found, wanted, strict=True):
        assert distance(one, other) <= TOLERANCE[name]


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_a_runtime_encodes_as_eager_float32_does(name: str, family: str) -> None:
    engine, reference = engine_of(family, name), engine_of(family, REFERENCE)
    for seed, longest in ((0, 5), (1, 9)):
        tokens = segments(random_texts(8, longest, seed))
        found, wanted = engine.encode(tokens), reference.encode(tokens)
        kept = tokens.valid_SN
        assert distance(found.h_SKD[kept], wanted.h_SKD[kept]) <= TOLERANCE[name]
        assert engine.encode(tokens, keep=1).h_SKD.shape == (10, 1, 64)


def test_the_reference_encodes_as_the_plan_does() -> None:
    engine = engine_of("bert", REFERENCE)
    tokens = segments(random_texts(8, 5))
    with torch.no_grad():
        wanted = plans.encode_segments(engine.models["one"], tokens, LOWER)
    assert torch.equal(engine.encode(tokens).h_SKD, wanted.h_SKD)


def test_distance_is_the_worst_rows_error_over_the_size_of_the_rows() -> None:
    reference = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    found = torch.tensor([[3.0, 4.0], [0.0, 4.0]])
    assert distance(found, reference) == pytest.approx(0.2)


GROWTH = """
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from m6rec.serving.runtimes import openvino
from m6rec.serving.runtimes.base import Network
from m6rec.serving.runtimes.choose import make_runtime
from model_worlds import CONFIGS, lively, segments

openvino.SHAPES_KEPT = int(sys.argv[1]) or openvino.SHAPES_KEPT
model = lively(CONFIGS["bert"](d_model=384, d_ff=1536, head_dim=192))
runtime = make_runtime("openvino-fp32", Network(model, [model], 2, 3))

def resident(shapes):
    for count in shapes:
        runtime.encode(segments([[2, 3, 4]] * count))
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

begin = resident(range(90, 100))
print(resident(range(100, 160)) - begin)
"""
"""Prints by how many MiB a process grows over 60 new shapes; 0: as it is set."""


def test_ever_new_shapes_do_not_fill_the_memory() -> None:
    def growth(kept: int) -> float:  # in a process of its own: freed memory would be used again
        asked = [sys.executable, "-c", GROWTH, str(kept)]
        where = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        return float(subprocess.run(asked, check=True, capture_output=True, env=where).stdout)

    assert growth(0) < 0.6 * growth(5000)


def test_int8_keeps_a_scale_for_each_output() -> None:
    weight_OD = np.array([[1.0, -2.0], [0.01, 0.00497], [0.0, 0.0]], np.float32)
    int8_OD, scale_O1 = rounded(weight_OD)
    assert int8_OD.tolist() == [[64, -127], [127, 63], [0, 0]]
    assert np.abs(int8_OD * scale_O1 - weight_OD).max() < 0.01


def test_int8_changes_large_matrices_alone() -> None:
    rounded_one = engine_of("bert", "openvino-int8")
    plain = engine_of("bert", "openvino-bf16")
    with torch.no_grad():
        gap = distance(answers(rounded_one, 1, True, 0), answers(plain, 1, True, 0))
    assert 0 < gap < TOLERANCE["openvino-int8"]


# The choice


def network() -> Network:
    model = lively(CONFIGS["bert"]())
    return Network(model, [model], LOWER)


def test_the_fastest_runtime_within_its_tolerance_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime, rows = choose(network(), [REFERENCE, "torch-bf16"])
    assert [row.name for row in rows] == [REFERENCE, "torch-bf16"]
    assert rows[0].distance == 0
    assert 0 < rows[1].distance < TOLERANCE["torch-bf16"]
    assert runtime.name == min(rows, key=lambda row: row.milliseconds).name
    monkeypatch.setitem(choosing.TOLERANCE, "torch-bf16", 0.0)
    assert choose(network(), ["torch-bf16"])[0].name == REFERENCE


def test_a_runtime_that_is_missing_is_said_and_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(with_openvino, "import_module", missing)
    runtime, rows = choose(network(), [REFERENCE, "openvino-bf16"])
    assert runtime.name == REFERENCE
    assert "pip install 'm6rec[serve]'" in rows[1].missing
    with pytest.raises(RuntimeMissingError, match="needs OpenVINO"):
        make_runtime("openvino-int8", network())


def test_openvino_refuses_a_model_that_is_not_on_the_cpu() -> None:
    model = lively(CONFIGS["bert"]()).to("meta")
    with pytest.raises(RuntimeMissingError, match="openvino-bf16 runs on CPUs; this model is on m"):
        make_runtime("openvino-bf16", Network(model, [model], LOWER))


def test_an_unknown_runtime_is_an_error_that_names_the_known() -> None:
    with pytest.raises(ConfigError, match="unknown runtime 'onnx'; known are auto, torch-fp32"):
        make_runtime("onnx", network())


def test_the_choice_is_kept_for_the_machine_it_was_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remembered(None) == remembered(tmp_path) == AUTO
    remember(tmp_path / "made", "torch-fp32")
    assert remembered(tmp_path / "made") == "torch-fp32"
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    assert remembered(tmp_path / "made") == AUTO
    monkeypatch.undo()
    for broken in ("{", "[]", '{"runtime": "torch-fp32"}'):
        (tmp_path / "made" / FILE).write_text(broken)
        assert remembered(tmp_path / "made") == AUTO


def shaped(rows: int) -> dict[str, torch.Tensor]:
    """One request with so many source rows, and as many candidates."""
    some = torch.ones(1, rows, 64)
    there = torch.ones(1, rows, 2, dtype=torch.bool)
    batch = OnlineBatch(some, None, torch.ones(1, rows, 2, 64), there, torch.zeros(1).long(), None)
    return batch.named()


def test_a_converted_graph_is_kept_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(tasks: dict[str, M6]) -> torch.Tensor:
        engine = Engine(tasks, LOWER, EngineSettings(runtime="openvino-fp32", kept=tmp_path))
        with torch.no_grad():
            return answers(engine, 1, ahead=True, seed=3)

    made = list[str]()
    convert = with_openvino.OpenVinoRuntime._converted

    def counted(*given: Any) -> Any:
        made.append("graph")
        return convert(*given)

    monkeypatch.setattr(with_openvino.OpenVinoRuntime, "_converted", counted)
    tasks = two_tasks("bert")
    wanted = asked(tasks)
    assert len(made) == 1
    assert distance(asked(tasks), wanted) < 1e-6  # read back, it may be fused another way
    assert len(made) == 1
    module = Network(tasks["one"], list(tasks.values()), LOWER).online()
    keys = {key_of(module, shaped(rows)) for rows in (3, 8)}
    assert len(keys) == 1  # of whatever length the request is that comes first

    (kept,) = tmp_path.iterdir()
    weights = kept / "graph.bin"
    weights.write_bytes(bytes(len(weights.read_bytes())))  # damaged: all zeros
    assert distance(asked(tasks), wanted) < 1e-6
    assert len(made) == 2

    with torch.no_grad():
        next(tasks["one"].blocks[-1].parameters()).mul_(1.5)  # other weights, another graph
    assert distance(asked(tasks), wanted) > 0.01
    assert len(made) == 3
    assert len(list(tmp_path.iterdir())) == 2
