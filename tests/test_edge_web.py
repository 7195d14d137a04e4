"""The browser app: the same words and ranking as in Python, offline, with threads and without."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="bundles need the extra edge")
pytest.importorskip("onnxruntime", reason="bundles need the extra edge")
pytest.importorskip("playwright", reason="tests in a browser need playwright")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

import tiny
from console_worlds import PATIENCE, browser
from edge_worlds import BUILT, ROOT, WEB, built, node, opened, pick, served, tiny_bundle
from m6rec.edge.bundle import EdgeBundle
from m6rec.text.tokenizer import Tokenizer

SMALL = ROOT / "src" / "m6rec" / "models" / "m6-small"
pytestmark = BUILT
HISTORIES = [
    ["red-shoe"],
    ["red-shoe", "blue-lamp", "green-hat"],
    ["a blue lamp", "green-boot"],
    ["tents, and ÉCLAIRS!", "red-hat", "blue-hat", "blue-tent"],
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("edge"))


@pytest.fixture(scope="module")
def dist(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(bundle, tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


def test_types_hold_and_the_lock_file_names_no_host() -> None:
    node("node_modules/typescript/bin/tsc", "--noEmit")
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert all("resolved" not in entry and "integrity" in entry for entry in packages)
    wanted = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    versions = [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]
    assert all(version[0].isdigit() for version in versions), "releases are pinned"


def test_words_have_the_same_ids_as_in_python(dist: Path) -> None:
    draw = random.Random(0)
    code_points = [*range(1, 0x3400), *range(0x3400, 0x30000, 61)]
    every = [f"a{chr(code)}b" for code in code_points if not 0xD800 <= code <= 0xDFFF]
    blocks = [(32, 127), (0xA0, 0x250), (0x370, 0x600), (0x900, 0xE80), (0x3040, 0x4E80)]
    blocks += [(0xAC00, 0xAD00), (0x1F300, 0x1F700), (0x2000, 0x2070), (0x1E00, 0x1FFF)]
    mixed = [
        "".join(chr(draw.randrange(*draw.choice(blocks))) for _ in range(draw.randrange(1, 90)))
        for _ in range(3000)
    ]
    words = [
        "Trail-running shoes, 2 pairs (women's)",
        "[EOS] [SEP]##ing",
        "ΟΔΥΣΣΕΥΣ İstanbul Straße",
    ]
    words += [
        "",
        " ",
        "x" * 101,
        "x" * 100 + " y",
        "\U0001f468\u200d\U0001f469",
        "naïve café e\u0301",
    ]
    pairs = [(text, draw.choice([1, 4, 16, 48])) for text in (*every, *mixed, *words)]
    config = json.loads((SMALL / "config.json").read_text(encoding="utf-8"))
    special = load_special(config)
    tokenizer = Tokenizer.load(SMALL / "tokenizer.json", special)
    ours = tokenizer.encode_batch([text for text, _ in pairs], [budget for _, budget in pairs])
    theirs = json.loads(node("dist/node/node.mjs", "tokens", str(SMALL), said=pairs))
    wrong = [pair for pair, one, other in zip(pairs, ours, theirs, strict=True) if one != other]
    assert not wrong, f"{len(wrong)} of {len(pairs)}: {wrong[:3]!r}"


def load_special(config: dict[str, Any]) -> Any:
    return tiny.SPECIAL.model_validate(config["special"])


def test_node_ranks_as_python_does(dist: Path, bundle: Path) -> None:
    asked = [{"history": history, "k": 12} for history in HISTORIES]
    answers = json.loads(node("dist/node/node.mjs", "rerank", str(bundle), said=asked))
    python = EdgeBundle.open(bundle)
    for history, found in zip(HISTORIES, answers, strict=True):
        wanted = python.rerank(history, k=12)
        assert [r["id"] for r in found] == [r.item_id for r in wanted]
        assert [r["because"] for r in found] == [r.because for r in wanted]
        assert max(abs(r["score"] - w.score) for r, w in zip(found, wanted, strict=True)) < 1e-4


@pytest.mark.parametrize("isolated", [False, True], ids=["one thread", "threads"])
def test_the_browser_ranks_as_python_does(
    isolated: bool, dist: Path, bundle: Path, chromium: Browser
) -> None:
    python = EdgeBundle.open(bundle)
    titles = dict(zip(python.shelf.ids, python.shelf.titles, strict=True))
    with served(dist, isolated) as url, opened(chromium, url) as page:
        threads = int(page.locator("#status").get_attribute("data-threads") or 0)
        cores = int(page.evaluate("navigator.hardwareConcurrency"))
        assert page.evaluate("crossOriginIsolated") is isolated
        assert threads == (min(4, cores) if isolated else 1)
        for history in HISTORIES:
            found = pick(page, history, python.shelf.ids)
            wanted = python.rerank(history, k=10)
            assert [name for name, _ in found] == [r.item_id for r in wanted]
            for (_, why), answer in zip(found, wanted, strict=True):
                event = history[answer.because]
                assert why == f"Goes with {titles.get(event, f'“{event}”')}"
            page.get_by_role("button", name="Start anew").click()
            expect(page.locator("#found li")).to_have_count(0)


def test_the_app_works_without_a_network_and_keeps_its_threads(
    dist: Path, bundle: Path, chromium: Browser
) -> None:
    python = EdgeBundle.open(bundle)
    with served(dist, isolated=True) as url, opened(chromium, url) as page:
        page.locator("html[data-offline=ready]").wait_for(state="attached")
        page.context.set_offline(True)
        page.reload()
        page.locator("#status[data-threads]").wait_for()
        assert page.evaluate("crossOriginIsolated")
        found = pick(page, HISTORIES[1], python.shelf.ids)
        assert [n for n, _ in found] == [r.item_id for r in python.rerank(HISTORIES[1], k=10)]


def test_the_app_asks_no_other_host(dist: Path, chromium: Browser) -> None:
    with served(dist, isolated=False) as url, opened(chromium, url) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        page.locator("#status[data-threads]").wait_for()
        assert asked and all(address.startswith((url, "blob:")) for address in asked)
        manifest = json.loads((dist / "manifest.webmanifest").read_text(encoding="utf-8"))
        assert manifest["display"] == "standalone" and manifest["start_url"] == "./"


def test_the_page_is_accessible_and_fits_a_phone(
    dist: Path, bundle: Path, chromium: Browser
) -> None:
    ids = EdgeBundle.open(bundle).shelf.ids
    for colours in ("light", "dark"):
        settings = {"viewport": {"width": 320, "height": 640}, "color_scheme": colours}
        with served(dist, isolated=False) as url:
            context = chromium.new_context(**settings, bypass_csp=True)
            page = context.new_page()
            page.goto(url)
            page.locator("#status[data-threads]").wait_for(timeout=PATIENCE)
            pick(page, HISTORIES[3], ids)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            context.close()


def test_a_damaged_bundle_is_said_on_the_page(
    dist: Path, tmp_path: Path, chromium: Browser
) -> None:
    shutil.copytree(dist, tmp_path / "dist")
    weights = tmp_path / "dist" / "bundle" / "weights.bin"
    body = weights.read_bytes()
    weights.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with served(tmp_path / "dist", isolated=False) as url:
        page = chromium.new_page()
        page.goto(url)
        page.locator("#status[data-failed]").wait_for(timeout=PATIENCE)
        expect(page.locator("#status")).to_contain_text("weights.bin is damaged")
        page.close()
