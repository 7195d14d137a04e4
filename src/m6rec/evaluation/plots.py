"""Plots as inline SVG whose colours are variables of the page, so that one drawing serves light,
dark and print.

matplotlib draws with placeholder colours; afterwards each becomes `var(--name)`. Text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m6rec.metrics.bootstrap import Estimate

SERIES = 8
"""Colours of the page; later models start over, dashed differently."""

INK, MUTED, GRID = "#fe0100", "#fe0200", "#fe0300"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
}
WIDTH = 4.4
"""Inches (72 points each): near the width of a phone, so that the letters keep their size there."""


@dataclass(frozen=True)
class Series:
    """One model's line: x and y of equal length; `colour` counts models of the page from 0."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


@dataclass(frozen=True)
class Whisker:
    """One model's figure in a plot of intervals."""

    name: str
    estimate: Estimate
    colour: int


def recall_curves(series: Sequence[Series], say: str) -> Markup:
    """Share of targets found within the first k, k on a logarithmic axis."""
    figure, axes = _figure(2.9)
    for line in series:
        axes.plot(line.x, line.y, **_line(line.colour))
    axes.set_xscale("log")
    top = max((max(line.x) for line in series), default=10.0)
    ticks = [float(10**power) for power in range(int(np.log10(top)) + 1)]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(1, top)
    axes.set_ylim(0, 1)
    axes.set_xlabel("k, length of the list")
    axes.set_ylabel("targets among the first k")
    return _svg(figure, say)


def roc_curves(series: Sequence[Series], say: str) -> Markup:
    """True against false positive rate; the diagonal is chance."""
    figure, axes = _figure(3.4)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for line in series:
        axes.plot(line.x, line.y, **_line(line.colour))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the noes ranked above")
    axes.set_ylabel("share of the yeses ranked above")
    return _svg(figure, say)


def reliability_curves(series: Sequence[Series], say: str) -> Markup:
    """Observed rate against predicted rate, one point per bin; the diagonal is the truth."""
    figure, axes = _figure(3.4)
    highest = max((max(*line.x, *line.y) for line in series), default=1.0)
    top = min(1.0, 1.08 * highest) or 1.0
    axes.plot([0, top], [0, top], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for line in series:
        axes.plot(line.x, line.y, marker="o", markersize=3.5, **_line(line.colour))
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("predicted")
    axes.set_ylabel("observed")
    return _svg(figure, say)


def whiskers(rows: Sequence[Whisker], label: str, say: str, zero: bool = False) -> Markup:
    """Figures with their intervals, a name above each; `zero` draws the line of no difference."""
    figure, axes = _figure(0.55 + 0.42 * len(rows))
    for place, row in enumerate(rows):
        estimate, colour = row.estimate, _line(row.colour)["color"]
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2)
        axes.plot([estimate.value], [place], marker="o", markersize=5, color=colour)
        axes.annotate(
            row.name,
            (0, place - 0.34),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
            color=INK,
            parse_math=False,
        )
    if zero:
        axes.axvline(0, color=MUTED, linewidth=0.9)
    axes.set_ylim(len(rows) - 0.6, -0.75)
    axes.set_yticks([])
    axes.margins(x=0.06)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    return _svg(figure, say)


def _figure(height: float) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, axes


def _line(colour: int) -> dict[str, Any]:
    return {
        "color": f"#fe00{colour % SERIES:02x}",
        "linestyle": DASHES[colour // SERIES % len(DASHES)],
    }


def _svg(figure: Figure, say: str) -> Markup:
    """The drawing for a page: scalable, named for screen readers, without ids that could clash."""
    text = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": say}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r"#fe00([0-9a-f]{2})", lambda found: f"var(--m{int(found[1], 16)})", svg)
    for placeholder, variable in VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    head = Markup('<svg role="img" aria-label="{}"').format(say)
    return head + Markup(svg[len("<svg") :])
