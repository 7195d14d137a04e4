"""The report: one HTML file that needs nothing else, for results of any number of protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from m6rec.evaluation import plots
from m6rec.evaluation.plots import Series, Whisker
from m6rec.evaluation.result import EvaluationError, Result, write_results, write_whole
from m6rec.evaluation.summary import Section, metric_name, sections
from m6rec.metrics.bootstrap import Estimate

__all__ = ["report_html", "write_report", "write_results"]

SHARE_WORDS = {
    "all": "all targets",
    "seen": "targets seen in training",
    "unseen": "targets not seen in training",
}


def write_report(
    results: Sequence[Result],
    path: Path,
    title: str,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Writes the report of `results`. missing: models that did not run -> why.

    Raises EvaluationError where there are no results.
    """
    write_whole(path, report_html(results, title, missing))


def report_html(
    results: Sequence[Result], title: str, missing: Mapping[str, str] | None = None
) -> str:
    """The page as text. Everything that comes from data or models is escaped."""
    if not results:
        raise EvaluationError("there are no results to report; evaluate at least one model")
    environment = Environment(
        loader=PackageLoader("m6rec", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "metric": metric_name,
        "figure": figure,
        "signed": signed,
        "seconds": seconds,
        "minutes": minutes,
    }
    template = environment.get_template("report.html.jinja")
    blocks = [{"section": section, **_plots(section)} for section in sections(results)]
    return template.render(title=title, blocks=blocks, missing=dict(missing or {}))


def figure(value: float) -> str:
    """Four places, without the zero before the point; whole numbers keep theirs."""
    text = f"{value:.4f}"
    return text[1:] if text.startswith("0.") else text


def signed(value: float) -> str:
    """A difference with its sign, a true minus."""
    return ("−" if value < 0 else "+") + figure(abs(value))


def seconds(value: float) -> str:
    """Wall time as people say it."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value / 60:.1f} min"


def minutes(value: float) -> str:
    """Seconds of processor time in minutes, two figures where they are few."""
    return f"{value / 60:.2f}" if value < 600 else f"{value / 60:.0f}"


def _plots(section: Section) -> dict[str, Any]:
    name = f"{section.first.card.dataset} {section.first.part}"
    intervals = plots.whiskers(
        _whiskers(section, section.headline),
        f"{metric_name(section.headline)} with its interval",
        f"{name}: {metric_name(section.headline)} of every model",
    )
    return {"intervals": intervals, "gaps": _gaps(section, name), "curves": _curves(section, name)}


def _whiskers(section: Section, metric: str) -> list[Whisker]:
    return [
        Whisker(result.model, result.metrics[metric], colour)
        for colour, result in enumerate(section.results)
        if metric in result.metrics
    ]


def _gaps(section: Section, name: str) -> Markup | None:
    """The paired differences of the headline metric, or of the first one that is compared."""
    compared = section.compared
    at = compared.index(section.headline) if section.headline in compared else 0
    found: list[tuple[str, Estimate | None, int]] = [
        (row.result.model, row.cells[at][0], row.colour) for row in section.differences
    ]
    rows = [Whisker(who, gap, colour) for who, gap, colour in found if gap is not None]
    if not rows or section.reference is None:
        return None
    label = f"{metric_name(compared[at])} minus that of {section.reference.model}"
    return plots.whiskers(rows, label, f"{name}: {label}", zero=True)


def _curves(section: Section, name: str) -> list[tuple[str, Markup]]:
    """(caption, drawing) of every curve that the results hold."""
    drawn: list[tuple[str, Markup]] = []
    for share, words in SHARE_WORDS.items():
        lines = _series(section, f"rank_cdf_{share}", "k", "share")
        if lines and (share == "all" or section.shares):
            caption = f"Recall at every length of list, {words}"
            drawn.append((caption, plots.recall_curves(lines, f"{name}: {caption}")))
    draw: Callable[[Sequence[Series], str], Markup]
    for curve, x, y, caption, draw in (
        ("roc", "fpr", "tpr", "ROC: yeses above noes", plots.roc_curves),
        (
            "reliability",
            "predicted",
            "observed",
            "Reliability: are the probabilities true?",
            plots.reliability_curves,
        ),
    ):
        if lines := _series(section, curve, x, y):
            drawn.append((caption, draw(lines, f"{name}: {caption}")))
    return drawn


def _series(section: Section, curve: str, x: str, y: str) -> list[Series]:
    return [
        Series(result.model, result.curves[curve][x], result.curves[curve][y], colour)
        for colour, result in enumerate(section.results)
        if curve in result.curves
    ]
