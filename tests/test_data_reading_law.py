"""The law of reading: every line is a row, a reject, blank, or inside a record that is read whole.

`M6REC_READING_FILES=10000` makes that many random files of each kind; the suite makes fewer.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from m6rec.data.batches import LINE, ROW, Batch
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.files import read_batches
from m6rec.data.jsonlines import json_rows
from m6rec.data.lines import LineAccount
from m6rec.data.schema import DataError
from m6rec.training.corpus.plaintext import text_documents

FILES = int(os.environ.get("M6REC_READING_FILES", "400"))
BITS = (
    *('"', '"', '""', '"""', ",", ",", "\t", "|", ";", "[", "]", "{", "}", "*", "?", "'", "\\"),
    *("\r", "\n", "\n", "\r\n", "\r\r\n", "\n\n", " ", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff"),
    *("a", "B 24", "7", "é", "\udcff", "\x00"),
)
ENDS = ("\n", "\n", "\r\n", "\r")
Reader = Callable[[Path], Iterator[Batch]]


def lines_of(data: bytes) -> list[str]:
    """The lines as a person counts them, with their ends: what ends the first one ends them all."""
    text = data.decode("utf-8-sig", errors="surrogateescape")
    first = re.search(r"[\r\n]+", text)
    if first and "\n" not in first.group():
        return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", text)
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def spoilt(rows: list[str], end: str, rng: random.Random) -> bytes:
    """A file of these lines with bits put into random places."""
    text = end.join(rows) + end * (rng.random() < 0.8)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(rows[0]) if rng.random() < 0.9 else 0, len(text) + 1)
        text = text[:at] + rng.choice(BITS) + text[at:]
    return text.encode("utf-8", errors="surrogateescape")


def a_table(rng: random.Random) -> bytes:
    separator, names = rng.choice(",\t"), ["item_id", "title", "brand"][: rng.randint(1, 3)]
    rows = [separator.join(names)]
    for n in range(rng.randint(0, 6)):
        fields = [str(n), rng.choice(("A", '"x, y"', '"two\nlines"', '""', '"12"" x"')), "b"]
        rows.append(separator.join(fields[: len(names)]))
    return spoilt(rows, rng.choice(ENDS), rng)


def some_objects(rng: random.Random) -> bytes:
    rows = [json.dumps({"item_id": n, "title": "A [b]"}) for n in range(rng.randint(1, 6))]
    if rng.random() < 0.3:
        rows[0], rows[-1] = "[" + rows[0], rows[-1] + "]"
        rows = [f"{row}," if row is not rows[-1] else row for row in rows]
    return spoilt(rows, rng.choice(ENDS), rng)


def as_table(path: Path) -> Iterator[Batch]:
    return read_batches(path)


def as_raw(path: Path) -> Iterator[Batch]:
    return read_rows(path, Layout("\t", quotes=False), batch_rows=2)


def as_shown(path: Path) -> Iterator[Batch]:
    return read_rows(path, Layout("\t"), batch_rows=2)


def without_header(path: Path) -> Iterator[Batch]:
    return read_rows(path, Layout(",", columns=(), quotes=True, fewest=1), batch_rows=3)


@pytest.mark.parametrize(
    ("reader", "separator", "header"),
    [(as_table, ",", True), (as_raw, "\t", True), (as_shown, "\t", True),
     (without_header, ",", False)],
)  # fmt: skip
def test_no_line_of_a_random_table_is_uncounted(
    tmp_path: Path, reader: Reader, separator: str, header: bool
) -> None:
    rng = random.Random(22)
    path = tmp_path / "items.csv"
    refused = 0
    for n in range(FILES):
        path.write_bytes(data := a_table(rng))
        try:
            batches = list(reader(path))
        except DataError as error:
            assert str(path) in str(error) and "fault of the reader" not in str(error)
            refused += 1
            continue
        require_law(lines_of(data), batches, separator, header, f"file {n}: {data!r}")
    # A third of the files have tabs between their columns, which a table of commas refuses.
    assert refused < FILES / 2, "the law is shown on files that are read"


def require_law(
    lines: list[str], batches: list[Batch], separator: str, header: bool, what: str
) -> None:
    """Every line by itself: none is judged by the account of the reader."""
    rows = {row[1]: row[2:] for batch in batches for row in batch.frame.rows()}
    broken = {line.line: line for batch in batches for line in batch.broken}
    numbers = [n for batch in batches for n in batch.frame[ROW]] + [
        line.row for batch in batches for line in batch.broken
    ]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), what
    assert not rows.keys() & broken.keys(), what
    starts = {*rows, *broken}
    said = [n for n, line in enumerate(lines, 1) if line.strip()]
    if header and said:
        starts.add(said[0])
    assert starts <= set(said), what
    for n in said:
        if n in starts:
            continue
        start = max(s for s in starts if s < n)
        stop = min((s for s in starts if s > n), default=len(lines) + 1)
        last = max(n for n in said if n < stop)
        record = lines[start - 1 : last]
        ends = r"\r\n|\r|\n" if lines[0].endswith("\r") else r"\n"
        require_one_record(record, ends, separator, rows.get(start), f"line {n} of {what}")


def require_one_record(
    lines: list[str], ends: str, separator: str, fields: tuple[object, ...] | None, what: str
) -> None:
    """Lines are one record: every line end in it stands in a field that quotes open and close.

    ends: what ends a line. fields: as they were read; None for a rejected record, whose text
    Python's csv judges.
    """
    if fields is None:
        text = "\n".join(line.rstrip("\r\n").replace("\r", "\x01") for line in lines)
        assert len(list(csv.reader(io.StringIO(text), delimiter=separator))) == 1, what
        return
    record = "".join(lines).rstrip("\r\n")
    values = [str(field or "") for field in fields]
    found = [len(re.findall(ends, value)) for value in values]
    assert sum(found) == len(lines) - 1, what
    for value in (value for value, count in zip(values, found, strict=True) if count):
        quoted = '"' + value.replace('"', '""') + '"'
        assert re.search(f"{re.escape(quoted)}({re.escape(separator)}|\\Z)", record), what


def test_no_line_of_random_objects_is_uncounted(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "items.jsonl"
    for n in range(FILES):
        path.write_bytes(data := some_objects(rng))
        what = f"file {n}: {data!r}"
        lines = lines_of(data)
        said = [n for n, line in enumerate(lines, 1) if line.strip()]
        try:
            found = list(json_rows(path))
        except DataError as error:
            assert "JSON array" in str(error), what
            continue
        if lines and lines[said[0] - 1].strip().startswith("[") and len(found) != len(said):
            whole = json.loads(data.decode("utf-8-sig", errors="replace").replace("\x00", ""))
            assert len(found) == len(whole), what
        else:
            assert [line for _, line, _ in found] == said, what
        assert [row for row, _, _ in found] == list(range(1, len(found) + 1)), what


def test_no_line_of_a_random_text_is_uncounted(tmp_path: Path) -> None:
    rng = random.Random(6)
    path = tmp_path / "texts.txt"
    for _ in range(FILES):
        data = spoilt([f"words of line {n}" for n in range(rng.randint(1, 5))], "\n", rng)
        data = data.replace(b"\xff", b"")
        path.write_bytes(data)
        documents = list(text_documents("own", [path]))
        said = [line.strip() for line in lines_of(data) if line.strip()]
        whole = "\n".join(line.rstrip("\r\n") for line in lines_of(data))
        paragraphs = [p for p in re.split(r"\n(?:[^\S\n]*\n)+", whole) if p.strip()]
        assert len(documents) == (len(paragraphs) if len(paragraphs) > 1 else len(said)), data


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_quote_that_is_never_closed_costs_its_row_alone(tmp_path: Path, quoting: int) -> None:
    rng = random.Random(7)
    path = tmp_path / "items.csv"
    for _ in range(FILES):
        rows = [
            [str(n), rng.choice(("A", 'a "b" c', "x, y", '12"', "[z]*")), rng.choice("bcd")]
            for n in range(rng.randint(2, 8))
        ]
        stream = io.StringIO()
        writer = csv.writer(stream, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
        writer.writerows([["item_id", "title", "brand"], *rows])
        lines = stream.getvalue().splitlines()
        bad = rng.randint(1, len(rows))
        lines[bad] = f'{bad - 1},"B 24 inch,b'
        path.write_text("\n".join(lines) + "\n")
        (batch,) = read_batches(path)
        (broken,) = batch.broken
        assert (broken.line, broken.problem) == (bad + 1, "a quote is opened and not closed")
        there = [list(row) for row in batch.frame.drop(ROW, LINE).rows()]
        assert there == rows[: bad - 1] + rows[bad:]


def test_what_a_writer_of_csv_writes_is_read_as_it_was(tmp_path: Path) -> None:
    rng = random.Random(8)
    path = tmp_path / "items.csv"
    for _ in range(FILES):
        rows = [
            [str(n), "".join(rng.choices(('"', ",", "\n", "x", " y", "[", "é"), k=6)) + "."]
            for n in range(rng.randint(1, 6))
        ]
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator=rng.choice(("\n", "\r\n"))).writerows(
                [["item_id", "title"], *rows]
            )
        (batch,) = read_batches(path)
        assert batch.broken == ()
        assert [list(row) for row in batch.frame.drop(ROW, LINE).rows()] == rows


def test_a_breach_of_the_law_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n\nb\n")
    account = LineAccount(path)
    list(account.lines())
    account.rows, account.blank = 1, 1
    with pytest.raises(DataError, match=r"x\.csv: up to line 3 there are 2 lines in the account"):
        account.settle()
    account.rows = 2
    account.settle()
