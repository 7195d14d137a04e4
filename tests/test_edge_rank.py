"""A ranking in a bundle gives the chances that the recommender gives; what can not is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="graphs need the extra edge")
pytest.importorskip("onnxruntime", reason="graphs need the extra edge")

import tiny
from m6rec.data.requests import Requests
from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import FILES, RANK_FILES, check, write_zip
from m6rec.edge.parts import Encoder
from m6rec.edge.rank import RankTower
from m6rec.model.tuning import Method
from m6rec.recommender import M6Rec
from m6rec.records import Candidate, Event, Request
from m6rec.tasks.build import TaskSpec, build_ranker
from m6rec.tasks.ranking import Ranker
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer
from test_edge_export import edge_rec

HISTORY = ["red-shoe", "green-lamp", "red-tent"]


def ranker_of(
    rec: M6Rec, method: Method = "option-adapter", online: int = 1, **reading: Any
) -> Ranker:
    """A ranker on the tiny shop whose adapters and options say something."""
    reads = {"features": False, "evidence": False, "online_layers": online, **reading}
    tuning = {"method": method, "rank": 4, "prompts": 2 if method != "full" else 0}
    spec = TaskSpec.parse({"task": "rank", "ranking": reads, "tuning": tuning}, "test")
    data = tiny.shop()
    words = Verbalizer(Templates.load(None), data.items, data.users)
    ranker = build_ranker(rec._shared, words, spec)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in ranker.model.named_parameters():
            if "adapter_up" in name or name in ("prompts", "options"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    ranker.model.eval()
    return ranker


def source_with(rec: M6Rec, ranker: Ranker) -> Source:
    data = tiny.shop()
    catalogue = rec.opener().catalogue(rec.tasks.get("retrieve"), data)
    titles = data.items["title"].to_list()
    return Source(catalogue, titles, "tiny", rec.fingerprint, ranker)


def chances(ranker: Ranker, history: list[str], items: list[str]) -> np.ndarray:
    """What the ranking of the server says."""
    past = tuple(Event("click", name) for name in history)
    request = Request(history=past, candidates=tuple(Candidate(name) for name in items))
    return ranker.predict(Requests.of([request]))


@pytest.mark.parametrize("online", [1, 2])
@pytest.mark.parametrize("method", ["option-adapter", "option", "prompt", "adapter", "full"])
def test_the_tower_gives_the_chances_of_the_ranking(method: Method, online: int) -> None:
    rec = edge_rec()
    ranker = ranker_of(rec, method, online)
    items = tiny.shop().items["item_id"].to_list()
    wanted_I = chances(ranker, HISTORY, items)
    words, lower = ranker.packer.verbalizer, ranker.table.lower
    events = [words.event(Event("click", name), None, 0).text for name in HISTORY]
    encode = Encoder(ranker.model, lower)

    def states(texts: list[str], budget: int) -> torch.Tensor:
        ids_SN, _ = rec.tokenizer.segments(texts, [budget] * len(texts))
        return encode(torch.from_numpy(ids_SN))

    with torch.no_grad():
        h_GD = states(events, ranker.packer.budget("event"))
        h_ID = states(words.item_texts(), ranker.packer.budget("item"))
        found_I = RankTower(ranker.model, lower, ranker.tuning)(h_GD, h_ID).numpy()
    assert np.allclose(found_I, wanted_I, atol=5e-4)  # the server's states: bfloat16, then float16
    assert np.ptp(found_I) > 0.01


@pytest.mark.parametrize("online", [1, 2])
@pytest.mark.parametrize("method", ["option-adapter", "full"])
def test_a_bundle_ranks_as_the_ranking_does(method: Method, online: int, tmp_path: Path) -> None:
    rec = edge_rec()
    ranker = ranker_of(rec, method, online)
    settings = EdgeSettings(precision="fp32", requests=20, least=0.9)
    export_bundle(source_with(rec, ranker), tmp_path, settings)
    opened = EdgeBundle.open(tmp_path)
    found = {r.item_id: r.score for r in opened.rank(HISTORY, k=15, exclude_seen=False)}
    items = list(found)
    wanted = dict(zip(items, chances(ranker, HISTORY, items).tolist(), strict=True))
    assert len(found) == 15
    assert max(abs(found[name] - wanted[name]) for name in items) < 5e-4
    assert [r.score for r in opened.rank(HISTORY)] == sorted(
        (r.score for r in opened.rank(HISTORY)), reverse=True
    )
    assert not set(HISTORY) & {r.item_id for r in opened.rank(HISTORY, k=15)}


def test_a_bundle_with_a_ranking_is_whole_checked_and_shares_weights(tmp_path: Path) -> None:
    rec = edge_rec()
    plain, both = tmp_path / "plain", tmp_path / "both"
    ranker = ranker_of(rec)
    source = source_with(rec, ranker)
    export_bundle(Source(source.catalogue, source.titles, "tiny", "0"), plain, EdgeSettings())
    export_bundle(source, both, EdgeSettings())
    assert set(check(both)["files"]) == {*FILES, *RANK_FILES}
    opened = EdgeBundle.open(both)
    assert opened.config.rank is not None
    assert opened.config.rank.parity >= 0.99 and opened.config.rank.off < 0.001
    more = (both / "weights.bin").stat().st_size - (plain / "weights.bin").stat().st_size
    assert 0 < more < 0.35 * (plain / "weights.bin").stat().st_size
    write_zip(both, tmp_path / "both.zip")
    (both / "states.bin").unlink()
    with pytest.raises(EdgeError, match=r"states\.bin is missing"):
        check(both)
    with pytest.raises(EdgeError, match="has no ranking"):
        EdgeBundle.open(plain).rank(HISTORY)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ({"evidence": True}, "evidence = True can not run on a device: .* --set evidence=false"),
        ({"features": True}, "features = True can not run on a device"),
        ({"segment_states": "all"}, "tune one with --set segment_states=1"),
        ({"plan": "full"}, "tune one with --set plan=late"),
    ],
)
def test_what_a_device_can_not_count_is_refused(
    reading: dict[str, Any], said: str, tmp_path: Path
) -> None:
    rec = edge_rec()
    source = source_with(rec, ranker_of(rec, **reading))
    with pytest.raises(EdgeError, match=said):
        export_bundle(source, tmp_path / "out", EdgeSettings())
    assert not (tmp_path / "out").exists()


def test_a_ranking_goes_into_onnx_only(tmp_path: Path) -> None:
    rec = edge_rec()
    with pytest.raises(EdgeError, match="right is --format onnx --precision int8"):
        settings = EdgeSettings(precision="w8a8", least=0)
        export_bundle(source_with(rec, ranker_of(rec)), tmp_path / "out", settings)
