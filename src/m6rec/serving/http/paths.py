"""Ids in paths: what is percent-encoded within a piece of a path stays in that piece, a slash too.

A server hands on paths decoded, so that `/v1/items/a%2Fb` looks like `/v1/items/a/b`. Here pieces
are decoded one by one; a slash within one is carried to the route as a character that no id has.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from litestar.types import HTTPScope

ROOT = b"/v1/"
SLASH = "\x1f"
CARRIED = r"^[^\x00-\x1e\x7f]+$"
"""What an id may be made of while it is carried."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NAMED = ("items", "users")


def read_path(scope: HTTPScope) -> str | None:
    """Puts the path of a request right; returns what is wrong with it, where something is."""
    raw = scope["raw_path"].partition(b"?")[0]
    if not raw.startswith(ROOT):
        return None
    try:
        pieces = [unquote_to_bytes(piece).decode() for piece in raw.split(b"/")]
    except UnicodeDecodeError:
        return "path: right is UTF-8, percent-encoded"
    if any(map(CONTROL.search, pieces)):
        return "path: an id has no control characters"
    if "" in pieces[2:-1] or (pieces[2] in NAMED and pieces[-1] == ""):
        return "path: an id has at least one character"
    scope["path"] = "/".join(piece.replace("/", SLASH) for piece in pieces)
    return None


def id_of(carried: str) -> str:
    """An id as it was sent."""
    return carried.replace(SLASH, "/")
