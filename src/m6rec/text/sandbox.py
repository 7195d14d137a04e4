"""Jinja2 in a sandbox: templates are data, they format values and can do nothing else.

See https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m6rec.records import M6Error
from m6rec.text import language, phrases


class TemplateError(M6Error):
    """A template that can not be read, compiled or rendered; says the file, the key, the line."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Missing values are empty; forbidden attributes are refused instead of being empty."""

    intercepted_binops = frozenset({"*", "%"})

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        raise SecurityError(f"the attribute {attribute!r} is out of reach for a template")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Both are for numbers: "a" * 1000000 and "%1000000d" % 1 make texts without end."""
        if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise SecurityError(
                f"{operator} is for numbers, not for {left!r:.40} and {right!r:.40}"
            )
        return super().call_binop(context, operator, left, right)


def printed(value: object) -> object:
    """How a value is written where a template names it without a filter."""
    if value is None:
        return ""
    if callable(value) and not isinstance(value, jinja2.Undefined):
        raise SecurityError("a method without brackets has no text; right is .upper()")
    if isinstance(value, float):
        return phrases.number(value)
    return language.listed(value) if isinstance(value, (list, tuple)) else value


def build_sandbox() -> Sandbox:
    """An environment with the filters and tests of `language`, without escaping or files."""
    sandbox = Sandbox(
        undefined=jinja2.ChainableUndefined, autoescape=False, finalize=printed, cache_size=0
    )
    sandbox.filters = dict(language.FILTERS)
    sandbox.tests = {name: sandbox.tests[name] for name in language.TESTS}
    sandbox.globals = {"range": language.few}
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
            return self._written(values)
        except SecurityError as error:
            raise TemplateError(f"{self.place}: refused, {error}") from None
        except Exception as error:  # a template may call any filter with any value
            shown = {name: value for name, value in values.items() if name in self.names}
            raise TemplateError(
                f"{self.place}: {type(error).__name__}: {error}; the values were {shown!r:.400}"
            ) from None

    def _written(self, values: Mapping[str, object]) -> str:
        pieces, length = [], 0
        for piece in self.template.generate(values):
            pieces.append(piece)
            length += len(piece)
            language.bounded(length)
        return "".join(pieces)


def compile_template(
    sandbox: Sandbox, source: str, place: Callable[[int], str], own: bool
) -> Compiled:
    """Compiles `source`; place(line of the template, from 1) says where that is for a reader."""
    if len(source) > language.LONGEST_SOURCE:
        raise TemplateError(
            f"{place(1)}: a template of {len(source)} characters is too long; right is at most "
            f"{language.LONGEST_SOURCE}"
        )
    try:
        tree = sandbox.parse(source)
        _refuse(tree, place)
        names = meta.find_undeclared_variables(tree) - set(sandbox.globals)
        return Compiled(place(1), frozenset(names), own, sandbox.from_string(source))
    except jinja2.TemplateSyntaxError as error:
        message = str(error.message).rstrip(".")
        hint = language.nearest_filter(message)
        raise TemplateError(f"{place(error.lineno)}: {message}{hint}") from None
    except RecursionError:
        raise TemplateError(
            f"{place(1)}: refused, brackets stand in one another too deep"
        ) from None


def _refuse(tree: nodes.Template, place: Callable[[int], str]) -> None:
    for line, message in language.refusals(tree):
        raise TemplateError(f"{place(line)}: {message}")
