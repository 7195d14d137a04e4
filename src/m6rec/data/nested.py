"""Objects and arrays in the place of an id, and the path to the id in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from m6rec.data.jsontext import joined, unwrapped

NESTED = re.compile(r"""(?s)^\s*(\{\s*["'].*\}|\[\s*(?:[\[{"'].*|-?\d[\d.]*\s*,.*)\])\s*$""")
"""Text of an object or a list, of JSON or of Python."""
PROBLEM = "a JSON object or array, no id"
KEY = re.compile(r"""["'](\w+)["']\s*:""")


def is_nested(column: str) -> pl.Expr:
    """True where the text of a column is an object or an array."""
    return pl.col(column).str.contains(NESTED.pattern).fill_null(False)


def path_to_id(name: str, source: str, texts: Iterable[str]) -> str:
    """The path to the id in such values: of their keys, the one that is called like an id."""
    keys = Counter(key for text in texts for key in dict.fromkeys(KEY.findall(text)))
    likely = [name, "id", "_id", "sku", *(key for key in keys if key.lower().endswith("id")), *keys]
    key = next((key for key in likely if key in keys), None)
    return source if key is None else f"{source}.{key}"


@dataclass(frozen=True)
class _Many:
    """What a path finds in a list: one value for each element. where: the path of the list."""

    where: tuple[str, ...]
    values: list[object]


def along(
    record: Mapping[str, object], paths: Iterable[str], ids: Iterable[str]
) -> Iterator[dict[str, object]]:
    """A record with what stands at some paths ("items.item_id") under their names.

    A path through a list gives one record for each element; so does a list of words at a path of
    `ids`. Of two lists the first path's counts, the others are joined. A key with dots in its name
    goes before a path; a number is a place in a list.
    """
    found = {
        path: value
        for path in paths
        if "." in path and path not in record
        if (value := _at(record, path.split("."))) is not None
    }
    for path in ids:
        value = found.get(path, record.get(path))
        if isinstance(value, list) and not any(isinstance(part, dict | list) for part in value):
            found[path] = _Many((*path.split("."), ""), value)
    lists = [value for value in found.values() if isinstance(value, _Many)]
    if not lists:
        yield {**record, **found}
        return
    where = lists[0].where
    for i in range(max(len(lists[0].values), 1)):
        values = {path: _of(value, i, where) for path, value in found.items()}
        yield {**record, **{path: value for path, value in values.items() if value is not None}}


def _of(value: object, i: int, where: tuple[str, ...]) -> object:
    if not isinstance(value, _Many):
        return value
    if value.where != where:
        return joined(value.values, "|")
    return value.values[i] if value.values else None


def _at(value: object, parts: list[str]) -> object:
    """What stands at a path; None where nothing does."""
    for n, part in enumerate(parts):
        if isinstance(value, list):
            if not part.isdecimal():
                elements = [_at(element, parts[n:]) for element in value]
                flat = [e.values if isinstance(e, _Many) else e for e in elements]
                return _Many(tuple(parts[:n]), flat)
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return unwrapped(value) or value if isinstance(value, dict) else value
