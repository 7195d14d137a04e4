"""Measurements as a Markdown page and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Found = Mapping[str, Any]


def markdown(found: Found) -> str:
    """Tables under headings of the third level, then what could not be measured here, and why."""
    m, peak = found["machine"], found["peak_gflops"]
    roofs = ", ".join(f"{name} {value}" for name, value in peak.items())
    said = (
        f"{m['cores']} cores ({m['cpu']}; {', '.join(m['isa'])}), {m['threads']} threads, "
        f"torch {m['torch']}. Measured peaks: {roofs} GFLOP/s. "
        f"Runtime of the engine: {found['runtime']}."
    )
    parts = [said, *(_section(title, table) for title, table in _tables(found))]
    rows = [*found["encode"], *found["pairs"]]
    missing = {row.get("name", row.get("runtime")): row.get("missing") for row in rows}
    parts += [f"Not run: {name}: {why}" for name, why in missing.items() if why]
    return "\n\n".join(parts) + "\n"


def _section(title: str, rows: Sequence[Sequence[object]]) -> str:
    head, *body = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    rule = "| " + " | ".join("---" for _ in rows[0]) + " |"
    return f"### {title}\n\n" + "\n".join([head, rule, *body])


def _tables(found: Found) -> list[tuple[str, list[list[object]]]]:
    peak = max(found["peak_gflops"].values())
    requests: list[list[object]] = [
        ["candidates", "events", "kept", "online layers", "runtime", "first layer prepared",
         "p50 ms", "p99 ms", "least ms", "GFLOP", "share of the peak", "bytes per cached item"]
    ]  # fmt: skip
    requests += [
        [row["candidates"], row["history"], row["kept"], row["online"], row["runtime"],
         "yes" if row["ahead"] else "no", _ms(row["p50"]), _ms(row["p99"]), _ms(row["least"]),
         row["gflop"], f"{row['gflops'] / peak:.0%}", f"{row['bytes_per_item']:,}"]
        for row in found["requests"]
    ]  # fmt: skip
    encode: list[list[object]] = [
        ["runtime", "p50 ms", "GFLOP/s", "share of the peak", "segments/s"]
    ]
    encode += [
        [row["runtime"], _ms(row["p50"]), row["gflops"], f"{row['share_of_peak']:.0%}",
         f"{row['segments_per_s']:,}"]
        for row in found["encode"]
        if "missing" not in row
    ]  # fmt: skip
    pairs: list[list[object]] = [
        ["model", "pairs/s", "against the best cross-encoder", "against the best full plan"]
    ]
    pairs += [
        [row["name"], f"{row['pairs_per_s']:,}", _times(row.get("to_cross_encoder")),
         _times(row.get("to_full"))]
        for row in found["pairs"]
        if "missing" not in row
    ]  # fmt: skip
    growth: list[list[object]] = [["events", "candidates", "p50 ms", "p99 ms", "µs per candidate"]]
    growth += [
        [f"{row['history']:,}", f"{row['candidates']:,}", _ms(row["p50"]), _ms(row["p99"]),
         f"{row['p50'] / row['candidates'] * 1000:.1f}"]
        for kind in ("history", "candidates")
        for row in found["growth"][kind]
    ]  # fmt: skip
    return [
        ("One request", requests),
        ("Encoding 64 segments of 32 tokens, all layers", encode),
        ("The same pairs: one user with 20 events of 12 tokens", pairs),
        ("Growth, k = 1, one online layer", growth),
    ]


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _times(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}×" if value >= 10 else f"{value:.2f}×"


def plot(found: Found, path: Path) -> None:
    """Milliseconds over history length and over candidates, both logarithmic, as SVG."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    for axes, kind, label in zip(
        figure.subplots(1, 2),
        ("history", "candidates"),
        ("events of the history (1,000 candidates)", "candidates (100 events)"),
        strict=True,
    ):
        rows = found["growth"][kind]
        x = [row[kind] for row in rows]
        axes.loglog(x, [row["p50"] for row in rows], marker="o", label="p50")
        axes.loglog(x, [row["p99"] for row in rows], marker=".", linestyle=":", label="p99")
        axes.loglog(
            x, [rows[-1]["p50"] * value / x[-1] for value in x], color="0.7", label="linear"
        )
        axes.set_xlabel(label)
        axes.set_ylabel("ms")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
