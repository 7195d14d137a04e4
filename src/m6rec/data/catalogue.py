"""A catalogue in whatever form people have it at hand → the canonical items table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from m6rec.data.examine import examine, readable
from m6rec.data.history import as_id
from m6rec.data.schema import TABLES, DataError

Items = pl.DataFrame | Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[str, str]
"""A table, titles, rows as dictionaries, or title by id."""


def as_items(items: Items) -> pl.DataFrame:
    """The canonical items table; rows without an item_id are called by their title.

    Raises DataError naming the first row that can not be used, and for an empty catalogue.
    """
    try:
        frame = _frame(items)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:  # half a character, a set
        what = str(error).split("\n")[0]
        raise DataError(
            f"the catalogue is no table ({what}); right is one kind of value in each column"
        ) from error
    if frame.height == 0:
        raise DataError("the catalogue is empty; right is at least one item with a title")
    if "title" not in frame.columns:
        raise DataError(
            f"the catalogue has no column 'title'; its columns are {', '.join(frame.columns)}"
        )
    if "item_id" not in frame.columns:
        frame = frame.with_columns(item_id=pl.col("title").cast(pl.String))
    found = examine(frame, TABLES["items"], seen=set())
    for rule, bad in found.broken.items():
        if rule.severity == "error":
            row = int(bad.argmax())
            raise DataError(
                f"catalogue, row {row + 1}, column {rule.column!r}: {rule.problem} "
                f"({frame[rule.column][row]!r}); right is {rule.right}"
            )
    first = ["item_id", "title"]
    typed = readable(found, TABLES["items"])
    return typed.select(*first, *(name for name in typed.columns if name not in first))


def _frame(items: Items) -> pl.DataFrame:
    if isinstance(items, pl.DataFrame):
        return items
    if isinstance(items, pl.LazyFrame):
        return items.collect()
    if (table := _as_table(items)) is not None:
        return table
    if isinstance(items, str):
        raise DataError(f"a catalogue is a list of items; right is [{items!r}]")
    if isinstance(items, Mapping):
        ids = [as_id(item_id) for item_id in items]
        return pl.DataFrame({"item_id": ids, "title": list(items.values())})
    rows = list(items)
    if not rows:
        return pl.DataFrame(schema={"item_id": pl.String, "title": pl.String})
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str) != isinstance(rows[0], str) or not isinstance(row, (str, Mapping)):
            raise DataError(
                f"catalogue, row {number} is {type(row).__name__}; right is all titles, or all "
                "dictionaries such as {'item_id': '7', 'title': 'Trail running shoe'}"
            )
    if isinstance(rows[0], str):
        return pl.DataFrame({"item_id": rows, "title": rows})
    named = [_flat(row) for row in rows if isinstance(row, Mapping)]
    return pl.from_dicts(named, infer_schema_length=None)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with each list (of categories, say) as one text, as tables have it."""
    flat = {
        name: "|".join(map(str, value)) if isinstance(value, list | tuple | set) else value
        for name, value in row.items()
    }
    return flat if "item_id" not in flat else {**flat, "item_id": as_id(flat["item_id"])}


def _as_table(items: Any) -> pl.DataFrame | None:
    """A table of another library (pandas, Arrow, …), by the shape of it; None: it is none."""
    if hasattr(items, "to_dict") and hasattr(items, "columns"):  # pandas
        columns = items.to_dict("list")
        return pl.DataFrame(
            {str(name): _plain(values) for name, values in columns.items()}, strict=False
        )
    if hasattr(items, "to_pydict") and hasattr(items, "column_names"):  # Arrow
        return pl.DataFrame({name: _plain(of) for name, of in items.to_pydict().items()})
    return None


def _plain(values: Sequence[Any]) -> list[Any]:
    """Lists as one text each; what is not equal to itself (NaN, NaT) is nothing."""
    flat = ("|".join(map(str, v)) if isinstance(v, list | tuple | set) else v for v in values)
    return [None if value != value else value for value in flat]
