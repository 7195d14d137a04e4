"""Reads delimited text (CSV and the like) in batches that fit in memory, as strings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from m6rec.data.batches import LINE, ROW, Batch, Broken, string_frame
from m6rec.data.lines import LineAccount, as_latin_1, displayable, is_unicode, not_utf8
from m6rec.data.quoting import Cutter, Evidence, Record
from m6rec.data.schema import DataError

TEXT_BATCH_ROWS = 100_000
NAMES = {"\t": "a tab"}
OTHERS = ";\t|"
"""What else may stand between columns."""


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are cut into columns.

    columns: their names; None: the first line has them; (): the file has no names, so that columns
    are called 1, 2, 3 … fewest: fields a line needs (None: all of them; missing ones at the end
    are null otherwise). quotes: whether `"` protects separators; None: the file shows it.
    latin_1: bytes that are not UTF-8 are Latin-1.
    """

    separator: str = ","
    columns: tuple[str, ...] | None = None
    fewest: int | None = None
    quotes: bool | None = None
    latin_1: bool = False


def read_rows(path: Path, layout: Layout, batch_rows: int = TEXT_BATCH_ROWS) -> Iterator[Batch]:
    """The rows of a delimited file; at least one (maybe empty) batch. Blank lines are no rows."""
    if layout.quotes is None:
        layout = replace(layout, quotes=quotes_protect(path, layout.separator))
    account = LineAccount(path)
    cutter = Cutter(account, layout.separator, bool(layout.quotes), fewest=layout.fewest)
    records = cutter.records()
    header, first = _header(path, layout, records, account)
    cutter.width = len(header) or None
    records = chain([] if first is None else [first], records)
    row = 0
    while block := list(islice(records, batch_rows)):
        yield account.add(_batch(header, block, row + 1, layout))
        account.settle(cutter.ahead)
        row += len(block)
    account.settle()
    if not row:
        yield Batch(string_frame(header, []))


def quotes_protect(path: Path, separator: str) -> bool:
    """Whether the quotes of a file are those of a writer of CSV, such as pandas.

    Such a writer puts every field with a quote in it between quotes, with the inner ones doubled. A
    raw file has quotes as words. The whole file is looked at; the majority of its fields decides.
    """
    evidence = Evidence()
    cutter = Cutter(LineAccount(path), separator, quotes=True, evidence=evidence)
    records = cutter.records()
    first = next(records, None)
    if first is not None and first.text.startswith('"'):
        return True  # no name of a column has quotes of its own
    if first is not None and first.fields is not None:
        cutter.width = len(first.fields)
    for _ in records:
        pass
    return evidence.protecting > evidence.literal


def _header(
    path: Path, layout: Layout, records: Iterator[Record], account: LineAccount
) -> tuple[tuple[str, ...], Record | None]:
    """The names of the columns, and the first row where it had to be looked at for them."""
    if layout.columns:
        return layout.columns, None
    first = next(records, None)
    if first is None:
        return (), None
    if first.fields is None:
        raise DataError(f"{path}: line {first.line}: a quote is opened and not closed; close it")
    if layout.columns is not None:
        return tuple(str(n) for n in range(1, len(first.fields) + 1)), first
    account.header += 1
    names = tuple(name.strip() for name in first.fields)
    _require_names(path, first.line, names)
    return names, None


def _require_names(path: Path, line: int, names: tuple[str, ...]) -> None:
    if not is_unicode("".join(names)):
        raise DataError(f"{path}: line {line} has bytes that are not UTF-8; save the file as UTF-8")
    if len(names) == 1 and (other := next((c for c in OTHERS if c in names[0]), None)):
        raise DataError(
            f"{path}: line {line}: {NAMES.get(other, other)!r} seems to stand between the columns; "
            "right is a comma (`m6rec import columns` reads other separators)"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: line {line} names column {twice[0]!r} twice; rename one of them"
            f"{data_hint(names)}"
        )
    helpers = [name for name in names if name in (ROW, LINE)]
    if helpers:
        raise DataError(f"{path}: line {line}: {helpers[0]!r} is a name of ours; rename the column")


def data_hint(names: tuple[str, ...]) -> str:
    """What to say where the names of columns look like a row of data; nothing where they do not."""
    if not looks_like_data(names):
        return ""
    return (
        f" (the first line looks like data: {', '.join(names)[:80]}; if the file has no header, "
        "say header=none in a column map and give columns by number, such as item_id=2, or write a "
        "line of names above)"
    )


def looks_like_data(names: tuple[str, ...]) -> bool:
    """Whether one of the names is a number or a time, and they do not just count columns."""
    counted = [name for name in names if name.isdecimal()]
    if len(counted) == len(names) and [int(n) for n in counted] in (
        list(range(len(names))),
        list(range(1, len(names) + 1)),
    ):
        return False
    return any(_is_number(name) or _is_time(name) for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "infinity")


def _is_time(text: str) -> bool:
    return len(text) >= 10 and text[:4].isdecimal() and text[4] in "-/" and text[5:7].isdecimal()


def _batch(header: tuple[str, ...], records: list[Record], first: int, layout: Layout) -> Batch:
    width = len(header)
    fewest = width if layout.fewest is None else layout.fewest
    rows: list[tuple[object, ...]] = []
    broken = []
    sound = is_unicode("".join(record.text for record in records))
    for number, record in enumerate(records, first):
        fields = record.fields
        if not sound and not is_unicode(record.text):
            if not layout.latin_1:
                broken.append(not_utf8(number, record.line, record.text))
                continue
            fields = None if fields is None else [as_latin_1(field) for field in fields]
        if fields is None:
            broken.append(_unclosed(number, record))
        elif len(fields) == width:
            rows.append((number, record.line, *fields))
        elif fewest <= len(fields) < width:
            rows.append((number, record.line, *fields, *[""] * (width - len(fields))))
        else:
            broken.append(_wrong_width(number, record, fields, header, layout))
    return Batch(string_frame(header, rows), tuple(broken))


def _unclosed(row: int, record: Record) -> Broken:
    return Broken(
        row,
        record.line,
        displayable(record.text),
        "a quote is opened and not closed",
        'a quote within a field written twice, and "…" around the field',
    )


def _wrong_width(
    row: int, record: Record, fields: list[str], header: tuple[str, ...], layout: Layout
) -> Broken:
    separator = layout.separator
    whose = "where the header has" if layout.columns is None else "in the place of"
    right = f"{', '.join(header)}, with {NAMES.get(separator, separator)} between them"
    if layout.quotes:
        right += '; a field that holds a separator or a quote needs "…" around it'
    text = displayable(record.text)
    return Broken(row, record.line, text, f"{len(fields)} fields {whose} {len(header)}", right)
