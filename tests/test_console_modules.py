"""The console's modules: files, figures and what they hold, by hand-made cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs playwright, of the extra dev")

from playwright.sync_api import Page

from console_worlds import CONSOLE, browser, file_server

FILES = sorted(path for path in CONSOLE.iterdir() if path.is_file())
CODE = [path for path in FILES if path.suffix == ".js"]
METRICS = """# HELP x y
x_bucket{le="0.1",route="/a \\"b\\""} %d
x_bucket{le="0.2",route="/a \\"b\\""} %d
x_bucket{le="+Inf",route="/a \\"b\\""} %d
x_count{route="/a \\"b\\""} %d
x_sum{route="/a \\"b\\""} %s
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page that can import the modules."""
    with browser() as found, file_server() as url:
        made = found.new_page()
        made.goto(url + "icon.svg")
        made.goto(url + "words.js")
        yield made


def call(page: Page, module: str, expression: str, *given: Any) -> Any:
    """What an expression gives with a module as `m` and arguments as `g`."""
    code = f"async ([file, g]) => {{ const m = await import(file); return {expression}; }}"
    return page.evaluate(code, [f"/{module}.js", list(given)])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_no_file_reads_text_as_html_or_asks_another_server(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 500
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    )
    assert not re.findall(forbidden, text)
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    text = (CONSOLE / "index.html").read_text("utf-8")
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)


def test_every_module_is_imported_and_every_id_is_there() -> None:
    code = "\n".join(path.read_text("utf-8") for path in CODE)
    html = (CONSOLE / "index.html").read_text("utf-8")
    imported = set(re.findall(r'from "\./(\w+)\.js"', code)) | {"app"}
    assert imported == {path.stem for path in CODE}
    asked = set(re.findall(r'byId\("([\w-]+)"\)', code))
    assert asked <= set(re.findall(r'\bid="([\w-]+)"', html))


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("a,b\n1,2\n", ["a", "b"], [[2, ["1", "2"]]]),
        ("\ufeffa;b\r\n1,5;2\r\n", ["a", "b"], [[2, ["1,5", "2"]]]),
        ("a\tb\n1\t\n\n3\t4", ["a", "b"], [[2, ["1", ""]], [4, ["3", "4"]]]),
        (
            '"a","b, c"\n"x\ny","say ""no"""\n7,8',
            ["a", "b, c"],
            [[2, ["x\ny", 'say "no"']], [4, ["7", "8"]]],
        ),
    ],
)
def test_a_file_is_cut_into_cells_with_the_lines_of_an_editor(
    page: Page, text: str, header: list[str], rows: list[list[Any]]
) -> None:
    found = call(page, "csv", "m.parseCsv(g[0])", text)
    assert found["header"] == header
    assert [[row["line"], row["cells"]] for row in found["rows"]] == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "one more line"),
        ('a,b\n1,"2\n3,4\n', "line 2 is never closed"),
        ("a,a\n1,2\n", "“a” is there twice"),
    ],
)
def test_a_file_that_is_no_table_says_what_is_wrong(page: Page, text: str, said: str) -> None:
    tried = "(() => { try { return m.parseCsv(g[0]) } catch (e) { return e.message } })()"
    assert said in call(page, "csv", tried, text)


def test_a_saved_table_is_no_formula_and_reads_back(page: Page) -> None:
    rows = [["a", "b"], ["=1+2", 'x "y", z']]
    text = call(page, "csv", "m.toCsv(g[0])", rows)
    assert text == '"a","b"\r\n"\'=1+2","x ""y"", z"\r\n'


@pytest.mark.parametrize(
    ("kind", "header", "fields"),
    [
        ("items", ["SKU", "Name", "price", "colour", ""], ["item_id", "title", "price", "+", ""]),
        ("items", ["name", "title", "item_id"], ["+", "title", "item_id"]),
        (
            "events",
            ["customer_id", "StockCode", "date", "colour"],
            ["user_id", "item_id", "timestamp", ""],
        ),
    ],
)
def test_columns_are_known_by_their_names(
    page: Page, kind: str, header: list[str], fields: list[str]
) -> None:
    assert call(page, "columns", "m.guess(g[0], g[1])", kind, header) == fields


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1,299.00", 1299),
        ("1.299,50 €", 1299.5),
        ("12,5", 12.5),
        ("$5", 5),
        ("1,000", 1000),
        ("1e3", 1000),
        ("free", None),
    ],
)
def test_prices_are_read_as_people_write_them(page: Page, text: str, price: float | None) -> None:
    found = read_item(page, "price", text)
    assert found == (
        {"error": f"x: “{text}” is not understood"}
        if price is None
        else {"body": {"item_id": "1", "title": "t", "price": price}}
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000", 1700000000),
        ("1700000000000", 1700000000),
        ("1970-01-02", 86400),
        ("1970-01-01 01:00", 3600),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_seconds_since_1970(page: Page, text: str, seconds: float) -> None:
    found = read_item(page, "available_from", text)
    assert found["body"]["available_from"] == seconds


def read_item(page: Page, field: str, text: str) -> Any:
    """An item of three cells."""
    header, chosen = ["a", "b", "x"], ["item_id", "title", field]
    code = "m.bodyOf('items', g[0], g[1], '', ['1', 't', g[2]])"
    return call(page, "columns", code, header, chosen, text)


def test_a_quantile_lies_between_the_ends_of_its_bucket(page: Page) -> None:
    before = METRICS % (4, 4, 4, 4, "0.2")
    after = METRICS % (4, 14, 14, 14, "1.7")
    labels = {"route": '/a "b"'}
    code = "m.quantile(g[0], ...g[1].map(m.parseMetrics), 'x', g[2])"
    assert call(page, "prometheus", code, 0.5, [before, after], labels) == pytest.approx(0.15)
    code = "m.between(...g[0].map(m.parseMetrics), 'x', g[1])"
    assert call(page, "prometheus", code, [before, after], labels) == {
        "times": 10,
        "mean": pytest.approx(0.15),
    }
    assert call(page, "prometheus", code, [after, after], labels) is None


def test_words_for_figures(page: Page) -> None:
    assert call(page, "words", "[0.0005, 0.0042, 0.25, 3].map(m.seconds)") == [
        "500 µs",
        "4.2 ms",
        "250 ms",
        "3.0 s",
    ]
    assert call(page, "words", "m.score(0.1234, 'probability')") == "12.3 %"
    assert call(page, "words", "m.levels('A|B')") == "A › B"
    assert call(page, "words", "m.did({event: 'rating', value: 4})") == "rated 4"
