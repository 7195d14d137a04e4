"""Bytes and milliseconds of edge bundles: ONNX Runtime here, the browser with one thread and two.

    python benchmarks/bench_edge.py OUT.json [--model FOLDER] [--shape m6-edge-2m] [--depth N]

makes a bundle of the tiny built-in shop for each model (of a shape: random weights, with as many
zeros as it is pruned to), builds the browser app with it, and asks for 50 candidates of 16 tokens.
Needs the extra `edge`, node, `npm ci --prefix edge-web`, Chromium and playwright; and, for a row of
ExecuTorch, that extra.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import sync_playwright

from m6rec.data import tables
from m6rec.data.shop import generate_shop
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.edge.manifest import compressed
from m6rec.edge.program import has_executorch
from m6rec.edge.runners import open_runner, session
from m6rec.model.exits import shallow
from m6rec.model.hf import load_start
from m6rec.model.m6 import M6
from m6rec.model.sparse import nonzero, prunable
from m6rec.recommender import M6Rec
from m6rec.training.edge.recipe import SHAPES, edge_config

WEB = Path(__file__).resolve().parents[1] / "edge-web"
CANDIDATES, TOKENS, HISTORY = 50, 16, 5
STAND_IN: dict[str, Any] = {"d_model": 256, "layers": 4, "heads": 8, "kv_heads": 8, "d_ff": 1024}


class Isolated(http.server.SimpleHTTPRequestHandler):
    """Files with the headers under which a page may have threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def random_model(shape: str) -> M6Rec:
    """Random weights of a shape, pruned at random."""
    teacher, tokenizer = load_start("m6-small")
    changes = STAND_IN if shape == "stand-in" else {}
    size = "m6-edge-2m" if shape == "stand-in" else shape
    sparsity = float(SHAPES[size]["sparsity"])  # type: ignore[index]
    torch.manual_seed(0)
    model = M6(edge_config(size, teacher.config, sparsity, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in prunable(model).values():
            parameter[torch.rand_like(parameter) < sparsity] = 0
            parameter.mul_(3)  # so that texts differ
    return M6Rec(model, tokenizer)


def measure(rec: M6Rec, name: str, folder: Path, repeats: int, precision: str) -> dict[str, Any]:
    """One model: its bundle, its bytes, its milliseconds."""
    if not (folder / "shop").exists():
        generate_shop(folder / "shop", size="tiny")
    data = tables.load(folder / "shop")
    catalogue = rec.opener().catalogue(rec.tasks.get("retrieve"), data)
    source = Source(catalogue, data.items["title"].to_list(), name, rec.fingerprint)
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    told = {"precision": precision, "calibration": 60, "requests": 20, "least": 0}
    export_bundle(source, bundle, EdgeSettings.parse(told, "bench_edge"))
    told = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    sizes = compressed(bundle, quality=11)
    model = [n for n in sizes if n.endswith(".onnx") or n in ("weights.bin", "tokenizer.json")]
    return {
        "model": name,
        "precision": precision,
        "nonzero": nonzero(rec.backbone),
        "parity": told["parity"],
        "brotli_weights": sizes["weights.bin"],
        "brotli_model": sum(sizes[n] for n in model),
        "brotli_all": sum(sizes.values()),
        "native_ms": {str(n): native(bundle, n, repeats) for n in (1, 2)},
        "executorch_ms": in_executorch(source, folder / "program", repeats, precision),
        "browser_ms": in_browser(bundle, repeats),
    }


def in_executorch(
    source: Source, folder: Path, repeats: int, precision: str
) -> dict[str, float] | None:
    """Medians of one program: texts to scores, and from states alone. None where it is missing."""
    if not has_executorch():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    told = {"runtime": "executorch", "precision": precision, "requests": 20, "least": 0}
    export_bundle(source, folder, EdgeSettings.parse(told, "bench_edge"))
    runner = open_runner(folder)
    ids = np.random.default_rng(0).integers(2000, 20000, (HISTORY + CANDIDATES, TOKENS))

    def scores(states: np.ndarray) -> np.ndarray:
        user = runner.run("user", {"states": states[:HISTORY]})
        return runner.run("item", {"states": states[HISTORY:]}) @ user

    def encode() -> np.ndarray:
        return runner.run("encode", {"ids": ids.astype(np.int32)})

    states = encode()
    return {
        "all_tokens": median_ms(lambda: scores(encode()), repeats),
        "item_states": median_ms(lambda: scores(states), repeats),
    }


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of a call, after two that do not count."""
    spent = []
    for _ in range(repeats + 2):
        begun = time.perf_counter()
        call()
        spent.append((time.perf_counter() - begun) * 1e3)
    return round(statistics.median(spent[2:]), 2)


def native(bundle: Path, threads: int, repeats: int) -> float:
    """Median of all tokens in one graph, with ONNX Runtime in this process."""
    opened = session(bundle / "model.onnx", threads)
    draw = np.random.default_rng(0)
    history, candidates = (
        draw.integers(2000, 20000, (rows, TOKENS), dtype=np.int32) for rows in (HISTORY, CANDIDATES)
    )
    given = {"history": history, "candidates": candidates}
    return median_ms(lambda: opened.run(None, given), repeats)


def in_browser(bundle: Path, repeats: int) -> list[dict[str, float]]:
    """Medians in headless Chromium, for one thread and two."""
    subprocess.run(["node", "build.mjs", str(bundle)], cwd=WEB, check=True)
    handler = functools.partial(Isolated, directory=str(WEB / "dist"))
    rows = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with sync_playwright() as playwright:
                path = shutil.which("chromium")
                found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                for threads in (1, 2):
                    page = found.new_page()
                    page.goto(f"http://127.0.0.1:{server.server_address[1]}/bench.html")
                    page.wait_for_function("() => 'bench' in globalThis")
                    row = page.evaluate(f"bench({threads}, {repeats})")
                    rows.append({name: round(value, 2) for name, value in row.items()})
                    page.close()
                found.close()
        finally:
            server.shutdown()
            thread.join()
    return rows


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--depth", type=int, action="append", default=[])
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--repeats", type=int, default=15)
    told = parser.parse_args()
    recs = [(Path(name).name, M6Rec.from_pretrained(name)) for name in told.model]
    recs += [(f"{shape}, random", random_model(shape)) for shape in told.shape]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, rec in recs:
            for depth in told.depth or [rec.backbone.config.layers]:
                at = M6Rec(shallow(rec.backbone, depth), rec.tokenizer)
                load = os.getloadavg()[0]
                row = measure(
                    at, f"{name}, {depth} layers", Path(folder), told.repeats, told.precision
                )
                rows.append({**row, "load_before": round(load, 1)})
                print(json.dumps(rows[-1]), flush=True)
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result = {"machine": machine, "candidates": CANDIDATES, "tokens": TOKENS, "rows": rows}
    told.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
