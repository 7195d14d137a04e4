"""The cache behind every task: the same answers with it, and nothing is encoded twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

import tiny
from m6rec.cli.app import build_app
from m6rec.data.requests import Requests
from m6rec.model.m6 import M6
from m6rec.model.tuning import Adapter, Tuning, branch
from m6rec.recommender import M6Rec
from m6rec.records import Event, M6Error, Request
from m6rec.stores.states.cache import StateCache
from m6rec.stores.states.codec import Form
from m6rec.stores.states.memory_store import MemoryStore
from m6rec.stores.states.opening import open_cache
from m6rec.tasks import warm as warming
from m6rec.tasks.build import Backbone, TaskSpec, build_ranker, build_retriever, segment_table
from m6rec.tasks.cached import below_fingerprint
from m6rec.tasks.folder import NotTunedError
from m6rec.tasks.segments import SegmentTable
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

TEXTS = ["red shoe", "blue tent", "a green lamp with many more letters", "hat"]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of segments that go through the network."""
    counts: list[int] = []
    live = SegmentTable.live

    def counted(self: SegmentTable, rows: np.ndarray) -> object:
        counts.append(len(rows))
        return live(self, rows)

    monkeypatch.setattr(SegmentTable, "live", counted)
    return counts


def table_of(
    cache: StateCache | None, segment_states: int | str = 1, model: M6 | None = None
) -> SegmentTable:
    own, tokenizer = tiny.backbone()
    spec = TaskSpec.parse(
        {"task": "retrieve", "retrieval": {"segment_states": segment_states}}, "test"
    )
    return segment_table(Backbone(model or own, tokenizer, cache), spec)


@pytest.mark.parametrize("segment_states", [1, 3, "all"])
def test_states_out_of_the_cache_are_the_states_that_are_computed(
    segment_states: int | str, encoded: list[int]
) -> None:
    cache = StateCache(MemoryStore())
    plain, cold, warm = (table_of(c, segment_states) for c in (None, cache, cache))
    for table in (plain, cold, warm):
        table.add(TEXTS, budget=12)
        encoded.clear()
        table.states()
        assert sum(encoded) == (0 if table is warm else len(TEXTS) + 2)
    expected = plain.states()
    for table in (cold, warm):
        assert table.states().valid_SK.equal(expected.valid_SK)
        assert table.states().h_SKD.dtype == torch.float16
        kept = expected.valid_SK
        assert table.states().h_SKD[kept].equal(expected.h_SKD[kept])


def test_only_what_the_cache_lacks_is_encoded(encoded: list[int]) -> None:
    cache = StateCache(MemoryStore())
    first = table_of(cache, "all")
    first.add(TEXTS[:2], budget=12)
    first.states()
    second, plain = table_of(cache, "all"), table_of(None, "all")
    second.add(TEXTS, budget=12)
    plain.add(TEXTS, budget=12)
    encoded.clear()
    found = second.states()
    assert sum(encoded) == 2
    kept = plain.states().valid_SK
    assert found.valid_SK.equal(kept)
    assert torch.allclose(found.h_SKD[kept], plain.states().h_SKD[kept], atol=2e-2)


def test_with_int8_the_first_answer_is_the_later_answer() -> None:
    cache = StateCache(MemoryStore(), "int8")
    cold, warm = table_of(cache), table_of(cache)
    for table in (cold, warm):
        table.add(TEXTS, budget=12)
    assert cold.states().h_SKD.equal(warm.states().h_SKD)


def changed(name: str) -> M6:
    """The tiny backbone with one weight changed."""
    model, _ = tiny.backbone()
    with torch.no_grad():
        dict(model.named_parameters())[name].flatten()[0] += 1
    return model


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("tokens.weight", False),
        ("positions.weight", False),
        ("embed_norm.weight", False),
        ("blocks.0.ffn.up.weight", False),
        ("blocks.1.ffn.up.weight", True),
        ("segments.weight", True),
        ("project_item.weight", True),
    ],
)
def test_a_model_that_changed_below_misses_and_one_that_changed_above_does_not(
    name: str, same: bool
) -> None:
    assert (below_fingerprint(changed(name), 1) == below_fingerprint(tiny.backbone()[0], 1)) == same


def test_adapters_below_change_the_fingerprint_and_those_above_do_not() -> None:
    model, _ = tiny.backbone()
    before = below_fingerprint(model, 1)
    online = branch(model, Tuning(method="option-adapter", layers="online"), 1)
    everywhere = branch(model, Tuning(method="option-adapter", layers="all"), 1)
    assert isinstance(online.blocks[1].ffn, Adapter)
    assert below_fingerprint(online, 1) == before
    assert below_fingerprint(online, 2) != below_fingerprint(model, 2)
    first = below_fingerprint(everywhere, 1)
    assert first != before
    assert isinstance(everywhere.blocks[0].ffn, Adapter)
    with torch.no_grad():
        everywhere.blocks[0].ffn.adapter_up.bias += 1
    assert below_fingerprint(everywhere, 1) not in (first, before)


def test_the_same_weights_with_other_settings_are_another_model() -> None:
    model, _ = tiny.backbone()
    other = M6(model.config.model_copy(update={"norm_eps": 1e-3}))
    other.load_state_dict(model.state_dict())
    assert below_fingerprint(other, 1) != below_fingerprint(model, 1)


def test_a_task_that_trains_below_reads_no_cache() -> None:
    model, tokenizer = tiny.backbone()
    spec = TaskSpec(task="retrieve", tuning=Tuning(layers="all"))
    table = segment_table(Backbone(model, tokenizer, StateCache(MemoryStore())), spec)
    assert table.memory.cache is None


@pytest.mark.parametrize("form", ["fp16", "int8"])
def test_retrieval_and_ranking_answer_the_same_with_a_cache(form: Form, encoded: list[int]) -> None:
    words = Verbalizer(Templates.load(), tiny.shop().items)
    asked = Requests.of([Request((Event("purchase", "red-shoe"), Event("click", "blue-hat")))])
    cache, answers = StateCache(MemoryStore(), form), []
    for kept in (None, cache, cache):
        backbone = Backbone(*tiny.backbone(), kept)
        made = build_retriever(backbone, words, TaskSpec(task="retrieve"))
        encoded.clear()
        answers.append(made.encode_users(asked))
    assert sum(encoded) == 0
    assert np.array_equal(answers[1], answers[2])
    assert np.allclose(answers[0], answers[1], atol=0 if form == "fp16" else 0.05)
    backbone = Backbone(*tiny.backbone(), cache)
    ranker = build_ranker(backbone, words, TaskSpec(task="rank"))
    assert ranker.table.memory is build_ranker(backbone, words, TaskSpec(task="rank")).table.memory


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny.write_shop(folder / "data")
    tiny.write_backbone(folder / "model")
    return folder


def test_a_second_process_finds_what_the_first_one_encoded(
    world: Path, tmp_path: Path, encoded: list[int]
) -> None:
    answers = []
    for where in (None, tmp_path / "cache", tmp_path / "cache"):
        encoded.clear()
        rec = M6Rec.from_pretrained(world / "model", cache=where).use(world / "data")
        answers.append(rec.recommend(["bought: red shoe"], k=5))
        rec.embed(["a red tent"])
        assert bool(encoded) == (where is None or len(answers) == 2)
    assert answers[0] == answers[1] == answers[2]


def test_a_changed_title_misses_by_itself(world: Path, encoded: list[int]) -> None:
    cache = StateCache(MemoryStore())
    titles = {"1": "red shoe", "2": "blue tent"}
    M6Rec.from_pretrained(world / "model", cache=cache).recommend((), titles)
    encoded.clear()
    rec = M6Rec.from_pretrained(world / "model", cache=cache)
    rec.recommend((), {**titles, "2": "blue lamp"})
    assert sum(encoded) == 1


def test_warming_encodes_what_the_requests_will_ask_for(
    world: Path, tmp_path: Path, encoded: list[int]
) -> None:
    cache = open_cache(tmp_path / "cache")
    first = M6Rec.from_pretrained(world / "model", cache=cache).use(world / "data").warm()
    assert (first.segments, first.there, first.encoded, first.held) == (30, 0, 30, 30)
    encoded.clear()
    rec = M6Rec.from_pretrained(world / "model", cache=cache).use(world / "data")
    second = rec.warm()
    assert (second.segments, second.there, second.encoded) == (30, 30, 0)
    rec.recommend(user_id="u0")
    rec.recommend(user_id="u1", k=3)
    assert encoded == []


def test_warming_that_is_stopped_goes_on_where_it_was(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "TEXTS_AT_ONCE", 7)
    cache = open_cache(tmp_path / "cache")
    rec = M6Rec.from_pretrained(world / "model", cache=cache).use(world / "data")
    states, calls = SegmentTable.states, []

    def stopped(self: SegmentTable) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return states(self)

    with monkeypatch.context() as patched:
        patched.setattr(SegmentTable, "states", stopped)
        with pytest.raises(KeyboardInterrupt):
            rec.warm()
    found = rec.warm()
    assert (found.there, found.encoded, found.held) == (14, 16, 30)


def test_what_can_not_be_warmed_is_said(world: Path) -> None:
    plain = M6Rec.from_pretrained(world / "model").use(world / "data")
    with pytest.raises(M6Error, match="cache=FOLDER"):
        plain.warm()
    rec = M6Rec.from_pretrained(world / "model", cache=StateCache(MemoryStore()))
    with pytest.raises(M6Error, match="no catalogue"):
        rec.warm()
    with pytest.raises(NotTunedError, match="rank is not tuned"):
        rec.use(world / "data").warm("rank")
    words = Verbalizer(Templates.load(), tiny.shop().items)
    for spec in (
        TaskSpec(task="retrieve", tuning=Tuning(layers="all")),
        TaskSpec.parse({"task": "retrieve", "retrieval": {"plan": "full"}}, "test"),
    ):
        texts = warming.segment_texts(words, tiny.shop(), spec)
        with pytest.raises(M6Error, match="layers=online"):
            warming.warm(rec._shared, spec, texts)


def run(*words: str) -> Result:
    return CliRunner().invoke(build_app(["cache"]), ["cache", *words])


def test_the_verb_warms_tells_and_clears(world: Path, tmp_path: Path) -> None:
    where = ["--cache", str(tmp_path / "cache")]
    model = ["--model", str(world / "model"), "--data", str(world / "data")]
    told = ["--json", str(tmp_path / "told.json")]
    result = run("warm", *where, *model, *told)
    assert result.exit_code == 0, result.output
    assert "30 segments: 0 were there, 30 encoded" in result.output
    found = json.loads((tmp_path / "told.json").read_text())
    assert found["warmed"]["held"] == 30
    assert found["cache"]["entries"] == 32  # and the two read tokens
    assert "30 were there, 0 encoded" in run("warm", *where, *model).output
    assert "32 segments" in run("info", *where).output
    result = run("clear", *where, "--json", "-")
    assert json.loads(result.stdout)["cache"]["entries"] == 0


def test_the_verb_warms_for_a_tuned_task(world: Path, tmp_path: Path) -> None:
    rec = M6Rec.from_pretrained(world / "model")
    rec.fit("rank", world / "data", split="temporal", train={"epochs": 1, "bf16": False})
    rec.tasks["rank"].write(tmp_path / "adapter")
    where = ["--cache", str(tmp_path / "cache"), "--adapter", str(tmp_path / "adapter")]
    model = ["--model", str(world / "model"), "--data", str(world / "data")]
    result = run("warm", *where, *model)
    assert result.exit_code == 0, result.output
    assert "30 encoded" in result.output


def test_the_verb_says_when_the_cache_is_too_small_and_what_is_missing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--cache", str(tmp_path / "cache")]
    assert run("warm", *where).exit_code == 2
    assert run("info", "--cache", "http://x").exit_code == 2
    assert run("info", *where, "--limit", "much").exit_code == 2
    monkeypatch.setattr("m6rec.stores.states.opening.LmdbStore", lambda *_: MemoryStore(limit=4000))
    model = ["--model", str(world / "model"), "--data", str(world / "data")]
    result = run("warm", *where, *model)
    assert "it is too small" in result.output
