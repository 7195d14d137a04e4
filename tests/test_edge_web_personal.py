"""Hearts and hides in the browser: the arithmetic of Python, kept on the device, usable by all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="bundles need the extra edge")
pytest.importorskip("onnxruntime", reason="bundles need the extra edge")
pytest.importorskip("playwright", reason="tests in a browser need playwright")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from console_worlds import PATIENCE, browser
from edge_worlds import BUILT, WEB, built, node, opened, pick, served, tiny_bundle
from m6rec.edge.bundle import EdgeBundle
from m6rec.edge.choices import learned, option_choice, tuned_options
from m6rec.edge.personal import MOST_BESIDE, MOST_KEPT, Personal, PersonalSettings, Record

pytestmark = BUILT
HISTORY = ["red-shoe", "blue-lamp"]
TOLD = [
    ("green-hat", True, HISTORY, ["red-hat", "green-hat", "blue-tent"]),
    ("red-hat", False, ["a lamp that is blue"], ["blue-hat"]),
    ("blue-boot", True, ["green-hat"], []),
    ("green-hat", True, ["red-tent", "red-shoe"], ["blue-boot", "red-boot"]),
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


def told(bundle: Path) -> Personal:
    """What TOLD says, in Python."""
    personal = Personal(EdgeBundle.open(bundle))
    for item, liked, history, beside in TOLD:
        (personal.like if liked else personal.hide)(item, history, beside)
    return personal


def shown(page: Page) -> list[str]:
    return [str(row.get_attribute("data-id")) for row in page.locator("#found li").all()]


def press(page: Page, verb: str, title: str) -> None:
    """Presses a button of a result and waits until the page says that it was done."""
    page.locator("#found").get_by_role("button", name=f"{verb} {title}", exact=True).click()
    expect(page.locator("#said")).to_contain_text(title)


def test_settings_and_bounds_are_those_of_python() -> None:
    source = (WEB / "src" / "personal.ts").read_text(encoding="utf-8")
    usual = PersonalSettings()
    assert usual.scale == 1 / 0.07
    assert (
        f"{{ scale: 1 / 0.07, pull: {usual.pull:g}, steps: {usual.steps}, spread: {usual.spread} }}"
        in source
    )
    assert f"MOST_KEPT = {MOST_KEPT};" in source and f"MOST_BESIDE = {MOST_BESIDE};" in source


def test_the_same_clicks_teach_the_same_as_in_python(dist: Path, bundle: Path) -> None:
    keys = ("item", "liked", "history", "beside")
    asked = {"told": [dict(zip(keys, words, strict=True)) for words in TOLD]}
    found = json.loads(node("dist/node/node.mjs", "personal", str(bundle), said=asked))
    wanted = told(bundle)
    for ours, theirs in zip(wanted.record.told, found["record"]["told"], strict=True):
        assert (ours.item, ours.liked, ours.beside) == tuple(theirs[n] for n in keys if n in theirs)
        # Two runtimes made the user vectors, so a level may differ by one.
        assert np.abs(ours.vector() - np.array(theirs["user"]) * theirs["user_scale"]).max() < 0.01
    again = Personal(wanted.bundle, record=Record.model_validate(found["record"]))
    assert np.abs(again.theta_F - np.array(found["parameters"])).max() < 1e-5
    assert np.abs(wanted.theta_F).max() > 0.01


def test_a_record_of_python_gives_the_same_answers_in_node(dist: Path, bundle: Path) -> None:
    personal = told(bundle)
    record = json.loads(personal.record.model_dump_json())
    asked = [{"history": HISTORY, "k": 15, "record": record}]
    (found,) = json.loads(node("dist/node/node.mjs", "rerank", str(bundle), said=asked))
    wanted = personal.rerank(HISTORY, k=15)
    assert [r["id"] for r in found] == [r.item_id for r in wanted]
    assert max(abs(r["score"] - w.score) for r, w in zip(found, wanted, strict=True)) < 1e-5
    assert wanted != personal.bundle.rerank(HISTORY, k=15)


def test_soft_options_are_learned_as_in_python(dist: Path) -> None:
    draw = np.random.default_rng(0)
    options_CD, states_TD = draw.standard_normal((2, 12)), draw.standard_normal((6, 12))
    evidence_TC, labels = draw.standard_normal((6, 2)), [0, 1, 1, 0, 1, 1]
    asked = {
        "options": options_CD.tolist(),
        "states": states_TD.tolist(),
        "labels": labels,
        "evidence": evidence_TC.tolist(),
        "pull": 0.5,
        "steps": 50,
    }
    found = json.loads(node("dist/node/node.mjs", "options", ".", said=asked))
    choices = [
        option_choice(state, options_CD, label, evidence)
        for state, label, evidence in zip(states_TD, labels, evidence_TC, strict=True)
    ]
    wanted_CD = tuned_options(options_CD, learned(choices, 24, 0.5, 50))
    assert np.abs(np.array(found) - wanted_CD).max() < 1e-9
    assert np.abs(wanted_CD - options_CD).max() > 0.1


@pytest.mark.parametrize("isolated", [False, True], ids=["one thread", "threads"])
def test_hearts_and_hides_change_the_answer_at_once_as_in_python(
    isolated: bool, dist: Path, bundle: Path, chromium: Browser
) -> None:
    python = EdgeBundle.open(bundle)
    personal, titles = (
        Personal(python),
        dict(zip(python.shelf.ids, python.shelf.titles, strict=True)),
    )
    with served(dist, isolated) as url, opened(chromium, url) as page:
        before = [name for name, _ in pick(page, HISTORY, python.shelf.ids)]
        press(page, "Like", titles[before[-1]])
        personal.like(before[-1], HISTORY, before)
        assert shown(page) == [r.item_id for r in personal.rerank(HISTORY)]
        expect(page.locator("#told li")).to_have_count(1)
        middle = shown(page)
        press(page, "Hide", titles[middle[0]])
        personal.hide(middle[0], HISTORY, middle)
        assert shown(page) == [r.item_id for r in personal.rerank(HISTORY)]
        assert middle[0] not in shown(page)
        page.get_by_role("button", name="Forget everything").click()
        expect(page.locator("#said")).to_contain_text("All is forgotten")
        assert shown(page) == before


def test_what_was_told_survives_a_reload_without_a_network(
    dist: Path, bundle: Path, chromium: Browser
) -> None:
    python = EdgeBundle.open(bundle)
    titles = dict(zip(python.shelf.ids, python.shelf.titles, strict=True))
    with served(dist, isolated=True) as url, opened(chromium, url) as page:
        page.locator("html[data-offline=ready]").wait_for(state="attached")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.method))
        before = [name for name, _ in pick(page, HISTORY, python.shelf.ids)]
        press(page, "Like", titles[before[-1]])
        press(page, "Hide", titles[before[0]])
        after = shown(page)
        assert not [method for method in asked if method != "GET"]
        page.context.set_offline(True)
        page.reload()
        page.locator("#status[data-threads]").wait_for()
        for entry in HISTORY:
            page.locator(f"#shelf li[data-id='{entry}'] button").click()
        expect(page.locator("#found li")).to_have_count(len(after))
        page.wait_for_function(
            "ids => JSON.stringify([...document.querySelectorAll('#found li')]"
            ".map(row => row.dataset.id)) === JSON.stringify(ids)",
            arg=after,
        )
        page.get_by_role("button", name="Take back all likes").click()
        expect(page.locator("#said")).to_contain_text("Every like is taken back")
        expect(page.locator("#told li")).to_have_count(1)
        page.get_by_role("button", name="Forget everything").click()
        expect(page.locator("#said")).to_contain_text("All is forgotten")
        left = page.evaluate("indexedDB.databases().then(all => all.map(base => base.name))")
        assert left == []


def test_a_saved_file_is_read_again_and_one_of_another_bundle_is_refused(
    dist: Path, bundle: Path, chromium: Browser, tmp_path: Path
) -> None:
    python = EdgeBundle.open(bundle)
    titles = dict(zip(python.shelf.ids, python.shelf.titles, strict=True))
    with served(dist, isolated=False) as url, opened(chromium, url) as page:
        before = [name for name, _ in pick(page, HISTORY, python.shelf.ids)]
        press(page, "Like", titles[before[-1]])
        after = shown(page)
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save as a file").click()
        saved.value.save_as(tmp_path / "mine.json")
        assert Personal.read(tmp_path / "mine.json", python).liked == [before[-1]]
        page.get_by_role("button", name="Forget everything").click()
        expect(page.locator("#said")).to_contain_text("All is forgotten")
        page.get_by_label("Read a saved file").set_input_files(tmp_path / "mine.json")
        expect(page.locator("#said")).to_contain_text("Read from mine.json: 1 like, 0 hidden")
        assert shown(page) == after
        raw = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
        for change, why in (
            ({"bundle": "0" * 64}, "belongs to another bundle"),
            ({"format": 9}, "no personal record"),
            ({"told": [{**raw["told"][0], "user": [1]}]}, "an entry is damaged"),
        ):
            (tmp_path / "other.json").write_text(json.dumps(raw | change), encoding="utf-8")
            page.get_by_label("Read a saved file").set_input_files(tmp_path / "other.json")
            expect(page.locator("#said")).to_contain_text(why)
            assert shown(page) == after


def test_the_keyboard_stays_where_it_was_and_the_page_fits_a_phone(
    dist: Path, bundle: Path, chromium: Browser
) -> None:
    python = EdgeBundle.open(bundle)
    titles = dict(zip(python.shelf.ids, python.shelf.titles, strict=True))
    size = {"width": 320, "height": 640}
    for colours in ("light", "dark"):
        with served(dist, isolated=False) as url:
            context = chromium.new_context(viewport=size, color_scheme=colours, bypass_csp=True)
            page = context.new_page()
            page.goto(url)
            page.locator("#status[data-threads]").wait_for(timeout=PATIENCE)
            before = [name for name, _ in pick(page, HISTORY, python.shelf.ids)]
            heart = page.locator("#found").get_by_role("button", name=f"Like {titles[before[3]]}")
            heart.focus()
            page.keyboard.press("Enter")
            expect(page.locator("#said")).to_contain_text("Liked")
            expect(heart).to_be_focused()
            expect(heart).to_have_attribute("aria-pressed", "true")
            gone = shown(page)[0]
            page.get_by_role("button", name=f"Hide {titles[gone]}", exact=True).focus()
            page.keyboard.press("Enter")
            expect(page.locator("#said")).to_contain_text("Hidden")
            expect(page.locator("#found-title")).to_be_focused()
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            context.close()
