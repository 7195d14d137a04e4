"""What people chose next, in Node and in the browser: the answers of Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="bundles need the extra edge")
pytest.importorskip("onnxruntime", reason="bundles need the extra edge")
pytest.importorskip("playwright", reason="tests in a browser need playwright")

from playwright.sync_api import expect

from console_worlds import browser
from edge_worlds import BUILT, built, node, opened, pick, served, tiny_bundle
from m6rec.collaborative.head import Head, Logit
from m6rec.edge.bundle import EdgeBundle, Ranked
from m6rec.edge.personal import Personal

pytestmark = BUILT
HISTORIES = [
    ["red-shoe"],
    ["red-shoe", "blue-lamp", "red-shoe"],
    ["a blue lamp", "green-boot"],
    ["only my own words"],
    ["tents, and ÉCLAIRS!", *["red-hat", "blue-hat", "blue-tent"] * 20],
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("edge"), log=True)


@pytest.fixture(scope="module")
def dist(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(bundle, tmp_path_factory.mktemp("app"))


def alike(found: list[dict[str, object]], wanted: list[Ranked]) -> None:
    """Node's answer is Python's."""
    assert [row["id"] for row in found] == [row.item_id for row in wanted]
    assert [row["because"] for row in found] == [row.because for row in wanted]
    for row, right in zip(found, wanted, strict=True):
        assert row["score"] == pytest.approx(right.score, abs=1e-4)


def test_node_ranks_by_what_people_chose_next_as_python_does(dist: Path, bundle: Path) -> None:
    asked = [{"history": history, "k": 12} for history in HISTORIES]
    answers = json.loads(node("dist/node/node.mjs", "rerank", str(bundle), said=asked))
    python = EdgeBundle.open(bundle)
    assert python.config.transitions is not None
    for history, found in zip(HISTORIES, answers, strict=True):
        alike(found, python.rerank(history, k=12))


def test_a_head_joins_in_node_as_in_python(dist: Path, tmp_path: Path) -> None:
    choices = Logit(chosen=1.2, similarity=0.7, popularity=0.3, repeated=-0.5, last=-0.9, new=0.4)
    head = Head(choices=choices, share=0.6, emphasis=0.2, boost=0.3)
    folder = tiny_bundle(tmp_path, log=True, head=head)
    asked = [{"history": history, "k": 12} for history in HISTORIES]
    answers = json.loads(node("dist/node/node.mjs", "rerank", str(folder), said=asked))
    python = EdgeBundle.open(folder)
    for history, found in zip(HISTORIES, answers, strict=True):
        alike(found, python.rerank(history, k=12))


def test_likes_and_hides_change_it_in_node_as_in_python(dist: Path, bundle: Path) -> None:
    personal = Personal(EdgeBundle.open(bundle))
    history = ["red-shoe", "blue-lamp"]
    plain = personal.rerank(history, k=15)
    personal.like(plain[-1].item_id, history, [answer.item_id for answer in plain])
    personal.hide("blue-lamp", history)
    personal.hide("green-hat", history)
    record = json.loads(personal.record.model_dump_json())
    told = [history, ["blue-lamp"], ["green-hat", "red-tent", "blue-lamp"]]
    asked = [{"history": words, "k": 15, "record": record} for words in told]
    answers = json.loads(node("dist/node/node.mjs", "rerank", str(bundle), said=asked))
    for words, found in zip(told, answers, strict=True):
        wanted = personal.rerank(words, k=15)
        alike(found, wanted)
        assert not {"blue-lamp", "green-hat"} & {answer.item_id for answer in wanted}
    assert personal.rerank(history, k=15) != plain


def test_a_damaged_file_is_named_in_node(dist: Path, bundle: Path, tmp_path: Path) -> None:
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    body = (tmp_path / "transitions.bin").read_bytes()
    (tmp_path / "transitions.bin").write_bytes(body[:-1])
    with pytest.raises(AssertionError, match=r"transitions\.bin is damaged"):
        node("dist/node/node.mjs", "rerank", str(tmp_path), said=[])


def test_the_browser_ranks_by_what_people_chose_next_as_python_does(
    dist: Path, bundle: Path
) -> None:
    python = EdgeBundle.open(bundle)
    titles = dict(zip(python.shelf.ids, python.shelf.titles, strict=True))
    with browser() as chromium, served(dist, False) as url, opened(chromium, url) as page:
        for history in (["red-shoe", "red-tent"], ["a blue lamp", "green-boot"]):
            found = pick(page, history, python.shelf.ids)
            wanted = python.rerank(history, k=10)
            assert [name for name, _ in found] == [answer.item_id for answer in wanted]
            for (_, why), answer in zip(found, wanted, strict=True):
                event = history[answer.because]
                assert why == f"Goes with {titles.get(event, f'“{event}”')}"
            page.get_by_role("button", name="Start anew").click()
            expect(page.locator("#found li")).to_have_count(0)
