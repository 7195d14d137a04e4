"""Graphs for devices equal the network's own modules; bundles are whole, checked and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

pytest.importorskip("onnx", reason="graphs need the extra edge")
pytest.importorskip("onnxruntime", reason="graphs need the extra edge")

from typer.testing import CliRunner

import tiny
from m6rec.cli import app
from m6rec.config import ModelConfig
from m6rec.edge.agreement import agreement
from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.export import (
    EdgeSettings,
    Source,
    budgets_of,
    export_bundle,
    texts_of,
    tokenised,
)
from m6rec.edge.graph import EdgeError
from m6rec.edge.graphs import Maker
from m6rec.edge.manifest import FILES, check, write_zip
from m6rec.edge.parity import Drawing, Score, Texts, compare, parity
from m6rec.edge.parts import Encoder, ItemTower, UserTower
from m6rec.edge.runners import session
from m6rec.model.exits import shallow
from m6rec.model.int8 import (
    Inputs,
    Int8Linear,
    Int8Table,
    Range,
    quantised,
    rounded,
    rounded_rows,
    whole_rows,
)
from m6rec.model.m6 import M6
from m6rec.model.tuning import Tuning, prepare
from m6rec.recommender import M6Rec
from model_worlds import bert_config, close, edge_config, lively, qwen_config

MOST, LONGEST = 9, 12


def some_ids(seed: int = 0, texts: int = 7, width: int = 9) -> torch.Tensor:
    """Random texts in brackets, some of them short."""
    generator = torch.Generator().manual_seed(seed)
    ids_SN = torch.randint(6, 60, (texts, width), generator=generator)
    ids_SN[0, width // 2 :] = 0
    ids_SN[2, 2:] = 0
    return ids_SN


def tuned(model: M6, lower: int) -> M6:
    """With soft prompts and adapters that say something."""
    prepare(model, Tuning(method="option-adapter", rank=4, prompts=3), lower)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "adapter_up" in name:
                parameter.normal_(std=0.2)
    return model.eval()


def in_int8(model: M6, lower: int, inputs: Inputs = "fixed") -> M6:
    def calibrate(network: M6) -> None:
        states = torch.cat([Encoder(network, lower)(some_ids(seed)) for seed in range(5)])
        for count in (1, 4, 9):
            UserTower(network, lower)(states[:count])
        ItemTower(network, lower)(states)

    return quantised(model, calibrate, inputs)


CASES: dict[str, Callable[[], tuple[M6, int]]] = {
    "all layers below": lambda: (lively(bert_config()), 3),
    "one online": lambda: (lively(edge_config()), 2),
    "two online": lambda: (lively(edge_config()), 1),
    "nothing below": lambda: (lively(bert_config()), 0),
    "tuned": lambda: (tuned(lively(edge_config()), 2), 2),
}


@pytest.mark.parametrize("precision", ["fp32", "int8", "w8a8"])
@pytest.mark.parametrize("case", CASES)
def test_every_graph_gives_what_its_module_gives(case: str, precision: str, tmp_path: Path) -> None:
    model, lower = CASES[case]()
    if precision != "fp32":
        model = in_int8(model, lower, "fixed" if precision == "w8a8" else "plain")
        kinds = [type(module) for module in model.modules()]
        assert Int8Linear in kinds and kinds.count(Int8Table) == 3
    maker = Maker(model, lower, MOST, LONGEST)
    for name, body in maker.all().items():
        (tmp_path / name).write_bytes(body)
    (tmp_path / "weights.bin").write_bytes(maker.weights.data)

    def run(name: str, **inputs: torch.Tensor) -> torch.Tensor:
        given = {key: value.numpy() for key, value in inputs.items()}
        return torch.from_numpy(session(tmp_path / f"{name}.onnx", 1).run(None, given)[0])

    ids_SN = some_ids(9)
    with torch.no_grad():
        states_SD = Encoder(model, lower)(ids_SN)
        user_K = UserTower(model, lower)(states_SD[:5])
        one_K = UserTower(model, lower)(states_SD[:1])
        items_IK = ItemTower(model, lower)(states_SD)
    assert close(run("encode", ids=ids_SN.int()), states_SD, 2e-6)
    assert close(run("user", states=states_SD[:5]), user_K, 2e-6)
    assert close(run("user", states=states_SD[:1]), one_K, 2e-6)
    assert close(run("item", states=states_SD), items_IK, 2e-6)
    whole = run("model", history=ids_SN[:5].int(), candidates=ids_SN.int())
    assert close(whole, items_IK @ user_K, 4e-6)
    assert float((user_K - one_K).abs().max()) > 0.01


def test_shared_layers_are_stored_once() -> None:
    sizes = []
    for sets in (1, None):
        maker = Maker(lively(edge_config(layer_sets=sets)), 2, MOST, LONGEST)
        maker.all()
        sizes.append(len(maker.weights.data))
    assert sizes[0] < 0.6 * sizes[1]


def test_an_int8_state_does_not_depend_on_the_batch() -> None:
    model = in_int8(lively(edge_config()), 3)
    encode, ids_SN = Encoder(model, 3), some_ids(3)
    together = encode(ids_SN)
    alone = torch.cat([encode(row[None]) for row in ids_SN])
    assert close(together, alone, 1e-6)


def test_rounding_keeps_zeros_and_is_off_by_half_a_step_at_most() -> None:
    weight_OI = torch.tensor([[0.0, -2.54, 1.27, 0.004], [0.0, 0.0, 0.0, 0.0]])
    int8_OI, scale_O = rounded(weight_OI)
    assert int8_OI.tolist() == [[0, -127, 64, 0], [0, 0, 0, 0]]
    assert scale_O[0].item() == pytest.approx(0.02)


def test_a_row_is_rounded_by_its_own_range() -> None:
    x_BI = torch.tensor([[-1.0, 0.0, 0.3, 1.55], [0.0, 0.0, 0.0, 0.0], [2.0, 4.0, 5.1, 1.0]])
    near_BI = rounded_rows(x_BI)  # steps: 2.55 / 255 = .01, none, 5.1 / 255 = .02
    assert close(near_BI, x_BI, 1e-6)
    off_BI = rounded_rows(x_BI + torch.tensor([0.0, 0.004, 0.0, 0.0]))
    assert close(off_BI[0], x_BI[0], 1e-6) and close(off_BI[2], x_BI[2], 1e-6)
    with pytest.raises(EdgeError, match="for ExecuTorch only"):
        Maker(in_int8(lively(edge_config()), 2, "rows"), 2, MOST, LONGEST).all()


@pytest.mark.parametrize("rows", [True, False])
def test_a_rounded_map_rounds_where_the_kernels_do(rows: bool) -> None:
    torch.manual_seed(3)
    x_BI = torch.randn(3, 40)
    seen = None if rows else Range().wider(x_BI)
    linear = Int8Linear(nn.Linear(40, 5), seen, rows=rows)
    if seen is None:
        whole_BI, step_B1 = whole_rows(x_BI)
    else:
        step_B1 = torch.full((3, 1), seen.scale)
        whole_BI = torch.round(x_BI / step_B1)
    assert torch.equal(whole_BI, whole_BI.round()) and whole_BI.abs().max() <= 255
    for row, (whole_I, step) in enumerate(zip(whole_BI.tolist(), step_B1, strict=True)):
        found_O = linear(x_BI[row : row + 1])[0]
        for output in range(5):
            weights = linear.weight_OI[output].tolist()
            product = sum(Fraction(int(a) * b) for a, b in zip(whole_I, weights, strict=True))
            once = Fraction(np.float32(float(product * Fraction(step.item()))).item())
            scale, bias = linear.scale_O[output].item(), linear.bias_O[output].item()
            assert found_O[output].item() == np.float32(
                float(once * Fraction(scale) + Fraction(bias))
            )


def test_quantising_leaves_the_network_as_it_was() -> None:
    model = lively(edge_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    in_int8(model, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_of_another_family_is_refused() -> None:
    with pytest.raises(EdgeError, match="networks of the BERT family"):
        Maker(lively(qwen_config()), 2, MOST, LONGEST)


def edge_rec() -> M6Rec:
    """A small network of the edge's shape that spells."""
    words = tiny.tokenizer()
    shape: dict[str, Any] = {**tiny.backbone()[0].config.model_dump(), "layers": 3}
    torch.manual_seed(0)
    model = M6(ModelConfig(**{**shape, "layer_sets": 1, "table_width": 12}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return M6Rec(model.eval(), words)


def source_of(rec: M6Rec) -> Source:
    data = tiny.shop()
    catalogue = rec.opener().catalogue(rec.tasks.get("retrieve"), data)
    return Source(catalogue, data.items["title"].to_list(), "tiny", rec.fingerprint)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge") / "bundle"
    export_bundle(source_of(edge_rec()), folder, EdgeSettings(requests=40))
    return folder


def test_a_bundle_of_words_ranks_as_the_recommender_does_by_words(tmp_path: Path) -> None:
    rec, data = edge_rec(), replace(tiny.shop(), events=None)
    export_bundle(source_of(rec), tmp_path, EdgeSettings(precision="fp32", requests=20))
    opened = EdgeBundle.open(tmp_path)
    history = ["red-shoe", "red-tent"]
    events = [{"event": "click", "item_id": name} for name in history]
    by_words = rec.use(data, text_only=True)
    wanted = {r.item_id: r.score for r in by_words.recommend(events, k=15)}
    found = {r.item_id: r.score for r in opened.rerank(history, k=15)}
    assert set(found) == set(wanted) and not set(history) & set(found)
    assert max(abs(found[name] - score) for name, score in wanted.items()) < 0.02


def test_candidates_are_ranked_as_they_stand_in_the_whole_catalogue(bundle: Path) -> None:
    opened = EdgeBundle.open(bundle)
    everything = [r.item_id for r in opened.rerank(["red-shoe"], k=15)]
    some = everything[::3]
    assert [r.item_id for r in opened.rerank(["red-shoe"], candidates=some[::-1])] == some
    with pytest.raises(EdgeError, match="no item 'pink-hat'"):
        opened.rerank(["red-shoe"], candidates=["pink-hat"])
    with pytest.raises(EdgeError, match="history is empty"):
        opened.rerank([])


def test_a_reason_is_the_nearest_event_of_the_history(bundle: Path) -> None:
    opened = EdgeBundle.open(bundle)
    history = ["green-boot", "a blue lamp"]
    vectors = np.concatenate([opened.item_vectors(["green boot (boot)", "a blue lamp"])])
    for answer in opened.rerank(history, k=5):
        place = opened.shelf.ids.index(answer.item_id)
        near = opened.shelf.vectors_IK[place] @ vectors.T
        assert answer.because == int(near.argmax())


def test_the_check_sees_graphs_of_another_network(tmp_path: Path) -> None:
    model, other = lively(edge_config()), lively(edge_config(), seed=1)
    ids_SN = torch.cat([some_ids(seed) for seed in range(4)])
    shares = []
    for network in (model, other):
        maker = Maker(network, 3, MOST, LONGEST)
        graphs = {**maker.all(), "weights.bin": bytes(maker.weights.data)}
        shares.append(parity(model, 3, graphs, Texts(ids_SN, ids_SN), Drawing(10, MOST)))
    assert shares == [1.0, 0.0]


def test_things_that_are_read_alike_are_asked_about_once(tmp_path: Path) -> None:
    data, rec = tiny.shop(), edge_rec()
    same = pl.concat(
        [data.items, data.items.with_columns(item_id=pl.lit("again-") + pl.col("item_id"))]
    )
    catalogue = rec.opener().catalogue(None, replace(data, items=same, events=None))
    source = Source(catalogue, same["title"].to_list(), "twice", rec.fingerprint)
    settings = EdgeSettings(requests=10)
    shelf = texts_of(source, settings.event)
    texts = tokenised(rec.tokenizer, shelf, budgets_of(source), settings)
    rows = texts.items_SN.tolist()
    assert len(rows) == len({tuple(row) for row in rows}) == len(texts.events_SN)
    assert len(rows) == len(set(shelf.texts)) < len(shelf.texts)
    manifest = export_bundle(source, tmp_path / "bundle", settings)  # nothing is refused
    assert manifest and len(EdgeBundle.open(tmp_path / "bundle").shelf.ids) == 2 * len(data.items)


def test_a_bundle_is_held_against_the_network_it_was_made_of(bundle: Path) -> None:
    rec = edge_rec()
    found = agreement(source_of(rec), bundle, EdgeSettings(requests=100))
    assert 0.99 <= found.rounded <= found.ten
    assert 0.3 < found.float32 < 1
    shorter = M6Rec(shallow(rec.backbone, 1), rec.tokenizer)
    with pytest.raises(EdgeError, match="right is --depth"):
        agreement(source_of(shorter), bundle, EdgeSettings(requests=10))
    with torch.no_grad():
        rec.backbone.read_gate.add_(1)
    other = M6Rec(rec.backbone, rec.tokenizer)
    with pytest.raises(EdgeError, match="was made of the network"):
        agreement(source_of(other), bundle, EdgeSettings(requests=10))


def test_a_task_that_a_device_can_not_run_is_refused(tmp_path: Path) -> None:
    source = source_of(edge_rec())
    retriever = source.catalogue.retriever
    retriever.settings = retriever.settings.model_copy(update={"segment_states": "all"})
    with pytest.raises(EdgeError, match="segment_states = 'all': right is 1"):
        export_bundle(source, tmp_path / "out", EdgeSettings())
    assert not (tmp_path / "out").exists()


def test_a_bundle_holds_its_files_and_their_hashes(bundle: Path) -> None:
    manifest = check(bundle)
    assert {path.name for path in bundle.iterdir()} == {*FILES, "manifest.json"}
    assert "Apache License" in (bundle / "LICENSE").read_text(encoding="utf-8")
    told = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert told["precision"] == "int8" and told["parity"] >= 0.99
    assert len(manifest["sha256"]) == 64


def test_the_same_export_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    again = export_bundle(source_of(edge_rec()), tmp_path / "b", EdgeSettings(requests=40))
    assert again["sha256"] == check(bundle)["sha256"]
    write_zip(bundle, tmp_path / "one.zip")
    write_zip(tmp_path / "b", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file_is_named(name: str, bundle: Path, tmp_path: Path) -> None:
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    body = bytearray((tmp_path / name).read_bytes())
    body[len(body) // 2] ^= 1
    (tmp_path / name).write_bytes(body)
    with pytest.raises(EdgeError, match=f"{name} is damaged"):
        EdgeBundle.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(EdgeError, match=f"{name} is missing"):
        check(tmp_path)


def test_the_command_line_exports_and_checks(tmp_path: Path) -> None:
    data, model = tiny.write_shop(tmp_path / "shop"), tiny.write_backbone(tmp_path / "model")
    out = tmp_path / "bundle"
    words = [str(model), str(out), "--data", str(data), "--requests", "20", "--zip"]
    verbs = app.build_app(["edge export", "edge check"])
    done = CliRunner().invoke(verbs, ["edge export", *words])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "bundle.zip").is_file()
    report = tmp_path / "report.json"
    done = CliRunner().invoke(verbs, ["edge check", str(out), "--json", str(report)])
    assert done.exit_code == 0, done.output
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["brotli_total"] == sum(told["brotli"].values())
    (out / "weights.bin").write_bytes(b"")
    assert CliRunner().invoke(verbs, ["edge check", str(out)]).exit_code == 2


def test_first_tens_are_compared_with_their_order_and_without() -> None:
    scores = np.linspace(1, 0, 60)
    swapped = scores.copy()
    swapped[[0, 1]] = scores[[1, 0]]

    def by(of: np.ndarray) -> Score:
        return lambda history, asked: of[np.sort(asked)]

    same = compare(by(scores), by(scores), 60, Drawing(40, 3))
    assert (same.order, same.items, same.off) == (1, 1, 0)
    other = compare(by(scores), by(swapped), 60, Drawing(40, 3))
    assert other.order < 0.6 and other.items == 1
    assert other.off == pytest.approx(scores[0] - scores[1])
