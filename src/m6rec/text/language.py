"""The language of templates: the part of Jinja2 that writes values, with bounds on all it can do.

Nothing is assigned, defined or included, loops do not repeat themselves, and every filter is
listed here. So the work of a template is bounded by its own length and that of its values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator

import jinja2
from jinja2 import filters, nodes
from jinja2.exceptions import SecurityError

from m6rec.offers import parts_of
from m6rec.text import phrases

MOST_CHARS = 20_000
"""Longest text of a template, and of any value within it; far beyond every token budget."""
MOST_STEPS = 100
"""Longest range."""
DEEPEST_LOOP = 2
LONGEST_SOURCE = 10_000

STANDS_ALONE = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extend",
}
ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
)
METHODS = frozenset(
    {"items", "keys", "values", "get", "lower", "upper", "title", "capitalize", "strip", "lstrip"}
    | {"rstrip", "split", "startswith", "endswith", "cycle"}
)
"""Methods of values (and of `loop`) that a template may call."""
LIBRARY = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items"),
    *(
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "reverse",
        "select",
        "sort",
    ),
    *("string", "striptags", "sum", "title", "trim", "truncate", "unique", "upper", "wordcount"),
)
"""Filters of Jinja2 whose results are never much larger than what they are given."""
TESTS = (
    *("defined", "undefined", "none", "boolean", "true", "false", "number", "integer", "float"),
    *("string", "mapping", "sequence", "iterable", "in", "lower", "upper", "even", "odd"),
    *("divisibleby", "==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le"),
    *(">", "gt", "greaterthan", ">=", "ge"),
)


def refusals(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what would be right) for all that has no place in a template."""
    for node in _all(tree):
        message = _refusal(node)
        if message:
            yield node.lineno or 1, message
    yield from _deep_loops(tree, 0)


def _refusal(node: nodes.Node) -> str | None:
    kind = type(node)
    if kind in STANDS_ALONE:
        return (
            f"a template stands alone, it can not {STANDS_ALONE[kind]} another; put its text here"
        )
    if kind is nodes.Pow:
        return "refused, powers are out of reach for a template; right are + - * / // %"
    if not isinstance(node, ALLOWED):
        return (
            f"refused, {kind.__name__.lower()} is out of reach for a template; "
            "right are {{ values }}, {% if %} and {% for %}"
        )
    if isinstance(node, nodes.For) and node.recursive:
        return "refused, a loop can not call itself; right is a loop without 'recursive'"
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        return (
            f"refused, the attribute {node.attr!r} is out of reach for a template; "
            "right are columns and filters"
        )
    if isinstance(node, nodes.Call) and not _may_call(node.node):
        return f"refused, a template calls nothing but range and {', '.join(sorted(METHODS))}"
    return None


def _may_call(called: nodes.Node) -> bool:
    if isinstance(called, nodes.Name):
        return called.name == "range"
    return isinstance(called, nodes.Getattr) and called.attr in METHODS


def _all(tree: nodes.Node) -> Iterator[nodes.Node]:
    yield tree
    for child in tree.iter_child_nodes():
        yield from _all(child)


def _deep_loops(node: nodes.Node, depth: int) -> Iterator[tuple[int, str]]:
    depth += isinstance(node, nodes.For)
    if depth > DEEPEST_LOOP:
        yield node.lineno, f"refused, loops stand in one another at most {DEEPEST_LOOP} deep"
        return
    for child in node.iter_child_nodes():
        yield from _deep_loops(child, depth)


def few(*bounds: int) -> range:
    """`range`, of at most MOST_STEPS."""
    steps = range(*bounds)
    if len(steps) > MOST_STEPS:
        raise SecurityError(f"a range of {len(steps)} is too long; right is at most {MOST_STEPS}")
    return steps


def parts(value: object) -> list[str]:
    """The parts of a category or another list in text.

    >>> parts("Home > Garden, Tools"), parts(["a", "b"]), parts(None)
    (['Home', 'Garden', 'Tools'], ['a', 'b'], [])
    """
    if value is None or isinstance(value, jinja2.Undefined):
        return []
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value if part is not None]
    return list(parts_of(str(value)))


def listed(value: object) -> str:
    """The parts of a category, separated by commas."""
    return ", ".join(parts(value))


def join(values: Iterable[object], between: str = "", attribute: str | None = None) -> str:
    """The values as one text; `attribute` is there to say that it is not."""
    if attribute is not None:
        raise SecurityError("join has no attribute; right is join(', ')")
    words = ["" if value is None else str(value) for value in values]
    bounded(sum(map(len, words)) + len(str(between)) * len(words))
    return str(between).join(words)


def replace(text: object, old: str, new: str, count: int = -1) -> str:
    """`text` with `new` in place of `old`, at most `count` times."""
    text, old, new = str(text), str(old), str(new)
    times = text.count(old) if count < 0 else min(count, text.count(old))
    bounded(len(text) + times * len(new))
    return text.replace(old, new, count)


def bounded(size: int) -> None:
    """Raises SecurityError for what is too large."""
    if size > MOST_CHARS:
        raise SecurityError(f"a text of {size} characters is too long; at most {MOST_CHARS}")


def of_number(phrase: Callable[..., str]) -> Callable[..., str]:
    """A phrase as a filter: empty for a missing value."""

    def words(value: object, *options: float) -> str:
        if value is None or isinstance(value, jinja2.Undefined) or value == "":
            return ""
        return phrase(float(value), *options)  # type: ignore[arg-type]

    return words


def round_to(value: float, digits: int = 0) -> str:
    """A number to so many digits after the point."""
    return phrases.number(round(value, digits))


NUMBERS = {
    phrase.__name__: of_number(phrase)
    for phrase in (
        phrases.ago,
        phrases.ago_exact,
        phrases.percentile_words,
        phrases.count_words,
        phrases.share_words,
        phrases.rating_words,
        phrases.number,
    )
}
OURS: dict[str, Callable[..., object]] = {**NUMBERS, "parts": parts, "listed": listed}
"""Filters that Jinja2 does not have; docs/templates.md shows each."""
FILTERS: dict[str, Callable[..., object]] = {
    **{name: filters.FILTERS[name] for name in LIBRARY},
    **{"join": join, "replace": replace, "round": of_number(round_to)},
    **OURS,
}


def nearest_filter(message: str) -> str:
    """For a message of Jinja2 about an unknown filter or test: the known one that is meant."""
    unknown = re.search(r"No (filter|test) named '(\w+)'", message)
    if unknown is None:
        return ""
    known = sorted(FILTERS if unknown[1] == "filter" else TESTS)
    near = difflib.get_close_matches(unknown[2], known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
