"""Jinja2 in a sandbox: templates are data, they format values and can do nothing else.

See https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m6rec.records import M6Error
from m6rec.text import phrases

NO_TEXT_OF_THEIR_OWN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
PART = re.compile(r"\s*(?:\||,|\s>\s)\s*")
"""What separates the parts of a category: "Home > Garden", "Action|Comedy", "Action, Comedy"."""


class TemplateError(M6Error):
    """A template that can not be read, compiled or rendered; says the file, the key, the line."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Missing values are empty; forbidden attributes are refused instead of being empty."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        raise SecurityError(f"the attribute {attribute!r} is out of reach for a template")


def parts(value: object) -> list[str]:
    """The parts of a category or another list in text.

    >>> parts("Home > Garden, Tools"), parts(["a", "b"]), parts(None)
    (['Home', 'Garden', 'Tools'], ['a', 'b'], [])
    """
    if value is None or isinstance(value, jinja2.Undefined):
        return []
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value if part is not None]
    return [part for part in PART.split(str(value).strip()) if part]


def listed(value: object) -> str:
    """The parts of a category, separated by commas."""
    return ", ".join(parts(value))


def of_number(phrase: Callable[..., str]) -> Callable[..., str]:
    """A phrase as a filter: empty for a missing value."""

    def words(value: object, *options: float) -> str:
        if value is None or isinstance(value, jinja2.Undefined) or value == "":
            return ""
        return phrase(float(value), *options)  # type: ignore[arg-type]

    return words


def printed(value: object) -> object:
    """How a value is written where a template names it without a filter."""
    if value is None:
        return ""
    if isinstance(value, float):
        return phrases.number(value)
    return listed(value) if isinstance(value, (list, tuple)) else value


FILTERS: dict[str, Callable[..., object]] = {
    **{
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
    },
    "parts": parts,
    "listed": listed,
}


def build_sandbox() -> Sandbox:
    """An environment with our filters, without escaping, files or chance."""
    sandbox = Sandbox(
        undefined=jinja2.ChainableUndefined, autoescape=False, finalize=printed, cache_size=0
    )
    sandbox.filters.pop("random")
    sandbox.filters.update(FILTERS)
    sandbox.globals = {name: sandbox.globals[name] for name in ("range", "joiner", "namespace")}
    return sandbox


@dataclass(frozen=True)
class Compiled:
    """One template: its place for messages, the names it asks for, and the code behind it.

    own: written by a user, not built in.
    """

    place: str
    names: frozenset[str]
    own: bool
    template: jinja2.Template

    def render(self, values: Mapping[str, object]) -> str:
        """The text for these values. Raises TemplateError for whatever goes wrong in it."""
        try:
            return self.template.render(values)
        except SecurityError as error:
            raise TemplateError(f"{self.place}: refused, {error}") from None
        except Exception as error:  # a template may call any filter with any value
            shown = {name: value for name, value in values.items() if name in self.names}
            raise TemplateError(
                f"{self.place}: {type(error).__name__}: {error}; the values were {shown!r:.400}"
            ) from None


def compile_template(
    sandbox: Sandbox, source: str, place: Callable[[int], str], own: bool
) -> Compiled:
    """Compiles `source`; place(line of the template, from 1) says where that is for a reader."""
    try:
        tree = sandbox.parse(source)
        _refuse(tree, place)
        names = meta.find_undeclared_variables(tree) - set(sandbox.globals)
        return Compiled(place(1), frozenset(names), own, sandbox.from_string(source))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{place(error.lineno)}: {_explain(error, sandbox)}") from None


def _refuse(tree: nodes.Template, place: Callable[[int], str]) -> None:
    for node in tree.find_all(NO_TEXT_OF_THEIR_OWN):
        raise TemplateError(
            f"{place(node.lineno)}: a template stands alone, it can not "
            f"{type(node).__name__.lower()} another; put its text here"
        )
    for reach in tree.find_all(nodes.Getattr):
        if reach.attr.startswith("_"):
            raise TemplateError(
                f"{place(reach.lineno)}: refused, the attribute {reach.attr!r} is out of reach for "
                "a template; right are columns and filters"
            )


def _explain(error: jinja2.TemplateSyntaxError, sandbox: Sandbox) -> str:
    message = str(error.message).rstrip(".")
    unknown = re.search(r"No (?:filter|test) named '(\w+)'", message)
    near = difflib.get_close_matches(unknown[1], sandbox.filters, n=1) if unknown else []
    return message + (f"; did you mean {near[0]!r}?" if near else "")
