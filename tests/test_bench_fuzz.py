"""What benchmarks/bench_fuzz.py asks: the same for a seed, of every route, fitting and torn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="needs the extra test")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import bench_fuzz
from fuzzing import Fuzzer, Made

ID = {"type": "string", "minLength": 1, "maxLength": 512}
BODY = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"$ref": "#/components/schemas/Id"}, "k": {"type": "integer"}},
}
DOCUMENT: dict[str, Any] = {
    "components": {"schemas": {"Id": ID}},
    "paths": {
        "/items": {
            "post": {
                "responses": {"200": {}, "400": {}},
                "requestBody": {"content": {"application/json": {"schema": BODY}}},
            }
        },
        "/items/{item_id}": {
            "get": {
                "responses": {"200": {}, "404": {}},
                "parameters": [{"name": "item_id", "in": "path", "schema": ID}],
            }
        },
    },
}


def made(seed: int, count: int = 400) -> list[Made]:
    fuzzer = Fuzzer(DOCUMENT, seed, ["a/b", "c"])
    return [fuzzer.next() for _ in range(count)]


def test_a_seed_makes_the_same_requests_and_another_one_others() -> None:
    assert made(1) == made(1) != made(2)


def test_every_route_is_asked_and_some_requests_fit_some_do_not_and_some_are_torn() -> None:
    asked = made(0)
    assert {one.route for one in asked} == {"POST /items", "GET /items/{item_id}"}
    torn = [one for one in asked if one.declared is None]
    assert 10 < len(torn) < 100
    sound = [one for one in asked if one.declared is not None]
    for one in sound:
        head, _, body = one.sent.partition(b"\r\n\r\n")
        if one.route.startswith("POST"):
            assert f"Content-Length: {len(body)}".encode() in head
    assert any(b'"name": "a/b"' in one.sent for one in sound)
    assert any(one.sent.startswith(b"GET /items/a%2Fb HTTP/1.1\r\n") for one in sound)


@pytest.mark.parametrize(
    ("declared", "status", "wrong"),
    [
        (frozenset({200, 503}), 503, False),
        (frozenset({200}), 503, True),
        (frozenset({200}), 500, True),
        (frozenset({200}), 0, True),
        (None, 0, False),
        (None, 404, False),
        (None, 500, True),
        (None, -1, True),
    ],
)
def test_what_is_not_declared_is_wrong(
    declared: frozenset[int] | None, status: int, wrong: bool
) -> None:
    assert bench_fuzz.is_wrong(Made(b"", "GET /", declared), status) is wrong


def test_growth_is_counted_after_the_first_tenth() -> None:
    assert bench_fuzz.growth([(5, 100.0), (10, 180.0), (50, 190.0), (100, 191.0)], 100) == 11.0
