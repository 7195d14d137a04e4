"""The page /docs: the OpenAPI description as HTML, without a script and without the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment

METHODS = ("get", "post", "put", "delete")
DEEPEST = 3


@dataclass(frozen=True)
class Row:
    """A field of a parameter or a body."""

    name: str
    type: str
    about: str
    required: bool


@dataclass(frozen=True)
class Route:
    """One route. tables: fields by title; answers: status and meaning."""

    method: str
    path: str
    description: str
    tables: list[tuple[str, list[Row]]] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)


def write_reference(schema: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    groups: dict[str, list[Route]] = {}
    for path, methods in schema["paths"].items():
        for method in METHODS:
            if method in methods:
                told = methods[method]
                group = (told.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append(_route(schema, method.upper(), path, told))
    text = (files("m6rec.serving.http") / "reference.html.jinja").read_text("utf-8")
    page = Environment(autoescape=True).from_string(text)
    return page.render(info=schema["info"], groups=groups)


def _route(schema: Mapping[str, Any], method: str, path: str, told: Mapping[str, Any]) -> Route:
    route = Route(method, path, told.get("description") or told.get("summary", ""))
    asked = [
        Row(
            one["name"],
            f"{_type(schema, one.get('schema', {}))} ({one['in']})",
            one.get("description", ""),
            one.get("required", False),
        )
        for one in told.get("parameters", [])
    ]
    if asked:
        route.tables.append(("Parameters", asked))
    for kind, title, content in _bodies(told):
        rows = list(_rows(schema, content.get("schema", {})))
        if rows:
            route.tables.append((f"{title} ({kind})", rows))
    route.answers.extend((s, one.get("description", "")) for s, one in told["responses"].items())
    return route


def _bodies(told: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for kind, content in told.get("requestBody", {}).get("content", {}).items():
        yield kind, "Body", content
    for kind, content in told["responses"].get("200", {}).get("content", {}).items():
        yield kind, "Answer", content


def _rows(
    schema: Mapping[str, Any], part: Mapping[str, Any], before: str = "", depth: int = 0
) -> Iterator[Row]:
    part = _followed(schema, part)
    for name, one in part.get("properties", {}).items():
        full = f"{before}{name}"
        inner = _followed(schema, one)
        yield Row(
            full,
            _type(schema, one),
            inner.get("description", one.get("description", "")),
            name in part.get("required", []),
        )
        if depth + 1 < DEEPEST:
            items = inner.get("items")
            if items:
                yield from _rows(schema, items, f"{full}[].", depth + 1)
            else:
                yield from _rows(schema, inner, f"{full}.", depth + 1)


def _followed(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    found: Mapping[str, Any] = schema["components"]["schemas"][part["$ref"].rsplit("/", 1)[-1]]
    return found


def _type(schema: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    part = _followed(schema, part)
    for key in ("oneOf", "anyOf"):
        if key in part:
            return " or ".join(dict.fromkeys(_type(schema, one) for one in part[key]))
    if "enum" in part:
        return ", ".join(map(str, part["enum"]))
    kind = part.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"list of {_type(schema, part['items'])}" if "items" in part else str(kind)
