"""API keys with scopes: what is kept of a key is its hash.

A key is 32 random bytes, so nobody can guess what a plain SHA-256 is of; nothing slower is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from m6rec.records import M6Error

SCOPES = ("read", "write", "metrics", "admin")
"""read: ask for answers. write: items, users, events, and to erase them. metrics: /metrics. admin:
models and experiments, and all of the others."""
PREFIX = "m6_"
FILE = "keys.json"


class ApiKeyError(M6Error):
    """A key that can not be made or found."""


@dataclass(frozen=True)
class Key:
    """A key as it is kept. id: its name in lists and logs."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created: float

    def may(self, scope: str) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes


class KeyRing:
    """Keys in a file, read again when it changes.

    A key is needed from the first one on, also when all are revoked, and while this process lives
    also when the file is gone: taking keys away opens nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._needed = False
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def __len__(self) -> int:
        return len(self._read())

    @property
    def needed(self) -> bool:
        """Whether nobody is let in without a key."""
        self._needed = self._needed or self.path.exists()
        return self._needed

    def all(self) -> list[Key]:
        """All keys, oldest first."""
        return sorted(self._read().values(), key=lambda key: key.created)

    def find(self, token: str) -> Key | None:
        """The key that a token is, in a time that does not tell how much of it is right."""
        return self._read().get(_hash(token))

    def add(self, name: str, scopes: Collection[str]) -> tuple[Key, str]:
        """A new key, and its token, which is not kept anywhere. Raises ApiKeyError."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            what = repr(unknown[0]) if unknown else "none"
            raise ApiKeyError(f"scope {what}: right is one or more of {', '.join(SCOPES)}")
        token = PREFIX + secrets.token_urlsafe(32)
        key = Key(secrets.token_hex(4), name, tuple(sorted(scopes)), _hash(token), time.time())
        with self._alone():
            self._write([*self.all(), key])
        return key, token

    def revoke(self, key_id: str) -> Key:
        """Takes a key away; a running server refuses it from then on. Raises ApiKeyError."""
        with self._alone():
            gone = [key for key in self.all() if key.id == key_id]
            if not gone:
                there = ", ".join(key.id for key in self.all()) or "none"
                raise ApiKeyError(f"no key {key_id!r}; there are {there}")
            self._write([key for key in self.all() if key.id != key_id])
        return gone[0]

    def _alone(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    def _read(self) -> dict[str, Key]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return self._keys
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            try:
                rows: list[dict[str, Any]] = json.loads(self.path.read_text("utf-8"))["keys"]
                keys = [Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
            except (ValueError, TypeError, LookupError) as error:
                raise ApiKeyError(f"{self.path} is damaged: {error}") from None
            self._keys = {key.hash: key for key in keys}
            self._stamp = stamp
        return self._keys

    def _write(self, keys: list[Key]) -> None:
        unfinished = self.path.with_suffix(".unfinished")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"keys": [asdict(key) for key in keys]}, file, indent=2)
        unfinished.replace(self.path)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
