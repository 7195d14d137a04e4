"""Requests made from an OpenAPI document by a seed: fitting ones, ones that nearly fit, torn bytes.

A request is bytes as they go over the wire, the operation that it was made for, and what a server
may answer: the statuses that the document declares, or, where the head itself was torn, any 4xx.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

ODD_TEXTS = (
    "", " ", "\u0000", "\n", "a" * 5000, "ü 寿司 🎿", "\u202e", "[EOS]", "{{ 7*7 }}",
    "../../etc/passwd",
    "%2F", "/", "'; DROP TABLE entries; --", "<script>", "null", "NaN", "1e999", "-1", "true",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**70), 1e308, -1e308, 1e-320, 0.1)
HEADERS = (
    "Content-Type: text/plain", "Content-Type: application/json; charset=utf-16", "Accept: */*",
    "Content-Encoding: gzip", "Idempotency-Key: same", "Authorization: Bearer x",
    "Traceparent: 00-zz", "X-Forwarded-For: 1.2.3.4", "Host: evil.example", "Expect: 200-maybe",
)  # fmt: skip
DEEPEST = 6
METHODS = ("get", "post", "delete", "put", "patch")


@dataclass(frozen=True)
class Made:
    """A request. route: the operation; declared: statuses it may be answered with, None: any 4xx,
    or none at all."""

    sent: bytes
    route: str
    declared: frozenset[int] | None


class Fuzzer:
    """Requests to the operations of a document, the same for the same seed. names: ids that exist,
    so that some requests find something."""

    def __init__(self, document: Mapping[str, Any], seed: int, names: list[str]) -> None:
        self._document, self._draw, self._names = document, random.Random(seed), names
        self._operations = [
            (method.upper(), path, told[method])
            for path, told in document["paths"].items()
            for method in METHODS
            if method in told
        ]

    @property
    def routes(self) -> list[str]:
        """All operations."""
        return [f"{method} {path}" for method, path, _ in self._operations]

    def next(self) -> Made:
        """The next request."""
        draw = self._draw
        method, path, told = draw.choice(self._operations)
        route = f"{method} {path}"
        declared = frozenset(int(status) for status in told["responses"])
        query, headers = [], ["Host: localhost", "Connection: close"]
        for parameter in told.get("parameters", []):
            name, schema = parameter["name"], parameter.get("schema", {})
            if parameter["in"] == "path":
                value = self._id() if draw.random() < 0.9 else self._text(schema)
                path = path.replace(f"{{{name}}}", quote(value or "x", safe=""))
            elif draw.random() < 0.5:
                value = str(self._value(schema, 0))
                if parameter["in"] == "query":
                    query.append(f"{quote(name)}={quote(value, safe='', errors='replace')}")
                elif parameter["in"] == "header" and value.isascii() and value.isprintable():
                    headers.append(f"{name}: {value}")
        body = b""
        if "requestBody" in told:
            schema = told["requestBody"]["content"]["application/json"]["schema"]
            body = json.dumps(self._value(schema, 0)).encode()
            headers.append("Content-Type: application/json")
            if draw.random() < 0.25:
                body = self._torn(body)
        if draw.random() < 0.1:
            headers.append(draw.choice(HEADERS))
        if body or method != "GET":
            headers.append(f"Content-Length: {len(body)}")
        target = path + (f"?{'&'.join(query)}" if query else "")
        lines = [f"{method} {target} HTTP/1.1", *headers, "", ""]
        sent = "\r\n".join(lines).encode("latin-1", "replace")
        if draw.random() < 0.1:
            return Made(self._torn(sent) + body, route, None)
        return Made(sent + body, route, declared)

    def _value(self, schema: Mapping[str, Any], depth: int) -> Any:
        """A value that fits a schema, mostly."""
        draw = self._draw
        if draw.random() < 0.04 or depth > DEEPEST:
            return self._odd()
        if "$ref" in schema:
            return self._value(self._resolved(schema["$ref"]), depth)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self._value(draw.choice(schema[several]), depth + 1)
        if "allOf" in schema:
            return self._value(schema["allOf"][0], depth + 1)
        if "const" in schema or "enum" in schema:
            return schema.get("const", draw.choice(schema.get("enum", [None])))
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = draw.choice(kind)
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        if kind == "array":
            least = schema.get("minItems", 0)
            count = draw.randint(least, max(least, min(schema.get("maxItems", 3), 3)))
            return [self._value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "string":
            return self._text(schema)
        if kind in ("integer", "number"):
            return self._number(schema, kind == "integer")
        return None if kind == "null" else draw.random() < 0.5

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        draw, required = self._draw, schema.get("required", [])
        found = {
            name: self._value(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if (name in required and draw.random() < 0.97) or draw.random() < 0.4
        }
        if draw.random() < 0.05 or isinstance(schema.get("additionalProperties"), dict):
            found[draw.choice(ODD_TEXTS) or "x"] = self._odd()
        return found

    def _text(self, schema: Mapping[str, Any]) -> str:
        draw = self._draw
        chance = draw.random()
        if chance < 0.4:
            return self._id()
        if chance < 0.55:
            return draw.choice(ODD_TEXTS)
        least = schema.get("minLength", 0)
        letters = string.ascii_letters + " "
        return "".join(draw.choices(letters, k=draw.randint(least, least + 20)))

    def _number(self, schema: Mapping[str, Any], whole: bool) -> float:
        draw = self._draw
        if draw.random() < 0.2:
            return draw.choice(ODD_NUMBERS)
        least = schema.get("minimum", schema.get("exclusiveMinimum", -100))
        most = min(schema.get("maximum", 100), least + 200)
        return draw.randint(int(least), int(most)) if whole else draw.uniform(least, most)

    def _id(self) -> str:
        if self._draw.random() < 0.7:
            return self._draw.choice(self._names)
        return f"fuzz-{self._draw.randrange(500)}"

    def _odd(self) -> Any:
        draw = self._draw
        deep: Any = []
        for _ in range(draw.choice((3, 900))):
            deep = [deep]
        some = (None, True, [], {}, deep, draw.choice(ODD_TEXTS), draw.choice(ODD_NUMBERS))
        return draw.choice(some)

    def _torn(self, sent: bytes) -> bytes:
        """Some bytes changed, taken out, put in, doubled, or cut off."""
        draw, out = self._draw, bytearray(sent)
        for _ in range(draw.randint(1, 4)):
            at, how = draw.randrange(len(out) + 1), draw.randrange(5)
            some = bytes(draw.randrange(256) for _ in range(draw.randint(1, 6)))
            if how == 0 and at < len(out):
                out[at] ^= 1 << draw.randrange(8)
            elif how == 1:
                del out[at : at + draw.randint(1, 8)]
            elif how == 2:
                out[at:at] = some
            elif how == 3:
                out[at:at] = out[max(0, at - 20) : at]
            else:
                del out[at:]
        return bytes(out)

    def _resolved(self, ref: str) -> Mapping[str, Any]:
        found: Any = self._document
        for part in ref.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return dict(found)
