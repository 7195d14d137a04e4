"""The browser app of bundles: a tiny one built, servers of files, and hands that use the page."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import tiny
from console_worlds import PATIENCE
from m6rec.collaborative.head import Head
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.model.checkpoint import load_backbone
from m6rec.recommender import M6Rec

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "edge-web"
NODE = shutil.which("node")
BUILT = [
    pytest.mark.skipif(NODE is None, reason="node is not installed: nothing can be built"),
    pytest.mark.skipif(
        not (WEB / "node_modules").is_dir(),
        reason="the libraries of edge-web are not installed; run: npm ci --prefix edge-web",
    ),
]
"""Marks of a test module that builds the app."""


def node(*words: str, said: object = None) -> str:
    """Runs node in edge-web."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, *words],
        cwd=WEB,
        check=False,
        input=None if said is None else json.dumps(said),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tiny_bundle(folder: Path, log: bool = False, head: Head | None = None) -> Path:
    """A tiny model and a tiny shop, with what people chose next or without; joined by a head."""
    rec = M6Rec(*load_backbone(tiny.write_backbone(folder / "model")))
    data = tiny.shop()
    source = Source(
        rec.opener().catalogue(None, data),
        data.items["title"].to_list(),
        "tiny",
        rec.fingerprint,
        events=data.events if log else None,
        head=head,
    )
    export_bundle(source, folder / "bundle", EdgeSettings(requests=10))
    return folder / "bundle"


def built(bundle: Path, folder: Path) -> Path:
    """The app with a bundle, in a folder of its own."""
    node("build.mjs", str(bundle))
    return Path(shutil.copytree(WEB / "dist", folder / "dist"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, isolated from other origins or not."""

    isolated = False

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Isolated(Quiet):
    isolated = True


@contextmanager
def served(folder: Path, isolated: bool) -> Iterator[str]:
    """The address of a server of files."""
    handler = functools.partial(Isolated if isolated else Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(chromium: Browser, url: str, **settings: Any) -> Iterator[Page]:
    """The app, ready, in a browser that has not seen it before; what it complains of fails."""
    context = chromium.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.goto(url)
    page.locator("#status[data-threads]").wait_for()
    yield page
    assert not complaints
    context.close()


def pick(page: Page, history: list[str], ids: list[str]) -> list[tuple[str, str]]:
    """Chooses a history; ids and reasons of what the page then shows."""
    for count, entry in enumerate(history, start=1):
        if entry in ids:
            page.locator(f"#shelf li[data-id='{entry}'] button").click()
        else:
            page.get_by_label("Something in your own words").fill(entry)
            page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#picked li")).to_have_count(count)
    expected = min(10, len(ids) - sum(entry in ids for entry in history))
    expect(page.locator("#found li")).to_have_count(expected, timeout=PATIENCE)
    expect(page.locator("#timing")).to_contain_text("on this device")
    page.wait_for_function(
        "wanted => document.querySelectorAll('#found li').length === wanted", arg=expected
    )
    rows = page.locator("#found li").all()
    return [(str(r.get_attribute("data-id")), str(r.locator(".why").text_content())) for r in rows]
