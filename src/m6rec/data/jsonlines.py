"""Reads JSON Lines, and one JSON array of objects, in batches that fit in memory."""

from __future__ import annotations

import ast
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path

import polars as pl

from m6rec.data.batches import Batch, Broken, string_frame
from m6rec.data.jsontext import as_text
from m6rec.data.lines import LineAccount, is_blank, is_unicode, not_utf8, text_lines
from m6rec.data.nested import along
from m6rec.data.schema import DataError

JSON_BATCH_ROWS = 20_000
LINE_RIGHT = "one JSON object per line"
ARRAY_RIGHT = "one object per line, such as `jq -c '.[]'` writes"
PYTHON = re.compile(r"""^\s*[{\[]\s*u?'|\b(None|True|False)\b""")
SPACE = re.compile(r"[ \t\r\n]*")
PYTHON_LONGEST = 100_000
"""Characters of a line that is tried as Python."""

Record = dict[str, object]
Located = tuple[int, int, Record]
"""Row, line and object of a JSON Lines file."""


@dataclass(frozen=True)
class Objects:
    """Consecutive objects of a JSON Lines file. read: rows of the file so far."""

    rows: list[Located]
    broken: tuple[Broken, ...]
    read: int


def parse_json_line(row: int, line: int, text: str) -> Record | Broken:
    """One line of JSON Lines as an object, or the reason why it is none."""
    text = text.rstrip("\r\n")
    if not is_unicode(text):
        return not_utf8(row, line, text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Broken(row, line, text, *_why(text, error))
    return _object(row, line, text, value)


def _object(row: int, line: int, text: str, value: object) -> Record | Broken:
    if not isinstance(value, dict):
        return Broken(row, line, text, f"a JSON {type(value).__name__}", LINE_RIGHT)
    # Only an escape can bring one in; the words of a dict would show it escaped, so write it out.
    if "\\u" in text and not is_unicode(json.dumps(value, ensure_ascii=False)):
        return Broken(row, line, text, "a lone surrogate (\\ud800…)", "whole Unicode characters")
    return value


def _why(text: str, error: Exception) -> tuple[str, str]:
    """What is wrong with a line that is no JSON, and what would be right."""
    if _is_python(text):
        return (
            "an object in Python's words (single quotes, None, True), not JSON",
            f"{LINE_RIGHT}, such as json.dumps(ast.literal_eval(line)) writes",
        )
    if text.strip() in ("{", "["):
        return "not JSON: an object or array that goes over several lines", ARRAY_RIGHT
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}", LINE_RIGHT
    return (
        f"not JSON: {'nested too deep' if isinstance(error, RecursionError) else error}",
        LINE_RIGHT,
    )


def _is_python(text: str) -> bool:
    """Whether a line is a literal of Python: parsed only, never evaluated."""
    if len(text) > PYTHON_LONGEST or not PYTHON.search(text):
        return False
    try:
        return isinstance(ast.parse(text.strip(), mode="eval").body, ast.Dict | ast.List)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def json_rows(path: Path) -> Iterator[tuple[int, int, Record | Broken]]:
    """(row, line, object or what is wrong with it) of JSON Lines, or of one JSON array.

    Blank lines are no rows. Raises DataError where an array can not be read to its end.
    """
    account = LineAccount(path)
    for row, line, value in _elements(account) if is_array(path) else _lines(account):
        account.rows += isinstance(value, dict)
        account.rejects += isinstance(value, Broken)
        yield row, line, value
    account.settle()


def _lines(account: LineAccount) -> Iterator[tuple[int, int, Record | Broken]]:
    row = 0
    for line, text in enumerate(account.lines(), 1):
        if is_blank(text):
            account.blank += 1
            continue
        row += 1
        yield row, line, parse_json_line(row, line, text)


def is_array(path: Path) -> bool:
    """Whether a file is one JSON array: it begins with [, ends with ], and is no line of many."""
    lines = (text for text in text_lines(path) if not is_blank(text))
    first = last = next(lines, "").strip()
    if not first.startswith("["):
        return False
    more = False
    for text in lines:
        last, more = text.strip(), True
    return last.endswith("]") and not (more and _is_list(first))


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _elements(account: LineAccount) -> Iterator[tuple[int, int, Record | Broken]]:
    """The elements of one array, which is held in memory; each with the line where it begins."""
    texts = list(account.lines())
    text = "".join(texts)
    decoder = json.JSONDecoder()
    position = SPACE.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    ends = list(accumulate(map(len, texts)))
    row = 0
    line, starts = 1, set[int]()
    while row or text[position : position + 1] != "]":
        line = bisect_right(ends, position) + 1
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
            raise _no_array(account.path, line, what) from error
        row += 1
        account.shared += line in starts
        starts.add(line)
        words = text[position:end]
        sound = is_unicode(words)
        yield row, line, _object(row, line, words, value) if sound else not_utf8(row, line, words)
        position = SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text[position : position + 1] != ",":
            break
        position = SPACE.match(text, position + 1).end()  # type: ignore[union-attr]
    if text[position:].strip(" \t\r\n") != "]":
        raise _no_array(account.path, line, "its end is not where the last object ends")
    account.blank += sum(map(is_blank, texts))
    account.inside += sum(n not in starts and not is_blank(t) for n, t in enumerate(texts, 1))


def _no_array(path: Path, line: int, what: str) -> DataError:
    return DataError(
        f"{path}: line {line}: this is one JSON array, and from here on it is not JSON ({what}); "
        f"right is {ARRAY_RIGHT}"
    )


def read_objects(path: Path, batch_rows: int = JSON_BATCH_ROWS) -> Iterator[Objects]:
    """The objects of a JSON Lines file, or of one JSON array; at least one (maybe empty) batch."""
    found = json_rows(path)
    read = 0
    while chunk := list(islice(found, batch_rows)):
        good = [(row, line, value) for row, line, value in chunk if isinstance(value, dict)]
        read += len(chunk)
        yield Objects(good, tuple(v for _, _, v in chunk if isinstance(v, Broken)), read)
    if not read:
        yield Objects([], (), 0)


def text_rows(located: list[Located]) -> list[tuple[int, int, dict[str, str | None]]]:
    """The objects with every value as the text of a column."""
    return [
        (row, line, {name: column_text(name, value) for name, value in record.items()})
        for row, line, record in located
    ]


def column_text(name: str, value: object) -> str | None:
    """A value as the text of a column; an array of ids stays one, for it is no id."""
    if name.endswith("_id") and isinstance(value, list):
        return json.dumps([as_text(part) for part in value], ensure_ascii=False)
    return as_text(value)


def object_frame(
    located: list[tuple[int, int, dict[str, str | None]]], columns: tuple[str, ...] = ()
) -> pl.DataFrame:
    """String columns of objects, with ROW and LINE. columns: those to have in any case."""
    names = dict.fromkeys(columns)
    for _, _, record in located:
        names.update(dict.fromkeys(record))
    rows = [(row, line, *map(record.get, names)) for row, line, record in located]
    return string_frame(names, rows)


def json_batches(
    path: Path, batch_rows: int, paths: Sequence[str] = (), ids: Sequence[str] = ()
) -> Iterator[Batch]:
    """The objects of a file as string columns; at least one (maybe empty) batch.

    paths, ids: what is looked for within objects and lists; see `nested.along`.
    """
    for objects in read_objects(path, batch_rows):
        rows = objects.rows
        if paths or ids:
            rows = [(r, n, one) for r, n, record in rows for one in along(record, paths, ids)]
        yield Batch(object_frame(text_rows(rows)), objects.broken)
