"""The report and the result file: complete, self-contained, escaped, and never half written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import evaluation_worlds as worlds
from m6rec.data.requests import Requests
from m6rec.data.splits import Split
from m6rec.evaluation.baselines.popularity import popularity
from m6rec.evaluation.plots import Whisker, whiskers
from m6rec.evaluation.ranking import evaluate_ranking
from m6rec.evaluation.report import figure, report_html, signed, write_report, write_results
from m6rec.evaluation.result import EvaluationError, Made, Result
from m6rec.evaluation.retrieval import evaluate_retrieval
from m6rec.evaluation.summary import sections, verdict
from m6rec.metrics.bootstrap import Estimate, Resampling

FEW = Resampling(replicates=30)
ITEMS = [f"i{i}" for i in range(12)]
EVIL = "<b>M6</b> $x$ & co"


@dataclass(frozen=True)
class Oracle:
    """Puts the item after the last one first: right in this world."""

    name: str = EVIL

    def score(self, requests: Requests) -> np.ndarray:
        codes, _ = requests.history_codes(ITEMS, 1)
        return -np.abs(np.arange(12) - codes - 1).astype(np.float32)


@dataclass(frozen=True)
class Constant:
    name: str
    value: float

    def predict(self, requests: Requests) -> np.ndarray:
        return np.linspace(0, self.value, len(requests))


def shop() -> Split:
    test = [{"history": [ITEMS[i]], "target": ITEMS[i + 1], "user_id": f"u{i}"} for i in range(11)]
    return worlds.split(ITEMS, [("u", item) for item in ITEMS[:6]], test)


def retrieval_results() -> list[Result]:
    split = shop()
    base = evaluate_retrieval(popularity(split), split, resampling=FEW)
    ours = evaluate_retrieval(Oracle(), split, resampling=FEW)
    made = Made({"half_life": None}, (({"half_life": None}, 0.25),), 3, "NDCG@10 on valid", 7.0)
    return [replace(base, baseline=True, made=made), ours]


def ranking_results() -> list[Result]:
    rows = [
        {"item_ids": [ITEMS[i]], "texts": [None], "labels": [float(i > 3)], "user_id": f"u{i % 3}"}
        for i in range(8)
    ]
    split = worlds.split(ITEMS, [], test=rows, task="rank")
    return [evaluate_ranking(Constant(f"up to {v}", v), split, resampling=FEW) for v in (0.5, 0.9)]


class Tags(HTMLParser):
    """Checks that tags are balanced and collects what a browser would fetch."""

    VOID = frozenset({"meta", "br", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


@pytest.fixture(scope="module")
def page() -> str:
    results = [*retrieval_results(), *ranking_results()]
    return report_html(results, "Ours & theirs", {"sasrec": "needs <rectools>"})


def test_the_page_is_balanced_and_fetches_nothing(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(link.startswith("#") for link in tags.links)
    assert "@import" not in page and "<script" not in page and "url(http" not in page


def test_ids_are_unique_although_many_drawings_share_the_page(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert len(tags.ids) == len(set(tags.ids))


def test_names_from_outside_are_escaped_everywhere(page: str) -> None:
    assert "<b>M6</b>" not in page
    assert "&lt;b&gt;M6&lt;/b&gt; $x$ &amp; co" in page
    assert "needs &lt;rectools&gt;" in page and "Ours &amp; theirs" in page


def test_drawings_take_the_colours_of_the_page(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 2 + 3 + 2 + 2  # intervals and gaps, three recalls; the same, two curves
    assert all("var(--m0)" in drawing or "var(--m1)" in drawing for drawing in drawings)
    assert not any("#fe0" in drawing for drawing in drawings)
    assert not any("#000000" in drawing for drawing in drawings)
    assert "prefers-color-scheme: dark" in page


def test_the_page_says_what_was_measured_and_how(page: str) -> None:
    for words in (
        "2 protocols",
        "NDCG@10 on valid",
        "best of 1 (of 3; the time budget ended)",
        "leave-one-out",
        "percentile bootstrap over users",
        "Against the best baseline, popularity",
        "no clear difference",
        "targets not seen in training",
        "Not run",
    ):
        assert words in page, words


def test_the_same_results_give_the_same_page() -> None:
    results = retrieval_results()
    assert report_html(results, "t") == report_html(results, "t")


def test_one_model_alone_has_a_report_without_differences() -> None:
    page = report_html(ranking_results()[:1], "alone")
    assert "minus that of" not in page and "Figures" in page


def test_no_results_are_an_error() -> None:
    with pytest.raises(EvaluationError, match="no results"):
        report_html([], "nothing")


def test_results_of_one_card_are_a_section_with_the_best_baseline_as_reference() -> None:
    base, ours = retrieval_results()
    found = sections([base, ours, *ranking_results()])
    assert [len(section.results) for section in found] == [2, 2]
    assert found[0].reference is base and found[0].best is ours
    (row,) = found[0].differences
    gap = row.cells[found[0].compared.index("ndcg@10")]
    assert gap[0] is not None and gap[1] == "better"
    assert gap[0].value == pytest.approx(1 - base.metrics["ndcg@10"].value)
    assert [cell.best for cell in found[0].figures.rows[1].cells][:2] == [True, True]


def test_lower_is_better_for_losses_and_nearest_to_one_for_copc() -> None:
    loss = Estimate(-0.1, -0.2, -0.05)
    assert verdict("logloss", loss) == "better" and verdict("auc", loss) == "worse"
    assert verdict("auc", Estimate(0.1, -0.1, 0.3)) == "no clear difference"
    assert verdict("auc", Estimate(0.1)) == ""
    (section,) = sections(ranking_results())
    columns = section.figures.columns
    values = [dict(zip(columns, row.cells, strict=True)) for row in section.figures.rows]
    for name, key in (("logloss", abs), ("copc", lambda value: abs(value - 1))):
        figures = [row[name].estimate.value for row in values]  # type: ignore[union-attr]
        assert [row[name].best for row in values] == [
            key(v) == min(map(key, figures)) for v in figures
        ]


def test_a_result_file_holds_cards_settings_and_no_row_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_results(retrieval_results(), path)
    body = json.loads(path.read_text())
    assert body["format"] == "m6rec results 1"
    first = body["results"][0]
    assert first["baseline"] is True and first["card"]["card_hash"]
    assert first["made"]["trials"] == [{"settings": {"half_life": None}, "figure": 0.25}]
    assert "u1" not in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    write_report(ranking_results(), tmp_path / "report.html", "Ranking")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")


def test_figures_are_written_as_the_field_writes_them() -> None:
    assert (figure(0.12345), figure(1.0), figure(12.5)) == (".1235", "1.0000", "12.5000")
    assert (signed(-0.05), signed(0.05)) == ("−.0500", "+.0500")


def test_a_figure_without_interval_is_drawn_as_a_point() -> None:
    drawing = whiskers([Whisker("m", Estimate(0.5), 9)], "HR@10", "one point")
    assert "var(--m1)" in drawing and 'aria-label="one point"' in drawing
